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
import { followersOfUnopened, override } from '../transitions';
import { newestKnown } from './adopt';

/**
 * Nodes that are not connected may remember higher terms than the connected ones. While adopting, the override's term
 * is this much above the highest known term, so that it is also above theirs.
 */
const TERM_GAP = 1_000;

export function dataLossAccepted(s: Situation): Plan | null {
  const { request } = s.observation;
  if (request?.kind !== 'promote') return null;
  const { to } = request;
  // If only a hold keeps the node from leading, nothing would be lost, and the row `leader-lost` promotes it.
  if (mayTakeOverAsked(s, to) || overrideRefusal(s, request) !== null) return null;
  const known = s.state.adopting ? newestKnown(s).adopted : null;
  const newest = s.with({ ...(known ?? s.state), ...highestIds(s) });
  const state = { ...override(newest, to, rebuilds(newest, to)), ...begunRequest(s) };
  return { state, reason: `${to} is promoted, and a person accepted the loss; ${lossOf(s, to)}` };
}

/** The highest term and seq that any connected node knows, with {@link TERM_GAP} while adopting. */
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
 * other nodes can be rewound by the ledger, except those that followed a candidate which was never opened. If it is on
 * an older timeline, its promotion reuses a timeline number of another history, and PostgreSQL compares only numbers
 * (S3). Then every other known directory is rebuilt.
 */
function rebuilds(s: Situation, node: string): Record<string, string> {
  const { rebuild, members } = s.state;
  return { ...rebuild, ...(isOnNewest(s, node) ? followersOfUnopened(s.state) : without(members, node)) };
}
