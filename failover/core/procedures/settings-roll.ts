/**
 * Rows that restart nodes for their settings, one at a time: see settings.ts. A standby is counted no more before it goes
 * down, so that no write waits for it. Whatever goes wrong, the roll stops where it is and the others stay as they are.
 */
import { canLeadAgain } from '../facts/candidates';
import { holdOf } from '../facts/hold';
import { clusterTrouble, HOLD_LIMIT_MS, PREPARE_LIMIT_MS, STOP_LIMIT_MS, switchoverTarget } from '../facts/readiness';
import { nextStep, settingsOf } from '../facts/settings';
import { wantedConfig } from '../facts/sync-set';
import { hasAccepted, isDeclared, isDone, list, statusOf, viewOf } from '../facts/view';
import type { Facts, Rule } from '../rules';
import type { ClusterState, Restart } from '../state/cluster';
import { change, giveUp, leadAgain } from '../transitions';

/** After an attempt that was called off the leader has this much rest before the next one, ms. */
const REST_MS = 2_000;

/** Rows of a restart that has begun while the leader serves. */
export const SETTINGS_RULES: readonly Rule[] = [
  {
    code: 'SETTINGS_ABORTED',
    why: 'The node that was to be restarted for its settings is gone, or the leader cannot stop now: all stays as it is.',
    match: (facts) => {
      const { state } = facts;
      const why = state.restart === undefined ? null : abortReason(facts, state.restart);
      if (why === null) return null;
      return { state: without(state), reason: `${why}; nothing is restarted for its settings now` };
    },
  },
  {
    code: 'SETTINGS_STANDBY',
    why: 'Nobody waits for the standby any more: it restarts with the new settings.',
    match: ({ state, observation, nowMs, policy }) => {
      const { restart } = state;
      if (restart?.stage !== 'leave' || state.joint.length !== 1) return null;
      if (wantedConfig(state, observation, nowMs, policy, true) !== null) return null;
      return { state: staged(state, restart, 'restart'), reason: `${restart.node} restarts with the new settings` };
    },
  },
  {
    code: 'SETTINGS_APPLIED',
    why: 'The standby is back: it runs with the new settings, or PostgreSQL did not start with them.',
    match: ({ state, observation }) => {
      const { restart } = state;
      if (restart?.stage !== 'restart') return null;
      const settings = settingsOf(observation, restart.node);
      if (!isDone(statusOf(observation, restart.node), state.orders[restart.node]) || settings === null) return null;
      if (settings.restart !== 'none') return null;
      if (settings.refused === null)
        return { state: without(state), reason: `${restart.node} runs with the new settings` };
      const reason = `${restart.node} does not start with ${settings.refused}; no other node is restarted`;
      return { state: without(state), code: 'SETTINGS_REFUSED', reason };
    },
  },
  {
    code: 'SETTINGS_RESTART',
    why: 'The leader has written its checkpoint: new connections are held, then it lets its clients finish and stops.',
    match: ({ state, observation }) => {
      const { restart } = state;
      const leader = state.leader ?? '';
      if (restart?.stage === 'prepare' && isDone(statusOf(observation, leader), state.orders[leader])) {
        return {
          state: staged(state, restart, 'hold'),
          reason: `${leader} is ready to restart; new connections are held`,
        };
      }
      const { reachable, closed } = observation.haproxy;
      if (restart?.stage !== 'hold' || state.joint.length !== 1 || !reachable || !closed) return null;
      return {
        state: change(state, { procedure: { kind: 'restart' } }),
        reason: `${leader} lets its clients finish, stops, and starts with the new settings`,
      };
    },
  },
];

/** Rows that begin one, when nothing else is to be done. */
export const SETTINGS_STARTS: readonly Rule[] = [
  {
    code: 'SETTINGS_STANDBY',
    why: 'Settings need a restart, and all nodes are well: the first standby that waits for one is counted no more.',
    match: (facts) => {
      const step = stepNow(facts);
      if (step?.kind !== 'standby') return null;
      const pending = settingsOf(facts.observation, step.node)?.pending ?? [];
      return {
        state: change(facts.state, { restart: { node: step.node, stage: 'leave' } }),
        reason: `${step.node} needs a restart for ${list(pending)}`,
      };
    },
  },
  {
    code: 'SETTINGS_SWITCHOVER',
    why: 'All standbys have the new settings and the leader needs a restart for them: it hands over and follows.',
    match: (facts) => {
      const { state, observation, nowMs, policy } = facts;
      if (stepNow(facts)?.kind !== 'switchover' || rests(facts)) return null;
      const target = switchoverTarget(state, observation, nowMs, policy, null);
      if (!('node' in target)) return null;
      const leader = state.leader ?? '';
      const pending = settingsOf(observation, leader)?.pending ?? [];
      return {
        state: change(state, { switchover: { to: target.node, by: 'settings', stage: 'prepare' } }),
        reason: `${leader} needs a restart for ${list(pending)}: it hands over to ${target.node}`,
      };
    },
  },
  {
    code: 'SETTINGS_RESTART',
    why: 'The leader needs a restart and has no standby, or a setting is lowered that its standbys must not have less of (S23).',
    match: (facts) => {
      if (stepNow(facts)?.kind !== 'in-place' || rests(facts)) return null;
      const leader = facts.state.leader ?? '';
      const pending = settingsOf(facts.observation, leader)?.pending ?? [];
      return {
        state: change(facts.state, { restart: { node: leader, stage: 'prepare' } }),
        reason: `${leader} needs a restart for ${list(pending)}: it writes a checkpoint first`,
      };
    },
  },
];

