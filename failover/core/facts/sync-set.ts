/** Decides which standbys acknowledged writes wait for (docs/safety.md: joint set, S4, S5, S9, S17). */

import type { FailureCode } from '../../contract/codes';
import { seam } from '../../contract/seam';
import { type Status, type SyncConfig, standbyWorkOf } from '../state/cluster';
import { isReportReplica, preferCounted } from './reports';
import type { Situation } from './situation';

/** True when a commit waits for the same standbys under both. The terms in which they were recorded may differ. */
function sameConfig(a: SyncConfig, b: SyncConfig): boolean {
  return (
    a.leader === b.leader &&
    a.k === b.k &&
    a.members.length === b.members.length &&
    a.members.every((m) => b.members.includes(m))
  );
}

/**
 * `ANY k (members)` for a leader of the state's term, members in the config's order. Without members: alone (k = 0).
 */
export function configOf(s: Situation, leader: string, among: readonly string[], syncCount: number): SyncConfig {
  const order = s.names;
  const members = [...among].sort((a, b) => order.indexOf(a) - order.indexOf(b));
  return { leader, k: Math.min(syncCount, members.length), members, term: s.state.term };
}

/**
 * True when a counted member can no longer acknowledge: at once if its keeper's connection broke, else after
 * `hangTimeoutMs`.
 */
export function isGone(s: Situation, node: string, hangTimeoutMs = s.policy.hangTimeoutMs): boolean {
  if (!s.isDeclared(node) || isLeaving(s, node)) return true;
  const { connected, everConnected, silentMs, status, changedAtMs, streamingSeenAtMs } = s.view(node);
  const { sinceMs } = s.observation;
  if (!connected) return everConnected || s.nowMs - sinceMs >= hangTimeoutMs;
  if (silentMs >= hangTimeoutMs) return true;
  if (status === null) return false;
  if (status.stopping || !s.isMember(node, status.dataId) || mustBeCopied(status)) return true;
  const lastStreamedMs = Math.max(changedAtMs, sinceMs, streamingSeenAtMs ?? 0);
  return isStuck(s, node, hangTimeoutMs) || s.nowMs - lastStreamedMs >= hangTimeoutMs;
}

/** Failures by which a keeper reports that only a copy can bring its data to the leader's history. */
const ONLY_A_COPY: ReadonlySet<FailureCode> = new Set(['STREAM_IMPOSSIBLE', 'REWIND_FAILED', 'MUST_COPY']);

/** True when the keeper reports that this data can only be replaced. */
export function mustBeCopied({ failure }: Status): boolean {
  return ONLY_A_COPY.has(failure?.code ?? 'OTHER');
}

/**
 * True when the standby has acknowledged nothing new for `hangTimeoutMs` although its leader has flushed more, for
 * example because it is cut off from the leader alone. PostgreSQL shows such a connection as streaming until
 * `wal_sender_timeout` or `wal_receiver_timeout` has passed (manual 19.6), and writers wait meanwhile.
 */
function isStuck(s: Situation, node: string, hangTimeoutMs = s.policy.hangTimeoutMs): boolean {
  const acknowledged = s.observation.watch.acknowledged[node];
  return acknowledged !== undefined && s.nowMs - acknowledged.sinceMs >= hangTimeoutMs;
}

/**
 * True when the standby restarts for its settings or is about to be copied anew: no write may wait for it meanwhile.
 */
function isLeaving(s: Situation, node: string): boolean {
  return standbyWorkOf(s.state)?.node === node && node !== s.state.leader;
}

