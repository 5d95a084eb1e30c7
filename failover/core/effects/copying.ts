/** When a node may be copied: after it has left the sync set, and one node at a time. */

import { wantedConfig } from '../facts/sync-set';
import { isDone, statusOf, viewOf } from '../facts/view';
import type { ClusterState, Observation, Policy, Status, Target } from '../state/cluster';

/** Crashes one after the other after which a standby's data is taken for broken and replaced. */
const CRASHES_MAX = 6;

interface Situation {
  state: ClusterState;
  observation: Observation;
  nowMs: number;
  policy: Policy;
}

type Targets = readonly (readonly [node: string, target: Target | null])[];

function isCopy(target: Target | null | undefined): boolean {
  return target?.kind === 'follow' && target.method === 'copy';
}

/**
 * A copy takes the leader's disk and network and room on a disk that nodes may share, so one node at a time has the order. It
 * keeps its turn until it streams; a node that fails, or is away, lets another one go first.
 */
export function oneCopyAtATime(state: ClusterState, observation: Observation, targets: Targets): Targets {
  // A copy that is complete needs no turn any more; its node joins when the leader is open.
  const isComplete = (n: string) =>
    isCopy(state.orders[n]?.target) && isDone(statusOf(observation, n), state.orders[n]);
  const copying = targets.filter(([n, target]) => isCopy(target) && !isComplete(n)).map(([node]) => node);
  const works = copying.filter((n) => statusOf(observation, n)?.failure == null);
  const there = copying.filter((n) => viewOf(observation, n).connected);
  const hasTurn = (n: string) => isCopy(state.orders[n]?.target) && state.orders[n]?.term === state.term;
  const next = works.find(hasTurn) ?? works[0] ?? there.find(hasTurn) ?? there[0] ?? copying[0];
  return targets.map(([node, target]) => {
    if (!copying.includes(node) || node === next || next === undefined) return [node, target];
    return [node, followed(state, node) ?? waitTarget(observation, node, `${next} is copied first`)];
  });
}

/** The order to follow that stays meanwhile, so that what its keeper reports of this data stays, too; null: there is none. */
function followed({ orders, term }: ClusterState, node: string): Target | null {
  const given = orders[node];
  return given?.term === term && given.target.kind === 'follow' && given.target.method !== 'copy' ? given.target : null;
}

/** The node waits and is not ready. A primary is stopped instead: no order made it one, so its writes do not count. */
function waitTarget(observation: Observation, node: string, reason: string): Target {
  const runs = ['primary', 'promoting'].includes(statusOf(observation, node)?.postgres.state ?? '');
  return runs ? { kind: 'stop' } : { kind: 'wait', reason, unready: true };
}

/**
 * The data of a counted member is replaced only after it has left the sync set, proven. The last one with `block` stays in
 * it, because writes wait for it, so its data stays until the copy is complete.
 */
export function leaveFirst(
  target: Target,
  node: string,
  status: Status,
  { state, observation, nowMs, policy }: Situation,
): Target {
  const isCounted = state.joint.some((c) => c.members.includes(node));
  if (target.kind !== 'follow' || target.method !== 'copy' || !isCounted || status.dataId === null) return target;
  const leaves = policy.onNoReplica !== 'block' || wantedConfig(state, observation, nowMs, policy, false) !== null;
  if (!leaves) return { ...target, keepOld: true };
  return followed(state, node) ?? waitTarget(observation, node, 'it leaves the sync set before it is copied');
}

/** PostgreSQL ends again and again on this data, which may be why. One that streams has got over it. */
export function isTakenForBroken(status: Status): boolean {
  if (status.postgres.streamingFrom !== null) return false;
  // Keepers of 0.1.0 count those of the last minute only, and rest 15 s after the third.
  return (status.postgres.crashesInRow ?? status.postgres.crashes * 2) >= CRASHES_MAX;
}
