/**
 * Rows of a restore in place. The leader stops as before a switchover, and then the standbys stop. The leader's keeper
 * makes the restored data beside the present data. The present data stay in their place until the restored data are
 * complete, so a restore that fails is only an interruption. Then the keeper swaps the two folders, and the leader is
 * promoted in a new generation, without standbys. Each standby's data belong to the abandoned history, so every standby
 * is copied anew.
 */
import { targetWords } from '../../contract/restore';
import { canLeadAgain } from '../facts/candidates';
import { isAbsent } from '../facts/health';
import { DRAIN_MS, STOP_LIMIT_MS } from '../facts/readiness';
import { abortedRequest, begunRequest } from '../facts/requests';
import { highestTimeline, restoreRefusal, whatOf } from '../facts/restores';
import type { Situation } from '../facts/situation';
import { during, type Plan } from '../rule';
import { planOf, type Restore } from '../state/cluster';
import type { Request } from '../state/observation';
import { change, giveUp, prepare, promoteNext, promoteRestored } from '../transitions';
import { preparedTrouble } from './switchover';

/** The leader begins to stop: a request of a person. */
export function restoreBegun(s: Situation): Plan | null {
  const { request } = s.observation;
  if (request?.kind !== 'restore' && request?.kind !== 'undo') return null;
  if (request.id === undefined || restoreRefusal(s, request) !== null) return null;
  const restore = wishOf(s, request.id, request);
  const state = prepare({ ...s.state, ...begunRequest(s) }, { kind: 'restore', stage: 'prepare', restore });
  return { state, reason: `${s.leader} writes a checkpoint, then ${whatOf(restore)}` };
}

function wishOf(s: Situation, id: string, request: Extract<Request, { kind: 'restore' | 'undo' }>): Restore {
  if (request.kind === 'restore') {
    const { target, timeline } = request;
    return { id, from: { kind: 'backup', target, timeline }, words: targetWords(target) };
  }
  return { id, from: { kind: 'kept', id: s.state.restored?.id ?? '' }, words: 'the data from before the restore' };
}

/** Calls the restore off while the leader still serves. */
export function restoreCalledOff(s: Situation): Plan | null {
  const plan = planOf(s.state);
  if (plan?.kind !== 'restore') return null;
  const why = preparedTrouble(s, plan.stage, 'new connections could not be held');
  if (why === null) return null;
  const reason = `${why}; nothing is restored, ${s.leader} goes on leading`;
  return { state: { ...prepare(s.state, null), ...abortedRequest(s.state, reason) }, reason };
}

export function restorePrepared(s: Situation): Plan | null {
  const plan = planOf(s.state);
  if (plan?.kind !== 'restore') return null;
  if (plan.stage === 'prepare' && s.isDone(s.leader)) {
    return { state: prepare(s.state, { ...plan, stage: 'hold' }), reason: 'new connections are held' };
  }
  const { reachable, closed } = s.observation.haproxy;
  if (plan.stage !== 'hold' || s.state.joint.length !== 1 || !reachable || !closed) return null;
  const { restore } = plan;
  const state = change(s.state, {
    activity: { kind: 'restore', stage: 'stop', restore, above: highestTimeline(s) },
  });
  return { state, reason: `${s.leader} lets its clients finish (at most ${DRAIN_MS / 1_000} s) and stops` };
}

/** The leader has stopped: its keeper makes the restored data. */
export const restoreStopped = during('restore', (s, activity) => {
  if (activity.stage !== 'stop' || !s.isDone(s.leader)) return null;
  if (s.status(s.leader)?.postgres.state !== 'stopped' || !canLeadAgain(s)) return null;
  const state = change(s.state, { activity: { ...activity, stage: 'make' } });
  return { state, reason: `${s.leader} has stopped; ${whatOf(activity.restore)}` };
});

export const restoreMade = during('restore', (s, activity) => {
  if (activity.stage !== 'make' || !s.isDone(s.leader)) return null;
  const state = change(s.state, { activity: { ...activity, stage: 'swap' } });
  return { state, reason: `the data are complete and take the place of those of ${s.leader}` };
});

