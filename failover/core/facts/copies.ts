/** Finds the newest of the copies of the monitor's state that the keepers hold (docs/safety.md S10). */
import type { Situation } from './situation';

export interface Copy {
  term: number;
  seq: number;
  blob: string;
}

export function isNewer(a: { term: number; seq: number }, b: { term: number; seq: number }): boolean {
  return a.term > b.term || (a.term === b.term && a.seq > b.seq);
}

/** Newest copy of the state that any connected keeper holds. */
export function newestCopy(s: Situation): Copy | null {
  let best: Copy | null = null;
  for (const name of s.names) {
    const copy = s.view(name).connected ? s.view(name).recall : null;
    if (copy != null && (best === null || isNewer(copy, best))) best = copy;
  }
  return best;
}
