/**
 * A person's override: a named node leads although the rule refuses, because what it lacks is accepted as lost. The only
 * row that drops sync configurations without satisfying them.
 */

import { lsnDistance } from '../../contract/lsn';
import { newestCopy } from '../facts/copies';
import { leaderHealth } from '../facts/health';
import { mayTakeOverAsked } from '../facts/hold';
import { hasReachedNewest } from '../facts/ledger';
import { isDeclared, isMember, lastOpened, statusOf, viewOf } from '../facts/view';
import type { Rule } from '../rules';
import type { ClusterState, Observation, Policy, Request } from '../state/cluster';
import { parseState } from '../state/stored';
import { builtOnIt, override } from '../transitions';

type Promotion = Extract<Request, { kind: 'promote' }>;

/**
 * States in which the data is missing, or is being made or changed. In every other state the node can lead, also as a primary
 * that runs without an order: its writes become the cluster's, and the other nodes are copied from it (see {@link rebuilds}).
 */
const UNREADY: ReadonlySet<string> = new Set(['absent', 'initialising', 'rewinding', 'stopping']);

/** Nodes that could not be asked may remember higher terms than anybody who was; the override must outrank them. */
const TERM_GAP = 1_000;

export const OVERRIDE_RULES: readonly Rule[] = [
  {
    code: 'DATA_LOSS_ACCEPTED',
    why: 'A person named the next leader and accepts that what it lacks is lost.',
    match: ({ state, observation, nowMs, policy }) => {
      const { request } = observation;
      if (request?.kind !== 'promote') return null;
      // Nothing is lost then, so nothing is overridden: the row of a lost leader does it.
      if (mayTakeOverAsked(state, observation, nowMs, policy, request.to)) return null;
      if (overrideRefusal(state, observation, nowMs, policy, request) !== null) return null;
      const dataId = statusOf(observation, request.to)?.dataId ?? '';
      const base = { ...newestState(state, observation), ...highestIds(state, observation) };
      return {
        state: override(base, observation, policy, request.to, dataId, rebuilds(base, observation, request.to)),
        reason: `${request.to} is promoted by a person's word; ${lossOf(state, observation, request.to)}`,
      };
    },
  },
];

/** Why this node is not promoted by a person's word; null when it may be. */
export function overrideRefusal(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
  { to, acceptDataLoss }: Promotion,
): string | null {
  if (!isDeclared(observation, to)) return `${to} is no node of this stack`;
  const status = statusOf(observation, to);
  if (status === null) return `${to} is off; start it first`;
  if (status.dataId === null) return `${to} has no data`;
  if (status.rewinding) return `the data of ${to} is half rewound and can only be replaced`;
  if (status.stopping) return `${to} is being stopped`;
  if (UNREADY.has(status.postgres.state)) return `PostgreSQL on ${to} is ${status.postgres.state}`;
  const trouble = leaderIsThere(state, observation, nowMs, policy);
  if (trouble !== null) return trouble;
  if (acceptDataLoss || mayTakeOverAsked(state, observation, nowMs, policy, to)) return null;
  return `${lossOf(state, observation, to)}; to accept that, ask again with acceptDataLoss (--accept-data-loss)`;
}

/** While somebody leads, or is about to without any loss, there is nothing to override. */
function leaderIsThere(state: ClusterState, observation: Observation, nowMs: number, policy: Policy): string | null {
  if (state.adopting) return null;
  // Data that no state knows of: a person may say that it is the cluster's.
  if (state.leader === null) return state.procedure === null ? null : 'the first database is being made';
  if (state.procedure !== null) {
    const waits =
      state.procedure.kind === 'elect' || (state.procedure.kind === 'promote' && !isTaking(state, observation));
    return waits ? null : `${state.leader} is in the middle of a change`;
  }
  const health = leaderHealth(state, observation, nowMs, policy);
  if (health.kind === 'dead' || health.kind === 'down') return null;
  return `${state.leader} leads and nothing says that it is dead; use switchover`;
}

/** The recorded candidate is there, with its data, and has not said that it cannot lead. */
function isTaking(state: ClusterState, observation: Observation): boolean {
  const leader = state.leader ?? '';
  const view = viewOf(observation, leader);
  if (!view.connected) return false;
  if (view.status === null) return true;
  return view.status.failure === null && isMember(state, leader, view.status.dataId);
}

/** What would be lost, in one sentence. */
export function lossOf(state: ClusterState, observation: Observation, node: string): string {
  const { newest } = observation.watch;
  const postgres = statusOf(observation, node)?.postgres;
  const lsn = postgres?.lsn ?? postgres?.replayLsn ?? null;
  if (newest === null || lsn === null) return `how many acknowledged writes ${node} lacks is not known`;
  const bytes = Math.max(0, lsnDistance(lsn, newest.lsn));
  const older = isOnNewest(state, observation, node) ? '' : ', and it is on an older timeline';
  return `${node} is at ${lsn}, ${bytes} bytes behind ${newest.node} at ${newest.lsn}${older}: what it lacks is lost`;
}

/** The best of what the store and the keepers remember. */
function newestState(state: ClusterState, observation: Observation): ClusterState {
  const copy = state.adopting ? newestCopy(observation) : null;
  const seq = state.suspectSeq ?? state.seq;
  if (copy === null || copy.term < state.term || (copy.term === state.term && copy.seq < seq)) return state;
  return parseState(copy.blob) ?? state;
}

/** Term and seq that no keeper has met yet; see {@link TERM_GAP}. */
function highestIds(state: ClusterState, observation: Observation): { term: number; seq: number } {
  const ids = [
    state,
    ...Object.values(observation.nodes).flatMap((v) => [v.recall ?? null, v.status?.accepted ?? null]),
  ];
  const known = ids.filter((id) => id !== null);
  return {
    term: Math.max(...known.map((id) => id.term)) + (state.adopting ? TERM_GAP : 0),
    seq: Math.max(...known.map((id) => id.seq)),
  };
}

/** The number of a timeline that came to be without an order says nothing: another history may have the same. */
function isOnNewest(state: ClusterState, observation: Observation, node: string): boolean {
  const status = statusOf(observation, node);
  if (status === null || status.promotedByHand === true || lastOpened(state)?.timeline == null) return false;
  return hasReachedNewest(state, status);
}

/**
 * From the newest opened timeline the others can be rewound by the ledger, but for those that followed a candidate which was
 * never opened. From an older one the promotion takes a number that is taken already, and the two histories could not be
 * told apart (S3): every other known directory is rebuilt.
 */
function rebuilds(base: ClusterState, observation: Observation, node: string): Record<string, string> {
  if (isOnNewest(base, observation, node)) return { ...base.rebuild, ...builtOnIt(base) };
  return { ...base.rebuild, ...Object.fromEntries(Object.entries(base.members).filter(([n]) => n !== node)) };
}
