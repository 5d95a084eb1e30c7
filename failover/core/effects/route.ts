/** Derives from state and observation where HAProxy's slots have to lead (docs/safety.md S2, S9, S13, S15, S19). */

import { isCertified, isCutOff, mayCertify } from '../facts/haproxy';
import { isLost, leaderHealth } from '../facts/health';
import { readersOf } from '../facts/readers';
import type { Situation } from '../facts/situation';
import { type Action, planOf, serves, type WriteRoute } from '../state/cluster';

export function routeActions(s: Situation): Action[] {
  const actions: Action[] = [];
  if (s.state.adopting) return actions;
  const route = writeRoute(s);
  if (route !== null) actions.push({ kind: 'route-write', route });
  const wantsCheck = serves(s.state) || s.state.activity.kind === 'promote';
  if (wantsCheck && !isCertified(s) && mayCertify(s)) {
    actions.push({ kind: 'certify', node: s.leader, term: s.state.term });
  }
  const { open, stay } = readersOf(s);
  actions.push({ kind: 'route-read', nodes: open, stay });
  return actions;
}

/** What the write slot has to be; null leaves it as it is. */
function writeRoute(s: Situation): WriteRoute | null {
  const node = s.leader;
  const address = s.address(node);
  switch (s.state.activity.kind) {
    case 'empty':
    case 'bootstrap':
    case 'elect':
      return { kind: 'closed', keep: null };
    case 'restore':
      if (s.state.activity.stage !== 'stop' || address === null) return { kind: 'closed', keep: null };
      return { kind: 'held', node, address };
    case 'promote':
      return { kind: 'closed', keep: node };
    case 'handover':
    case 'restart':
      // PostgreSQL ends its sessions itself when it shuts down. HAProxy ends the others during the promotion that
      // follows.
      return address === null ? { kind: 'closed', keep: null } : { kind: 'held', node, address };
    case 'serving':
    case 'preparing':
      return address === null ? { kind: 'closed', keep: null } : servingRoute(s, node, address);
  }
}

/** What the write slot has to be while `node` serves or should serve. */
function servingRoute(s: Situation, node: string, address: string): WriteRoute | null {
  const { reachable, slot } = s.observation.haproxy;
  const health = leaderHealth(s);
  // New connections are held before a planned stop, because the leader would soon end them.
  if (planOf(s.state)?.stage === 'hold' && health.kind === 'well') return { kind: 'held', node, address };
  // The state of a leader that has just come back is unknown until its first status, so the slot stays as it is.
  if (health.kind === 'blind') return null;
  const leaves = health.kind === 'stopping' && !health.serves;
  if (leaves || health.kind === 'late' || isLost(health)) {
    // In observe mode the monitor changes nothing, so the route stays, although its leader may be gone.
    const changesNothing = s.policy.failoverMode === 'observe' && s.state.pause === undefined;
    return changesNothing ? null : { kind: 'held', node, address };
  }
  const slotIsRight = slot === address;
  if (isCertified(s) && (slotIsRight || isCutOff(s))) return { kind: 'open', node, address };
  // A restarted monitor leaves a correct route as it is and only repeats the checks. While HAProxy does not answer, its
  // route is unknown, so the route that was wanted last stays wanted.
  return slotIsRight || !reachable ? null : { kind: 'closed', keep: node };
}
