/**
 * Who can take the lead by a planned switchover, and how long its steps may take. Refusals are sentences for people.
 */

import { lsnDistance } from '../../contract/lsn';
import { isCertified } from '../effects/route';
import type { ClusterState, Observation, Policy } from '../state/cluster';
import { isAsynchronous, pick } from './choice';
import { leaderHealth } from './health';
import { isUnreached } from './reach';
import { isReady } from './sync-set';
import { isDeclared, statusOf, viewOf } from './view';

/** Running transactions have this long to end before their sessions are ended, ms. */
export const DRAIN_MS = 5_000;
/** As {@link DRAIN_MS}, of a leader whose container was told to stop: enough for who is logging in, and for short statements. */
export const LEAVE_MS = 500;
/** The leader's checkpoint before the switchover, ms. */
export const PREPARE_LIMIT_MS = 60_000;
/** New connections are held for the candidate to be level no longer than this, ms. */
export const HOLD_LIMIT_MS = 2_000;
/** The leader has this long to stop, its clients' transactions included, ms. */
export const STOP_LIMIT_MS = DRAIN_MS + 10_000;
/** A standby that is further behind is not caught up, bytes. */
const CAUGHT_UP_BYTES = 1024 * 1024;
/** So close that the rest is a matter of milliseconds: the leader's clean shutdown waits for it anyway, bytes. */
const LEVEL_BYTES = 128 * 1024;

/** How far the node's replay is behind its leader, bytes; null when that is not known. */
export function lagBytes(observation: Observation, leader: string, node: string): number | null {
  const lead = statusOf(observation, leader)?.lead ?? null;
  const standby = lead?.standbys.find((s) => s.name === node);
  if (lead?.flushLsn == null || standby?.flushLsn == null) return null;
  const { replayLsn } = standby;
  const behind = [standby.flushLsn, ...(replayLsn === null ? [] : [replayLsn])];
  return Math.max(0, ...behind.map((lsn) => lsnDistance(lsn, lead.flushLsn ?? lsn)));
}

/** The candidate lacks so little that the leader may stop. */
export function isLevel(state: ClusterState, observation: Observation, node: string): boolean {
  const lag = lagBytes(observation, state.leader ?? '', node);
  return lag !== null && lag <= LEVEL_BYTES;
}

/** Acknowledged writes are on it, or, in asynchronous mode, nobody is asked for that. */
export function isCounted(state: ClusterState, node: string, policy: Policy): boolean {
  return isAsynchronous(state, policy) || state.joint.every((c) => c.members.includes(node));
}

/** Why `node` is no counted standby that streams from the leader; null when it is one. */
export function candidateTrouble(
  state: ClusterState,
  observation: Observation,
  node: string,
  nowMs: number,
  policy: Policy,
): string | null {
  const leader = state.leader ?? '';
  if (!isDeclared(observation, node)) return `${node} is no node of this stack`;
  if (node === leader) return `${node} leads already`;
  if (!viewOf(observation, node).connected) return `${node} is off`;
  if (isUnreached(observation, node)) return `HAProxy does not reach ${node}`;
  if (!isReady(state, observation, node, nowMs, policy))
    return `${node} is not a healthy standby that streams from ${leader}`;
  if (!isCounted(state, node, policy)) return `${node} is not counted for acknowledged writes yet`;
  const choice = pick(state, observation, policy, false);
  return choice.kind === 'nobody' ? choice.missing : null;
}

/** Why the cluster cannot hand over at all now; null when it can. */
export function clusterTrouble(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
): string | null {
  if (state.adopting || state.leader === null) return 'the cluster has no leader yet';
  if (state.procedure !== null) return 'the lead is changing already';
  if (state.switchover !== undefined) return `a switchover to ${state.switchover.to} is under way`;
  if (state.restart?.node === state.leader) return `${state.leader} is about to restart for its settings`;
  const health = leaderHealth(state, observation, nowMs, policy);
  if (health.kind !== 'well') return `the leader ${state.leader} is not well`;
  if (!observation.haproxy.reachable) return 'HAProxy does not answer';
  if (!isCertified(state, observation)) return `the route to ${state.leader} is being checked`;
  return null;
}

/** The node that a switchover to `to` would promote, or why there is none. */
export function switchoverTarget(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
  to: string | null,
): { node: string } | { refusal: string } {
  const trouble = clusterTrouble(state, observation, nowMs, policy);
  if (trouble !== null) return { refusal: trouble };
  const names = to === null ? observation.declared.map((d) => d.name).filter((n) => n !== state.leader) : [to];
  const troubles: string[] = [];
  for (const node of names) {
    const words = candidateTrouble(state, observation, node, nowMs, policy) ?? lagTrouble(state, observation, node);
    if (words === null) return { node };
    troubles.push(words);
  }
  return { refusal: troubles.length === 0 ? 'there is no other node' : troubles.join('; ') };
}

function lagTrouble(state: ClusterState, observation: Observation, node: string): string | null {
  const lag = lagBytes(observation, state.leader ?? '', node);
  if (lag === null) return `the position of ${node} is not known`;
  return lag <= CAUGHT_UP_BYTES ? null : `${node} has not caught up: it is ${lag} bytes behind`;
}
