/** Which replication slots people made on the leader. Only the opened leader's own report of this term counts. */
import { CLIENT_SLOTS_MAX, type ClientSlotsRecord, type ClientSlotsView } from '../../contract/client-slots';
import { serves } from '../state/cluster';
import type { Situation } from './situation';

/** The record with what the leader reports now; the same object when nothing has changed. */
export function clientSlotsOf(s: Situation): ClientSlotsRecord | undefined {
  const { state, lastEntry, leader } = s;
  const view = s.view(leader).clientSlots;
  if (view === undefined || view.term !== state.term || state.adopting || !serves(state)) return state.slots;
  if (lastEntry?.opened !== true || lastEntry.node !== leader || lastEntry.term !== state.term) return state.slots;
  if (state.slots === undefined && view.slots.length === 0) return undefined;
  const next = slotRecord(state.slots, view);
  return JSON.stringify(next) === JSON.stringify(state.slots) ? state.slots : next;
}

/**
 * A slot that was known and is not reported was dropped by a person in this leadership, or lost with the former leader;
 * then the report has it among the gaps. Its copies on the standbys go in both cases.
 */
export function slotRecord(
  before: ClientSlotsRecord | undefined,
  { term, slots, gaps, more }: ClientSlotsView,
): ClientSlotsRecord {
  const names = new Set(slots.map(({ name }) => name));
  // A report that is cut does not show what was dropped.
  const missing = more === true ? [] : (before?.known ?? []).map(({ name }) => name);
  const gone = new Set([...(before?.gone ?? []), ...missing].filter((name) => !names.has(name)));
  const earlier = (before?.gaps ?? []).filter((gap) => gap.term < term && names.has(gap.name) === (gap.to !== null));
  const isNewer = (name: string) => gaps.some((gap) => gap.name === name);
  return {
    term,
    known: slots.map(({ name, type, failover }) => ({ name, type, failover })),
    gone: [...gone].slice(-CLIENT_SLOTS_MAX),
    gaps: [...earlier.filter(({ name }) => !isNewer(name)), ...gaps.map((gap) => ({ ...gap, term }))].slice(
      -CLIENT_SLOTS_MAX,
    ),
    ...(more && { more }),
  };
}
