/** Rows for a cluster whose leader serves, or should: its health first, then the sync set, then the members. */

import { isCertified } from '../effects/route';
import { canLeadAgain } from '../facts/candidates';
import { pick } from '../facts/choice';
import type { Health } from '../facts/health';
import { holdOf, mayTakeOverAsked } from '../facts/hold';
import { isBeyondHaproxy, isUnreached } from '../facts/reach';
import { switchoverTarget } from '../facts/readiness';
import { settingsReason } from '../facts/settings';
import { isProven, wantedConfig, withConfig } from '../facts/sync-set';
import { isDone, list, statusOf, viewOf } from '../facts/view';
import { acceptLossRemedy } from '../facts/way-out';
import type { Facts, Rule } from '../rules';
import type { Action, ClusterState, Observation, Policy } from '../state/cluster';
import { change, giveUp, leadAgain } from '../transitions';
import { memberJoined, memberRemoved } from './members';
import { REBUILD_RULES } from './rebuild';
import { SETTINGS_RULES } from './settings-roll';
import { SWITCHOVER_STARTS } from './starts';
import { SWITCHOVER_RULES } from './switchover';

/** The second start within a minute follows at once, every further one rests longer, ms. */
const FIRST_REST_MS = 500;
const REST_MAX_MS = 30_000;

