/**
 * Rows that restart nodes for their settings, one at a time: see settings.ts. A standby is counted no more before it goes
 * down, so that no write waits for it. Whatever goes wrong, the roll stops where it is and the others stay as they are.
 */

import { canLeadAgain } from '../facts/candidates';
import { holdOf } from '../facts/hold';
import { clusterTrouble, HOLD_LIMIT_MS, PREPARE_LIMIT_MS, STOP_LIMIT_MS, switchoverTarget } from '../facts/readiness';
import { nextStep, settingsOf } from '../facts/settings';
import type { Situation } from '../facts/situation';
import { wantedConfig } from '../facts/sync-set';
import { hasAccepted, isDone, list } from '../facts/view';
import type { Plan } from '../rule';
import type { ClusterState, Restart } from '../state/cluster';
import { change, giveUp, leadAgain } from '../transitions';

/** After an attempt that was called off the leader has this much rest before the next one, ms. */
const REST_MS = 2_000;

/** Rows of a restart that has begun while the leader serves. */
export function settingsAborted(s: Situation): Plan | null {
  const why = s.state.restart === undefined ? null : abortReason(s, s.state.restart);
  if (why === null) return null;
  return { state: without(s.state), reason: `${why}; nothing is restarted for its settings now` };
}

export function settingsStandbyRestarts(s: Situation): Plan | null {
  const { restart } = s.state;
  if (restart?.stage !== 'leave' || s.state.joint.length !== 1) return null;
  if (wantedConfig(s, true) !== null) return null;
  return { state: staged(s.state, restart, 'restart'), reason: `${restart.node} restarts with the new settings` };
}

export function settingsApplied(s: Situation): Plan | null {
  const { restart } = s.state;
  if (restart?.stage !== 'restart') return null;
  const settings = settingsOf(s, restart.node);
  if (!isDone(s.status(restart.node), s.state.orders[restart.node]) || settings === null) return null;
  if (settings.restart !== 'none') return null;
  if (settings.refused === null)
    return { state: without(s.state), reason: `${restart.node} runs with the new settings` };
  const reason = `${restart.node} does not start with ${settings.refused}; no other node is restarted`;
  return { state: without(s.state), code: 'SETTINGS_REFUSED', reason };
}

export function restartPrepared(s: Situation): Plan | null {
  const { restart } = s.state;
  const { leader } = s;
  if (restart?.stage === 'prepare' && isDone(s.status(leader), s.state.orders[leader])) {
    return {
      state: staged(s.state, restart, 'hold'),
      reason: `${leader} is ready to restart; new connections are held`,
    };
  }
  const { reachable, closed } = s.observation.haproxy;
  if (restart?.stage !== 'hold' || s.state.joint.length !== 1 || !reachable || !closed) return null;
  return {
    state: change(s.state, { procedure: { kind: 'restart' } }),
    reason: `${leader} lets its clients finish, stops, and starts with the new settings`,
  };
}

/** Rows that begin one, when nothing else is to be done. */
export function settingsStandbyLeaves(s: Situation): Plan | null {
  const step = stepNow(s);
  if (step?.kind !== 'standby') return null;
  const pending = settingsOf(s, step.node)?.pending ?? [];
  return {
    state: change(s.state, { restart: { node: step.node, stage: 'leave' } }),
    reason: `${step.node} needs a restart for ${list(pending)}`,
  };
}

export function settingsSwitchover(s: Situation): Plan | null {
  if (stepNow(s)?.kind !== 'switchover' || rests(s)) return null;
  const target = switchoverTarget(s, null);
  if (!('node' in target)) return null;
  const { leader } = s;
  const pending = settingsOf(s, leader)?.pending ?? [];
  return {
    state: change(s.state, { switchover: { to: target.node, by: 'settings', stage: 'prepare' } }),
    reason: `${leader} needs a restart for ${list(pending)}: it hands over to ${target.node}`,
  };
}

