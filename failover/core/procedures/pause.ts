/** Rows that begin and end a pause. Other rows ask `holdOf` (hold.ts) whether a pause holds them back. */

import { untilOf } from '../facts/hold';
import type { Situation } from '../facts/situation';
import type { Plan } from '../rule';
import { type ClusterState, restoreOf } from '../state/cluster';
import { change } from '../transitions';

export function pauseBegun(s: Situation): Plan | null {
  if (s.observation.request?.kind !== 'pause' || pauseRefusal(s.state) !== null) return null;
  const { pause } = s.observation.request;
  const reason = `automatic changes of leader are paused ${untilOf(pause)}: ${pause.reason}`;
  return { state: change(s.state, { pause }), reason };
}

export function pauseEnded(s: Situation): Plan | null {
  if (s.observation.request?.kind !== 'resume' || resumeRefusal(s.state) !== null) return null;
  const how = s.observation.request.by === 'expired' ? 'has come to its end' : 'was ended';
  const what = `the pause ${how} (${s.state.pause?.reason ?? ''})`;
  return { state: change(s.state, { pause: undefined }), reason: `${what}; the leader is changed automatically again` };
}

/** Why a pause is refused now; null when it may begin. */
export function pauseRefusal(state: ClusterState): string | null {
  if (restoreOf(state) !== null) return 'a restore in place is under way; ask again when it has ended';
  return state.adopting ? 'the newest state of the cluster is still searched for; ask again later' : null;
}

/** Why there is nothing to resume; null when there is. */
export function resumeRefusal(state: ClusterState): string | null {
  return state.pause === undefined ? 'nothing is paused' : pauseRefusal(state);
}
