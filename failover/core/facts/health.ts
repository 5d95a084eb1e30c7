/**
 * Is the leader well? Windows and hysteresis (SAFETY S8, S11, S19, S21, S25, S27). Silence counts only between a probe
 * that was really sent and its missing answer; the loop measures that and hands it over as `silentMs`.
 */

import type { ClusterState, NodeView, Observation, Policy } from '../state/cluster';
import { isBeyondHaproxy } from './reach';
import { addressOf, isMember, viewOf } from './view';

/** Part of `hangTimeoutMs` after which new connections are held: costs nothing when the leader answers after all (S19). */
const HOLD_PART = 0.25;
/** Part of `hangTimeoutMs` within which an advance of the heartbeat on a replica proves that the leader lives (S21). */
const BEAT_PART = 0.75;
/** At rest a standby looks at the heartbeat this often, and some more, ms: see decision 9. A shorter time proves nothing. */
const BEAT_LEAST_MS = 600;
/** A probe older than this is repeated while the keeper's connection is down, ms. */
export const PROBE_AGE_MS = 30;
/** A refused connect says that PostgreSQL is gone now; what comes later is the keeper's to tell, ms. */
const REFUSED_FRESH_MS = 100;

export type Health =
  /** It works as far as can be seen. */
  | { kind: 'well' }
  /** Not enough was seen yet to say anything. */
  | { kind: 'blind'; reason: string }
  /** Late or its connection broke, nothing is confirmed: new connections are held. */
  | { kind: 'late'; code: string; reason: string; probe: boolean }
  /** The monitor does not reach its keeper, but it works: no failover on the monitor's word alone. */
  | { kind: 'apart'; code: string; reason: string; probe: boolean }
  /** Gone or hung. */
  | { kind: 'dead'; code: string; reason: string }
  /** The keeper answers and says that PostgreSQL does not run as the primary any more. */
  | { kind: 'down'; code: string; reason: string }
  /** The container was told to stop. `serves`: PostgreSQL works as before until somebody can take over, or for some seconds. */
  | { kind: 'stopping'; serves: boolean };

/** The leader's health while it is supposed to serve. */
export function leaderHealth(state: ClusterState, observation: Observation, nowMs: number, policy: Policy): Health {
  const leader = state.leader ?? '';
  const view = viewOf(observation, leader);
  const beats = isBeating(state, observation, nowMs, policy);
  if (addressOf(observation, leader) === null) {
    return { kind: 'dead', code: 'LEADER_REMOVED', reason: `${leader} is not declared any more` };
  }
  const health = view.connected
    ? connectedHealth(state, view, beats, observation, nowMs, policy)
    : brokenHealth(leader, view, beats, observation, nowMs, policy);
  // Not on the monitor's word alone: HAProxy says the same, so no client gets there.
  if (health.kind === 'apart' && isBeyondHaproxy(observation, leader, nowMs, policy)) {
    return { kind: 'dead', code: 'LEADER_CUT_OFF', reason: `neither the monitor nor HAProxy reaches ${leader}` };
  }
  return health;
}

/** The heartbeat advanced on a replica lately: the leader commits, whatever the monitor hears of it (S21). */
function isBeating(state: ClusterState, observation: Observation, nowMs: number, policy: Policy): boolean {
  return witnesses(state.leader ?? '', observation).some(
    (v) =>
      v.heartbeatSeenAtMs !== null &&
      nowMs - v.heartbeatSeenAtMs < Math.max(policy.hangTimeoutMs * BEAT_PART, BEAT_LEAST_MS),
  );
}

/** The other nodes that are connected: they tell of what this one does. */
function witnesses(node: string, { nodes }: Observation): NodeView[] {
  return Object.values(nodes).filter((v) => v.name !== node && v.connected);
}

/**
 * A node that has not connected since the monitor began to look has had its time. At a cold start that is `startGrace` (S25).
 * A node that ran long before tells that it is none: then what is not there for `hangTimeout`, while another one is, is away.
 */
export function isAbsent(node: string, observation: Observation, nowMs: number, policy: Policy): boolean {
  const { sinceMs } = observation;
  if (nowMs - sinceMs >= policy.startGraceMs) return true;
  const ranBefore = (v: NodeView) => (v.status?.upMs ?? 0) - (v.heardAtMs - sinceMs) >= policy.startGraceMs;
  const isCold = !witnesses(node, observation).some(ranBefore);
  return !isCold && nowMs - Math.max(sinceMs, witnessedSinceMs(node, observation)) >= policy.hangTimeoutMs;
}

