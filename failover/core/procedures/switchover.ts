/**
 * Rows of the planned change of leader. While the leader serves: begun, prepared, held. Then it is told to stop, and what
 * follows is the same as after any other loss of a leader: recorded, promoted, and the one way to open. Whatever is off
 * before the leader has stopped leads back to it; whatever is off later is dealt with by the rows of an election.
 */
import { pick } from '../facts/choice';
import { holdOf } from '../facts/hold';
import {
  candidateTrouble,
  clusterTrouble,
  HOLD_LIMIT_MS,
  isLevel,
  PREPARE_LIMIT_MS,
  STOP_LIMIT_MS,
} from '../facts/readiness';
import { isDone, statusOf, viewOf } from '../facts/view';
import type { Facts, Plan, Rule } from '../rules';
import type { ClusterState } from '../state/cluster';
import { change, elect, promote } from '../transitions';

/** Rows of a hand-over that is under way. */
export const HANDOVER_RULES: readonly Rule[] = [
  {
    code: 'SWITCHOVER_ABORTED',
    why: 'The candidate is lost, or the leader does not stop in time, and it still works: it goes on leading.',
    match: (facts) => {
      const { state, observation, policy } = facts;
      if (state.procedure?.kind !== 'handover' || state.procedure.planned !== true) return null;
      const leader = state.leader ?? '';
      if (statusOf(observation, leader)?.postgres.state !== 'primary') return null;
      const lost = pick(state, observation, policy, false).kind === 'nobody';
      if (!lost && stepMs(facts) < STOP_LIMIT_MS) return null;
      const why = lost ? `${state.procedure.candidate} is lost` : `${leader} did not stop within ${STOP_LIMIT_MS} ms`;
      return { state: change(state, { procedure: null }), reason: `${why}; ${leader} goes on leading` };
    },
  },
  {
    code: 'HANDED_OVER',
    why: 'The old leader has shut down, or is gone: the candidate takes over.',
    match: (facts) => handedOver(facts),
  },
  {
    code: 'HANDING_OVER',
    why: 'The leader was told to stop: it shuts down cleanly first, new connections are held.',
    match: ({ state }) =>
      state.procedure?.kind === 'handover'
        ? { reason: `${state.leader ?? ''} shuts down cleanly, then ${state.procedure.candidate} takes over` }
        : null,
  },
];

/** Rows of a switchover while the leader serves. */
export const SWITCHOVER_RULES: readonly Rule[] = [
  {
    code: 'SWITCHOVER_ABORTED',
    why: 'The candidate cannot take over any more, or a step takes too long: the leader goes on as if nothing had been.',
    match: (facts) => {
      const { state } = facts;
      const why = state.switchover === undefined ? null : abortReason(facts);
      if (why === null) return null;
      return { state: without(state), reason: `${why}; ${state.leader ?? ''} goes on leading` };
    },
  },
  {
    code: 'SWITCHOVER_HOLD',
    why: 'The leader has written its checkpoint: new connections are held from now on.',
    match: ({ state, observation }) => {
      const { switchover } = state;
      const leader = state.leader ?? '';
      if (switchover?.stage !== 'prepare' || !isDone(statusOf(observation, leader), state.orders[leader])) return null;
      return {
        state: change(state, { switchover: { ...switchover, stage: 'hold' } }),
        reason: `${leader} is ready to stop; new connections are held`,
      };
    },
  },
  {
    code: 'SWITCHOVER_STOP',
    why: 'The slot is closed for new connections and the candidate is level: the leader lets its clients finish and stops.',
    match: ({ state, observation }) => {
      const { switchover } = state;
      if (switchover?.stage !== 'hold' || state.joint.length !== 1) return null;
      const { reachable, closed } = observation.haproxy;
      if (!reachable || !closed || !isLevel(state, observation, switchover.to)) return null;
      return {
        state: change(state, { procedure: { kind: 'handover', candidate: switchover.to, planned: true } }),
        reason: `${state.leader ?? ''} lets its clients finish and stops, then ${switchover.to} takes over`,
      };
    },
  },
];

function without(state: ClusterState): ClusterState {
  return change(state, { switchover: undefined });
}

/** Since when the present step is under way, ms. */
function stepMs({ observation, nowMs }: Facts): number {
  return nowMs - observation.watch.stepSinceMs;
}

function abortReason(facts: Facts): string | null {
  const { state, observation, nowMs, policy } = facts;
  if (state.switchover === undefined) return null;
  const { to, by, stage } = state.switchover;
  const hold = by === 'person' ? null : holdOf(state, policy);
  if (hold !== null) return hold.words;
  const trouble =
    candidateTrouble(state, observation, to, nowMs, policy) ??
    clusterTrouble(without(state), observation, nowMs, policy);
  if (trouble !== null) return trouble;
  const ms = stepMs(facts);
  if (stage === 'prepare') return ms < PREPARE_LIMIT_MS ? null : 'the checkpoint takes too long';
  return ms < HOLD_LIMIT_MS ? null : `${to} did not get level within ${HOLD_LIMIT_MS} ms`;
}

/**
 * The hand-over's end. A clean fast shutdown ends only when every streaming standby has flushed all of it (manual,
 * "pg_ctl": fast mode; the walsender's last duty), so a counted candidate is level and nothing needs a rewind.
 */
function handedOver(facts: Facts): Plan | null {
  const { state, observation, nowMs, policy } = facts;
  if (state.procedure?.kind !== 'handover') return null;
  const leader = state.leader ?? '';
  const view = viewOf(observation, leader);
  const status = statusOf(observation, leader);
  const running = view.connected && view.silentMs < policy.hangTimeoutMs;
  // What it was told to do a moment ago it may not have begun yet; a shutdown that never ends is not waited for.
  const overdue = state.procedure.planned === true && stepMs(facts) >= STOP_LIMIT_MS;
  if (running && !overdue && (status === null || ['primary', 'stopping'].includes(status.postgres.state))) return null;
  const { candidate } = state.procedure;
  const choice = pick(state, observation, policy, false, candidate);
  const cause = 'HANDED_OVER';
  if (choice.kind === 'candidate') {
    const next = promote({ ...state, term: state.term + 1 }, observation, nowMs, policy, choice.node, cause);
    return { state: next, reason: `${leader} has stopped; ${choice.node} is promoted in term ${next.term}` };
  }
  return { state: elect(state, cause, candidate), reason: `${leader} has stopped; the next leader is chosen` };
}
