/**
 * Which node can take the lead by a planned switchover, and how long its steps may take. Refusals are sentences for
 * people.
 */

import { lsnDistance } from '../../contract/lsn';
import { planOf, restoreOf, serves } from '../state/cluster';
import { isAsynchronous, pick } from './candidates';
import { isCertified, isUnreached } from './haproxy';
import { leaderHealth } from './health';
import { isReportReplica } from './reports';
import type { Situation } from './situation';
import { isReady } from './sync-set';

/** How long running transactions have to end before the keeper ends their sessions, ms. */
export const DRAIN_MS = 5_000;
/** How long a switchback waits for running transactions, which it does not cut, before it is called off, ms. */
export const GENTLE_LIMIT_MS = 2_000;
/**
 * Like {@link DRAIN_MS}, for a leader whose container was told to stop, ms. It is enough for logins in progress and
 * short statements.
 */
export const LEAVE_MS = 500;
/** How long the leader may take to stop, with the transactions of its clients, ms. */
export const STOP_LIMIT_MS = DRAIN_MS + 10_000;
/** A standby that is at most this far behind the leader has caught up, bytes. */
const CAUGHT_UP_BYTES = 1024 * 1024;
/**
 * A standby that is at most this far behind is level with the leader, bytes. It needs only milliseconds for the rest,
 * and the leader's clean shutdown waits for it anyway.
 */
const LEVEL_BYTES = 128 * 1024;

/** How far the node's flushed and replayed positions are behind the leader, bytes; null when that is not known. */
export function lagBytes(s: Situation, node: string): number | null {
  const lead = s.status(s.leader)?.lead;
  const standby = lead?.standbys.find((s) => s.name === node);
  if (lead?.flushLsn == null || standby?.flushLsn == null) return null;
  const { flushLsn, replayLsn } = standby;
  return Math.max(0, lsnDistance(flushLsn, lead.flushLsn), lsnDistance(replayLsn ?? flushLsn, lead.flushLsn));
}

/** True when the candidate is so close to the leader that the leader may stop. */
export function isLevel(s: Situation, node: string): boolean {
  return (lagBytes(s, node) ?? Number.POSITIVE_INFINITY) <= LEVEL_BYTES;
}

/**
 * True when every sync configuration that may be in force counts this node. In asynchronous mode no node has to be
 * counted, so it is always true.
 */
export function isCounted(s: Situation, node: string): boolean {
  return isAsynchronous(s) || s.state.joint.every((c) => c.members.includes(node));
}

/** Why `node` is not a counted standby that streams from the leader; null when it is one. */
export function candidateTrouble(s: Situation, node: string): string | null {
  const { leader } = s;
  if (!s.isDeclared(node)) return `${node} is no node of this stack`;
  if (node === leader) return `${node} leads already`;
  if (!s.view(node).connected) return `${node} is off`;
  if (isUnreached(s, node)) return `HAProxy does not reach ${node}`;
  if (!isReady(s, node)) return `${node} is not a healthy standby that streams from ${leader}`;
  if (!isCounted(s, node)) {
    if (isReportReplica(s, node)) return `${node} is a report replica, for which no write waits`;
    return `${node} is not counted for acknowledged writes yet`;
  }
  const choice = pick(s, false);
  return choice.kind === 'none' ? choice.missing : null;
}

/** Why the cluster cannot hand over at all now; null when it can. */
export function clusterTrouble(s: Situation): string | null {
  if (s.state.adopting || s.state.leader === null) return 'the cluster has no leader yet';
  if (restoreOf(s.state) !== null) return 'a restore in place is under way';
  if (!serves(s.state)) return 'the lead is changing already';
  const plan = planOf(s.state);
  if (plan?.kind === 'switchover') return `a switchover to ${plan.to} is under way`;
  if (plan?.kind === 'restart') return `${s.state.leader} is about to restart for its settings`;
  if (leaderHealth(s).kind !== 'well') return `the leader ${s.state.leader} is not well`;
  if (!s.observation.haproxy.reachable) return 'HAProxy does not answer';
  return isCertified(s) ? null : `the route to ${s.state.leader} is being checked`;
}

/** The node that a switchover to `to` would promote, or why it would promote none. */
export function switchoverTarget(s: Situation, to: string | null): { node: string } | { refusal: string } {
  const trouble = clusterTrouble(s);
  if (trouble !== null) return { refusal: trouble };
  const names = to === null ? s.names.filter((n) => n !== s.state.leader) : [to];
  const troubles: string[] = [];
  for (const node of names) {
    const why = candidateTrouble(s, node) ?? lagTrouble(s, node);
    if (why === null) return { node };
    troubles.push(why);
  }
  return { refusal: troubles.length === 0 ? 'there is no other node' : troubles.join('; ') };
}

function lagTrouble(s: Situation, node: string): string | null {
  const lag = lagBytes(s, node);
  if (lag === null) return `the position of ${node} is not known`;
  return lag <= CAUGHT_UP_BYTES ? null : `${node} has not caught up: it is ${lag} bytes behind`;
}
