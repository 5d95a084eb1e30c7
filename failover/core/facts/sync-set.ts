/** What acknowledged writes should wait for (SAFETY, "A joint set"; S4, S5, S9, S17). */
import type { ClusterState, NodeView, Observation, Policy, Status, SyncConfig } from '../state/cluster';
import { isDeclared, isDone, isMember, statusOf, viewOf } from './view';

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
  observation: Observation,
): SyncConfig {
  const order = observation.declared.map((d) => d.name);
  const sorted = [...members].sort((a, b) => order.indexOf(a) - order.indexOf(b));
  return { leader, k: Math.min(syncCount, sorted.length), members: sorted, term };
}

/** A counted member that cannot acknowledge any more: at once when its connection broke, else after `hangTimeoutMs`. */
export function isGone(
  state: ClusterState,
  observation: Observation,
  node: string,
  nowMs: number,
  policy: Policy,
): boolean {
  if (!isDeclared(observation, node) || isLeaving(state, node)) return true;
  const view = viewOf(observation, node);
  if (!view.connected) return view.everConnected || nowMs - observation.sinceMs >= policy.hangTimeoutMs;
  if (view.silentMs >= policy.hangTimeoutMs) return true;
  if (view.status === null) return false;
  if (view.status.stopping || !isMember(state, node, view.status.dataId)) return true;
  if (mustBeCopied(view.status)) return true;
  if (isStuck(observation, node, nowMs, policy)) return true;
  return nowMs - lastStreamedMs(view, observation) >= policy.hangTimeoutMs;
}

/** Failures that a keeper reports when only a copy can bring its data to the leader's history. */
const ONLY_A_COPY: ReadonlySet<string> = new Set(['STREAM_IMPOSSIBLE', 'REWIND_FAILED', 'MUST_COPY']);

/** Whether the keeper reports that this data can only be replaced. */
export function mustBeCopied({ failure }: Status): boolean {
  return ONLY_A_COPY.has(failure?.code ?? '');
}

/**
 * Its leader has flushed more and has seen nothing further of it for `hangTimeoutMs`: cut off from the leader alone, say.
 * Both ends call such a connection streaming until `wal_receiver_timeout` (PostgreSQL manual 19.6), and writers wait.
 */
function isStuck(observation: Observation, node: string, nowMs: number, policy: Policy): boolean {
  const acknowledged = observation.watch.acknowledged[node];
  return acknowledged !== undefined && nowMs - acknowledged.sinceMs >= policy.hangTimeoutMs;
}

/** It restarts for its settings, or is about to be copied anew: nobody waits for it meanwhile. */
function isLeaving({ restart, renewing, leader }: ClusterState, node: string): boolean {
  return (restart?.node === node || renewing === node) && node !== leader;
}

function lastStreamedMs(view: NodeView, observation: Observation): number {
  return Math.max(view.changedAtMs, observation.sinceMs, view.streamingSeenAtMs ?? 0);
}

/** A standby that may be counted: it carries out its order, streams, and its leader sees that too. */
export function isReady(
  state: ClusterState,
  observation: Observation,
  node: string,
  nowMs: number,
  policy: Policy,
): boolean {
  const view = viewOf(observation, node);
  const status = statusOf(observation, node);
  const leader = state.leader ?? '';
  if (status === null || node === leader || !isDeclared(observation, node) || isLeaving(state, node)) return false;
  if (view.silentMs >= policy.hangTimeoutMs / 4 || isStuck(observation, node, nowMs, policy)) return false;
  if (status.stopping || status.postgres.crashes >= 3 || !isMember(state, node, status.dataId)) return false;
  if (!isDone(status, state.orders[node]) || status.postgres.streamingFrom !== leader) return false;
  const seen = statusOf(observation, leader)?.lead?.standbys.find((s) => s.name === node);
  return seen?.state === 'streaming';
}

/** The configuration that the serving leader should get; null when the ordered one is right. */
export function wantedConfig(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
  grow: boolean,
): SyncConfig | null {
  const ordered = state.joint.at(-1);
  const leader = state.leader;
  if (ordered === undefined || leader === null) return null;
  if (policy.syncMode === 'asynchronous') return ordered.k === 0 ? null : aloneConfig(leader, state.term);
  const stay = ordered.members.filter((m) => !isGone(state, observation, m, nowMs, policy));
  const ready = grow
    ? observation.declared
        .map((d) => d.name)
        .filter((n) => !stay.includes(n) && isReady(state, observation, n, nowMs, policy))
    : [];
  const members = [...stay, ...ready];
  // With `block` the last counted members stay recorded: writes wait until one of them is back.
  if (members.length === 0 && ordered.k > 0 && policy.onNoReplica === 'block') {
    return ordered.members.some((m) => !isDeclared(observation, m))
      ? blockConfig(leader, state.term, observation)
      : null;
  }
  const wanted = configOf(leader, state.term, members, policy.syncCount, observation);
  return sameConfig(wanted, ordered) ? null : wanted;
}

/** No standby is counted: the leader alone acknowledges. */
export function aloneConfig(leader: string, term: number): SyncConfig {
  return { leader, k: 0, members: [], term };
}

/** For a leader without a replica: alone, or writes wait, as the policy says. */
export function loneConfig(leader: string, term: number, observation: Observation, policy: Policy): SyncConfig {
  const blocks = policy.onNoReplica === 'block' && policy.syncMode === 'synchronous';
  return blocks ? blockConfig(leader, term, observation) : aloneConfig(leader, term);
}

/** `block` without a replica: any declared one that comes back releases the writes. Alone when there is none at all. */
function blockConfig(leader: string, term: number, observation: Observation): SyncConfig {
  const others = observation.declared.map((d) => d.name).filter((n) => n !== leader && isDeclared(observation, n));
  return configOf(leader, term, others, 1, observation);
}

/** The ordered configuration is proven in force: the order was accepted as it stands, carried out, and reported so (S4). */
export function isProven(state: ClusterState, observation: Observation): boolean {
  const leader = state.leader;
  const ordered = state.joint.at(-1);
  if (leader === null || ordered === undefined) return false;
  const status = statusOf(observation, leader);
  const lead = status?.lead ?? null;
  return (
    isDone(status, state.orders[leader]) &&
    lead !== null &&
    lead.term === state.term &&
    lead.syncInForce !== null &&
    sameConfig(lead.syncInForce, ordered)
  );
}

/**
 * Adds a new configuration to all that may be in force. Of a leadership that was never opened only the newest configuration
 * counts; configurations of the same leader's earlier terms stay.
 */
export function withConfig(joint: readonly SyncConfig[], next: SyncConfig, leaderOpened: boolean): SyncConfig[] {
  const isOfLeadership = (c: SyncConfig) => c.leader === next.leader && c.term === next.term;
  const others = joint.filter((c) => !(isOfLeadership(c) && (!leaderOpened || sameConfig(c, next))));
  return [...others, next];
}