export function restartBegun(s: Situation): Plan | null {
  if (stepNow(s)?.kind !== 'in-place' || rests(s)) return null;
  const { leader } = s;
  const pending = settingsOf(s, leader)?.pending ?? [];
  return {
    state: change(s.state, { restart: { node: leader, stage: 'prepare' } }),
    reason: `${leader} needs a restart for ${list(pending)}: it writes a checkpoint first`,
  };
}

/** Rows of the leader's restart. */
export function restarted(s: Situation): Plan | null {
  if (s.state.procedure?.kind !== 'restart') return null;
  const { leader } = s;
  const status = s.status(leader);
  if (!isDone(status, s.state.orders[leader]) || status?.postgres.state !== 'stopped') return null;
  if (!canLeadAgain(s)) return null;
  const next = leadAgain(s, true, 'SETTINGS_RESTART');
  return { state: next, reason: `${leader} has stopped and leads again in term ${next.term}` };
}

export function restartAborted(s: Situation): Plan | null {
  if (s.state.procedure?.kind !== 'restart') return null;
  const { leader } = s;
  const view = s.view(leader);
  const postgres = view.status?.postgres.state;
  const overdue = s.stepMs >= STOP_LIMIT_MS;
  if (overdue && postgres === 'stopping' && view.connected) {
    const next = giveUp(s, 'SETTINGS_ABORTED');
    return next === null ? null : { state: next.state, reason: `${leader} does not stop, so it is given up` };
  }
  const lost = !view.connected || view.silentMs >= s.policy.hangTimeoutMs || view.status?.stopping === true;
  const stopped = postgres === 'stopped' && hasAccepted(view.status, s.state.orders[leader]);
  const unfit = stopped && view.status?.done === true && !canLeadAgain(s);
  if (!lost && !unfit && !(overdue && postgres === 'primary')) return null;
  const why = lost || unfit ? `${leader} is lost` : `${leader} did not stop within ${STOP_LIMIT_MS} ms`;
  return { state: change(s.state, { procedure: null }), reason: `${why} while it was to restart for its settings` };
}

export function restarting(s: Situation): Plan | null {
  return s.state.procedure?.kind === 'restart'
    ? { reason: `${s.leader} shuts down cleanly and starts again with the new settings` }
    : null;
}

function without(state: ClusterState): ClusterState {
  return change(state, { restart: undefined });
}

function staged(state: ClusterState, restart: Restart, stage: Restart['stage']): ClusterState {
  return change(state, { restart: { ...restart, stage } });
}

function stepNow(s: Situation): ReturnType<typeof nextStep> {
  if (s.state.restart !== undefined || s.state.joint.length !== 1) return null;
  if (clusterTrouble(s) !== null) return null;
  const step = nextStep(s);
  // Standbys may restart; the leader stays, and stays up.
  return step?.kind === 'standby' || holdOf(s) === null ? step : null;
}

function rests(s: Situation): boolean {
  return s.stepMs < REST_MS;
}

function abortReason(s: Situation, { node, stage }: Restart): string | null {
  const stepMs = s.stepMs;
  if (stage === 'leave' || stage === 'restart') {
    if (!s.isDeclared(node) || node === s.state.leader) return `${node} is no standby any more`;
    return stage === 'leave' && !s.view(node).connected ? `${node} is off` : null;
  }
  if (node !== s.state.leader) return `${node} does not lead any more`;
  const hold = holdOf(s);
  if (hold !== null) return hold.words;
  const { restart: _own, ...rest } = s.state;
  const trouble = clusterTrouble(s.with(rest));
  if (trouble !== null) return trouble;
  if (stage === 'prepare') return stepMs < PREPARE_LIMIT_MS ? null : 'the checkpoint takes too long';
  return stepMs < HOLD_LIMIT_MS ? null : `new connections could not be held within ${HOLD_LIMIT_MS} ms`;
}
