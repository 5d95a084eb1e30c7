/** The first rows: is this state the newest that exists (S10), and does a cluster exist at all? */

import type { StateCopy } from '../../contract/messages';
import { acceptLossRemedy } from '../facts/loss';
import type { Situation } from '../facts/situation';
import { loneConfig, withConfig } from '../facts/sync-set';
import { list } from '../facts/view';
import { during, type Plan } from '../rule';
import { type ClusterState, serves } from '../state/cluster';
import { parseState } from '../state/stored';
import { change, suspected } from '../transitions';

type Age = Pick<StateCopy, 'term' | 'seq'>;

function isNewer(a: Age, b: Age): boolean {
  return a.term > b.term || (a.term === b.term && a.seq > b.seq);
}

/** Newest copy of the state that any connected keeper holds. */
function newestCopy(s: Situation): StateCopy | null {
  const views = s.names.map((name) => s.view(name));
  const copies = views.flatMap(({ connected, recall }) => (connected && recall != null ? [recall] : []));
  return copies.reduce<StateCopy | null>((best, copy) => (best === null || isNewer(copy, best) ? copy : best), null);
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

function startThem(nodes: readonly string[]): string {
  return nodes.length > 1 ? 'start those that are off' : 'start it if it is off';
}

/** Declared nodes whose keeper has not yet reported its status and its copy of the state. */
function unheard(s: Situation): string[] {
  return s.names.filter((n) => s.isDeclared(n)).filter((n) => s.status(n) === null || s.view(n).recall === undefined);
}

function nodesWithData(s: Situation): string[] {
  return s.names.filter((n) => s.status(n)?.dataId != null);
}

/**
 * True if HAProxy routes to a different declared node than this monitor opened. This monitor would have closed the slot
 * first (S2), so only another monitor can have done that.
 */
function isMovedByAnother(s: Situation): boolean {
  const { reachable, slot } = s.observation.haproxy;
  if (s.state.adopting || !serves(s.state) || s.state.leader === null || !reachable || slot === null) return false;
  const isDeclaredAddress = s.observation.declared.some((d) => d.address === slot);
  return isDeclaredAddress && slot !== s.address(s.state.leader);
}

function withoutStandbys(s: Situation): ClusterState {
  if (s.state.leader === null) return s.state;
  // The opened leadership may have acknowledged writes alone, so the configuration gets the term of that leadership.
  const lone = { ...loneConfig(s, s.state.leader), term: s.lastOpened?.term ?? s.state.term };
  return { ...s.state, joint: withConfig(s.state.joint, lone, true) };
}

/**
 * Trusts the state again and gives each order a new seq: during the search a node may have accepted an order to wait
 * with a higher seq.
 */
function trusted(s: Situation, seq: number): ClusterState {
  const orders = Object.fromEntries(Object.entries(s.state.orders).map(([node, order]) => [node, { ...order, seq }]));
  return { ...s.state, adopting: false, suspectSeq: undefined, seq, orders };
}

/**
 * Members of the state whose copy of the state is missing, because they came back without their volume or were removed
 * from the config. Their copy may have named a later leader, or a leader that went on alone; no other node knows.
 */
function forgotten(s: Situation): string[] {
  return Object.keys(s.state.members).filter((node) => {
    const status = s.status(node);
    const isAnother = status !== null && status.dataId !== s.state.members[node];
    return !s.isDeclared(node) || (isAnother && s.view(node).recall === null);
  });
}

/**
 * True when the recorded leader runs as the primary of its term and HAProxy leads to it. A later leader could have been
 * opened only after this write slot was closed (S2), so there was none.
 */
function isStillRouted(s: Situation): boolean {
  const { reachable, slot } = s.observation.haproxy;
  const status = s.status(s.leader);
  const leads = serves(s.state) && status?.postgres.state === 'primary' && status.lead?.term === s.state.term;
  return leads && reachable && slot !== null && slot === s.address(s.leader);
}

export function storeOld(s: Situation): Plan | null {
  const copy = newestCopy(s);
  if (s.state.adopting || copy === null || !isNewer(copy, s.state)) return null;
  const reason = 'a keeper remembers a newer state than the store, so every declared node is asked first';
  return { state: suspected(s.state), reason };
}

export function slotMoved(s: Situation): Plan | null {
  if (!isMovedByAnother(s)) return null;
  const what = `HAProxy leads to another node than ${s.state.leader}: another monitor moved it`;
  return { state: suspected(s.state), reason: `${what}, so every declared node is asked first` };
}

export function adoptWait(s: Situation): Plan | null {
  const missing = unheard(s);
  if (!s.state.adopting || missing.length === 0) return null;
  const what = `the store is new; waiting to hear from ${list(missing)} before anything is decided`;
  return { reason: `${what}; ${startThem(missing)}${acceptLossRemedy(s)}` };
}

export function adoptForgotten(s: Situation): Plan | null {
  if (!s.state.adopting) return null;
  const { adopted } = newestKnown(s);
  if (adopted === null || isStillRouted(s.with(adopted))) return null;
  const lost = forgotten(s.with(adopted));
  if (lost.length === 0) return null;
  const what = `the monitor's store is new or old, and ${list(lost)} lost its copy of the state or is not declared any more`;
  return { reason: `${what}: it may have had newer data; put its volume back${acceptLossRemedy(s)}` };
}

export function adopted(s: Situation): Plan | null {
  if (!s.state.adopting) return null;
  const { adopted, copy } = newestKnown(s);
  if (adopted === null || (adopted.leader === null && nodesWithData(s).length > 0)) return null;
  // The missing copy of a member may have said that the leader went on alone. So no node takes over until standbys are
  // counted anew.
  const unsure = forgotten(s.with(adopted)).length > 0;
  const next = unsure ? withoutStandbys(s.with(adopted)) : adopted;
  const state = trusted(s.with(next), Math.max(copy?.seq ?? 0, s.state.seq) + 1);
  if (copy === null) return { state, reason: 'every declared node was heard' };
  const which = `term ${copy.term}, seq ${copy.seq}`;
  return { state, reason: `took over the newest state that the keepers remember (${which})` };
}

export function adoptUnknown(s: Situation): Plan | null {
  if (!s.state.adopting) return null;
  const what = `${list(nodesWithData(s))} has data but no node remembers the cluster's history`;
  return { reason: `${what}; restore the monitor's volume${acceptLossRemedy(s)}` };
}

export const bootstrapWait = during('empty', (s) => {
  const missing = unheard(s);
  if (missing.length > 0) {
    const what = `waiting to hear from ${list(missing)} before the first database is made`;
    return { reason: `${what}; ${startThem(missing)}` };
  }
  const data = nodesWithData(s);
  if (data.length === 0) return null;
  const what = `${list(data)} has data that this cluster does not know; nothing is created beside it`;
  return { reason: `${what}${acceptLossRemedy(s)}` };
});

export const bootstrap = during('empty', (s) => {
  const [first] = s.names;
  if (first === undefined) return null;
  const state = change(s.state, { term: s.state.term + 1, activity: { kind: 'bootstrap', node: first } });
  return { state, reason: `no node has data; ${first} makes the first database` };
});
