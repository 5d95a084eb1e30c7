/** Small questions about state and observation that several rules ask. */
import { seam } from '../../contract/seam';
import type { ClusterState, GivenOrder, LedgerEntry, Status } from '../state/cluster';
import type { NodeView, Observation } from '../state/observation';

/** The view of a node. A node that is not declared gets the view of one that was never connected. */
export function viewOf(observation: Observation, node: string): NodeView {
  return (
    observation.nodes[node] ?? {
      name: node,
      connected: false,
      everConnected: false,
      changedAtMs: observation.sinceMs,
      status: null,
      silentMs: 0,
      heardAtMs: Number.NEGATIVE_INFINITY,
      streamingSeenAtMs: null,
      heartbeatSeenAtMs: null,
      probe: null,
      refusedAtMs: null,
      recall: undefined,
    }
  );
}

/** Status of a node that is connected; else null. */
export function statusOf(observation: Observation, node: string): Status | null {
  const view = viewOf(observation, node);
  return view.connected ? view.status : null;
}

export function addressOf(observation: Observation, node: string): string | null {
  return observation.declared.find((d) => d.name === node)?.address ?? null;
}

/** Ledger entry of the newest leadership; null before the first. */
export function lastEntry(state: ClusterState): LedgerEntry | null {
  return state.ledger.at(-1) ?? null;
}

/** True when the entry's timelines and positions can be compared with the present data (see `generation`). */
export function isComparable({ generation }: ClusterState, entry: LedgerEntry): boolean {
  return (entry.generation ?? 1) === generation;
}

/** Ledger entry of the newest leadership that was opened. Every node has to be on its history. */
export function lastOpened(state: ClusterState): LedgerEntry | null {
  return state.ledger.findLast((e) => e.opened && isComparable(state, e)) ?? null;
}

/** True when the node's data directory is the one that the cluster knows and need not be rebuilt. */
export const isMember = seam((state: ClusterState, node: string, dataId: string | null): boolean => {
  return dataId !== null && state.members[node] === dataId && state.rebuild[node] !== dataId;
});

/** True when the keeper has accepted exactly this order. */
export function hasAccepted(status: Status | null, order: GivenOrder | undefined): boolean {
  return order !== undefined && status?.accepted?.term === order.term && status.accepted.seq === order.seq;
}

/** True when the keeper has accepted exactly this order and carried it out. */
export function isDone(status: Status | null, order: GivenOrder | undefined): boolean {
  return status !== null && hasAccepted(status, order) && status.done && status.failure === null;
}

/** True when PostgreSQL on the node is a primary or becomes one. */
export function isPrimary(status: Status | null): boolean {
  return status?.postgres.state === 'primary' || status?.postgres.state === 'promoting';
}

/** The record without the entry of this node. */
export function without<T>(record: Readonly<Record<string, T>> | undefined, node: string): Record<string, T> {
  return Object.fromEntries(Object.entries(record ?? {}).filter(([name]) => name !== node));
}

/** `a`, `a and b`, `a, b and c`. */
export function list(names: readonly string[]): string {
  const last = names.at(-1);
  if (last === undefined) return 'no node';
  return names.length === 1 ? last : `${names.slice(0, -1).join(', ')} and ${last}`;
}

/**
 * True when PostgreSQL on the node runs, so that connecting to it makes sense. Null when the keeper is connected but
 * has sent no status yet, or none since a stall (S11).
 */
export function runsPostgres(observation: Observation | undefined, node: string): boolean | null {
  const view = observation?.nodes[node];
  if (view === undefined || !view.connected) return false;
  return view.status === null ? null : ['standby', 'primary', 'promoting'].includes(view.status.postgres.state);
}