/** The data are in their place: from here on only this directory counts. */
export const restored = during('restore', (s, { stage, restore }) => {
  const { leader } = s;
  const status = s.status(leader);
  const { dataId = null, restored: swapped } = status ?? {};
  if (stage !== 'swap' || !s.isDone(leader) || swapped?.id !== restore.id) return null;
  if (dataId === null || dataId === s.state.members[leader]) return null;
  const state = promoteRestored(s, dataId, restore, swapped.atMs);
  const what = restore.from.kind === 'kept' ? 'the data from before the restore' : `the data of ${restore.words}`;
  const reason = `${leader} has ${what} and leads with them in term ${state.term}; the other nodes are copied anew`;
  return { state, code: restore.from.kind === 'kept' ? 'RESTORE_UNDONE' : 'RESTORED', reason };
});

/** The keeper could not do it. It has left the former data as they were. */
export const restoreFailed = during('restore', (s, { restore }) => {
  const { leader } = s;
  const failure = s.status(leader)?.failure ?? null;
  if (failure?.code !== 'RESTORE_IMPOSSIBLE' || !s.hasAccepted(leader) || !canLeadAgain(s)) return null;
  const reason = `${failed(restore)}: ${failure.message}; ${leader} leads with its former data`;
  const state = promoteNext(s.with({ ...s.state, ...abortedRequest(s.state, reason) }), leader, 'RESTORE_FAILED');
  return { state, reason };
});

/**
 * The leader is lost before the data are swapped: the former data count, on all nodes, so the usual rules apply. Once
 * they are being swapped, only the leader knows which data it has, so it is waited for.
 */
export const restoreLost = during('restore', (s, { stage, restore }) => {
  if (stage === 'swap') return null;
  const { leader } = s;
  const view = s.view(leader);
  const { status } = view;
  const overdue = stage === 'stop' && s.stepMs >= STOP_LIMIT_MS;
  if (overdue && status?.postgres.state === 'stopping' && view.connected) {
    const next = giveUp(s, 'RESTORE_FAILED');
    const reason = `${failed(restore)}: ${leader} does not stop, so it is given up`;
    return next && { state: { ...next.state, ...abortedRequest(s.state, reason) }, reason };
  }
  const why = lossOf(s) ?? (overdue && status?.postgres.state === 'primary' ? `${leader} did not stop in time` : null);
  if (why === null) return null;
  const reason = `${failed(restore)}: ${why}`;
  return { state: change(s.state, { activity: { kind: 'serving' }, ...abortedRequest(s.state, reason) }), reason };
});

function lossOf(s: Situation): string | null {
  const { leader } = s;
  const { connected, everConnected, changedAtMs, silentMs, status } = s.view(leader);
  if (!connected) {
    // A keeper that only restarts goes on with its order.
    const isGone = everConnected ? s.nowMs - changedAtMs >= s.policy.startGraceMs : isAbsent(s, leader);
    return isGone ? `${leader} is off` : null;
  }
  if (status?.stopping === true) return `${leader} is being stopped`;
  if (silentMs >= s.policy.startGraceMs) return `${leader} does not answer`;
  const isOther = status !== null && status.dataId !== s.state.members[leader];
  return isOther ? `${leader} came back with other data` : null;
}

export const restoring = during('restore', (s, { stage, restore }) => {
  const { leader } = s;
  if (!s.view(leader).connected) return { reason: `waiting for ${leader}, on which ${whatOf(restore)}` };
  const step = { stop: 'its PostgreSQL stops first', make: 'the data are being made', swap: 'the data are swapped' };
  return { reason: `on ${leader} ${whatOf(restore)}: ${step[stage]}; clients wait` };
});

function failed({ from }: Restore): string {
  return from.kind === 'kept' ? 'the restore is not undone' : 'nothing is restored';
}

/** A person confirms the last restore in place: the data from before it are to be removed. */
export function restoreConfirmed(s: Situation): Plan | null {
  const { request } = s.observation;
  const { restored: kept } = s.state;
  if (request?.kind !== 'confirm' || kept === undefined || restoreRefusal(s, request) !== null) return null;
  const state = change(s.state, { restored: { ...kept, confirmed: true } });
  return {
    state,
    reason: `the restore to ${kept.words} is confirmed: the data from before it are removed on ${kept.node}`,
  };
}

/** Forgets kept data that are gone: removed as a person wished, or with their volume. */
export function keptGone(s: Situation): Plan | null {
  const { restored: kept } = s.state;
  if (kept === undefined) return null;
  const status = s.status(kept.node);
  const isGone = status === null ? !s.isDeclared(kept.node) : (status.restored?.keptBytes ?? null) === null;
  if (!isGone) return null;
  const reason = `the data from before the restore to ${kept.words} are gone from ${kept.node}`;
  return { state: change(s.state, { restored: undefined }), reason };
}
