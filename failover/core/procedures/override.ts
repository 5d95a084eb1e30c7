/**
 * A person's override: a named node leads although the rules refuse it, and the loss of what it lacks is accepted. This
 * is the only row that drops sync configurations without satisfying them.
 */

import { newestCopy } from '../facts/copies';
import { mayTakeOverAsked } from '../facts/hold';
import { isOnNewest, lossOf, overrideRefusal } from '../facts/loss';
import { begunRequest } from '../facts/requests';
import type { Situation } from '../facts/situation';
import type { Plan } from '../rule';
import type { ClusterState } from '../state/cluster';
import { parseState } from '../state/stored';
import { builtOnIt, override } from '../transitions';

/**
 * Nodes that do not answer may remember higher terms than all that do; the override's term must be higher than theirs.
 */
const TERM_GAP = 1_000;

export function dataLossAccepted(s: Situation): Plan | null {
  const { request } = s.observation;
  if (request?.kind !== 'promote') return null;
  // Then nothing would be lost, so nothing has to be overridden: the row of a lost leader promotes the node.
  if (mayTakeOverAsked(s, request.to)) return null;
  if (overrideRefusal(s, request) !== null) return null;
  const dataId = s.status(request.to)?.dataId ?? '';
  const base = { ...newestState(s), ...highestIds(s) };
  return {
    state: { ...override(base, s, request.to, dataId, rebuilds(base, s, request.to)), ...begunRequest(s) },
    reason: `${request.to} is promoted by a person's word; ${lossOf(s, request.to)}`,
  };
}

/** The newest state that the store and the keepers remember. */
function newestState(s: Situation): ClusterState {
  const copy = s.state.adopting ? newestCopy(s) : null;
  const seq = s.state.suspectSeq ?? s.state.seq;
  if (copy === null || copy.term < s.state.term || (copy.term === s.state.term && copy.seq < seq)) return s.state;
  return parseState(copy.blob) ?? s.state;
}

/** A term and seq that no keeper has seen yet; see {@link TERM_GAP}. */
function highestIds(s: Situation): { term: number; seq: number } {
  const ids = [
    s.state,
    ...Object.values(s.observation.nodes).flatMap((v) => [v.recall ?? null, v.status?.accepted ?? null]),
  ];
  const known = ids.filter((id) => id !== null);
  return {
    term: Math.max(...known.map((id) => id.term)) + (s.state.adopting ? TERM_GAP : 0),
    seq: Math.max(...known.map((id) => id.seq)),
  };
}

/**
 * Data directories that have to be rebuilt after the override. If the named node is on the newest opened timeline, the
 * ledger tells how to rewind the others, except those that followed a candidate which was never opened. If it is on an
 * older timeline, its promotion takes a timeline number that another history has, and the two could not be told apart
 * (S3): then every other known directory is rebuilt.
 */
function rebuilds(base: ClusterState, s: Situation, node: string): Record<string, string> {
  if (isOnNewest(s.with(base), node)) return { ...base.rebuild, ...builtOnIt(base) };
  return { ...base.rebuild, ...Object.fromEntries(Object.entries(base.members).filter(([n]) => n !== node)) };
}
