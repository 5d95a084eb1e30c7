/**
 * A person's override: a named node leads although the rules refuse it, and the loss of what it lacks is accepted. This
 * is the only row that drops sync configurations without satisfying them.
 */

import { mayTakeOverAsked } from '../facts/hold';
import { isOnNewest, lossOf, overrideRefusal } from '../facts/loss';
import { begunRequest } from '../facts/requests';
import type { Situation } from '../facts/situation';
import { without } from '../facts/view';
import type { Plan } from '../rule';
import { builtOnIt, override } from '../transitions';
import { newestKnown } from './adopt';

/**
 * Nodes that do not answer may remember higher terms than all that do; the override's term must be higher than theirs.
 */
const TERM_GAP = 1_000;

export function dataLossAccepted(s: Situation): Plan | null {
  const { request } = s.observation;
  if (request?.kind !== 'promote') return null;
  const { to } = request;
  // Then nothing would be lost, so nothing has to be overridden: the row of a lost leader promotes the node.
  if (mayTakeOverAsked(s, to) || overrideRefusal(s, request) !== null) return null;
  const known = s.state.adopting ? newestKnown(s).adopted : null;
  const newest = s.with({ ...(known ?? s.state), ...highestIds(s) });
  const state = { ...override(newest, to, rebuilds(newest, to)), ...begunRequest(s) };
  return { state, reason: `${to} is promoted by a person's word; ${lossOf(s, to)}` };
}

/** A term and seq that no keeper has seen yet; see {@link TERM_GAP}. */
function highestIds(s: Situation): { term: number; seq: number } {
  const seen = Object.values(s.observation.nodes).flatMap((v) => [v.recall, v.status?.accepted]);
  const ids = [s.state, ...seen.filter((id) => id != null)];
  return {
    term: Math.max(...ids.map((id) => id.term)) + (s.state.adopting ? TERM_GAP : 0),
    seq: Math.max(...ids.map((id) => id.seq)),
  };
}

/**
 * Data directories that have to be rebuilt after the override. If the named node is on the newest opened timeline, the
 * ledger tells how to rewind the others, except those that followed a candidate which was never opened. If it is on an
 * older timeline, its promotion takes a timeline number that another history has, and the two could not be told apart
 * (S3): then every other known directory is rebuilt.
 */
function rebuilds(s: Situation, node: string): Record<string, string> {
  const { rebuild, members } = s.state;
  return { ...rebuild, ...(isOnNewest(s, node) ? builtOnIt(s.state) : without(members, node)) };
}
