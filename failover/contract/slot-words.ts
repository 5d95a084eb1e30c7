/** People's replication slots in words, for the status page. Pure. */
import type { ClusterStatus } from './api';
import type { SlotGap } from './client-slots';
import { lsnDistance } from './lsn';

type ClientSlots = NonNullable<ClusterStatus['clientSlots']>;

export interface SlotWords {
  /** One line for each slot: its name, and what it is. */
  slots: { name: string; words: string; isBad: boolean }[];
  /** What may be missing for a reader, or is. */
  bad: string[];
}

/** @param leaderLsn end of the leader's write-ahead log, from which held bytes are counted; null: not known. */
export function slotWords(
  { slots, gaps }: ClientSlots,
  leaderLsn: string | null,
  bytes: (n: number) => string,
): SlotWords {
  const lines = slots.map(({ name, type, active, lsn, invalidation }) => {
    const state = invalidation === null ? (active ? 'in use' : 'not in use') : `given up: ${invalidation}`;
    const held = lsn === null || leaderLsn === null ? null : bytes(Math.max(0, lsnDistance(lsn, leaderLsn)));
    const keeps = lsn === null ? 'keeps nothing' : `keeps all from ${lsn}${held === null ? '' : ` (${held})`}`;
    return { name, words: `${type}, ${state}, ${keeps}`, isBad: invalidation !== null };
  });
  return { slots: lines, bad: gaps.map(gapWords) };
}

function gapWords({ name, from, to }: SlotGap): string {
  if (to === null) return `The slot ${name} is lost: its reader has to begin anew.`;
  return `The slot ${name} has a possible gap from ${from ?? 'an unknown position'} to ${to}: make a new base backup.`;
}
