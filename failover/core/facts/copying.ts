/** When a node may be copied: after it has left the sync set, and one node at a time. */

import { seam } from '../../contract/seam';
import type { Status, Target } from '../state/cluster';
import type { Situation } from './situation';
import { wantedConfig } from './sync-set';
import { isDone } from './view';

/** Failed tries of a copy after which data that may be sound is used again. */
export const COPY_TRIES_MAX = 3;
/** Crashes one after the other after which a standby's data is taken for broken and replaced. */
const CRASHES_MAX = 6;

type Targets = readonly (readonly [node: string, target: Target | null])[];

function isCopy(target: Target | null | undefined): boolean {
  return target?.kind === 'follow' && target.method === 'copy';
}

/**
 * A copy takes the leader's disk and network and room on a disk that nodes may share, so one node at a time has the order. It
 * keeps its turn until it streams; a node that fails, or is away, lets another one go first.
 */
export const oneCopyAtATime = seam((s: Situation, targets: Targets): Targets => {
  // A copy that is complete needs no turn any more; its node joins when the leader is open.
  const isComplete = (n: string) => isCopy(s.state.orders[n]?.target) && isDone(s.status(n), s.state.orders[n]);
  const copying = targets.filter(([n, target]) => isCopy(target) && !isComplete(n)).map(([node]) => node);
  const works = copying.filter((n) => s.status(n)?.failure == null);
  const there = copying.filter((n) => s.view(n).connected);
  const hasTurn = (n: string) => isCopy(s.state.orders[n]?.target) && s.state.orders[n]?.term === s.state.term;
  const next = works.find(hasTurn) ?? works[0] ?? there.find(hasTurn) ?? there[0] ?? copying[0];
  return targets.map(([node, target]) => {
    if (!copying.includes(node) || node === next || next === undefined) return [node, target];
    return [node, followed(s, node) ?? waitTarget(s, node, `${next} is copied first`)];
  });
});

/** The order to follow that stays meanwhile, so that what its keeper reports of this data stays, too; null: there is none. */
function followed(s: Situation, node: string): Target | null {
  const given = s.state.orders[node];
  return given?.term === s.state.term && given.target.kind === 'follow' && given.target.method !== 'copy'
    ? given.target
    : null;
}

/** The node waits and is not ready. A primary is stopped instead: no order made it one, so its writes do not count. */
function waitTarget(s: Situation, node: string, reason: string): Target {
  const runs = ['primary', 'promoting'].includes(s.status(node)?.postgres.state ?? '');
  return runs ? { kind: 'stop' } : { kind: 'wait', reason, unready: true };
}

/**
 * The data of a counted member is replaced only after it has left the sync set, proven. The last one with `block` stays in
 * it, because writes wait for it, so its data stays until the copy is complete.
 */
export const leaveFirst = seam((s: Situation, target: Target, node: string, status: Status): Target => {
  const isCounted = s.state.joint.some((c) => c.members.includes(node));
  if (target.kind !== 'follow' || target.method !== 'copy' || !isCounted || status.dataId === null) return target;
  const leaves = s.policy.onNoReplica !== 'block' || wantedConfig(s, false) !== null;
  if (!leaves) return { ...target, keepOld: true };
  return followed(s, node) ?? waitTarget(s, node, 'it leaves the sync set before it is copied');
});

/** PostgreSQL ends again and again on this data, which may be why. One that streams has got over it. */
export const isTakenForBroken = seam((status: Status): boolean => {
  if (status.postgres.streamingFrom !== null) return false;
  // Keepers of 0.1.0 count those of the last minute only, and rest 15 s after the third.
  return (status.postgres.crashesInRow ?? status.postgres.crashes * 2) >= CRASHES_MAX;
});
