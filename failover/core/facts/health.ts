/**
 * Judges the leader's health, with the time limits that keep the judgement from flapping (S8, S11, S19, S21,
 * S25, S27). Silence counts only between a ping that was really sent and its missing answer; the loop measures it as
 * `silentMs`.
 */

import type { RuleCode } from '../../contract/codes';
import { serves } from '../state/cluster';
import type { NodeView } from '../state/observation';
import { isBeyondHaproxy } from './haproxy';
import { question, type Situation } from './situation';

/**
 * Part of `hangTimeoutMs` after which new connections are held. Holding costs nothing if the leader answers after all
 * (S19).
 */
const HOLD_PART = 0.25;
/** Part of `hangTimeoutMs`: a heartbeat that rose on a replica within this time proves that the leader lives (S21). */
const BEAT_PART = 0.75;
/**
 * A gap between heartbeats that is shorter than this proves nothing, ms: the keeper of a standby at rest looks at its
 * PostgreSQL only every 400 ms (docs/decisions/0009-calm-rhythm.md).
 */
const BEAT_LEAST_MS = 600;
/** While the keeper is not connected, a quick connect is repeated when the last one is older than this, ms. */
const PROBE_AGE_MS = 30;
/** Rest before the third start, ms. The second one follows at once, and each further one rests twice as long. */
const FIRST_REST_MS = 500;
const REST_MAX_MS = 30_000;
/** A refused connect proves for this long that PostgreSQL is gone, ms. After that the keeper has to report it. */
const REFUSED_FRESH_MS = 100;

export type Health =
  /** The leader works as far as the monitor can see. */
  | { kind: 'well' }
  /** The monitor has not seen enough yet to judge. */
  | { kind: 'blind'; reason: string }
  /** The leader is late or its connection broke, and its death is not confirmed: new connections are held. */
  | { kind: 'late'; code: RuleCode; reason: string; probe: boolean }
  /**
   * The monitor does not reach the leader's keeper, but the leader works. The monitor's view alone is no reason to fail
   * over.
   */
  | { kind: 'apart'; code: RuleCode; reason: string; probe: boolean }
  /** The leader is gone or hung. */
  | { kind: 'dead'; code: RuleCode; reason: string }
  /** The leader's keeper answers and reports that PostgreSQL no longer runs as the primary. */
  | { kind: 'down'; code: RuleCode; reason: string }
  /**
   * The leader's container was told to stop. `serves`: PostgreSQL still works, until a standby can take over or some
   * seconds pass.
   */
  | { kind: 'stopping'; serves: boolean };

function dead(code: RuleCode, reason: string): Health {
  return { kind: 'dead', code, reason };
}

/** The leader's health. It is judged as if the leader should serve, also during a change of leader. */
export const leaderHealth = question((s): Health => {
  const { leader } = s;
  const view = s.view(leader);
  if (s.address(leader) === null) return dead('LEADER_REMOVED', `${leader} is not declared any more`);
  const health = view.connected ? connectedHealth(s, view) : brokenHealth(s, view);
  // The monitor's view alone would be no reason to fail over. But HAProxy does not reach the leader either, so no
  // client does.
  if (health.kind === 'apart' && isBeyondHaproxy(s, leader)) {
    return dead('LEADER_CUT_OFF', `neither the monitor nor HAProxy reaches ${leader}`);
  }
  return health;
});

/** True when the leader is gone, so that another node should take over. */
export function isLost(health: Health): health is Extract<Health, { kind: 'dead' | 'down' }> {
  return health.kind === 'dead' || health.kind === 'down';
}

/** The leader's health while it should serve; null during a change of leader and before the first leader. */
export function servingHealth(s: Situation): Health | null {
  return serves(s.state) ? leaderHealth(s) : null;
}

/**
 * True when the heartbeat rose on a replica lately: then the leader still commits, even if it does not answer (S21).
 */
function isBeating(s: Situation): boolean {
  const limitMs = Math.max(s.policy.hangTimeoutMs * BEAT_PART, BEAT_LEAST_MS);
  const lastMs = Math.max(...witnesses(s, s.leader).map((v) => v.heartbeatSeenAtMs ?? Number.NEGATIVE_INFINITY));
  return s.nowMs - lastMs < limitMs;
}

/** The other connected nodes, whose keepers report whether the heartbeat of `node` still rises. */
function witnesses(s: Situation, node: string): NodeView[] {
  return Object.values(s.observation.nodes).filter((v) => v.name !== node && v.connected);
}

/**
 * True when a node that has not connected since `sinceMs` counts as absent. At a cold start, when all containers have
 * just been started, the node has `startGrace` to connect (S25). If another node's keeper was running long before
 * `sinceMs`, this is no cold start. Then the node has `hangTimeout`, counted from the first connection of another node.
 */
