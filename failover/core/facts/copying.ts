/** When a node may be copied: after it has left the sync configuration, and one node at a time. */

import { seam } from '../../contract/seam';
import type { Status, Target } from '../state/cluster';
import type { Situation } from './situation';
import { wantedConfig } from './sync-set';
import { isPrimary } from './view';

/** After this many failed attempts of a copy the old data is used again, if it may be sound. */
export const COPY_TRIES_MAX = 3;
/** After this many consecutive crashes a standby's data counts as broken and is replaced. */
const CRASHES_MAX = 6;

type Targets = readonly (readonly [node: string, target: Target | null])[];
export type Follow = Extract<Target, { kind: 'follow' }>;

/** True for an order to replace the node's data by a copy of the leader's. */
export function isCopy(target: Target | null | undefined): target is Follow {
  return target?.kind === 'follow' && target.method === 'copy';
}

/**
 * Lets only one node at a time have the order to copy, because a copy uses the leader's disk and network, and room on a
 * disk that nodes may share. A node keeps its turn until it streams. A node that fails or is away lets another one go
 * first.
 */
export const oneCopyAtATime = seam((s: Situation, targets: Targets): Targets => {
  // A complete copy needs no turn any more; its node joins when the leader is open.
  const isComplete = (n: string) => isCopy(s.state.orders[n]?.target) && s.isDone(n);
  const copying = targets.filter(([n, target]) => isCopy(target) && !isComplete(n)).map(([node]) => node);
  const works = copying.filter((n) => s.status(n)?.failure == null);
  const there = copying.filter((n) => s.view(n).connected);
  const hasTurn = (n: string) => isCopy(s.target(n));
  const next = works.find(hasTurn) ?? works[0] ?? there.find(hasTurn) ?? there[0] ?? copying[0];
  return targets.map(([node, target]) => {
    if (!copying.includes(node) || node === next || next === undefined) return [node, target];
    return [node, followed(s, node) ?? waitTarget(s, node, `${next} is copied first`)];
  });
});

/**
 * The node's present order to follow; null when there is none. If the node keeps this order, its keeper goes on
 * reporting the failure of its data. A new order would reset the report.
 */
function followed(s: Situation, node: string): Target | null {
  const target = s.target(node);
  return target?.kind === 'follow' && target.method !== 'copy' ? target : null;
}

/**
 * Lets the node wait, with an order that never counts as carried out. A primary is stopped instead: no order made it a
 * primary, so its writes do not count.
 */
function waitTarget(s: Situation, node: string, reason: string): Target {
  return isPrimary(s.status(node)) ? { kind: 'stop' } : { kind: 'wait', reason, unready: true };
}

/**
 * Replaces the data of a counted member only after the member has provably left the sync configuration. With `block`
 * the last member stays in it, because writes wait for it; so its old data stays until the copy is complete.
 */
export const leaveFirst = seam((s: Situation, target: Target, node: string, status: Status): Target => {
  const isCounted = s.state.joint.some((c) => c.members.includes(node));
  if (!isCopy(target) || !isCounted || status.dataId === null) return target;
  const leaves = s.policy.onNoReplica !== 'block' || wantedConfig(s, false) !== null;
  if (!leaves) return { ...target, keepOld: true };
  return followed(s, node) ?? waitTarget(s, node, 'it leaves the sync set before it is copied');
});

/** True when PostgreSQL crashes again and again, perhaps because of this data. A standby that streams has recovered. */
export const isTakenForBroken = seam((status: Status): boolean => {
  if (status.postgres.streamingFrom !== null) return false;
  // Keepers of 0.1.0 report only the crashes of the last minute, and rest 15 s after the third, so each counts twice.
  return (status.postgres.crashesInRow ?? status.postgres.crashes * 2) >= CRASHES_MAX;
});
