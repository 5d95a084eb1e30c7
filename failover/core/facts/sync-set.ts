/** What acknowledged writes should wait for (docs/safety.md: joint set, S4, S5, S9, S17). */

import type { FailureCode } from '../../contract/codes';
import { seam } from '../../contract/seam';
import type { Status, SyncConfig } from '../state/cluster';
import { standbyWorkOf } from '../state/cluster';
import type { NodeView } from '../state/observation';
import type { Situation } from './situation';
import { isDone } from './view';

/** Whether both let a commit wait for the same; the terms in which they were recorded may differ. */
export function sameConfig(a: SyncConfig, b: SyncConfig): boolean {
  return (
    a.leader === b.leader &&
    a.k === b.k &&
    a.members.length === b.members.length &&
    a.members.every((m) => b.members.includes(m))
  );
}

/** `ANY k (members)` in the order of declaration; alone when no member is left. `term`: of the leadership that it belongs to. */
export function configOf(
  leader: string,
  term: number,
  members: readonly string[],
  syncCount: number,
  s: Situation,
): SyncConfig {
  const order = s.names;
  const sorted = [...members].sort((a, b) => order.indexOf(a) - order.indexOf(b));
  return { leader, k: Math.min(syncCount, sorted.length), members: sorted, term };
}

/** A counted member that cannot acknowledge any more: at once when its connection broke, else after `hangTimeoutMs`. */
export function isGone(s: Situation, node: string, hangTimeoutMs = s.policy.hangTimeoutMs): boolean {
  if (!s.isDeclared(node) || isLeaving(s, node)) return true;
  const view = s.view(node);
  if (!view.connected) return view.everConnected || s.nowMs - s.observation.sinceMs >= hangTimeoutMs;
  if (view.silentMs >= hangTimeoutMs) return true;
  if (view.status === null) return false;
  if (view.status.stopping || !s.isMember(node, view.status.dataId)) return true;
  if (mustBeCopied(view.status)) return true;
  if (isStuck(s, node, hangTimeoutMs)) return true;
  return s.nowMs - lastStreamedMs(s, view) >= hangTimeoutMs;
}

/** Failures that a keeper reports when only a copy can bring its data to the leader's history. */
const ONLY_A_COPY: ReadonlySet<FailureCode> = new Set(['STREAM_IMPOSSIBLE', 'REWIND_FAILED', 'MUST_COPY']);

/** Whether the keeper reports that this data can only be replaced. */
export function mustBeCopied({ failure }: Status): boolean {
  return ONLY_A_COPY.has(failure?.code ?? 'OTHER');
}

/**
 * Its leader has flushed more and has seen nothing further of it for `hangTimeoutMs`: cut off from the leader alone, say.
 * Both ends call such a connection streaming until `wal_receiver_timeout` (PostgreSQL manual 19.6), and writers wait.
 */
function isStuck(s: Situation, node: string, hangTimeoutMs = s.policy.hangTimeoutMs): boolean {
  const acknowledged = s.observation.watch.acknowledged[node];
  return acknowledged !== undefined && s.nowMs - acknowledged.sinceMs >= hangTimeoutMs;
}

/** It restarts for its settings, or is about to be copied anew: nobody waits for it meanwhile. */
function isLeaving(s: Situation, node: string): boolean {
  return standbyWorkOf(s.state)?.node === node && node !== s.state.leader;
}

function lastStreamedMs(s: Situation, view: NodeView): number {
  return Math.max(view.changedAtMs, s.observation.sinceMs, view.streamingSeenAtMs ?? 0);
}

/** A standby that may be counted: it carries out its order, streams, and its leader sees that too. */
export function isReady(s: Situation, node: string): boolean {
  const view = s.view(node);
  const status = s.status(node);
  const { leader } = s;
  if (status === null || node === leader || !s.isDeclared(node) || isLeaving(s, node)) return false;
  if (view.silentMs >= s.policy.hangTimeoutMs / 4 || isStuck(s, node)) return false;
  if (status.stopping || status.postgres.crashes >= 3 || !s.isMember(node, status.dataId)) return false;
  if (!isDone(status, s.state.orders[node]) || status.postgres.streamingFrom !== leader) return false;
  const seen = s.status(leader)?.lead?.standbys.find((s) => s.name === node);
  return seen?.state === 'streaming';
}

/** The configuration that the serving leader should get; null when the ordered one is right. */
export function wantedConfig(s: Situation, grow: boolean): SyncConfig | null {
  const ordered = s.state.joint.at(-1);
  const leader = s.state.leader;
  if (ordered === undefined || leader === null) return null;
  if (s.policy.syncMode === 'asynchronous') return ordered.k === 0 ? null : aloneConfig(leader, s.state.term);
  const stay = ordered.members.filter((m) => !isGone(s, m));
  const ready = grow ? s.observation.declared.map((d) => d.name).filter((n) => !stay.includes(n) && isReady(s, n)) : [];
  const members = [...stay, ...ready];
  // With `block` the last counted members stay recorded: writes wait until one of them is back.
  if (members.length === 0 && ordered.k > 0 && s.policy.onNoReplica === 'block') {
    return ordered.members.some((m) => !s.isDeclared(m)) ? blockConfig(leader, s.state.term, s) : null;
  }
  const wanted = configOf(leader, s.state.term, members, s.policy.syncCount, s);
  return sameConfig(wanted, ordered) ? null : wanted;
}

/** No standby is counted: the leader alone acknowledges. */
export function aloneConfig(leader: string, term: number): SyncConfig {
  return { leader, k: 0, members: [], term };
}

/** For a leader without a replica: alone, or writes wait, as the policy says. */
export function loneConfig(leader: string, term: number, s: Situation): SyncConfig {
  const blocks = s.policy.onNoReplica === 'block' && s.policy.syncMode === 'synchronous';
  return blocks ? blockConfig(leader, term, s) : aloneConfig(leader, term);
}

/** `block` without a replica: any declared one that comes back releases the writes. Alone when there is none at all. */
function blockConfig(leader: string, term: number, s: Situation): SyncConfig {
  const others = s.names.filter((n) => n !== leader && s.isDeclared(n));
  return configOf(leader, term, others, 1, s);
}

/** The ordered configuration is proven in force: the order was accepted as it stands, carried out, and reported so (S4). */
export const isProven = seam((s: Situation): boolean => {
  const leader = s.state.leader;
  const ordered = s.state.joint.at(-1);
  if (leader === null || ordered === undefined) return false;
  const status = s.status(leader);
  const lead = status?.lead ?? null;
  return (
    isDone(status, s.state.orders[leader]) &&
    lead !== null &&
    lead.term === s.state.term &&
    lead.syncInForce !== null &&
    sameConfig(lead.syncInForce, ordered)
  );
});

/**
 * Adds a new configuration to all that may be in force. Of a leadership that was never opened only the newest configuration
 * counts; configurations of the same leader's earlier terms stay.
 */
export const withConfig = seam(
  (joint: readonly SyncConfig[], next: SyncConfig, leaderOpened: boolean): SyncConfig[] => {
    const isOfLeadership = (c: SyncConfig) => c.leader === next.leader && c.term === next.term;
    const others = joint.filter((c) => !(isOfLeadership(c) && (!leaderOpened || sameConfig(c, next))));
    return [...others, next];
  },
);
