/**
 * During a hold the monitor does not change the leader automatically: in a pause, and with `failoverMode` observe.
 * Everything else goes on: a leader that comes back leads again, and standbys rejoin, enter and leave the sync
 * configuration.
 */

import { seam } from '../../contract/seam';
import { type Pause, serves } from '../state/cluster';
import { nodesOf, pick } from './candidates';
import { isLost, leaderHealth } from './health';
import type { Situation } from './situation';

interface Hold {
  /** Code of the rule rows that report the hold. */
  code: 'PAUSED' | 'OBSERVED';
  /** The reason, as half a sentence. */
  words: string;
  /** How a person ends it. */
  remedy: string;
}

/** Why the leader is not changed automatically now; null when it is. */
export const holdOf = seam((s: Situation): Hold | null => {
  const { pause } = s.state;
  if (pause !== undefined) {
    const words = `automatic changes of leader are paused ${untilOf(pause)} (${pause.reason})`;
    return { code: 'PAUSED', words, remedy: 'resume' };
  }
  if (s.policy.failoverMode !== 'observe') return null;
  return { code: 'OBSERVED', words: 'failoverMode is observe', remedy: 'set failoverMode to automatic' };
});

/** Says when a pause ends: `until 2026-11-28T10:00:00Z`, or `until a person resumes it`. */
export function untilOf({ untilWallMs }: Pause): string {
  if (untilWallMs === null) return 'until a person resumes it';
  return `until ${new Date(untilWallMs).toISOString().replace(/\.\d+Z$/, 'Z')}`;
}

/**
 * True when a person may promote `node` without loss: the leader is gone, only a hold keeps another node from taking
 * over, and `node` has every acknowledged write. Without the hold the monitor would have done the same.
 */
export function mayTakeOverAsked(s: Situation, node: string): boolean {
  if (holdOf(s) === null || s.state.adopting || !serves(s.state)) return false;
  return isLost(leaderHealth(s)) && nodesOf(pick(s, false, node)).includes(node);
}