export function isAbsent(s: Situation, node: string): boolean {
  const { sinceMs } = s.observation;
  if (s.nowMs - sinceMs >= s.policy.startGraceMs) return true;
  const ranBefore = (v: NodeView) => (v.status?.upMs ?? 0) - (v.heardAtMs - sinceMs) >= s.policy.startGraceMs;
  const isCold = !witnesses(s, node).some(ranBefore);
  return !isCold && s.nowMs - Math.max(sinceMs, witnessedSinceMs(s, node)) >= s.policy.hangTimeoutMs;
}

/**
 * Since when another node is connected. Before that no node could report the leader's heartbeat, so a missing heartbeat
 * means nothing.
 */
function witnessedSinceMs(s: Situation, leader: string): number {
  return Math.min(...witnesses(s, leader).map((v) => v.changedAtMs));
}

function brokenHealth(s: Situation, { everConnected, changedAtMs, probe }: NodeView): Health {
  const { leader } = s;
  if (!everConnected) {
    if (isBeating(s)) return apart(leader, false);
    if (isAbsent(s, leader)) return dead('LEADER_ABSENT', `${leader} has not come back since the monitor started`);
    return { kind: 'blind', reason: `waiting for ${leader}, the recorded leader, to come back` };
  }
  if (probe === null) {
    const reason = `the connection to ${leader} broke, asking its PostgreSQL`;
    return { kind: 'late', code: 'LEADER_BROKEN', reason, probe: true };
  }
  if (!probe.alive) return dead('LEADER_DEAD', `the connection to ${leader} broke and its PostgreSQL does not answer`);
  const { hangTimeoutMs } = s.policy;
  const unseenMs = s.nowMs - Math.max(changedAtMs, witnessedSinceMs(s, leader));
  if (isBeating(s) || unseenMs < hangTimeoutMs) return apart(leader, s.nowMs - probe.atMs >= PROBE_AGE_MS);
  return dead('LEADER_HUNG', `${leader} is not connected and no heartbeat was seen for ${hangTimeoutMs} ms`);
}

function connectedHealth(s: Situation, view: NodeView): Health {
  const { name, status, silentMs } = view;
  const { hangTimeoutMs } = s.policy;
  if ((s.observation.deafMs ?? 0) >= hangTimeoutMs) {
    const reason = `no node answers the monitor, which may be cut off itself: no failover, ${name} goes on`;
    return { kind: 'apart', code: 'MONITOR_APART', reason, probe: false };
  }
  if (silentMs >= hangTimeoutMs) {
    if (isBeating(s)) return apart(name, false);
    return dead('LEADER_HUNG', `${name} has not answered for ${Math.round(silentMs)} ms`);
  }
  if (status === null) {
    const seenForMs = s.nowMs - Math.max(view.changedAtMs, s.observation.sinceMs);
    const isUnsure = seenForMs < hangTimeoutMs || isBeating(s);
    if (isUnsure) return { kind: 'blind', reason: `waiting for the status of ${name}` };
    return dead('LEADER_HUNG', `${name} has sent no status for ${hangTimeoutMs} ms`);
  }
  if (!s.isMember(name, status.dataId)) {
    return { kind: 'down', code: 'LEADER_WIPED', reason: `${name} came back without the cluster's data` };
  }
  const { state: postgres } = status.postgres;
  if (postgres !== 'primary' && postgres !== 'stopping') {
    return { kind: 'down', code: 'LEADER_DOWN', reason: `PostgreSQL on ${name} is ${postgres}, not serving` };
  }
  if (status.stopping) return { kind: 'stopping', serves: postgres === 'primary' };
  if (view.refusedAtMs !== null && s.nowMs - view.refusedAtMs <= REFUSED_FRESH_MS) {
    return dead('LEADER_DEAD', `the session in the PostgreSQL of ${name} broke and a new connection is refused`);
  }
  const ageMs = status.lead?.heartbeatAgeMs ?? 0;
  if (ageMs >= hangTimeoutMs && !isBeating(s)) {
    const what = `its PostgreSQL has not answered for ${Math.round(ageMs)} ms`;
    return dead('LEADER_WEDGED', `the keeper of ${name} answers, but ${what}`);
  }
  if (silentMs < hangTimeoutMs * HOLD_PART) return { kind: 'well' };
  const reason = `${name} has not answered for ${Math.round(silentMs)} ms, new connections are held`;
  return { kind: 'late', code: 'LEADER_LATE', reason, probe: false };
}

function apart(leader: string, probe: boolean): Health {
  const what = `the keeper of ${leader} does not answer the monitor, but ${leader} goes on working`;
  return { kind: 'apart', code: 'LEADER_APART', reason: `${what}: no failover`, probe };
}

/** How long a node rests after this many starts that ended in a crash, ms (S8). */
export function crashRestMs(starts: number): number {
  return starts < 2 ? 0 : Math.min(REST_MAX_MS, FIRST_REST_MS * 2 ** Math.min(starts - 2, 10));
}
