/**
 * Rows of the planned change of leader. While the leader serves, it writes a checkpoint, and then new connections are
 * held. Then the leader is told to stop, and the next leader is recorded, promoted and opened as after any loss of a
 * leader. If something goes wrong before the leader has stopped, it goes on leading. After that, the rows of an
 * election decide.
 */

import { pick } from '../facts/candidates';
import { holdOf } from '../facts/hold';
import {
  candidateTrouble,
  clusterTrouble,
  GENTLE_LIMIT_MS,
  isLevel,
  lagBytes,
  STOP_LIMIT_MS,
  switchoverTarget,
} from '../facts/readiness';
import { abortedRequest, begunRequest } from '../facts/requests';
import type { Situation } from '../facts/situation';
import { keptTheLead, mayReturn, oldTransactionMs, returnDueMs } from '../facts/watch';
import { during, type Plan } from '../rule';
import { type ClusterState, type LeaderPlan, type Switchover, switchoverOf } from '../state/cluster';
import { change, elect, giveUp, prepare } from '../transitions';

/** How long the leader's checkpoint before a planned stop may take, ms. */
export const PREPARE_LIMIT_MS = 60_000;
/** How long new connections are held at most until the candidate is level with the leader, ms. */
export const HOLD_LIMIT_MS = 2_000;

/** Rows of a handover: the leader has been told to stop. */
export const handoverAborted = during('handover', (s, { candidate, planned, gentle }) => {
  if (planned !== true) return null;
  const { leader } = s;
  if (s.status(leader)?.postgres.state !== 'primary') return null;
  const lost = pick(s, false).kind === 'none';
  const limitMs = gentle === true ? GENTLE_LIMIT_MS : STOP_LIMIT_MS;
  if (!lost && s.stepMs < limitMs) return null;
  const late = gentle === true ? `transactions on ${leader} did not end` : `${leader} did not stop`;
  const why = lost ? `${candidate} is lost` : `${late} within ${limitMs} ms`;
  const reason = `${why}; ${leader} goes on leading`;
  return { state: change(s.state, { activity: { kind: 'serving' }, ...abortedRequest(s.state, reason) }), reason };
});

export const handingOver = during('handover', (s, { candidate }) => {
  return { reason: `${s.leader} shuts down cleanly, then ${candidate} takes over` };
});

/** Rows of a switchover while the leader still serves. */
export function switchoverAborted(s: Situation): Plan | null {
  const why = abortReason(s);
  if (why === null) return null;
  const reason = `${why}; ${s.leader} goes on leading`;
  return { state: { ...prepare(s.state, null), ...abortedRequest(s.state, reason) }, reason };
}

export function switchoverHold(s: Situation): Plan | null {
  const switchover = switchoverOf(s.state);
  if (switchover?.stage !== 'prepare' || !s.isDone(s.leader)) return null;
  const state = prepare(s.state, { ...switchover, stage: 'hold' });
  return { state, reason: `${s.leader} is ready to stop; new connections are held` };
}

export function switchoverStop(s: Situation): Plan | null {
  const switchover = switchoverOf(s.state);
  if (switchover?.stage !== 'hold' || s.state.joint.length !== 1) return null;
  const { reachable, closed } = s.observation.haproxy;
  const candidate = switchover.to;
  if (!reachable || !closed || !isLevel(s, candidate)) return null;
  const gentle = switchover.by === 'switchback' ? true : undefined;
  const state = change(s.state, { activity: { kind: 'handover', candidate, planned: true, gentle } });
  return { state, reason: `${s.leader} lets its clients finish and stops, then ${candidate} takes over` };
}

function abortReason(s: Situation): string | null {
  const switchover = switchoverOf(s.state);
  if (switchover === null) return null;
  const { to, by, stage } = switchover;
  const hold = by === 'person' ? null : holdOf(s);
  if (hold !== null) return hold.words;
  if (by === 'switchback' && oldTransactionMs(s) !== null) return `a transaction on ${s.leader} has become old`;
  return candidateTrouble(s, to) ?? preparedTrouble(s, stage, `${to} did not get level`);
}

/** Why the planned stop of the leader is called off now; null when it goes on. `late`: why the hold took too long. */
export function preparedTrouble(s: Situation, stage: LeaderPlan['stage'], late: string): string | null {
  const trouble = clusterTrouble(s.with(prepare(s.state, null)));
  if (trouble !== null) return trouble;
  if (stage === 'prepare') return s.stepMs < PREPARE_LIMIT_MS ? null : 'the checkpoint takes too long';
  return s.stepMs < HOLD_LIMIT_MS ? null : `${late} within ${HOLD_LIMIT_MS} ms`;
}

