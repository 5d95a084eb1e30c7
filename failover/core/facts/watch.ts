/**
 * What decisions need of the past and what need not survive a restart: since when the present step is under way, and since
 * when the preferred node could lead, or leads. A pure reducer; the loop keeps the value.
 */

import { lsnDistance } from '../../contract/lsn';
import type { Acknowledged, ClusterState, NewestPosition, Observation, Policy, Watch } from '../state/cluster';
import { leaderHealth } from './health';
import { switchoverTarget } from './readiness';
import { statusOf, viewOf } from './view';

/** Doublings after which the wait grows no more: 2^10 stable periods. */
const DOUBLINGS_MAX = 10;
/** A switchback that does not keep the lead for so many stable periods counts as a failure. */
const KEPT_PERIODS = 2;

export function newWatch(nowMs: number): Watch {
  return {
    step: '',
    stepSinceMs: nowMs,
    preferredSinceMs: null,
    newest: null,
    acknowledged: {},
    returningAtMs: null,
    preferredLedSinceMs: null,
    waitsSinceMs: null,
    leaderDownSinceMs: null,
  };
}

/** The next value, before the cycle decides. */
export function nextWatch(
  before: Watch,
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
): Watch {
  const step = stepOf(state);
  const ready = policy.switchback && preferredIsReady(state, observation, nowMs, policy);
  return {
    step,
    stepSinceMs: step === before.step ? Math.max(before.stepSinceMs, observation.sinceMs) : nowMs,
    preferredSinceMs: ready ? Math.max(before.preferredSinceMs ?? nowMs, observation.sinceMs) : null,
    newest: newestOf(state, observation) ?? before.newest,
    acknowledged: acknowledgedOf(before, state, observation, nowMs, policy),
    returningAtMs: state.switchover?.by === 'switchback' ? nowMs : before.returningAtMs,
    preferredLedSinceMs: ledSince(before, state, observation, nowMs),
    waitsSinceMs: waits(state, observation, nowMs, policy) ? (before.waitsSinceMs ?? nowMs) : null,
    leaderDownSinceMs: downSince(before, state, observation, nowMs),
  };
}

/** Where the leader is now. One that is not open yet has what its predecessor had at the most. */
function newestOf(state: ClusterState, observation: Observation): NewestPosition | null {
  if (state.leader === null || state.procedure?.kind === 'promote') return null;
  const lsn = statusOf(observation, state.leader)?.lead?.flushLsn ?? null;
  return lsn === null ? null : { node: state.leader, term: state.term, lsn };
}

/** A leader that does not answer tells nothing of its standbys, so no time counts meanwhile. */
function acknowledgedOf(
  before: Watch,
  { leader }: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
): Record<string, Acknowledged> {
  const lead = leader === null ? null : (statusOf(observation, leader)?.lead ?? null);
  if (leader === null || lead?.flushLsn == null) return {};
  const answers = viewOf(observation, leader).silentMs < policy.hangTimeoutMs / 4;
  const result: Record<string, Acknowledged> = {};
  for (const { name, flushLsn } of lead.standbys) {
    if (flushLsn === null) continue;
    const last = before.acknowledged[name];
    const stands = last?.leader === leader && last.lsn === flushLsn && lsnDistance(flushLsn, lead.flushLsn) > 0;
    const sinceMs = stands && answers ? Math.max(last.sinceMs, observation.sinceMs) : nowMs;
    result[name] = { leader, lsn: flushLsn, sinceMs };
  }
  return result;
}

function stepOf({ procedure, switchover, restart, renewing, term }: ClusterState): string {
  if (procedure !== null) return `${procedure.kind} ${term}`;
  if (restart !== undefined) return `${restart.stage} of ${restart.node}`;
  if (renewing !== undefined) return `renewing ${renewing}`;
  return switchover === undefined ? '' : `${switchover.stage} ${switchover.to}`;
}

/** The first declared node is a caught-up standby without a recent crash. */
function preferredIsReady(state: ClusterState, observation: Observation, nowMs: number, policy: Policy): boolean {
  const preferred = observation.declared[0]?.name;
  if (preferred === undefined || preferred === state.leader) return false;
  if ((statusOf(observation, preferred)?.postgres.crashes ?? 0) > 0) return false;
  return 'node' in switchoverTarget(state, observation, nowMs, policy, preferred);
}

/** Since when the preferred node leads, without a change under way. */
function ledSince(before: Watch, state: ClusterState, observation: Observation, nowMs: number): number | null {
  const leads = state.procedure === null && state.leader !== null && state.leader === observation.declared[0]?.name;
  return leads ? Math.max(before.preferredLedSinceMs ?? nowMs, observation.sinceMs) : null;
}

/** No leader serves, or the one that should is gone. */
function waits(state: ClusterState, observation: Observation, nowMs: number, policy: Policy): boolean {
  if (state.adopting || state.leader === null) return true;
  if (state.procedure !== null) return ['elect', 'promote', 'bootstrap'].includes(state.procedure.kind);
  return ['dead', 'down'].includes(leaderHealth(state, observation, nowMs, policy).kind);
}

/** Since when the leader's PostgreSQL is down while no change is under way: it rests after repeated crashes. */
function downSince(before: Watch, state: ClusterState, observation: Observation, nowMs: number): number | null {
  const postgres = state.leader === null ? undefined : statusOf(observation, state.leader)?.postgres.state;
  const isDown = state.procedure === null && postgres !== undefined && !['primary', 'stopping'].includes(postgres);
  return isDown ? (before.leaderDownSinceMs ?? nowMs) : null;
}

/** True when the switchback was a success: the preferred node has kept the lead for long enough. */
export function keptTheLead(watch: Watch, nowMs: number, policy: Policy): boolean {
  const sinceMs = watch.preferredLedSinceMs;
  return sinceMs !== null && nowMs - sinceMs >= policy.switchbackAfterMs * KEPT_PERIODS;
}

/**
 * True when the preferred node has waited long enough: a stable period, doubled with each switchback that was begun and
 * not kept (S25). Their number is stored, so that a restarted monitor does not begin anew.
 */
export function mayReturn(state: ClusterState, watch: Watch, nowMs: number, policy: Policy): boolean {
  if (!policy.switchback || watch.preferredSinceMs === null) return false;
  const waitMs = policy.switchbackAfterMs * 2 ** Math.min(state.switchbacks ?? 0, DOUBLINGS_MAX);
  const sinceMs = Math.max(watch.preferredSinceMs, watch.returningAtMs ?? watch.preferredSinceMs);
  return nowMs - sinceMs >= waitMs;
}
