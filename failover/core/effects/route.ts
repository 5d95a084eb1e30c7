/** What HAProxy's slots have to be, derived from state and observation (SAFETY S2, S9, S13, S15, S19). */

import { lsnDistance } from '../../contract/lsn';
import type { Health } from '../facts/health';
import { isUnreached } from '../facts/reach';
import { isProven } from '../facts/sync-set';
import { addressOf, isMember, lastEntry, statusOf, viewOf } from '../facts/view';
import type { Action, ClusterState, Observation, Policy } from '../state/cluster';

/** True when the opening checks were passed by this leader in this term, since HAProxy's last start. */
export function isCertified(state: ClusterState, observation: Observation): boolean {
  const certificate = observation.certificate;
  return (
    certificate !== null &&
    certificate.node === state.leader &&
    certificate.term === state.term &&
    certificate.epoch === observation.haproxy.epoch
  );
}

/** The slot is closed everywhere and nobody but the next leader has a session left (S2). */
export function isCutOff(state: ClusterState, observation: Observation): boolean {
  const address = addressOf(observation, state.leader ?? '');
  const { reachable, closed, clean, keeping } = observation.haproxy;
  return reachable && closed && clean && address !== null && keeping === address;
}

/** The checks may be made: the node leads in this term; alone needs no standby, else the configuration has to be in force (S9). */
export function mayCertify(state: ClusterState, observation: Observation): boolean {
  const ordered = state.joint.at(-1);
  // Not earlier: asking a node again and again takes time from its promotion.
  if (state.leader === null || statusOf(observation, state.leader)?.lead?.term !== state.term) return false;
  return ordered?.k === 0 || isProven(state, observation);
}

export function routeActions(
  state: ClusterState,
  observation: Observation,
  health: Health | null,
  policy: Policy,
): Action[] {
  const actions: Action[] = [];
  if (state.adopting) return actions;
  const write = writeRoute(state, observation, health, policy);
  if (write !== null) actions.push(write);
  const wantsCheck = state.procedure === null || state.procedure.kind === 'promote';
  if (state.leader !== null && wantsCheck && !isCertified(state, observation) && mayCertify(state, observation)) {
    actions.push({ kind: 'certify', node: state.leader, term: state.term });
  }
  actions.push({ kind: 'route-read', nodes: readNodes(state, observation, policy) });
  return actions;
}

/** Null: leave the write slot as it is. */
function writeRoute(
  state: ClusterState,
  observation: Observation,
  health: Health | null,
  policy: Policy,
): Action | null {
  const node = state.leader;
  const address = node === null ? null : addressOf(observation, node);
  const stops = state.procedure?.kind === 'handover' || state.procedure?.kind === 'restart';
  if (stops && node !== null && address !== null) {
    // PostgreSQL ends its sessions itself when it shuts down; what is left then is ended with the promotion.
    return { kind: 'route-write', route: { kind: 'held', node, address } };
  }
  // A planned hand-over lets the leader's clients finish; nobody comes to them.
  const planned = state.procedure?.kind === 'handover' && state.procedure.planned === true;
  const near = state.switchover?.stage === 'hold' || state.restart?.stage === 'hold';
  const holds = planned || (near && health?.kind === 'well');
  if (holds && node !== null && address !== null) {
    return { kind: 'route-write', route: { kind: 'held', node, address } };
  }
  if (state.procedure !== null || node === null || address === null) {
    return { kind: 'route-write', route: { kind: 'closed', keep: keptNode(state) } };
  }
  // A leader that has just come back and told nothing yet may be anything: the slot stays as it is.
  if (health?.kind === 'blind') return null;
  const slotIsRight = observation.haproxy.slot === address;
  const leaves = health?.kind === 'stopping' && !health.serves;
  if (health !== null && (leaves || ['late', 'dead', 'down'].includes(health.kind))) {
    // Who only observes leaves the route of a leader that may be gone as it is.
    if (policy.failoverMode === 'observe' && state.pause === undefined) return null;
    return { kind: 'route-write', route: { kind: 'held', node, address } };
  }
  if (isCertified(state, observation) && (slotIsRight || isCutOff(state, observation))) {
    return { kind: 'route-write', route: { kind: 'open', node, address } };
  }
  // A restarted monitor leaves a route that is right as it is, and only makes its checks again.
  // While HAProxy is silent nothing is known of its route; what was wanted last stays wanted.
  if (slotIsRight || !observation.haproxy.reachable) return null;
  return { kind: 'route-write', route: { kind: 'closed', keep: node } };
}

function keptNode(state: ClusterState): string | null {
  switch (state.procedure?.kind) {
    case 'promote':
      return state.leader;
    case 'handover':
    case 'restart':
    case 'bootstrap':
    case 'elect':
    case undefined:
      return null;
  }
}

/** Standbys that stream from the recorded leader on its timeline within `maxLagBytes`; with none left the leader itself. */
export function readNodes(state: ClusterState, observation: Observation, policy: Policy): string[] {
  const serving = state.procedure === null && state.leader !== null;
  if (!serving) return [];
  const entry = lastEntry(state);
  const leader = state.leader ?? '';
  const flushLsn = statusOf(observation, leader)?.lead?.flushLsn ?? null;
  const standbys = observation.declared
    .map((d) => d.name)
    .filter((name) => {
      const status = statusOf(observation, name);
      if (status === null || name === leader || status.postgres.state !== 'standby') return false;
      if (viewOf(observation, name).silentMs >= policy.hangTimeoutMs || status.stopping) return false;
      if (!isMember(state, name, status.dataId) || status.postgres.streamingFrom !== leader) return false;
      if (isUnreached(observation, name)) return false;
      if (status.postgres.timeline !== null && status.postgres.timeline !== entry?.timeline) return false;
      const { replayLsn } = status.postgres;
      return replayLsn !== null && (flushLsn === null || lsnDistance(replayLsn, flushLsn) <= policy.maxLagBytes);
    });
  if (standbys.length > 0) return standbys;
  return policy.readFallback && isCertified(state, observation) ? [leader] : [];
}
