/** First rows: is this state the newest that exists (S10), and does a cluster exist at all? */

import { type Copy, isNewer, newestCopy } from '../facts/copies';
import { loneConfig, withConfig } from '../facts/sync-set';
import { addressOf, isDeclared, lastOpened, list, statusOf, viewOf } from '../facts/view';
import { acceptLossRemedy } from '../facts/way-out';
import type { Facts, Rule } from '../rules';
import type { ClusterState, Observation, Policy } from '../state/cluster';
import { parseState } from '../state/stored';
import { bootstrap, suspected } from '../transitions';

function startThem(nodes: readonly string[]): string {
  return nodes.length > 1 ? 'start those that are off' : 'start it if it is off';
}

/** Declared nodes whose keeper has not told yet which data it has. */
function unheard(observation: Observation): string[] {
  return observation.declared
    .map((d) => d.name)
    .filter((n) => isDeclared(observation, n))
    .filter((n) => statusOf(observation, n) === null || viewOf(observation, n).recall === undefined);
}

function nodesWithData(observation: Observation): string[] {
  return observation.declared.map((d) => d.name).filter((n) => statusOf(observation, n)?.dataId != null);
}

function storeIsOld({ state, observation }: Facts): boolean {
  const copy = newestCopy(observation);
  return !state.adopting && copy !== null && isNewer(copy, state);
}

/** Once the slot is open on the leader, nothing of this monitor's moves it to another node without closing it first (S2). */
function isMovedByAnother({ state, observation }: Facts): boolean {
  const { reachable, slot } = observation.haproxy;
  if (state.adopting || state.leader === null || state.procedure !== null || !reachable || slot === null) return false;
  const isDeclaredAddress = observation.declared.some((d) => d.address === slot);
  return isDeclaredAddress && slot !== addressOf(observation, state.leader);
}

function withoutStandbys(state: ClusterState, observation: Observation, policy: Policy): ClusterState {
  if (state.leader === null) return state;
  // The configuration tells what the opened leadership may have acknowledged, so it carries the term of that leadership.
  const term = lastOpened(state)?.term ?? state.term;
  return { ...state, joint: withConfig(state.joint, loneConfig(state.leader, term, observation, policy), true) };
}

/** Every order is given anew: a node may have accepted a later one, to wait, while the newest state was searched for. */
function trusted(state: ClusterState, seq: number): ClusterState {
  const orders = Object.fromEntries(Object.entries(state.orders).map(([node, order]) => [node, { ...order, seq }]));
  return { ...state, adopting: false, suspectSeq: undefined, seq, orders };
}

/** The newest state that is known: the store's, or a copy of a keeper that is as new. Null when a copy cannot be read. */
function newestKnown({ state, observation }: Facts): { adopted: ClusterState | null; copy: Copy | null } {
  const copy = newestCopy(observation);
  if (copy === null || isNewer({ term: state.term, seq: state.suspectSeq ?? state.seq }, copy)) {
    return { adopted: state, copy: null };
  }
  return { adopted: parseState(copy.blob), copy };
}

/**
 * Members of a state whose memory is gone: they came back without their data, or the config has no place for them. What
 * they alone may have known (a later leader, "alone") is not known to anybody any more.
 */
function forgotten(known: ClusterState, observation: Observation): string[] {
  return Object.entries(known.members)
    .filter(([node, dataId]) => {
      if (!isDeclared(observation, node)) return true;
      const status = statusOf(observation, node);
      return status !== null && status.dataId !== dataId && viewOf(observation, node).recall === null;
    })
    .map(([node]) => node);
}

/**
 * The recorded leader runs as the primary of its term and HAProxy leads to it. A later leader would have had the slot
 * closed first (S2), so there was none.
 */
function isStillRouted(known: ClusterState, observation: Observation): boolean {
  if (known.leader === null || known.procedure !== null) return false;
  const status = statusOf(observation, known.leader);
  const address = addressOf(observation, known.leader);
  const leads = status?.postgres.state === 'primary' && status.lead?.term === known.term;
  return leads && address !== null && observation.haproxy.reachable && observation.haproxy.slot === address;
}