export const SERVING_RULES: readonly Rule[] = [
  {
    code: 'PAUSED',
    why: 'The leader was told to stop in a pause (or with failoverMode observe): whoever stops it then means to have it back, so it stops and nobody takes over.',
    match: ({ state, observation, policy, health }) => {
      const hold = holdOf(state, policy);
      if (health?.kind !== 'stopping' || hold === null) return null;
      if (pick(state, observation, policy, false).kind === 'nobody') return null;
      const leader = state.leader ?? '';
      return {
        code: hold.code,
        reason: `${leader} was told to stop; ${hold.words}, so nobody takes over and writes wait for its return`,
      };
    },
  },
  {
    code: 'HANDING_OVER',
    why: 'The leader was told to stop and a counted member can take over: it shuts down cleanly first.',
    match: (facts) => {
      const { state, observation, policy, health } = facts;
      if (health?.kind !== 'stopping') return null;
      const choice = pick(state, observation, policy, false);
      const candidate =
        choice.kind === 'candidate' ? choice.node : choice.kind === 'freeze' ? choice.nodes[0] : undefined;
      if (candidate === undefined) return null;
      return {
        state: change(state, { procedure: { kind: 'handover', candidate } }),
        reason: `${state.leader ?? ''} was told to stop and hands over to ${candidate}`,
      };
    },
  },
  {
    code: 'LEADER_STOPPING',
    why: 'The leader was told to stop and nobody could take over in time: it stops, and writes wait for its return.',
    match: ({ state, health, observation, policy }) => {
      if (health?.kind !== 'stopping' || health.serves) return null;
      return { reason: `${state.leader ?? ''} stops and nobody can take over: ${missing(state, observation, policy)}` };
    },
  },
  {
    code: 'LEADER_LOST',
    why: 'The leader is dead, hung or down and somebody can take over without losing an acknowledged write.',
    match: (facts) => {
      const { state, observation, nowMs, policy, health } = facts;
      if (health?.kind !== 'dead' && health?.kind !== 'down') return null;
      const asked = observation.request?.kind === 'promote' ? observation.request.to : undefined;
      const isAsked = asked !== undefined && mayTakeOverAsked(state, observation, nowMs, policy, asked);
      if (!isAsked && holdOf(state, policy) !== null) return null;
      const cause = isAsked ? 'PROMOTE_ASKED' : health.code;
      const next = giveUp(state, observation, nowMs, policy, cause, isAsked ? asked : undefined);
      if (next === null) return null;
      const what =
        next.choice.kind === 'candidate'
          ? `${next.choice.node} is promoted in term ${next.state.term}`
          : `its members promise term ${next.state.term} before one of them is promoted`;
      return { state: next.state, code: cause, reason: `${health.reason}; ${what}` };
    },
  },
  {
    code: 'LEADER_BACK',
    why: 'The leader restarted and nobody else can lead: it leads again in a new term, through the same opening.',
    match: ({ state, observation, nowMs, policy, health }) => {
      if (health?.kind !== 'down' || !canLeadAgain(state, observation)) return null;
      if (restsAfterCrash(state, observation, nowMs)) return null;
      const next = leadAgain(state, observation, nowMs, policy, true);
      return { state: next, reason: `${state.leader ?? ''} is back and leads again in term ${next.term}` };
    },
  },
  {
    code: 'PAUSED',
    why: 'The leader is gone in a pause (or with failoverMode observe) and somebody could take over: it is said who, and what a person can do.',
    match: ({ state, observation, policy, health }) => {
      const hold = holdOf(state, policy);
      if ((health?.kind !== 'dead' && health?.kind !== 'down') || hold === null) return null;
      const choice = pick(state, observation, policy, false);
      if (choice.kind === 'nobody') return null;
      const leader = state.leader ?? '';
      const next = choice.kind === 'candidate' ? choice.node : `one of ${list(choice.nodes)}`;
      const node = choice.kind === 'candidate' ? choice.node : (choice.nodes[0] ?? '');
      return {
        code: hold.code,
        actions: probeActions(leader, health),
        reason: `${health.reason}; ${next} would be promoted, but ${hold.words}: start ${leader}, promote ${node}, or ${hold.remedy}`,
      };
    },
  },
  {
    code: 'NO_CANDIDATE',
    why: 'The leader is gone and nobody else has all acknowledged writes: writes wait, and it is said which node to start.',
    match: ({ state, observation, nowMs, policy, health }) => {
      if (health?.kind !== 'dead' && health?.kind !== 'down') return null;
      const actions = probeActions(state.leader, health);
      if (health.kind === 'down' && canLeadAgain(state, observation)) {
        const failure = statusOf(observation, state.leader ?? '')?.failure?.message;
        const why = failure === undefined ? '' : ` (${failure})`;
        return {
          code: 'LEADER_RESTS',
          reason: `${health.reason}${why}; it ended again and again, so it rests before it is started again`,
        };
      }
      const why = missing(state, observation, policy);
      const leader = state.leader ?? '';
      const hangs = health.kind === 'dead' && viewOf(observation, leader).connected;
      const restart = hangs ? `; restart ${leader} if it does not go on by itself` : '';
      const remedy = acceptLossRemedy(state, observation, nowMs, policy);
      return { actions, reason: `${health.reason}; writes wait: ${why}${restart}${remedy}` };
    },
  },
  {
    code: 'LEADER_UNSURE',
    why: 'The leader is late or its connection broke: new connections are held until it answers or is confirmed dead.',
    match: ({ state, health }) => {
      if (health === null || (health.kind !== 'late' && health.kind !== 'apart' && health.kind !== 'blind'))
        return null;
      const code = health.kind === 'blind' ? 'LEADER_AWAITED' : health.code;
      return { code, actions: probeActions(state.leader, health), reason: health.reason };
    },
  },
  {
    code: 'HAPROXY_CUT_OFF',
    why: 'HAProxy cannot reach the leader, which works, and reaches a standby that can take over: the leader hands over.',
    match: ({ state, observation, nowMs, policy, health }) => {
      const leader = state.leader ?? '';
      if (health?.kind !== 'well' || !isBeyondHaproxy(observation, leader, nowMs, policy)) return null;
      if (holdOf(state, policy) !== null) return null;
      // After an attempt that failed the leader has some rest.
      if (nowMs - observation.watch.stepSinceMs < policy.hangTimeoutMs) return null;
      const target = switchoverTarget(state, observation, nowMs, policy, null);
      if (!('node' in target)) return null;
      return {
        state: change(state, {
          procedure: { kind: 'handover', candidate: target.node, planned: true, cutOff: true },
        }),
        reason: `HAProxy has not reached ${leader} for ${policy.hangTimeoutMs} ms, it hands over to ${target.node}`,
      };
    },
  },
  ...SWITCHOVER_RULES,
  {
    code: 'SYNC_PROVEN',
    why: 'The ordered sync configuration is proven in force: the former ones count no more.',
    match: ({ state, observation }) => {
      const ordered = state.joint.at(-1);
      if (state.joint.length < 2 || ordered === undefined || !isProven(state, observation)) return null;
      const words = ordered.k === 0 ? 'nobody: it is alone' : `${ordered.k} of ${list(ordered.members)}`;
      return {
        state: change(state, { joint: [ordered] }),
        reason: `${ordered.leader} acknowledges writes after ${words}`,
      };
    },
  },
  {
    code: 'SYNC_CHANGE',
    why: 'Counted members are gone or streaming standbys are not counted yet: the new configuration is recorded jointly.',
    match: ({ state, observation, nowMs, policy }) => {
      const wanted = wantedConfig(state, observation, nowMs, policy, true);
      if (wanted === null) return null;
      const off = policy.syncMode === 'asynchronous' ? 'without waiting for replicas' : 'alone, no replica is left';
      const words = wanted.k === 0 ? off : `with ${list(wanted.members)} counted`;
      return {
        state: change(state, { joint: withConfig(state.joint, wanted, true) }),
        reason: `${wanted.leader} goes on ${words}`,
      };
    },
  },
  {
    code: 'MEMBER_JOINED',
    why: 'A node carries out its order with a data directory that was not recorded: it becomes a member.',
    match: (facts) => memberJoined(facts),
  },
  {
    code: 'MEMBER_REMOVED',
    why: 'A node that is not declared any more and counts nowhere is forgotten.',
    match: (facts) => memberRemoved(facts),
  },
  {
    code: 'LEADER_LEAVING',
    why: 'The leader was told to stop and nobody can take over yet: it serves on for the seconds in which a standby may come.',
    match: ({ state, health, observation, policy }) => {
      if (health?.kind !== 'stopping') return null;
      const why = missing(state, observation, policy);
      return { reason: `${state.leader ?? ''} was told to stop and serves until somebody can take over: ${why}` };
    },
  },
  ...REBUILD_RULES,
  ...SETTINGS_RULES,
  ...SWITCHOVER_STARTS,
  {
    code: 'REOPENING',
    why: 'HAProxy or the monitor restarted: the leader passes the opening checks again before the slot is opened.',
    match: ({ state, observation }) => {
      if (state.leader === null || isCertified(state, observation)) return null;
      const how = observation.haproxy.reachable ? 'is being checked' : 'waits for HAProxy';
      return { reason: `${state.leader} leads in term ${state.term}, its route ${how}` };
    },
  },
  {
    code: 'STEADY',
    why: 'The leader serves and there is nothing to change.',
    match: (facts) => ({ reason: steadyReason(facts) }),
  },
];