/** Rows of the leader's restart. */
export const RESTART_RULES: readonly Rule[] = [
  {
    code: 'SETTINGS_RESTART',
    why: 'The leader has stopped for its settings: it leads again in a new term, through the same opening.',
    match: ({ state, observation, nowMs, policy }) => {
      if (state.procedure?.kind !== 'restart') return null;
      const leader = state.leader ?? '';
      const status = statusOf(observation, leader);
      if (!isDone(status, state.orders[leader]) || status?.postgres.state !== 'stopped') return null;
      if (!canLeadAgain(state, observation)) return null;
      const next = leadAgain(state, observation, nowMs, policy, true, 'SETTINGS_RESTART');
      return { state: next, reason: `${leader} has stopped and leads again in term ${next.term}` };
    },
  },
  {
    code: 'SETTINGS_ABORTED',
    why: 'The leader is lost while it stops for its settings, or does not stop in time: the usual rules go on.',
    match: (facts) => {
      const { state, observation, nowMs, policy } = facts;
      if (state.procedure?.kind !== 'restart') return null;
      const leader = state.leader ?? '';
      const view = viewOf(observation, leader);
      const postgres = view.status?.postgres.state;
      const overdue = nowMs - observation.watch.stepSinceMs >= STOP_LIMIT_MS;
      if (overdue && postgres === 'stopping' && view.connected) {
        const next = giveUp(state, observation, nowMs, policy, 'SETTINGS_ABORTED');
        return next === null ? null : { state: next.state, reason: `${leader} does not stop, so it is given up` };
      }
      const lost = !view.connected || view.silentMs >= policy.hangTimeoutMs || view.status?.stopping === true;
      const stopped = postgres === 'stopped' && hasAccepted(view.status, state.orders[leader]);
      const unfit = stopped && view.status?.done === true && !canLeadAgain(state, observation);
      if (!lost && !unfit && !(overdue && postgres === 'primary')) return null;
      const why = lost || unfit ? `${leader} is lost` : `${leader} did not stop within ${STOP_LIMIT_MS} ms`;
      return { state: change(state, { procedure: null }), reason: `${why} while it was to restart for its settings` };
    },
  },
  {
    code: 'SETTINGS_RESTART',
    why: 'The leader shuts down cleanly to start again with new settings; new connections are held.',
    match: ({ state }) =>
      state.procedure?.kind === 'restart'
        ? { reason: `${state.leader ?? ''} shuts down cleanly and starts again with the new settings` }
        : null,
  },
];

function without(state: ClusterState): ClusterState {
  return change(state, { restart: undefined });
}

function staged(state: ClusterState, restart: Restart, stage: Restart['stage']): ClusterState {
  return change(state, { restart: { ...restart, stage } });
}

function stepNow({ state, observation, nowMs, policy }: Facts): ReturnType<typeof nextStep> {
  if (state.restart !== undefined || state.joint.length !== 1) return null;
  if (clusterTrouble(state, observation, nowMs, policy) !== null) return null;
  const step = nextStep(state, observation, nowMs, policy);
  // Standbys may restart; the leader stays, and stays up.
  return step?.kind === 'standby' || holdOf(state, policy) === null ? step : null;
}

function rests({ observation, nowMs }: Facts): boolean {
  return nowMs - observation.watch.stepSinceMs < REST_MS;
}

function abortReason({ state, observation, nowMs, policy }: Facts, { node, stage }: Restart): string | null {
  const stepMs = nowMs - observation.watch.stepSinceMs;
  if (stage === 'leave' || stage === 'restart') {
    if (!isDeclared(observation, node) || node === state.leader) return `${node} is no standby any more`;
    return stage === 'leave' && !viewOf(observation, node).connected ? `${node} is off` : null;
  }
  if (node !== state.leader) return `${node} does not lead any more`;
  const hold = holdOf(state, policy);
  if (hold !== null) return hold.words;
  const { restart: _own, ...rest } = state;
  const trouble = clusterTrouble(rest, observation, nowMs, policy);
  if (trouble !== null) return trouble;
  if (stage === 'prepare') return stepMs < PREPARE_LIMIT_MS ? null : 'the checkpoint takes too long';
  return stepMs < HOLD_LIMIT_MS ? null : `new connections could not be held within ${HOLD_LIMIT_MS} ms`;
}
