/**
 * Rows for a leader that serves or should serve: its health, what acknowledged writes wait for, and the steady state.
 */

import { canLeadAgain, nodesOf, pick } from '../facts/candidates';
import { isBeyondHaproxy, isCertified, isUnreached } from '../facts/haproxy';
import { crashRestMs, isLost, servingHealth } from '../facts/health';
import { holdOf, mayTakeOverAsked } from '../facts/hold';
import { acceptLossRemedy } from '../facts/loss';
import { switchoverTarget } from '../facts/readiness';
import { begunRequest } from '../facts/requests';
import { keptReason } from '../facts/restores';
import type { Situation } from '../facts/situation';
import { isProven, wantedConfig, withConfig } from '../facts/sync-set';
import { list } from '../facts/view';
import { mayReturn, oldTransactionMs } from '../facts/watch';
import type { Plan } from '../rule';
import type { Action } from '../state/cluster';
import { change, giveUp, promoteNext } from '../transitions';
import { settingsReason } from './settings-roll';

export function stopHeldBack(s: Situation): Plan | null {
  const hold = holdOf(s);
  if (servingHealth(s)?.kind !== 'stopping' || hold === null || pick(s, false).kind === 'none') return null;
  const reason = `${s.leader} was told to stop; ${hold.words}, so no node takes over, and writes wait for its return`;
  return { code: hold.code, reason };
}

export function handoverBegun(s: Situation): Plan | null {
  if (servingHealth(s)?.kind !== 'stopping') return null;
  const [candidate] = nodesOf(pick(s, false));
  if (candidate === undefined) return null;
  const state = change(s.state, { activity: { kind: 'handover', candidate } });
  return { state, reason: `${s.leader} was told to stop and hands over to ${candidate}` };
}

export function leaderStopping(s: Situation): Plan | null {
  const health = servingHealth(s);
  if (health?.kind !== 'stopping' || health.serves) return null;
  return { reason: `${s.leader} stops and no node can take over: ${missing(s)}` };
}

export function leaderLost(s: Situation): Plan | null {
  const gone = servingHealth(s);
  if (gone === null || !isLost(gone)) return null;
  const { request } = s.observation;
  const asked = request?.kind === 'promote' && mayTakeOverAsked(s, request.to) ? request.to : undefined;
  if (asked === undefined && holdOf(s) !== null) return null;
  const code = asked === undefined ? gone.code : 'PROMOTE_ASKED';
  const next = giveUp(s, code, asked);
  if (next === null) return null;
  const state = asked === undefined ? next.state : { ...next.state, ...begunRequest(s) };
  const what =
    next.choice.kind === 'candidate'
      ? `${next.choice.node} is promoted in term ${state.term}`
      : `its members promise term ${state.term} before one of them is promoted`;
  return { state, code, reason: `${gone.reason}; ${what}` };
}

export function leaderBack(s: Situation): Plan | null {
  if (servingHealth(s)?.kind !== 'down' || !canLeadAgain(s) || restsAfterCrash(s)) return null;
  const state = promoteNext(s, s.leader, 'LEADER_BACK');
  return { state, reason: `${s.leader} is back and leads again in term ${state.term}` };
}

export function failoverHeldBack(s: Situation): Plan | null {
  const hold = holdOf(s);
  const gone = servingHealth(s);
  if (gone === null || !isLost(gone) || hold === null) return null;
  const choice = pick(s, false);
  const [node] = nodesOf(choice);
  if (node === undefined) return null;
  const next = choice.kind === 'candidate' ? node : `one of ${list(nodesOf(choice))}`;
  const held = `${gone.reason}; ${next} would be promoted, but ${hold.words}`;
  return { code: hold.code, reason: `${held}: start ${s.leader}, promote ${node}, or ${hold.remedy}` };
}

export function noCandidate(s: Situation): Plan | null {
  const gone = servingHealth(s);
  if (gone === null || !isLost(gone)) return null;
  if (gone.kind === 'down' && canLeadAgain(s)) {
    const failure = s.status(s.leader)?.failure?.message;
    const why = failure === undefined ? '' : ` (${failure})`;
    const reason = `${gone.reason}${why}; it ended again and again, so it rests before it is started again`;
    return { code: 'LEADER_RESTS', reason };
  }
  const hangs = gone.kind === 'dead' && s.view(s.leader).connected;
  const restart = hangs ? `; restart ${s.leader} if it does not go on by itself` : '';
  return { reason: `${gone.reason}; writes wait: ${missing(s)}${restart}${acceptLossRemedy(s)}` };
}

