/** Derives from state and observation what HAProxy's slots have to be (docs/safety.md S2, S9, S13, S15, S19). */

import { lsnDistance } from '../../contract/lsn';
import { servingHealth } from '../facts/health';
import { isCertified, isCutOff, mayCertify } from '../facts/opening';
import { isUnreached } from '../facts/reach';
import type { Situation } from '../facts/situation';
import type { Action } from '../state/cluster';
import { planOf, serves } from '../state/cluster';

export function routeActions(s: Situation): Action[] {
  const actions: Action[] = [];
  if (s.state.adopting) return actions;
  const write = writeRoute(s);
  if (write !== null) actions.push(write);
  const wantsCheck = serves(s.state) || s.state.activity.kind === 'promote';
  if (s.state.leader !== null && wantsCheck && !isCertified(s) && mayCertify(s)) {
    actions.push({ kind: 'certify', node: s.state.leader, term: s.state.term });
  }
  actions.push({ kind: 'route-read', nodes: readNodes(s) });
  return actions;
}

/** The action for the write slot; null leaves the slot as it is. */
function writeRoute(s: Situation): Action | null {
  const health = servingHealth(s);
  const node = s.state.leader;
  const address = node === null ? null : s.address(node);
  const stops = s.state.activity.kind === 'handover' || s.state.activity.kind === 'restart';
  if (stops && node !== null && address !== null) {
    // PostgreSQL ends its sessions itself when it shuts down. The promotion that follows ends those that remain.
    return { kind: 'route-write', route: { kind: 'held', node, address } };
  }
  const near = planOf(s.state)?.stage === 'hold';
  // New connections are held before a planned stop, because the leader would soon end them.
  if (near && health?.kind === 'well' && node !== null && address !== null) {
    return { kind: 'route-write', route: { kind: 'held', node, address } };
  }
  if (!serves(s.state) || node === null || address === null) {
    return { kind: 'route-write', route: { kind: 'closed', keep: keptNode(s) } };
  }
  // A leader that has just come back and has told no status yet may be in any state, so the slot stays as it is.
  if (health?.kind === 'blind') return null;
  const slotIsRight = s.observation.haproxy.slot === address;
  const leaves = health?.kind === 'stopping' && !health.serves;
  if (health !== null && (leaves || ['late', 'dead', 'down'].includes(health.kind))) {
    // In observe mode the monitor changes nothing, so it leaves the route to a leader that may be gone as it is.
    if (s.policy.failoverMode === 'observe' && s.state.pause === undefined) return null;
    return { kind: 'route-write', route: { kind: 'held', node, address } };
  }
  if (isCertified(s) && (slotIsRight || isCutOff(s))) {
    return { kind: 'route-write', route: { kind: 'open', node, address } };
  }
  // A restarted monitor leaves a correct route as it is and only repeats the checks. While HAProxy is silent its route
  // is unknown, and what was last wanted stays wanted.
  if (slotIsRight || !s.observation.haproxy.reachable) return null;
  return { kind: 'route-write', route: { kind: 'closed', keep: node } };
}

function keptNode(s: Situation): string | null {
  switch (s.state.activity.kind) {
    case 'promote':
      return s.state.leader;
    case 'handover':
    case 'restart':
    case 'bootstrap':
    case 'elect':
    case 'empty':
    case 'serving':
    case 'preparing':
      return null;
  }
}

/**
 * Nodes that serve reads: standbys that stream from the recorded leader on its timeline and lag at most `maxLagBytes`.
 * If there is none: the leader itself, with `readFallback`.
 */
export function readNodes(s: Situation): string[] {
  if (!serves(s.state)) return [];
  const entry = s.lastEntry;
  const { leader } = s;
  const flushLsn = s.status(leader)?.lead?.flushLsn ?? null;
  const standbys = s.names.filter((name) => {
    const status = s.status(name);
    if (status === null || name === leader || status.postgres.state !== 'standby') return false;
    if (s.view(name).silentMs >= s.policy.hangTimeoutMs || status.stopping) return false;
    if (!s.isMember(name, status.dataId) || status.postgres.streamingFrom !== leader) return false;
    if (isUnreached(s, name)) return false;
    if (status.postgres.timeline !== null && status.postgres.timeline !== entry?.timeline) return false;
    const { replayLsn } = status.postgres;
    return replayLsn !== null && (flushLsn === null || lsnDistance(replayLsn, flushLsn) <= s.policy.maxLagBytes);
  });
  if (standbys.length > 0) return standbys;
  return s.policy.readFallback && isCertified(s) ? [leader] : [];
}
