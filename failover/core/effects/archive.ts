/**
 * Derives which node may archive its write-ahead log for backups, and let clients of replication in: the opened leader,
 * and no other. A candidate that was never opened leaves nothing in the repository, so no two histories with the same
 * numbers meet there (S3).
 */
import { seam } from '../../contract/seam';
import type { Situation } from '../facts/situation';
import { type Action, serves } from '../state/cluster';

/** Data from before a restore that are to be removed, as a person confirmed. */
export function confirmActions({ state }: Situation): Action[] {
  const { restored } = state;
  return restored?.confirmed === true && !state.adopting ? [{ kind: 'confirm', id: restored.id }] : [];
}

export const archiveActions = seam((s: Situation): Action[] => {
  const { state, policy, lastEntry } = s;
  if ((policy.backup !== true && policy.replication !== true) || state.adopting || !serves(state)) return [];
  if (lastEntry?.opened !== true || lastEntry.node !== state.leader || lastEntry.term !== state.term) return [];
  const { slots } = state;
  return [{ kind: 'archive', node: lastEntry.node, term: state.term, ...(slots && { slots }) }];
});
