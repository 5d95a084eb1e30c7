/**
 * What a person can do when writes wait: what would be lost if the person promoted a node that the rules refuse, and
 * the command that accepts this loss.
 */

import { lsnDistance } from '../../contract/lsn';
import { serves } from '../state/cluster';
import type { Request } from '../state/observation';
import { mostAdvanced } from './candidates';
import { isLost, leaderHealth } from './health';
import { mayTakeOverAsked } from './hold';
import { hasReachedNewest } from './ledger';
import type { Situation } from './situation';

type Promotion = Extract<Request, { kind: 'promote' }>;

/**
 * States of PostgreSQL in which the data is missing, incomplete or changing. In any other state the node can lead, even
 * as a primary that runs without an order: its writes become the cluster's, and the other nodes are copied from it
 * (override.ts).
 */
const UNREADY: ReadonlySet<string> = new Set(['absent', 'initialising', 'rewinding', 'stopping']);

/** Why the monitor refuses to promote this node when a person asks for it; null when it may be promoted. */
export function overrideRefusal(s: Situation, { to, acceptDataLoss }: Promotion): string | null {
  if (!s.isDeclared(to)) return `${to} is no node of this stack`;
  const status = s.status(to);
  if (status === null) return `${to} is off; start it first`;
  if (status.dataId === null) return `${to} has no data`;
  if (status.rewinding) return `the data of ${to} is half rewound and can only be replaced`;
  if (status.stopping) return `${to} is being stopped`;
  if (UNREADY.has(status.postgres.state)) return `PostgreSQL on ${to} is ${status.postgres.state}`;
  const trouble = whyNothingToOverride(s);
  if (trouble !== null) return trouble;
  if (acceptDataLoss || mayTakeOverAsked(s, to)) return null;
  return `${lossOf(s, to)}; to accept that, ask again with acceptDataLoss (--accept-data-loss)`;
}

/**
 * Why there is nothing to override: a leader serves, or a change without loss is under way. Null when neither is so.
 */
function whyNothingToOverride(s: Situation): string | null {
  if (s.state.adopting) return null;
  // With an empty state a node may still have data. A person may declare that it is the cluster's.
  if (s.state.leader === null) return s.state.activity.kind === 'empty' ? null : 'the first database is being made';
  if (!serves(s.state)) {
    const waits = s.state.activity.kind === 'elect' || (s.state.activity.kind === 'promote' && !isCandidateWell(s));
    return waits ? null : `${s.state.leader} is in the middle of a change`;
  }
  if (isLost(leaderHealth(s))) return null;
  return `${s.state.leader} leads and nothing says that it is dead; use switchover`;
}

/** True when the recorded candidate is connected, has its data and has reported no failure. */
function isCandidateWell(s: Situation): boolean {
  const { connected, status } = s.view(s.leader);
  return connected && (status === null || (status.failure === null && s.isMember(s.leader, status.dataId)));
}

/** Says in one sentence what would be lost if `node` led. */
export function lossOf(s: Situation, node: string): string {
  const { newest } = s.observation.watch;
  const postgres = s.status(node)?.postgres;
  const lsn = postgres?.lsn ?? postgres?.replayLsn ?? null;
  if (newest === null || lsn === null) return `how many acknowledged writes ${node} lacks is not known`;
  const bytes = Math.max(0, lsnDistance(lsn, newest.lsn));
  const older = isOnNewest(s, node) ? '' : ', and it is on an older timeline';
  return `${node} is at ${lsn}, ${bytes} bytes behind ${newest.node} at ${newest.lsn}${older}: what it lacks is lost`;
}

/**
 * True when the node is on the newest opened history. After a promotion by hand the timeline's number proves nothing,
 * because another history may have the same number.
 */
export function isOnNewest(s: Situation, node: string): boolean {
  const status = s.status(node);
  if (status === null || status.promotedByHand === true || s.lastOpened?.timeline == null) return false;
  return hasReachedNewest(s, status);
}

/**
 * The command that makes the best connected node the leader and accepts the loss of the writes that it lacks. Empty
 * while no connected node can lead, and until writes have waited for `startGrace`, because a person should not accept
 * losses in haste.
 */
export function acceptLossRemedy(s: Situation): string {
  if (s.nowMs - (s.observation.watch.waitsSinceMs ?? s.nowMs) < s.policy.startGraceMs) return '';
  const answering = s.names.filter((node) => s.view(node).silentMs < s.policy.hangTimeoutMs);
  const able = answering.filter((to) => overrideRefusal(s, { kind: 'promote', to, acceptDataLoss: true }) === null);
  const timelineOf = (node: string) => s.status(node)?.postgres.timeline ?? 0;
  const newest = Math.max(...able.map(timelineOf));
  const furthest = able.filter((node) => timelineOf(node) === newest);
  const best = mostAdvanced(s, furthest, s.state.leader ?? undefined);
  return best === null ? '' : `; or accept that what ${best} lacks is lost: promote ${best} --accept-data-loss`;
}
