/**
 * Rows that begin a planned change of leader while all is well: a person asked for it, the preferred node is back, or the
 * leader is not declared any more. What follows is in rules-switchover.ts.
 */

import { holdOf } from '../facts/hold';
import { lagBytes, switchoverTarget } from '../facts/readiness';
import { keptTheLead, mayReturn } from '../facts/watch';
import type { Plan, Rule } from '../rules';
import type { ClusterState, Switchover } from '../state/cluster';
import { change } from '../transitions';
import { SETTINGS_STARTS } from './settings-roll';

/** After a switchover that was called off a retiring leader has this much rest before the next one, ms. */
const REMOVAL_REST_MS = 1_000;

/** Rows that begin a switchover, when nothing else is to be done. */
export const SWITCHOVER_STARTS: readonly Rule[] = [
  {
    code: 'LEADER_REMOVED',
    why: 'The leader is not declared any more and lives: it hands over by a planned switchover.',
    match: ({ state, observation, nowMs, policy }) => {
      if (state.leader === null || state.leader !== observation.retiring || holdOf(state, policy) !== null) return null;
      if (nowMs - observation.watch.stepSinceMs < REMOVAL_REST_MS) return null;
      const target = switchoverTarget(state, observation, nowMs, policy, null);
      return 'node' in target ? begin(state, target.node, 'removal') : null;
    },
  },
  {
    code: 'SWITCHOVER_BEGUN',
    why: 'A person asked for another leader, and it is a counted, caught-up standby.',
    match: ({ state, observation, nowMs, policy }) => {
      if (observation.request?.kind !== 'switchover') return null;
      const target = switchoverTarget(state, observation, nowMs, policy, observation.request.to);
      return 'node' in target ? begin(state, target.node, 'person') : null;
    },
  },
  ...SETTINGS_STARTS,
  {
    code: 'SWITCHBACK',
    why: 'The preferred node has been a caught-up standby for a stable period: it gets the lead back.',
    match: ({ state, observation, nowMs, policy }) => {
      const preferred = observation.declared[0]?.name;
      if (preferred === undefined || holdOf(state, policy) !== null) return null;
      if (!mayReturn(state, observation.watch, nowMs, policy)) return null;
      const target = switchoverTarget(state, observation, nowMs, policy, preferred);
      if (!('node' in target)) return null;
      // Counted before it is tried: however it ends, and whoever is restarted meanwhile, the next one waits longer (S25).
      return begin({ ...state, switchbacks: (state.switchbacks ?? 0) + 1 }, preferred, 'switchback');
    },
  },
  {
    code: 'SWITCHBACK_KEPT',
    why: 'The preferred node has kept the lead for long enough: the next switchback waits no longer than usual.',
    match: ({ state, observation, nowMs, policy }) => {
      if (state.switchbacks === undefined || !keptTheLead(observation.watch, nowMs, policy)) return null;
      return {
        state: change(state, { switchbacks: undefined }),
        reason: `${state.leader ?? ''} has kept the lead since it got it back`,
      };
    },
  },
  {
    code: 'SWITCHING_OVER',
    why: 'A switchover is being prepared; the leader serves meanwhile.',
    match: ({ state, observation }) => {
      if (state.switchover === undefined) return null;
      const { to, stage } = state.switchover;
      const leader = state.leader ?? '';
      if (stage === 'prepare') return { reason: `${leader} writes a checkpoint before it hands over to ${to}` };
      const lag = lagBytes(observation, leader, to);
      return {
        reason: `new connections are held until ${to}, ${lag ?? 'an unknown number of'} bytes behind, is level`,
      };
    },
  },
];

const CAUSES: Record<Exclude<Switchover['by'], 'settings'>, (state: ClusterState, to: string) => string> = {
  person: () => 'a switchover was asked for',
  switchback: (_, to) => `${to} has been ready for long enough`,
  removal: ({ leader }) => `${leader ?? ''} is not declared any more`,
};

function begin(state: ClusterState, to: string, by: keyof typeof CAUSES): Plan {
  const what = CAUSES[by](state, to);
  return {
    state: change(state, { switchover: { to, by, stage: 'prepare' } }),
    reason: `${what}: ${state.leader ?? ''} hands over to ${to}`,
  };
}