/** True when a standby may be counted: it has carried out its order and streams, and its leader sees that too. */
export function isReady(s: Situation, node: string): boolean {
  const status = s.status(node);
  const { leader } = s;
  if (status === null || node === leader || !s.isDeclared(node) || isLeaving(s, node)) return false;
  if (s.view(node).silentMs >= s.policy.hangTimeoutMs / 4 || isStuck(s, node)) return false;
  if (status.stopping || status.postgres.crashes >= 3 || !s.isMember(node, status.dataId)) return false;
  if (!s.isDone(node) || status.postgres.streamingFrom !== leader) return false;
  const seen = s.status(leader)?.lead?.standbys.find((s) => s.name === node);
  return seen?.state === 'streaming';
}

/**
 * True when a standby may be added to the sync configuration. A report replica is never added. A node that was
 * one until now is added only after its order no longer lets readers delay its replay (S16).
 */
function mayBeAdded(s: Situation, node: string): boolean {
  const target = s.target(node);
  const replaysLate = target?.kind === 'follow' && target.lateReplay === true;
  return !isReportReplica(s, node) && !replaysLate && isReady(s, node);
}

/** The sync configuration that the serving leader should get; null when the ordered one is right. */
export function wantedConfig(s: Situation, grow: boolean): SyncConfig | null {
  const { ordered } = s;
  const { leader } = s.state;
  if (ordered === undefined || leader === null) return null;
  if (s.policy.syncMode === 'asynchronous') return ordered.k === 0 ? null : aloneConfig(leader, s.state.term);
  // A report replica that is counted, because it was none before, stays until another standby is counted beside it.
  const stay = preferCounted(
    s,
    ordered.members.filter((m) => !isGone(s, m)),
  );
  const ready = grow ? s.names.filter((n) => !stay.includes(n) && mayBeAdded(s, n)) : [];
  const members = [...stay, ...ready];
  // With `block` the last counted members stay recorded, so writes wait until one of them is back.
  if (members.length === 0 && ordered.k > 0 && s.policy.onNoReplica === 'block') {
    return ordered.members.some((m) => !s.isDeclared(m)) ? blockConfig(s, leader) : null;
  }
  const wanted = configOf(s, leader, members, s.policy.syncCount);
  return sameConfig(wanted, ordered) ? null : wanted;
}

/** A configuration that counts no standby: the leader alone acknowledges. */
export function aloneConfig(leader: string, term: number): SyncConfig {
  return { leader, k: 0, members: [], term };
}

/** The configuration for a leader without a replica: the policy decides whether it is alone or writes wait. */
export function loneConfig(s: Situation, leader: string): SyncConfig {
  const blocks = s.policy.onNoReplica === 'block' && s.policy.syncMode === 'synchronous';
  return blocks ? blockConfig(s, leader) : aloneConfig(leader, s.state.term);
}

/**
 * With `block` and no replica, any declared node that comes back releases the waiting writes. If the config has no
 * other node, the leader is alone.
 */
function blockConfig(s: Situation, leader: string): SyncConfig {
  const others = s.names.filter((n) => n !== leader && s.isDeclared(n));
  return configOf(s, leader, preferCounted(s, others, leader), 1);
}

/**
 * True when the ordered configuration is proven in force: the leader has accepted and carried out exactly this order,
 * and reports this configuration (S4).
 */
export const isProven = seam((s: Situation): boolean => {
  const { leader, ordered } = s;
  const lead = s.status(leader)?.lead;
  if (ordered === undefined || lead?.term !== s.state.term || lead.syncInForce === null) return false;
  return s.isDone(leader) && sameConfig(lead.syncInForce, ordered);
});

/**
 * Adds a configuration to the joint set. If its leadership was never opened, it replaces the former configuration of
 * this leadership, because no write was acknowledged under that one. Those of the same leader's earlier terms stay.
 */
export const withConfig = seam(
  (joint: readonly SyncConfig[], next: SyncConfig, leaderOpened: boolean): SyncConfig[] => {
    const isOfLeadership = (c: SyncConfig) => c.leader === next.leader && c.term === next.term;
    const others = joint.filter((c) => !(isOfLeadership(c) && (!leaderOpened || sameConfig(c, next))));
    return [...others, next];
  },
);
