/** Rows by which a pause begins and ends. What it holds back stands in the rows themselves, by `holdOf` (pause.ts). */
import { untilOf } from '../facts/hold';
import type { Rule } from '../rules';
import type { ClusterState } from '../state/cluster';
import { change } from '../transitions';

export const PAUSE_RULES: readonly Rule[] = [
  {
    code: 'PAUSE_BEGUN',
    why: 'A person wants no automatic change of leader: what is under way ends as usual, and then only a word of theirs moves the lead.',
    match: ({ state, observation: { request } }) => {
      if (request?.kind !== 'pause' || pauseRefusal(state) !== null) return null;
      const { pause } = request;
      return {
        state: change(state, { pause }),
        reason: `automatic changes of leader are paused ${untilOf(pause)}: ${pause.reason}`,
      };
    },
  },
  {
    code: 'PAUSE_ENDED',
    why: 'A person resumed, or the pause has come to its end: the leader is changed automatically again.',
    match: ({ state, observation: { request } }) => {
      if (request?.kind !== 'resume' || resumeRefusal(state) !== null) return null;
      const how = request.by === 'expired' ? 'has come to its end' : 'was ended';
      return {
        state: change(state, { pause: undefined }),
        reason: `the pause ${how} (${state.pause?.reason ?? ''}); the leader is changed automatically again`,
      };
    },
  },
];

/** Why there can be no pause now; null when there can. */
export function pauseRefusal(state: ClusterState): string | null {
  return state.adopting ? 'the newest state of the cluster is still searched for; ask again later' : null;
}

/** Why there is nothing to resume; null when there is. */
export function resumeRefusal(state: ClusterState): string | null {
  if (state.pause === undefined) return 'nothing is paused';
  return pauseRefusal(state);
}