export const ADOPTION_RULES: readonly Rule[] = [
  {
    code: 'STORE_OLD',
    why: 'A keeper remembers a newer state than the store: nobody is promoted until every declared node was heard.',
    match: (facts) =>
      storeIsOld(facts)
        ? {
            state: suspected(facts.state),
            reason: 'a keeper remembers a newer state than the store, so every declared node is asked first',
          }
        : null,
  },
  {
    code: 'SLOT_MOVED',
    why: 'HAProxy leads to another node than this monitor opened: another monitor works, and what is remembered here is old (S11).',
    match: (facts) =>
      isMovedByAnother(facts)
        ? {
            state: suspected(facts.state),
            reason: `HAProxy leads to another node than ${facts.state.leader}: another monitor moved it, so every declared node is asked first`,
          }
        : null,
  },
  {
    code: 'ADOPT_WAIT',
    why: 'The store is new or old: until every declared node was heard nobody is promoted or created.',
    match: ({ state, observation, nowMs, policy }) => {
      if (!state.adopting) return null;
      const missing = unheard(observation);
      if (missing.length === 0) return null;
      return {
        reason: `the store is new; waiting to hear from ${list(missing)} before anything is decided; ${startThem(missing)}${acceptLossRemedy(state, observation, nowMs, policy)}`,
      };
    },
  },
  {
    code: 'ADOPT_FORGOTTEN',
    why: 'A member of the newest known state came back empty or is not declared any more: it may have known of a later leader.',
    match: (facts) => {
      const { state, observation } = facts;
      if (!state.adopting) return null;
      const { adopted } = newestKnown(facts);
      if (adopted === null || isStillRouted(adopted, observation)) return null;
      const lost = forgotten(adopted, observation);
      if (lost.length === 0) return null;
      return {
        reason: `the monitor's store is new or old, and ${list(lost)} lost its memory or is not declared any more: it may have had newer data; put its volume back${acceptLossRemedy(state, observation, facts.nowMs, facts.policy)}`,
      };
    },
  },
  {
    code: 'ADOPTED',
    why: 'Every declared node was heard: the newest state that any of them remembers is taken over.',
    match: (facts) => {
      const { state, observation, policy } = facts;
      if (!state.adopting) return null;
      const { adopted, copy } = newestKnown(facts);
      if (adopted === null || (adopted.leader === null && nodesWithData(observation).length > 0)) return null;
      // Whoever forgot may have known that the leader goes on alone: until the standbys are counted anew nobody takes over.
      const unsure = forgotten(adopted, observation).length > 0;
      const next = unsure ? withoutStandbys(adopted, observation, policy) : adopted;
      return {
        state: trusted(next, Math.max(copy?.seq ?? 0, state.seq) + 1),
        reason:
          copy === null
            ? 'every declared node was heard'
            : `took over the newest state that the keepers remember (term ${copy.term}, seq ${copy.seq})`,
      };
    },
  },
  {
    code: 'ADOPT_UNKNOWN',
    why: 'There is data but no node remembers its history: a person has to say which node is right.',
    match: ({ state, observation, nowMs, policy }) =>
      state.adopting
        ? {
            reason: `${list(nodesWithData(observation))} has data but no node remembers the cluster's history; restore the monitor's volume${acceptLossRemedy(state, observation, nowMs, policy)}`,
          }
        : null,
  },
  {
    code: 'BOOTSTRAP_WAIT',
    why: 'A first database is made only when every declared node was heard and reports no data.',
    match: ({ state, observation, nowMs, policy }) => {
      if (state.leader !== null || state.procedure !== null) return null;
      const missing = unheard(observation);
      if (missing.length > 0)
        return {
          reason: `waiting to hear from ${list(missing)} before the first database is made; ${startThem(missing)}`,
        };
      const data = nodesWithData(observation);
      if (data.length === 0) return null;
      return {
        reason: `${list(data)} has data that this cluster does not know; nothing is created beside it${acceptLossRemedy(state, observation, nowMs, policy)}`,
      };
    },
  },
  {
    code: 'BOOTSTRAP',
    why: 'No node has data: the first declared one makes the database.',
    match: ({ state, observation }) => {
      const first = observation.declared[0];
      if (state.leader !== null || state.procedure !== null || first === undefined) return null;
      return {
        state: bootstrap(state, first.name),
        reason: `no node has data; ${first.name} makes the first database`,
      };
    },
  },
];
