/** Finds the newest of the copies of the monitor's state that the keepers hold (docs/safety.md S10). */
import type { StateCopy } from '../../contract/messages';
import type { ClusterState } from '../state/cluster';
import { parseState } from '../state/stored';
import type { Situation } from './situation';

type Age = Pick<StateCopy, 'term' | 'seq'>;

export function isNewer(a: Age, b: Age): boolean {
  return a.term > b.term || (a.term === b.term && a.seq > b.seq);
}

/** Newest copy of the state that any connected keeper holds. */
export function newestCopy(s: Situation): StateCopy | null {
  let best: StateCopy | null = null;
  for (const name of s.names) {
    const copy = s.view(name).connected ? s.view(name).recall : null;
    if (copy != null && (best === null || isNewer(copy, best))) best = copy;
  }
  return best;
}

/**
 * The newest known state: the store's, or a keeper's copy that is as new or newer. `adopted` is null when the copy
 * cannot be read.
 */
export function newestKnown(s: Situation): { adopted: ClusterState | null; copy: StateCopy | null } {
  const copy = newestCopy(s);
  const { term, seq, suspectSeq } = s.state;
  if (copy === null || isNewer({ term, seq: suspectSeq ?? seq }, copy)) return { adopted: s.state, copy: null };
  return { adopted: parseState(copy.blob), copy };
}