export function leaderUnsure(s: Situation): Plan | null {
  const health = servingHealth(s);
  if (health?.kind === 'blind') return { code: 'LEADER_AWAITED', level: 'INFO', reason: health.reason };
  if (health?.kind !== 'late' && health?.kind !== 'apart') return null;
  // One quick connect confirms a broken connection. It is repeated as long as PostgreSQL still answers it.
  const actions: Action[] = health.probe ? [{ kind: 'probe', node: s.leader }] : [];
  return { code: health.code, actions, reason: health.reason };
}

export function haproxyCutOff(s: Situation): Plan | null {
  const { leader } = s;
  if (servingHealth(s)?.kind !== 'well' || !isBeyondHaproxy(s, leader) || holdOf(s) !== null) return null;
  // The next attempt after one that was called off waits for `hangTimeout`.
  if (s.stepMs < s.policy.hangTimeoutMs) return null;
  const target = switchoverTarget(s, null);
  if (!('node' in target)) return null;
  const { node: candidate } = target;
  const state = change(s.state, { activity: { kind: 'handover', candidate, planned: true, cutOff: true } });
  const what = `HAProxy has not reached ${leader} for ${s.policy.hangTimeoutMs} ms`;
  return { state, reason: `${what}, it hands over to ${candidate}` };
}

export function syncProven(s: Situation): Plan | null {
  const { ordered } = s;
  if (s.state.joint.length < 2 || ordered === undefined || !isProven(s)) return null;
  const how = ordered.k === 0 ? 'alone' : `after ${ordered.k} of ${list(ordered.members)}`;
  const state = change(s.state, { joint: [ordered] });
  return { state, reason: `${ordered.leader} acknowledges writes ${how}` };
}

export function syncChange(s: Situation): Plan | null {
  const wanted = wantedConfig(s, true);
  if (wanted === null) return null;
  const off = s.policy.syncMode === 'asynchronous' ? 'without waiting for replicas' : 'alone, no replica is left';
  const how = wanted.k === 0 ? off : `with ${list(wanted.members)} counted`;
  const state = change(s.state, { joint: withConfig(s.state.joint, wanted, true) });
  return { state, reason: `${wanted.leader} goes on ${how}` };
}

export function leaderLeaving(s: Situation): Plan | null {
  if (servingHealth(s)?.kind !== 'stopping') return null;
  return { reason: `${s.leader} was told to stop and serves until a node can take over: ${missing(s)}` };
}

export function reopening(s: Situation): Plan | null {
  if (s.state.leader === null || isCertified(s)) return null;
  const how = s.observation.haproxy.reachable ? 'is being checked' : 'waits for HAProxy';
  return { reason: `${s.state.leader} leads in term ${s.state.term}, its route ${how}` };
}

/**
 * True while a leader whose PostgreSQL crashed has to rest. The first crash restarts it at once; each further crash
 * within a minute, as its keeper counts them, makes it rest longer (S8).
 */
function restsAfterCrash(s: Situation): boolean {
  const crashes = s.status(s.leader)?.postgres.crashes ?? 0;
  return s.nowMs - (s.observation.watch.leaderDownSinceMs ?? s.nowMs) < crashRestMs(crashes);
}

/** Says why no node can be promoted. */
function missing(s: Situation): string {
  const choice = pick(s, false);
  return choice.kind === 'none' ? choice.missing : 'no candidate';
}

export function steady(s: Situation): Plan {
  const { leader, ordered } = s;
  const others = s.names.filter((n) => n !== leader);
  const off = others.filter((n) => !s.view(n).connected);
  const rejoining = others.filter((n) => !off.includes(n) && !s.isDone(n));
  const parts = [`${leader} serves in term ${s.state.term}`];
  if (s.state.joint.length > 1) parts.push('a change of the sync set is being put in force');
  else if (ordered !== undefined && ordered.k > 0)
    parts.push(`writes wait for ${ordered.k} of ${list(ordered.members)}`);
  else if (others.length > 0) parts.push('alone, writes wait for no standby');
  if (isUnreached(s, leader)) parts.push('HAProxy does not reach it');
  if (leader === s.observation.retiring)
    parts.push('it is not declared any more and hands over when a standby is ready');
  const hold = holdOf(s);
  if (hold !== null) parts.push(hold.words);
  if (mayReturn(s) && oldTransactionMs(s) !== null)
    parts.push(`${s.names[0]} gets the lead back when no transaction is older than a second`);
  const settings = settingsReason(s);
  if (settings !== null) parts.push(settings);
  const kept = keptReason(s);
  if (kept !== null) parts.push(kept);
  if (rejoining.length > 0) parts.push(`${list(rejoining)} is getting ready`);
  if (off.length > 0) parts.push(`${list(off)} is off`);
  return { reason: parts.join('; ') };
}
