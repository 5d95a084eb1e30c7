/**
 * Rows for a leader that serves or should serve: its health, what acknowledged writes wait for, and the steady state.
 */

import { canLeadAgain } from '../facts/candidates';
import { pick } from '../facts/choice';
import type { Health } from '../facts/health';
import { servingHealth } from '../facts/health';
import { holdOf, mayTakeOverAsked } from '../facts/hold';
import { acceptLossRemedy } from '../facts/loss';
import { isCertified } from '../facts/opening';
import { isBeyondHaproxy, isUnreached } from '../facts/reach';
import { switchoverTarget } from '../facts/readiness';
import { begunRequest } from '../facts/requests';
import { settingsReason } from '../facts/settings';
import type { Situation } from '../facts/situation';
import { isProven, wantedConfig, withConfig } from '../facts/sync-set';
import { isDone, list } from '../facts/view';
import type { Plan } from '../rule';
import type { Action } from '../state/cluster';
import { change, giveUp, leadAgain } from '../transitions';

/**
 * Rest before the third start within a minute, ms. The second one follows at once, and each further one rests longer.
 */
const FIRST_REST_MS = 500;
const REST_MAX_MS = 30_000;

export function stopHeldBack(s: Situation): Plan | null {
  const hold = holdOf(s);
  if (servingHealth(s)?.kind !== 'stopping' || hold === null || pick(s, false).kind === 'nobody') return null;
  return {
    code: hold.code,
    reason: `${s.leader} was told to stop; ${hold.words}, so nobody takes over and writes wait for its return`,
  };
}

export function handoverBegun(s: Situation): Plan | null {
  if (servingHealth(s)?.kind !== 'stopping') return null;
  const choice = pick(s, false);
  const candidate = choice.kind === 'candidate' ? choice.node : choice.kind === 'freeze' ? choice.nodes[0] : undefined;
  if (candidate === undefined) return null;
  return {
    state: change(s.state, { activity: { kind: 'handover', candidate } }),
    reason: `${s.leader} was told to stop and hands over to ${candidate}`,
  };
}

export function leaderStopping(s: Situation): Plan | null {
  const health = servingHealth(s);
  if (health?.kind !== 'stopping' || health.serves) return null;
  return { reason: `${s.leader} stops and nobody can take over: ${missing(s)}` };
}

export function leaderLost(s: Situation): Plan | null {
  const gone = goneHealth(s);
  if (gone === null) return null;
  const asked = s.observation.request?.kind === 'promote' ? s.observation.request.to : undefined;
  const isAsked = asked !== undefined && mayTakeOverAsked(s, asked);
  if (!isAsked && holdOf(s) !== null) return null;
  const cause = isAsked ? 'PROMOTE_ASKED' : gone.code;
  const next = giveUp(s, cause, isAsked ? asked : undefined);
  if (next === null) return null;
  const what =
    next.choice.kind === 'candidate'
      ? `${next.choice.node} is promoted in term ${next.state.term}`
      : `its members promise term ${next.state.term} before one of them is promoted`;
  const state = isAsked ? { ...next.state, ...begunRequest(s) } : next.state;
  return { state, code: cause, reason: `${gone.reason}; ${what}` };
}

export function leaderBack(s: Situation): Plan | null {
  if (servingHealth(s)?.kind !== 'down' || !canLeadAgain(s) || restsAfterCrash(s)) return null;
  const next = leadAgain(s, true);
  return { state: next, reason: `${s.leader} is back and leads again in term ${next.term}` };
}

export function failoverHeldBack(s: Situation): Plan | null {
  const hold = holdOf(s);
  const gone = goneHealth(s);
  if (gone === null || hold === null) return null;
  const choice = pick(s, false);
  if (choice.kind === 'nobody') return null;
  const next = choice.kind === 'candidate' ? choice.node : `one of ${list(choice.nodes)}`;
  const node = choice.kind === 'candidate' ? choice.node : (choice.nodes[0] ?? '');
  return {
    code: hold.code,
    actions: probeActions(s),
    reason: `${gone.reason}; ${next} would be promoted, but ${hold.words}: start ${s.leader}, promote ${node}, or ${hold.remedy}`,
  };
}

export function noCandidate(s: Situation): Plan | null {
  const gone = goneHealth(s);
  if (gone === null) return null;
  if (gone.kind === 'down' && canLeadAgain(s)) {
    const failure = s.status(s.leader)?.failure?.message;
    const why = failure === undefined ? '' : ` (${failure})`;
    return {
      code: 'LEADER_RESTS',
      reason: `${gone.reason}${why}; it ended again and again, so it rests before it is started again`,
    };
  }
  const hangs = gone.kind === 'dead' && s.view(s.leader).connected;
  const restart = hangs ? `; restart ${s.leader} if it does not go on by itself` : '';
  return {
    actions: probeActions(s),
    reason: `${gone.reason}; writes wait: ${missing(s)}${restart}${acceptLossRemedy(s)}`,
  };
}

