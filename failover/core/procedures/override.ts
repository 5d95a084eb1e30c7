/**
 * A person's override: a named node leads although the rule refuses, because what it lacks is accepted as lost. The only
 * row that drops sync configurations without satisfying them.
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

/** Nodes that could not be asked may remember higher terms than anybody who was; the override must outrank them. */
const TERM_GAP = 1_000;

export function dataLossAccepted(s: Situation): Plan | null {
  const { request } = s.observation;
  if (request?.kind !== 'promote') return null;
  // Nothing is lost then, so nothing is overridden: the row of a lost leader does it.
  if (mayTakeOverAsked(s, request.to)) return null;
  if (overrideRefusal(s, request) !== null) return null;
  const dataId = s.status(request.to)?.dataId ?? '';
  const base = { ...newestState(s), ...highestIds(s) };
  return {
    state: { ...override(base, s, request.to, dataId, rebuilds(base, s, request.to)), ...begunRequest(s) },
    reason: `${request.to} is promoted by a person's word; ${lossOf(s, request.to)}`,
  };
}

/** The best of what the store and the keepers remember. */
function newestState(s: Situation): ClusterState {
  const copy = s.state.adopting ? newestCopy(s) : null;
  const seq = s.state.suspectSeq ?? s.state.seq;
  if (copy === null || copy.term < s.state.term || (copy.term === s.state.term && copy.seq < seq)) return s.state;
  return parseState(copy.blob) ?? s.state;
}

/** Term and seq that no keeper has met yet; see {@link TERM_GAP}. */
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
 * From the newest opened timeline the others can be rewound by the ledger, but for those that followed a candidate which was
 * never opened. From an older one the promotion takes a number that is taken already, and the two histories could not be
 * told apart (S3): every other known directory is rebuilt.
 */
function rebuilds(base: ClusterState, s: Situation, node: string): Record<string, string> {
  if (isOnNewest(s.with(base), node)) return { ...base.rebuild, ...builtOnIt(base) };
  return { ...base.rebuild, ...Object.fromEntries(Object.entries(base.members).filter(([n]) => n !== node)) };
}
