/**
 * Rows that copy a standby anew because a person asked for it. First the standby leaves the sync configuration, and
 * this is proven. Then its data no longer counts, and the copy is ordered. The standby is counted again when it
 * streams.
 */

import { COPY_TRIES_MAX } from '../facts/copying';
import { clusterTrouble } from '../facts/readiness';
import { begunRequest } from '../facts/requests';
import type { Situation } from '../facts/situation';
import { wantedConfig } from '../facts/sync-set';
import { without } from '../facts/view';
import type { Plan } from '../rule';
import { standbyWorkOf } from '../state/cluster';
import { change, workOn } from '../transitions';

/** If the standby cannot be taken out of the sync configuration within this time, it stays as it is, ms. */
const LEAVE_LIMIT_MS = 30_000;

export function rebuildAsked(s: Situation): Plan | null {
  const { request } = s.observation;
  if (request?.kind !== 'rebuild' || rebuildRefusal(s, request.node) !== null) return null;
  const state = workOn({ ...s.state, ...begunRequest(s) }, { kind: 'rebuild', node: request.node });
  return { state, reason: `${request.node} is to be copied anew; first, no write waits for it any more` };
}

export function rebuildBegun(s: Situation): Plan | null {
  const node = rebuiltNode(s);
  if (node === null || s.state.joint.length !== 1 || s.state.joint[0]?.members.includes(node)) return null;
  if (!s.isDeclared(node) || wantedConfig(s, true) !== null) return null;
  const dataId = s.status(node)?.dataId ?? s.state.members[node] ?? '';
  const rebuild = { ...s.state.rebuild, [node]: dataId };
  const rebuildAsked = { ...s.state.rebuildAsked, [node]: dataId };
  const state = workOn({ ...s.state, rebuild, rebuildAsked }, null);
  return { state, reason: `${node} is copied anew from ${s.leader}` };
}

export function rebuildDropped(s: Situation): Plan | null {
  const node = rebuiltNode(s);
  if (node === null) return null;
  const late = s.stepMs >= LEAVE_LIMIT_MS;
  if (s.isDeclared(node) && !late) return null;
  const why = late ? 'writes still wait for it' : 'it is not declared any more';
  return { state: workOn(s.state, null), reason: `${node} is not copied anew: ${why}` };
}

/**
 * Ends a copy that a person asked for, if it fails again and again and the data that it should replace is still there.
 */
export function rebuildFailed(s: Situation): Plan | null {
  const { rebuild, rebuildAsked, orders } = s.state;
  for (const [node, dataId] of Object.entries(rebuildAsked ?? {})) {
    const status = s.status(node);
    const fails = (status?.failure?.tries ?? 0) >= COPY_TRIES_MAX && s.hasAccepted(node);
    if (!fails || status?.dataId !== dataId || rebuild[node] !== dataId || status.rewinding) continue;
    const state = change(s.state, {
      rebuild: without(rebuild, node),
      rebuildAsked: without(rebuildAsked, node),
      // The order to copy is dropped too, so that the node gets a new order from its state.
      orders: without(orders, node),
    });
    const failure = `the copy of ${node} failed ${COPY_TRIES_MAX} times (${status.failure?.message ?? ''})`;
    return { state, reason: `${failure}; its former data is used again` };
  }
  return null;
}

/** The standby that is about to be copied anew; null when there is none. */
function rebuiltNode(s: Situation): string | null {
  const work = standbyWorkOf(s.state);
  return work?.kind === 'rebuild' ? work.node : null;
}

/** Why a copy of this node is refused; null when it may be copied. */
export function rebuildRefusal(s: Situation, node: string): string | null {
  if (!s.isDeclared(node)) return `${node} is no node of this stack`;
  if (node === s.state.leader) return `${node} leads; hand over first (switchover), then rebuild it`;
  const trouble = clusterTrouble(s);
  if (trouble !== null) return trouble;
  const work = standbyWorkOf(s.state);
  if (work?.kind === 'rebuild') return `${work.node} is about to be copied anew; ask again later`;
  const status = s.status(node);
  if (status === null) return `${node} is off; start it first`;
  if (status.stopping) return `${node} is being stopped`;
  if (!s.isMember(node, status.dataId)) return `${node} is being copied already`;
  if (work !== null) return `${work.node} is being restarted for its settings; ask again later`;
  if (isLastCounted(s, node) && s.policy.onNoReplica === 'block') {
    return `${node} is the only standby that is counted, and onNoReplica is block: writes would wait for the whole copy`;
  }
  return null;
}

/** True when this standby is the only counted one. */
export function isLastCounted(s: Situation, node: string): boolean {
  return s.state.joint.some((c) => c.members.includes(node) && c.members.length === 1);
}