export function leaderUnsure(s: Situation): Plan | null {
  const health = servingHealth(s);
  if (health?.kind === 'blind') return { code: 'LEADER_AWAITED', level: 'INFO', reason: health.reason };
  if (health?.kind !== 'late' && health?.kind !== 'apart') return null;
  return { code: health.code, actions: probeActions(s), reason: health.reason };
}

export function haproxyCutOff(s: Situation): Plan | null {
  const { leader } = s;
  if (servingHealth(s)?.kind !== 'well' || !isBeyondHaproxy(s, leader) || holdOf(s) !== null) return null;
  // After a failed attempt the leader gets some rest.
  if (s.stepMs < s.policy.hangTimeoutMs) return null;
  const target = switchoverTarget(s, null);
  if (!('node' in target)) return null;
  return {
    state: change(s.state, { activity: { kind: 'handover', candidate: target.node, planned: true, cutOff: true } }),
    reason: `HAProxy has not reached ${leader} for ${s.policy.hangTimeoutMs} ms, it hands over to ${target.node}`,
  };
}

export function syncProven(s: Situation): Plan | null {
  const ordered = s.state.joint.at(-1);
  if (s.state.joint.length < 2 || ordered === undefined || !isProven(s)) return null;
  const words = ordered.k === 0 ? 'nobody: it is alone' : `${ordered.k} of ${list(ordered.members)}`;
  return {
    state: change(s.state, { joint: [ordered] }),
    reason: `${ordered.leader} acknowledges writes after ${words}`,
  };
}

export function syncChange(s: Situation): Plan | null {
  const wanted = wantedConfig(s, true);
  if (wanted === null) return null;
  const off = s.policy.syncMode === 'asynchronous' ? 'without waiting for replicas' : 'alone, no replica is left';
  const words = wanted.k === 0 ? off : `with ${list(wanted.members)} counted`;
  return {
    state: change(s.state, { joint: withConfig(s.state.joint, wanted, true) }),
    reason: `${wanted.leader} goes on ${words}`,
  };
}

export function leaderLeaving(s: Situation): Plan | null {
  if (servingHealth(s)?.kind !== 'stopping') return null;
  const why = missing(s);
  return { reason: `${s.leader} was told to stop and serves until somebody can take over: ${why}` };
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
  const { leader } = s;
  const crashes = s.status(leader)?.postgres.crashes ?? 0;
  if (crashes < 2) return false;
  const restMs = Math.min(REST_MAX_MS, FIRST_REST_MS * 2 ** Math.min(crashes - 2, 10));
  return s.nowMs - (s.observation.watch.leaderDownSinceMs ?? s.nowMs) < restMs;
}

/** Tells people why no node can be promoted. */
function missing(s: Situation): string {
  const choice = pick(s, false);
  return choice.kind === 'nobody' ? choice.missing : 'no candidate';
}

/** The health of a leader that is gone; null while it is there. */
function goneHealth(s: Situation): Extract<Health, { kind: 'dead' | 'down' }> | null {
  const health = servingHealth(s);
  return health?.kind === 'dead' || health?.kind === 'down' ? health : null;
}

/** One quick connect confirms a broken connection. It is repeated as long as PostgreSQL still answers it. */
function probeActions(s: Situation): Action[] {
  const health = servingHealth(s);
  const wants = (health?.kind === 'late' || health?.kind === 'apart') && health.probe;
  return wants ? [{ kind: 'probe', node: s.leader }] : [];
}

export function steady(s: Situation): Plan {
  const { leader } = s;
  const ordered = s.state.joint.at(-1);
  const others = s.names.filter((n) => n !== leader);
  const off = others.filter((n) => !s.view(n).connected);
  const rejoining = others.filter((n) => !off.includes(n) && !isDone(s.status(n), s.state.orders[n]));
  const parts = [`${leader} serves in term ${s.state.term}`];
  if (s.state.joint.length > 1) parts.push('a change of the sync set is being put in force');
  else if (ordered !== undefined && ordered.k > 0)
    parts.push(`writes wait for ${ordered.k} of ${list(ordered.members)}`);
  else if (others.length > 0) parts.push('alone, writes wait for nobody');
  if (isUnreached(s, leader)) parts.push('HAProxy does not reach it');
  if (leader === s.observation.retiring)
    parts.push('it is not declared any more and hands over when a standby is ready');
  const hold = holdOf(s);
  if (hold !== null) parts.push(hold.words);
  const settings = settingsReason(s);
  if (settings !== null) parts.push(settings);
  if (rejoining.length > 0) parts.push(`${list(rejoining)} is getting ready`);
  if (off.length > 0) parts.push(`${list(off)} is off`);
  return { reason: parts.join('; ') };
}
