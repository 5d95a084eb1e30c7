/**
 * What decisions need to know of the past but need not survive a restart: since when the present step is under way, and
 * since when the preferred node leads or could lead. A pure reducer; the loop keeps the value.
 */

import { lsnDistance } from '../../contract/lsn';
import { seam } from '../../contract/seam';
import { type ClusterState, planOf, serves, switchoverOf } from '../state/cluster';
import type { Watch } from '../state/observation';
import { isLost, leaderHealth } from './health';
import { unfitSince } from './readers';
import { switchoverTarget } from './readiness';
import type { Situation } from './situation';

/** The wait before a switchback doubles at most this many times, to 2^10 stable periods. */
const DOUBLINGS_MAX = 10;
/** A switchback has succeeded when the preferred node has then led for this many stable periods (`switchbackAfter`). */
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
    unfitSinceMs: {},
  };
}

/** The next value, computed before the cycle decides; {@link Situation.observation} still carries the former one. */
export function nextWatch(s: Situation): Watch {
  const { nowMs, observation, state } = s;
  const before = observation.watch;
  const step = stepOf(state);
  const seenSince = (beforeMs: number | null) => Math.max(beforeMs ?? nowMs, observation.sinceMs);
  const leads = serves(state) && state.leader === s.names[0];
  return {
    step,
    stepSinceMs: step === before.step ? seenSince(before.stepSinceMs) : nowMs,
    preferredSinceMs: preferredIsReady(s) ? seenSince(before.preferredSinceMs) : null,
    newest: newestOf(s) ?? before.newest,
    acknowledged: acknowledgedOf(s),
    returningAtMs: switchoverOf(state)?.by === 'switchback' ? nowMs : before.returningAtMs,
    preferredLedSinceMs: leads ? seenSince(before.preferredLedSinceMs) : null,
    waitsSinceMs: waits(s) ? (before.waitsSinceMs ?? nowMs) : null,
    leaderDownSinceMs: isDown(s) ? (before.leaderDownSinceMs ?? nowMs) : null,
    unfitSinceMs: unfitSince(s),
  };
}

/** The leader's present position. Null during its promotion: until then it has no more than its predecessor had. */
function newestOf(s: Situation): Watch['newest'] {
  const lsn = s.status(s.leader)?.lead?.flushLsn ?? null;
  if (lsn === null || s.state.activity.kind === 'promote') return null;
  return { node: s.leader, term: s.state.term, lsn };
}

/**
 * What each standby has flushed, as the leader sees it. Time in which the leader does not answer is not counted,
 * because the leader then reports nothing about its standbys.
 */
function acknowledgedOf(s: Situation): Watch['acknowledged'] {
  const { leader } = s;
  const lead = s.status(leader)?.lead;
  if (lead?.flushLsn == null) return {};
  const answers = s.view(leader).silentMs < s.policy.hangTimeoutMs / 4;
  const result: Watch['acknowledged'] = {};
  for (const { name, flushLsn: lsn } of lead.standbys) {
    if (lsn === null) continue;
    const last = s.observation.watch.acknowledged[name];
    const stands = last?.leader === leader && last.lsn === lsn && lsnDistance(lsn, lead.flushLsn) > 0;
    const sinceMs = stands && answers ? Math.max(last.sinceMs, s.observation.sinceMs) : s.nowMs;
    result[name] = { leader, lsn, sinceMs };
  }
  return result;
}

function stepOf(state: ClusterState): string {
  const { activity, leader, term } = state;
  if (activity.kind === 'restore') return `restore ${activity.stage} ${term}`;
  if (activity.kind === 'empty') return '';
  if (activity.kind !== 'serving' && activity.kind !== 'preparing') return `${activity.kind} ${term}`;
  const { standby } = activity;
  const plan = planOf(state);
  if (standby?.kind === 'restart') return `${standby.stage} of ${standby.node}`;
  if (plan?.kind === 'restart' || plan?.kind === 'restore') return `${plan.stage} of ${leader}`;
  if (standby?.kind === 'rebuild') return `rebuild of ${standby.node}`;
  return plan === null ? '' : `${plan.stage} ${plan.to}`;
}

/** True with `switchback` when the first declared node is a caught-up standby without a recent crash. */
function preferredIsReady(s: Situation): boolean {
  const [preferred] = s.names;
  if (!s.policy.switchback || preferred === undefined || preferred === s.state.leader) return false;
  return (s.status(preferred)?.postgres.crashes ?? 0) === 0 && 'node' in switchoverTarget(s, preferred);
}

/** True when no leader serves, or the leader that should serve is gone. */
function waits(s: Situation): boolean {
  if (s.state.adopting || s.state.leader === null) return true;
  if (!serves(s.state)) return ['elect', 'promote', 'bootstrap'].includes(s.state.activity.kind);
  return isLost(leaderHealth(s));
}

/** True when the leader's PostgreSQL is down while no change is under way. */
function isDown(s: Situation): boolean {
  const postgres = s.status(s.leader)?.postgres.state;
  return serves(s.state) && postgres !== undefined && !['primary', 'stopping'].includes(postgres);
}

/** True when the switchback has succeeded: the preferred node has kept the lead for long enough. */
export function keptTheLead(s: Situation): boolean {
  const sinceMs = s.observation.watch.preferredLedSinceMs;
  return sinceMs !== null && s.nowMs - sinceMs >= s.policy.switchbackAfterMs * KEPT_PERIODS;
}

/**
 * True when the preferred node has waited long enough: `switchbackAfter`, doubled for each begun switchback after which
 * the node did not keep the lead (S25). Their number is stored, so that a restart of the monitor does not shorten the
 * wait.
 */
export const mayReturn = seam((s: Situation): boolean => {
  const dueMs = returnDueMs(s);
  return dueMs !== null && dueMs >= 0;
});

/** For how long the switchback has been due, ms. Negative: time until it is due. Null: no switchback will follow. */
export function returnDueMs(s: Situation): number | null {
  const { watch } = s.observation;
  if (!s.policy.switchback || watch.preferredSinceMs === null) return null;
  const waitMs = s.policy.switchbackAfterMs * 2 ** Math.min(s.state.switchbacks ?? 0, DOUBLINGS_MAX);
  const sinceMs = Math.max(watch.preferredSinceMs, watch.returningAtMs ?? watch.preferredSinceMs);
  return s.nowMs - sinceMs - waitMs;
}

/** Age of the oldest client transaction on the leader, ms; null when no transaction is older than a second. */
export const oldTransactionMs = (s: Situation): number | null => s.status(s.leader)?.lead?.oldTransactionMs ?? null;
