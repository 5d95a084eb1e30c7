/**
 * What decisions need of the past and what need not survive a restart: since when the present step is under way, since
 * when the preferred node could lead, and how its last returns ended. A pure reducer; the loop keeps the value.
 */
import { switchoverTarget } from './handover';
import type { ClusterState, NewestPosition, Observation, Policy, Watch } from './types';
import { statusOf } from './view';

/** Doublings after which the wait grows no more: 2^10 stable periods. */
const DOUBLINGS_MAX = 10;
/** Losing the lead again within so many stable periods is a failure of the switchback. */
const KEPT_PERIODS = 2;

export function newWatch(nowMs: number): Watch {
  return {
    step: '',
    stepSinceMs: nowMs,
    preferredSinceMs: null,
    newest: null,
    switchback: { underWay: false, begunAtMs: null, ledAtMs: null, failures: 0 },
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
    switchback: nextSwitchback(before.switchback, state, observation, nowMs, policy),
  };
}

/** Where the leader is now. One that is not open yet has what its predecessor had at the most. */
function newestOf(state: ClusterState, observation: Observation): NewestPosition | null {
  if (state.leader === null || state.procedure?.kind === 'promote') return null;
  const lsn = statusOf(observation, state.leader)?.lead?.flushLsn ?? null;
  return lsn === null ? null : { node: state.leader, term: state.term, lsn };
}

function stepOf({ procedure, switchover, term }: ClusterState): string {
  if (procedure !== null) return `${procedure.kind} ${term}`;
  return switchover === undefined ? '' : `${switchover.stage} ${switchover.to}`;
}

/** The first declared node is a caught-up standby without a recent crash. */
function preferredIsReady(state: ClusterState, observation: Observation, nowMs: number, policy: Policy): boolean {
  const preferred = observation.declared[0]?.name;
  if (preferred === undefined || preferred === state.leader) return false;
  if ((statusOf(observation, preferred)?.postgres.crashes ?? 0) > 0) return false;
  return 'node' in switchoverTarget(state, observation, nowMs, policy, preferred);
}

function nextSwitchback(
  before: Watch['switchback'],
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
): Watch['switchback'] {
  const leads = state.leader !== null && state.leader === observation.declared[0]?.name;
  if (state.switchover?.by === 'switchback') {
    return before.underWay ? before : { ...before, underWay: true, begunAtMs: nowMs, ledAtMs: null };
  }
  if (before.underWay) {
    if (state.procedure !== null) return before;
    return leads
      ? { ...before, underWay: false, ledAtMs: nowMs }
      : { ...before, underWay: false, failures: before.failures + 1 };
  }
  if (before.ledAtMs === null || (leads && state.procedure === null)) return before;
  const lostSoon = nowMs - before.ledAtMs < policy.switchbackAfterMs * KEPT_PERIODS;
  return { ...before, ledAtMs: null, failures: lostSoon ? before.failures + 1 : 0 };
}

/** True when the preferred node has waited long enough: a stable period, doubled with each failure (S25). */
export function mayReturn(watch: Watch, nowMs: number, policy: Policy): boolean {
  if (!policy.switchback || watch.preferredSinceMs === null) return false;
  const waitMs = policy.switchbackAfterMs * 2 ** Math.min(watch.switchback.failures, DOUBLINGS_MAX);
  const sinceMs = Math.max(watch.preferredSinceMs, watch.switchback.begunAtMs ?? watch.preferredSinceMs);
  return nowMs - sinceMs >= waitMs;
}
