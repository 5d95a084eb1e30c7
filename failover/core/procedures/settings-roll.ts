/**
 * Rows that restart nodes for their settings, one at a time: see settings.ts. A standby leaves the sync configuration
 * before it goes down, so that no write waits for it. If anything goes wrong, the roll stops and the other nodes stay
 * as they are.
 */

import { canLeadAgain } from '../facts/candidates';
import { holdOf } from '../facts/hold';
import { clusterTrouble, HOLD_LIMIT_MS, PREPARE_LIMIT_MS, STOP_LIMIT_MS, switchoverTarget } from '../facts/readiness';
import { nextStep, restartNeed, settingsOf } from '../facts/settings';
import type { Situation } from '../facts/situation';
import { wantedConfig } from '../facts/sync-set';
import type { Plan } from '../rule';
import { planOf, type StandbyRestart, standbyWorkOf } from '../state/cluster';
import { change, giveUp, prepare, promoteNext, workOn } from '../transitions';

/** Rest of the leader between an attempt that was called off and the next one, ms. */
const REST_MS = 2_000;

/** Rows of a restart that has begun while the leader still serves. */
export function settingsAborted(s: Situation): Plan | null {
  const standby = standbyRestart(s);
  const why = standby !== null ? standbyTrouble(s, standby) : restartTrouble(s);
  if (why === null) return null;
  const state = standby !== null ? workOn(s.state, null) : prepare(s.state, null);
  return { state, reason: `${why}; nothing is restarted for its settings now` };
}

export function settingsStandbyRestarts(s: Situation): Plan | null {
  const work = standbyRestart(s);
  if (work?.stage !== 'leave' || s.state.joint.length !== 1 || wantedConfig(s, true) !== null) return null;
  const state = workOn(s.state, { ...work, stage: 'restart' });
  return { state, reason: `${work.node} restarts with the new settings` };
}

export function settingsApplied(s: Situation): Plan | null {
  const work = standbyRestart(s);
  if (work?.stage !== 'restart') return null;
  const { node } = work;
  const settings = settingsOf(s, node);
  if (!s.isDone(node) || settings?.restart !== 'none') return null;
  const state = workOn(s.state, null);
  if (settings.refused === null) return { state, reason: `${node} runs with the new settings` };
  const reason = `${node} does not start with ${settings.refused}; no other node is restarted`;
  return { state, code: 'SETTINGS_REFUSED', reason };
}

export function restartPrepared(s: Situation): Plan | null {
  const plan = planOf(s.state);
  const { leader } = s;
  if (plan?.kind !== 'restart') return null;
  if (plan.stage === 'prepare' && s.isDone(leader)) {
    const state = prepare(s.state, { kind: 'restart', stage: 'hold' });
    return { state, reason: `${leader} is ready to restart; new connections are held` };
  }
  const { reachable, closed } = s.observation.haproxy;
  if (plan.stage !== 'hold' || s.state.joint.length !== 1 || !reachable || !closed) return null;
  const state = change(s.state, { activity: { kind: 'restart' } });
  return { state, reason: `${leader} lets its clients finish, stops, and starts with the new settings` };
}

/** Rows that begin a restart for settings, when nothing else has to be done. */
export function settingsStandbyLeaves(s: Situation): Plan | null {
  const step = stepNow(s);
  if (step?.kind !== 'standby') return null;
  const state = workOn(s.state, { kind: 'restart', node: step.node, stage: 'leave' });
  return { state, reason: restartNeed(s, step.node) };
}

export function settingsSwitchover(s: Situation): Plan | null {
  if (stepNow(s)?.kind !== 'switchover' || s.stepMs < REST_MS) return null;
  const target = switchoverTarget(s, null);
  if (!('node' in target)) return null;
  const state = prepare(s.state, { kind: 'switchover', to: target.node, by: 'settings', stage: 'prepare' });
  return { state, reason: `${restartNeed(s, s.leader)}: it hands over to ${target.node}` };
}

export function restartBegun(s: Situation): Plan | null {
  if (stepNow(s)?.kind !== 'in-place' || s.stepMs < REST_MS) return null;
  const state = prepare(s.state, { kind: 'restart', stage: 'prepare' });
  return { state, reason: `${restartNeed(s, s.leader)}: it writes a checkpoint first` };
}

/** Rows while the leader restarts. */
export function restarted(s: Situation): Plan | null {
  const { leader } = s;
  if (s.state.activity.kind !== 'restart' || !s.isDone(leader)) return null;
  if (s.status(leader)?.postgres.state !== 'stopped' || !canLeadAgain(s)) return null;
  const state = promoteNext(s, leader, 'SETTINGS_RESTART');
  return { state, reason: `${leader} has stopped and leads again in term ${state.term}` };
}

export function restartAborted(s: Situation): Plan | null {
  if (s.state.activity.kind !== 'restart') return null;
  const { leader } = s;
  const view = s.view(leader);
  const postgres = view.status?.postgres.state;
  const overdue = s.stepMs >= STOP_LIMIT_MS;
  if (overdue && postgres === 'stopping' && view.connected) {
    const next = giveUp(s, 'SETTINGS_ABORTED');
    return next && { state: next.state, reason: `${leader} does not stop, so it is given up` };
  }
  const lost = !view.connected || view.silentMs >= s.policy.hangTimeoutMs || view.status?.stopping === true;
  const stopped = postgres === 'stopped' && s.hasAccepted(leader);
  const unfit = stopped && view.status?.done === true && !canLeadAgain(s);
  if (!lost && !unfit && !(overdue && postgres === 'primary')) return null;
  const why = lost || unfit ? `${leader} is lost` : `${leader} did not stop within ${STOP_LIMIT_MS} ms`;
  const state = change(s.state, { activity: { kind: 'serving' } });
  return { state, reason: `${why} while it was to restart for its settings` };
}

export function restarting(s: Situation): Plan | null {
  if (s.state.activity.kind !== 'restart') return null;
  return { reason: `${s.leader} shuts down cleanly and starts again with the new settings` };
}

function stepNow(s: Situation): ReturnType<typeof nextStep> {
  if (standbyRestart(s) !== null || planOf(s.state) !== null || s.state.joint.length !== 1) return null;
  if (clusterTrouble(s) !== null) return null;
  const step = nextStep(s);
  // During a hold standbys may restart, but the leader must stay up and keep the lead.
  return step?.kind === 'standby' || holdOf(s) === null ? step : null;
}

function standbyRestart(s: Situation): StandbyRestart | null {
  const work = standbyWorkOf(s.state);
  return work?.kind === 'restart' ? work : null;
}

function standbyTrouble(s: Situation, { node, stage }: StandbyRestart): string | null {
  if (!s.isDeclared(node) || node === s.state.leader) return `${node} is no standby any more`;
  return stage === 'leave' && !s.view(node).connected ? `${node} is off` : null;
}

/** Why the prepared restart of the leader is called off; null when it goes on, or when none is prepared. */
function restartTrouble(s: Situation): string | null {
  const plan = planOf(s.state);
  if (plan?.kind !== 'restart') return null;
  const trouble = holdOf(s)?.words ?? clusterTrouble(s.with(prepare(s.state, null)));
  if (trouble !== null) return trouble;
  if (plan.stage === 'prepare') return s.stepMs < PREPARE_LIMIT_MS ? null : 'the checkpoint takes too long';
  return s.stepMs < HOLD_LIMIT_MS ? null : `new connections could not be held within ${HOLD_LIMIT_MS} ms`;
}
