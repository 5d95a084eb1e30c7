/**
 * Is the leader well? Windows and hysteresis (S8, S11, S19, S21, S25, S27). Silence counts only between a probe
 * that was really sent and its missing answer; the loop measures that and hands it over as `silentMs`.
 */

import type { RuleCode } from '../../contract/codes';
import { serves } from '../state/cluster';
import type { NodeView } from '../state/observation';
import { isBeyondHaproxy } from './reach';
import { question, type Situation } from './situation';

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
  | { kind: 'late'; code: RuleCode; reason: string; probe: boolean }
  /** The monitor does not reach its keeper, but it works: no failover on the monitor's word alone. */
  | { kind: 'apart'; code: RuleCode; reason: string; probe: boolean }
  /** Gone or hung. */
  | { kind: 'dead'; code: RuleCode; reason: string }
  /** The keeper answers and says that PostgreSQL does not run as the primary any more. */
  | { kind: 'down'; code: RuleCode; reason: string }
  /** The container was told to stop. `serves`: PostgreSQL works as before until somebody can take over, or for some seconds. */
  | { kind: 'stopping'; serves: boolean };

/** The leader's health as if it were supposed to serve. */
export const leaderHealth = question((s): Health => {
  const { leader } = s;
  const view = s.view(leader);
  const beats = isBeating(s);
  if (s.address(leader) === null) {
    return { kind: 'dead', code: 'LEADER_REMOVED', reason: `${leader} is not declared any more` };
  }
  const health = view.connected ? connectedHealth(s, view, beats) : brokenHealth(s, view, beats);
  // Not on the monitor's word alone: HAProxy says the same, so no client gets there.
  if (health.kind === 'apart' && isBeyondHaproxy(s, leader)) {
    return { kind: 'dead', code: 'LEADER_CUT_OFF', reason: `neither the monitor nor HAProxy reaches ${leader}` };
  }
  return health;
});

/** The leader's health; null during a procedure and before the first leader. */
export function servingHealth(s: Situation): Health | null {
  return serves(s.state) ? leaderHealth(s) : null;
}

/** The heartbeat advanced on a replica lately: the leader commits, whatever the monitor hears of it (S21). */
function isBeating(s: Situation): boolean {
  return witnesses(s, s.leader).some(
    (v) =>
      v.heartbeatSeenAtMs !== null &&
      s.nowMs - v.heartbeatSeenAtMs < Math.max(s.policy.hangTimeoutMs * BEAT_PART, BEAT_LEAST_MS),
  );
}

/** The other nodes that are connected: they tell of what this one does. */
function witnesses(s: Situation, node: string): NodeView[] {
  return Object.values(s.observation.nodes).filter((v) => v.name !== node && v.connected);
}

/**
 * A node that has not connected since the monitor began to look has had its time. At a cold start that is `startGrace` (S25).
 * A node that ran long before tells that it is none: then what is not there for `hangTimeout`, while another one is, is away.
 */
export function isAbsent(s: Situation, node: string): boolean {
  const { sinceMs } = s.observation;
  if (s.nowMs - sinceMs >= s.policy.startGraceMs) return true;
  const ranBefore = (v: NodeView) => (v.status?.upMs ?? 0) - (v.heardAtMs - sinceMs) >= s.policy.startGraceMs;
  const isCold = !witnesses(s, node).some(ranBefore);
  return !isCold && s.nowMs - Math.max(sinceMs, witnessedSinceMs(s, node)) >= s.policy.hangTimeoutMs;
}

/** Since when another node is connected, which would tell of the leader's heartbeat: before that its lack means nothing. */
function witnessedSinceMs(s: Situation, leader: string): number {
  return Math.min(...witnesses(s, leader).map((v) => v.changedAtMs));
}

function brokenHealth(s: Situation, view: NodeView, beats: boolean): Health {
  const { leader } = s;
  if (!view.everConnected) {
    if (beats) return apart(leader, false);
    if (!isAbsent(s, leader))
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
  const unseenMs = s.nowMs - Math.max(view.changedAtMs, witnessedSinceMs(s, leader));
  if (beats || unseenMs < s.policy.hangTimeoutMs) return apart(leader, s.nowMs - view.probe.atMs >= PROBE_AGE_MS);
  return {
    kind: 'dead',
    code: 'LEADER_HUNG',
    reason: `${leader} is not connected and no heartbeat was seen for ${s.policy.hangTimeoutMs} ms`,
  };
}

function connectedHealth(s: Situation, view: NodeView, beats: boolean): Health {
  const { name, status, silentMs } = view;
  const { sinceMs } = s.observation;
  if ((s.observation.deafMs ?? 0) >= s.policy.hangTimeoutMs) {
    const reason = `no node answers the monitor, which may be cut off itself: no failover, ${name} goes on`;
    return { kind: 'apart', code: 'MONITOR_APART', reason, probe: false };
  }
  if (silentMs >= s.policy.hangTimeoutMs) {
    if (beats) return apart(name, false);
    return { kind: 'dead', code: 'LEADER_HUNG', reason: `${name} has not answered for ${Math.round(silentMs)} ms` };
  }
  if (status === null) {
    const seenForMs = s.nowMs - Math.max(view.changedAtMs, sinceMs);
    if (seenForMs < s.policy.hangTimeoutMs || beats)
      return { kind: 'blind', reason: `waiting for the status of ${name}` };
    return { kind: 'dead', code: 'LEADER_HUNG', reason: `${name} has sent no status for ${s.policy.hangTimeoutMs} ms` };
  }
  if (!s.isMember(name, status.dataId)) {
    return { kind: 'down', code: 'LEADER_WIPED', reason: `${name} came back without the cluster's data` };
  }
  const { state: postgres } = status.postgres;
  if (postgres === 'primary' || postgres === 'stopping') {
    if (status.stopping) return { kind: 'stopping', serves: postgres === 'primary' };
    if (view.refusedAtMs !== null && s.nowMs - view.refusedAtMs <= REFUSED_FRESH_MS) {
      return {
        kind: 'dead',
        code: 'LEADER_DEAD',
        reason: `the session in the PostgreSQL of ${name} broke and a new connection is refused`,
      };
    }
    const ageMs = status.lead?.heartbeatAgeMs ?? 0;
    if (ageMs >= s.policy.hangTimeoutMs && !beats) {
      return {
        kind: 'dead',
        code: 'LEADER_WEDGED',
        reason: `the keeper of ${name} answers, but its PostgreSQL has not answered for ${Math.round(ageMs)} ms`,
      };
    }
    if (silentMs >= s.policy.hangTimeoutMs * HOLD_PART) {
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
