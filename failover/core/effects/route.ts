/** Derives from state and observation where HAProxy's slots have to lead (docs/safety.md S2, S9, S13, S15, S19). */

import { lsnDistance } from '../../contract/lsn';
import { isCertified, isCutOff, isUnreached, mayCertify } from '../facts/haproxy';
import { isLost, leaderHealth } from '../facts/health';
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
  actions.push({ kind: 'route-read', nodes: readNodes(s) });
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

/**
 * Nodes that serve reads: standbys that stream from the recorded leader on its timeline and lag at most `maxLagBytes`.
 * If there is no such standby, the leader itself serves reads (`readFallback`).
 */
function readNodes(s: Situation): string[] {
  if (!serves(s.state)) return [];
  const { leader } = s;
  const flushLsn = s.status(leader)?.lead?.flushLsn ?? null;
  const standbys = s.names.filter((name) => {
    const status = s.status(name);
    if (status === null || name === leader || status.postgres.state !== 'standby') return false;
    if (s.view(name).silentMs >= s.policy.hangTimeoutMs || status.stopping) return false;
    if (!s.isMember(name, status.dataId) || status.postgres.streamingFrom !== leader) return false;
    const { timeline, replayLsn } = status.postgres;
    if (isUnreached(s, name) || (timeline !== null && timeline !== s.lastEntry?.timeline)) return false;
    return replayLsn !== null && (flushLsn === null || lsnDistance(replayLsn, flushLsn) <= s.policy.maxLagBytes);
  });
  if (standbys.length > 0) return standbys;
  return s.policy.readFallback && isCertified(s) ? [leader] : [];
}