/**
 * A leader whose PostgreSQL ended by itself is started again at once the first time, and rests longer with each further crash
 * within a minute, which its keeper counts (S8).
 */
function restsAfterCrash(state: ClusterState, observation: Observation, nowMs: number): boolean {
  const leader = state.leader ?? '';
  const crashes = statusOf(observation, leader)?.postgres.crashes ?? 0;
  if (crashes < 2) return false;
  const restMs = Math.min(REST_MAX_MS, FIRST_REST_MS * 2 ** Math.min(crashes - 2, 10));
  return nowMs - (observation.watch.leaderDownSinceMs ?? nowMs) < restMs;
}

/** Why no node can be promoted, for people. */
function missing(state: ClusterState, observation: Observation, policy: Policy): string {
  const choice = pick(state, observation, policy, false);
  return choice.kind === 'nobody' ? choice.missing : 'no candidate';
}

/** A broken connection is confirmed by one quick connect, which is repeated while PostgreSQL goes on answering it. */
function probeActions(leader: string | null, health: Health): Action[] {
  const wants = (health.kind === 'late' || health.kind === 'apart') && health.probe;
  return wants && leader !== null ? [{ kind: 'probe', node: leader }] : [];
}

function steadyReason({ state, observation, policy }: Facts): string {
  const leader = state.leader ?? '';
  const ordered = state.joint.at(-1);
  const others = observation.declared.map((d) => d.name).filter((n) => n !== leader);
  const off = others.filter((n) => !viewOf(observation, n).connected);
  const rejoining = others.filter((n) => !off.includes(n) && !isDone(statusOf(observation, n), state.orders[n]));
  const parts = [`${leader} serves in term ${state.term}`];
  if (state.joint.length > 1) parts.push('a change of the sync set is being put in force');
  else if (ordered !== undefined && ordered.k > 0)
    parts.push(`writes wait for ${ordered.k} of ${list(ordered.members)}`);
  else if (others.length > 0) parts.push('alone, writes wait for nobody');
  if (isUnreached(observation, leader)) parts.push('HAProxy does not reach it');
  if (leader === observation.retiring) parts.push('it is not declared any more and hands over when a standby is ready');
  const hold = holdOf(state, policy);
  if (hold !== null) parts.push(hold.words);
  const settings = settingsReason(state, observation);
  if (settings !== null) parts.push(settings);
  if (rejoining.length > 0) parts.push(`${list(rejoining)} is getting ready`);
  if (off.length > 0) parts.push(`${list(off)} is off`);
  return parts.join('; ');
}