/** Since when another node is connected, which would tell of the leader's heartbeat: before that its lack means nothing. */
function witnessedSinceMs(leader: string, observation: Observation): number {
  return Math.min(...witnesses(leader, observation).map((v) => v.changedAtMs));
}

function brokenHealth(
  leader: string,
  view: NodeView,
  beats: boolean,
  observation: Observation,
  nowMs: number,
  policy: Policy,
): Health {
  if (!view.everConnected) {
    if (beats) return apart(leader, false);
    if (!isAbsent(leader, observation, nowMs, policy))
      return { kind: 'blind', reason: `waiting for ${leader}, the recorded leader, to come back` };
    return { kind: 'dead', code: 'LEADER_ABSENT', reason: `${leader} has not come back since the monitor started` };
  }
  if (view.probe === null) {
    return {
      kind: 'late',
      code: 'LEADER_BROKEN',
      reason: `the connection to ${leader} broke, asking its PostgreSQL`,
      probe: true,
    };
  }
  if (!view.probe.alive) {
    return {
      kind: 'dead',
      code: 'LEADER_DEAD',
      reason: `the connection to ${leader} broke and its PostgreSQL does not answer`,
    };
  }
  const unseenMs = nowMs - Math.max(view.changedAtMs, witnessedSinceMs(leader, observation));
  if (beats || unseenMs < policy.hangTimeoutMs) return apart(leader, nowMs - view.probe.atMs >= PROBE_AGE_MS);
  return {
    kind: 'dead',
    code: 'LEADER_HUNG',
    reason: `${leader} is not connected and no heartbeat was seen for ${policy.hangTimeoutMs} ms`,
  };
}

function connectedHealth(
  state: ClusterState,
  view: NodeView,
  beats: boolean,
  observation: Observation,
  nowMs: number,
  policy: Policy,
): Health {
  const { name, status, silentMs } = view;
  const { sinceMs } = observation;
  if ((observation.deafMs ?? 0) >= policy.hangTimeoutMs) {
    const reason = `no node answers the monitor, which may be cut off itself: no failover, ${name} goes on`;
    return { kind: 'apart', code: 'MONITOR_APART', reason, probe: false };
  }
  if (silentMs >= policy.hangTimeoutMs) {
    if (beats) return apart(name, false);
    return { kind: 'dead', code: 'LEADER_HUNG', reason: `${name} has not answered for ${Math.round(silentMs)} ms` };
  }
  if (status === null) {
    const seenForMs = nowMs - Math.max(view.changedAtMs, sinceMs);
    if (seenForMs < policy.hangTimeoutMs || beats)
      return { kind: 'blind', reason: `waiting for the status of ${name}` };
    return { kind: 'dead', code: 'LEADER_HUNG', reason: `${name} has sent no status for ${policy.hangTimeoutMs} ms` };
  }
  if (!isMember(state, name, status.dataId)) {
    return { kind: 'down', code: 'LEADER_WIPED', reason: `${name} came back without the cluster's data` };
  }
  const { state: postgres } = status.postgres;
  if (postgres === 'primary' || postgres === 'stopping') {
    if (status.stopping) return { kind: 'stopping', serves: postgres === 'primary' };
    if (view.refusedAtMs !== null && nowMs - view.refusedAtMs <= REFUSED_FRESH_MS) {
      return {
        kind: 'dead',
        code: 'LEADER_DEAD',
        reason: `the session in the PostgreSQL of ${name} broke and a new connection is refused`,
      };
    }
    const ageMs = status.lead?.heartbeatAgeMs ?? 0;
    if (ageMs >= policy.hangTimeoutMs && !beats) {
      return {
        kind: 'dead',
        code: 'LEADER_WEDGED',
        reason: `the keeper of ${name} answers, but its PostgreSQL has not answered for ${Math.round(ageMs)} ms`,
      };
    }
    if (silentMs >= policy.hangTimeoutMs * HOLD_PART) {
      return {
        kind: 'late',
        code: 'LEADER_LATE',
        reason: `${name} has not answered for ${Math.round(silentMs)} ms, new connections are held`,
        probe: false,
      };
    }
    return { kind: 'well' };
  }
  return { kind: 'down', code: 'LEADER_DOWN', reason: `PostgreSQL on ${name} is ${postgres}, not serving` };
}

function apart(leader: string, probe: boolean): Health {
  return {
    kind: 'apart',
    code: 'LEADER_APART',
    reason: `the keeper of ${leader} does not answer the monitor, but ${leader} goes on working: no failover`,
    probe,
  };
}
