/** People's replication slots in words, for the status page and the command line. Pure. */
import type { ClusterStatus } from './api';
import type { ClientSlot, SlotGap } from './client-slots';
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
    const state = slotState({ active, invalidation });
    const held = lsn === null || leaderLsn === null ? null : bytes(Math.max(0, lsnDistance(lsn, leaderLsn)));
    const keeps = lsn === null ? 'keeps nothing' : `keeps all from ${lsn}${held === null ? '' : ` (${held})`}`;
    return { name, words: `${type}, ${state}, ${keeps}`, isBad: invalidation !== null };
  });
  const nextStep = ({ to }: SlotGap) => (to === null ? 'its reader has to begin anew' : 'make a new base backup');
  return { slots: lines, bad: gaps.map((gap) => `The slot ${gapWords(gap)}: ${nextStep(gap)}.`) };
}

/** Whether a program reads the slot, or why PostgreSQL gave it up. */
export function slotState({ active, invalidation }: Pick<ClientSlot, 'active' | 'invalidation'>): string {
  if (invalidation !== null) return `given up: ${invalidation}`;
  return active ? 'in use' : 'not in use';
}

/** Name of the slot, and what a change of leader may have lost for its reader. */
export function gapWords({ name, from, to }: SlotGap): string {
  if (to === null) return `${name} is lost`;
  return `${name} has a possible gap from ${from ?? 'an unknown position'} to ${to}`;
}