/**
 * The end of the handover. A clean fast shutdown ends only when every streaming standby has flushed all WAL (manual,
 * "pg_ctl", fast mode: walsenders end last), so a counted candidate is level and no node needs a rewind.
 */
export const handedOver = during('handover', (s, { candidate, planned }) => {
  const { leader } = s;
  const { connected, silentMs, status } = s.view(leader);
  const running = connected && silentMs < s.policy.hangTimeoutMs;
  // The leader may not have begun to stop yet. After STOP_LIMIT_MS a shutdown that does not end is not waited for.
  const overdue = planned === true && s.stepMs >= STOP_LIMIT_MS;
  if (running && !overdue && (status === null || ['primary', 'stopping'].includes(status.postgres.state))) return null;
  const next = giveUp(s, 'HANDED_OVER', candidate);
  const state = next?.state ?? elect(s.state, 'HANDED_OVER', candidate);
  if (next?.choice.kind !== 'candidate') return { state, reason: `${leader} has stopped; the next leader is chosen` };
  return { state, reason: `${leader} has stopped; ${next.choice.node} is promoted in term ${state.term}` };
});

/** Time between a switchover of a retiring leader that was called off and the next one, ms. */
const REMOVAL_REST_MS = 1_000;

export function leaderRemoved(s: Situation): Plan | null {
  if (s.state.leader === null || s.state.leader !== s.observation.retiring || holdOf(s) !== null) return null;
  if (s.stepMs < REMOVAL_REST_MS) return null;
  const target = switchoverTarget(s, null);
  return 'node' in target ? begin(s.state, target.node, 'removal', `${s.leader} is not declared any more`) : null;
}

export function switchoverBegun(s: Situation): Plan | null {
  if (s.observation.request?.kind !== 'switchover') return null;
  const target = switchoverTarget(s, s.observation.request.to);
  if (!('node' in target)) return null;
  return begin({ ...s.state, ...begunRequest(s) }, target.node, 'person', 'a switchover was asked for');
}

/**
 * A switchback is not urgent, so it ends no transaction. It is put off when a transaction does not end in time (S25).
 */
export function switchbackPutOff(s: Situation): Plan | null {
  if (holdOf(s) !== null || !mayReturn(s) || oldTransactionMs(s) === null) return null;
  if ((returnDueMs(s) ?? 0) < s.policy.switchbackLimitMs) return null;
  const limit = `${s.policy.switchbackLimitMs / 1_000} s`;
  const reason = `transactions on ${s.leader} left no quiet moment within ${limit}, so ${s.names[0]} gets the lead back later`;
  return { state: change(s.state, { switchbacks: (s.state.switchbacks ?? 0) + 1 }), reason };
}

export function switchback(s: Situation): Plan | null {
  const [preferred] = s.names;
  if (preferred === undefined || holdOf(s) !== null || !mayReturn(s) || oldTransactionMs(s) !== null) return null;
  const target = switchoverTarget(s, preferred);
  if (!('node' in target)) return null;
  // The switchback is counted before it begins. So the next one waits longer, however this one ends and even if the
  // monitor restarts meanwhile (S25).
  const state = { ...s.state, switchbacks: (s.state.switchbacks ?? 0) + 1 };
  return begin(state, preferred, 'switchback', `${preferred} has been ready for long enough`);
}

export function switchbackKept(s: Situation): Plan | null {
  if (s.state.switchbacks === undefined || !keptTheLead(s)) return null;
  const reason = `${s.leader} has kept the lead since it got it back`;
  return { state: change(s.state, { switchbacks: undefined }), reason };
}

export function switchingOver(s: Situation): Plan | null {
  const switchover = switchoverOf(s.state);
  if (switchover === null) return null;
  const { to, stage } = switchover;
  if (stage === 'prepare') return { reason: `${s.leader} writes a checkpoint before it hands over to ${to}` };
  const lag = lagBytes(s, to) ?? 'an unknown number of';
  return { reason: `new connections are held until ${to}, ${lag} bytes behind, is level` };
}

function begin(state: ClusterState, to: string, by: Switchover['by'], why: string): Plan {
  const reason = `${why}: ${state.leader ?? ''} hands over to ${to}`;
  return { state: prepare(state, { kind: 'switchover', to, by, stage: 'prepare' }), reason };
}
