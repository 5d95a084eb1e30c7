/** The first rows: is this state the newest that exists (S10), and does a cluster exist at all? */

import { type Copy, isNewer, newestCopy } from '../facts/copies';
import { acceptLossRemedy } from '../facts/loss';
import type { Situation } from '../facts/situation';
import { loneConfig, withConfig } from '../facts/sync-set';
import { list } from '../facts/view';
import type { Plan } from '../rule';
import type { ClusterState } from '../state/cluster';
import { serves } from '../state/cluster';
import { parseState } from '../state/stored';
import { beginBootstrap, suspected } from '../transitions';

function startThem(nodes: readonly string[]): string {
  return nodes.length > 1 ? 'start those that are off' : 'start it if it is off';
}

/** Declared nodes whose keeper has not yet told which data the node has. */
function unheard(s: Situation): string[] {
  return s.names.filter((n) => s.isDeclared(n)).filter((n) => s.status(n) === null || s.view(n).recall === undefined);
}

function nodesWithData(s: Situation): string[] {
  return s.names.filter((n) => s.status(n)?.dataId != null);
}

function storeIsOld(s: Situation): boolean {
  const copy = newestCopy(s);
  return !s.state.adopting && copy !== null && isNewer(copy, s.state);
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
  // The configuration says what the opened leadership may have acknowledged, so it carries the term of that leadership.
  const term = s.lastOpened?.term ?? s.state.term;
  return { ...s.state, joint: withConfig(s.state.joint, loneConfig(s.state.leader, term, s), true) };
}

/**
 * Trusts the state again and gives every order anew: a node may have accepted a later order to wait during the search.
 */
function trusted(s: Situation, seq: number): ClusterState {
  const orders = Object.fromEntries(Object.entries(s.state.orders).map(([node, order]) => [node, { ...order, seq }]));
  return { ...s.state, adopting: false, suspectSeq: undefined, seq, orders };
}

/**
 * The newest known state: the store's, or a keeper's copy that is as new or newer. `adopted` is null when the copy
 * cannot be read.
 */
function newestKnown(s: Situation): { adopted: ClusterState | null; copy: Copy | null } {
  const copy = newestCopy(s);
  if (copy === null || isNewer({ term: s.state.term, seq: s.state.suspectSeq ?? s.state.seq }, copy)) {
    return { adopted: s.state, copy: null };
  }
  return { adopted: parseState(copy.blob), copy };
}

/**
 * Members of the state that have lost their memory, because they came back without their data or were removed from the
 * config. They may have known of a later leader, or of a leader that went on alone, and no other node can tell.
 */
function forgotten(known: ClusterState, s: Situation): string[] {
  return Object.entries(known.members)
    .filter(([node, dataId]) => {
      if (!s.isDeclared(node)) return true;
      const status = s.status(node);
      return status !== null && status.dataId !== dataId && s.view(node).recall === null;
    })
    .map(([node]) => node);
}

/**
 * True when the recorded leader runs as the primary of its term and HAProxy leads to it. Before a later leader was
 * opened, the slot would have been closed (S2), so there was none.
 */
function isStillRouted(known: ClusterState, s: Situation): boolean {
  if (known.leader === null || !serves(known)) return false;
  const status = s.status(known.leader);
  const address = s.address(known.leader);
  const leads = status?.postgres.state === 'primary' && status.lead?.term === known.term;
  return leads && address !== null && s.observation.haproxy.reachable && s.observation.haproxy.slot === address;
}

export function storeOld(s: Situation): Plan | null {
  return storeIsOld(s)
    ? {
        state: suspected(s.state),
        reason: 'a keeper remembers a newer state than the store, so every declared node is asked first',
      }
    : null;
}

export function slotMoved(s: Situation): Plan | null {
  return isMovedByAnother(s)
    ? {
        state: suspected(s.state),
        reason: `HAProxy leads to another node than ${s.state.leader}: another monitor moved it, so every declared node is asked first`,
      }
    : null;
}

export function adoptWait(s: Situation): Plan | null {
  if (!s.state.adopting) return null;
  const missing = unheard(s);
  if (missing.length === 0) return null;
  return {
    reason: `the store is new; waiting to hear from ${list(missing)} before anything is decided; ${startThem(missing)}${acceptLossRemedy(s)}`,
  };
}

export function adoptForgotten(s: Situation): Plan | null {
  if (!s.state.adopting) return null;
  const { adopted } = newestKnown(s);
  if (adopted === null || isStillRouted(adopted, s)) return null;
  const lost = forgotten(adopted, s);
  if (lost.length === 0) return null;
  return {
    reason: `the monitor's store is new or old, and ${list(lost)} lost its memory or is not declared any more: it may have had newer data; put its volume back${acceptLossRemedy(s)}`,
  };
}

export function adopted(s: Situation): Plan | null {
  if (!s.state.adopting) return null;
  const { adopted, copy } = newestKnown(s);
  if (adopted === null || (adopted.leader === null && nodesWithData(s).length > 0)) return null;
  // A member that lost its memory may have known that the leader went on alone, so no node takes over until standbys
  // are counted anew.
  const unsure = forgotten(adopted, s).length > 0;
  const next = unsure ? withoutStandbys(s.with(adopted)) : adopted;
  return {
    state: trusted(s.with(next), Math.max(copy?.seq ?? 0, s.state.seq) + 1),
    reason:
      copy === null
        ? 'every declared node was heard'
        : `took over the newest state that the keepers remember (term ${copy.term}, seq ${copy.seq})`,
  };
}

export function adoptUnknown(s: Situation): Plan | null {
  return s.state.adopting
    ? {
        reason: `${list(nodesWithData(s))} has data but no node remembers the cluster's history; restore the monitor's volume${acceptLossRemedy(s)}`,
      }
    : null;
}

export function bootstrapWait(s: Situation): Plan | null {
  if (s.state.activity.kind !== 'empty') return null;
  const missing = unheard(s);
  if (missing.length > 0)
    return {
      reason: `waiting to hear from ${list(missing)} before the first database is made; ${startThem(missing)}`,
    };
  const data = nodesWithData(s);
  if (data.length === 0) return null;
  return {
    reason: `${list(data)} has data that this cluster does not know; nothing is created beside it${acceptLossRemedy(s)}`,
  };
}

export function bootstrap(s: Situation): Plan | null {
  const first = s.observation.declared[0];
  if (s.state.activity.kind !== 'empty' || first === undefined) return null;
  return {
    state: beginBootstrap(s.state, first.name),
    reason: `no node has data; ${first.name} makes the first database`,
  };
}
