/**
 * Rows that copy a standby anew because a person asked for it. First nobody waits for it any more, proven; then its data
 * counts no more, and the copy is ordered. It is counted again when it streams.
 */

import { COPY_TRIES_MAX } from '../effects/orders';
import { clusterTrouble } from '../facts/readiness';
import { wantedConfig } from '../facts/sync-set';
import { hasAccepted, isDeclared, isMember, statusOf } from '../facts/view';
import type { Rule } from '../rules';
import type { ClusterState, Observation, Policy } from '../state/cluster';
import { change } from '../transitions';

/** A standby that cannot be taken out of the sync set within this time stays as it is, ms. */
const LEAVE_LIMIT_MS = 30_000;

export const REBUILD_RULES: readonly Rule[] = [
  {
    code: 'REBUILD_ASKED',
    why: 'A person wants a standby copied anew: at first nobody waits for it any more.',
    match: ({ state, observation, nowMs, policy }) => {
      const { request } = observation;
      if (request?.kind !== 'rebuild') return null;
      if (rebuildRefusal(state, observation, nowMs, policy, request.node) !== null) return null;
      return {
        state: change(state, { renewing: request.node }),
        reason: `${request.node} is to be copied anew; at first nobody waits for it any more`,
      };
    },
  },
  {
    code: 'REBUILD_BEGUN',
    why: 'Nobody waits for the standby any more: its data counts no more, and it is copied anew.',
    match: ({ state, observation, nowMs, policy }) => {
      const node = state.renewing;
      if (node === undefined || state.joint.length !== 1 || state.joint[0]?.members.includes(node)) return null;
      if (!isDeclared(observation, node) || wantedConfig(state, observation, nowMs, policy, true) !== null) return null;
      const dataId = statusOf(observation, node)?.dataId ?? state.members[node] ?? '';
      return {
        state: change(state, {
          renewing: undefined,
          rebuild: { ...state.rebuild, [node]: dataId },
          rebuildAsked: { ...state.rebuildAsked, [node]: dataId },
        }),
        reason: `${node} is copied anew from ${state.leader ?? ''}`,
      };
    },
  },
  {
    code: 'REBUILD_DROPPED',
    why: 'The standby that was to be copied is not declared any more, or cannot be taken out of the sync set: all stays as it is.',
    match: ({ state, observation, nowMs }) => {
      const node = state.renewing;
      if (node === undefined) return null;
      const late = nowMs - observation.watch.stepSinceMs >= LEAVE_LIMIT_MS;
      if (isDeclared(observation, node) && !late) return null;
      return {
        state: change(state, { renewing: undefined }),
        reason: `${node} is not copied anew: ${late ? 'writes still wait for it' : 'it is not declared any more'}`,
      };
    },
  },
  {
    code: 'REBUILD_FAILED',
    why: 'The copy that a person asked for failed again and again: the data that it was to replace is sound, and is used again.',
    match: ({ state, observation }) => {
      const failed = failedRebuild(state, observation);
      if (failed === null) return null;
      const { node, message } = failed;
      return {
        state: change(state, {
          rebuild: without(state.rebuild, node),
          rebuildAsked: without(state.rebuildAsked, node),
          // The order to copy goes, too: the node gets a new order from its state.
          orders: without(state.orders, node),
        }),
        reason: `the copy of ${node} failed ${COPY_TRIES_MAX} times (${message}); its former data is used again`,
      };
    },
  },
];

function without<T>(record: Readonly<Record<string, T>> | undefined, node: string): Record<string, T> {
  return Object.fromEntries(Object.entries(record ?? {}).filter(([name]) => name !== node));
}

/** The copy that a person asked for fails again and again, and the data that it was to replace is still there. */
function failedRebuild(state: ClusterState, observation: Observation): { node: string; message: string } | null {
  for (const [node, dataId] of Object.entries(state.rebuildAsked ?? {})) {
    const status = statusOf(observation, node);
    const fails = (status?.failure?.tries ?? 0) >= COPY_TRIES_MAX && hasAccepted(status, state.orders[node]);
    if (!fails || status?.dataId !== dataId || state.rebuild[node] !== dataId || status.rewinding) continue;
    return { node, message: status.failure?.message ?? '' };
  }
  return null;
}

/** Why this node is not copied anew; null when it may be. */
export function rebuildRefusal(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
  node: string,
): string | null {
  if (!isDeclared(observation, node)) return `${node} is no node of this stack`;
  if (node === state.leader) return `${node} leads; hand over first (switchover), then rebuild it`;
  const trouble = clusterTrouble(state, observation, nowMs, policy);
  if (trouble !== null) return trouble;
  if (state.renewing !== undefined) return `${state.renewing} is about to be copied anew; ask again later`;
  const status = statusOf(observation, node);
  if (status === null) return `${node} is off; start it first`;
  if (status.stopping) return `${node} is being stopped`;
  if (!isMember(state, node, status.dataId)) return `${node} is being copied already`;
  if (state.restart !== undefined) return `${state.restart.node} is being restarted for its settings; ask again later`;
  if (isLastCounted(state, node) && policy.onNoReplica === 'block') {
    return `${node} is the only standby that is counted, and onNoReplica is block: writes would wait for the whole copy`;
  }
  return null;
}

/** Nobody but this standby is counted. */
export function isLastCounted(state: ClusterState, node: string): boolean {
  return state.joint.some((c) => c.members.includes(node) && c.members.length === 1);
}
