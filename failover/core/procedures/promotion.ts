/** Rows for a cluster in the middle of something: first creation, election, promotion, hand-over. */

import { isCertified, isCutOff } from '../effects/route';
import { canLeadAgain } from '../facts/candidates';
import { isAsynchronous, pick } from '../facts/choice';
import { isAbsent } from '../facts/health';
import { isProven, wantedConfig, withConfig } from '../facts/sync-set';
import { isDone, isMember, lastEntry, list, statusOf, viewOf } from '../facts/view';
import { acceptLossRemedy } from '../facts/way-out';
import type { Facts, Rule } from '../rules';
import type { ClusterState, Status } from '../state/cluster';
import { abandon, bootstrapped, change, leadAgain, opened, promote } from '../transitions';
import { RESTART_RULES } from './settings-roll';
import { HANDOVER_RULES } from './switchover';

/** With promises outstanding an old leader that is there is waited for no longer than this, ms. */
const PROMISE_PATIENCE_MS = 1_000;

/** Failures of a keeper that a new term cures: promoted before a restart, or PostgreSQL crashed under the order (S8). */
const AGAIN: ReadonlySet<string> = new Set(['MUST_NOT_LEAD', 'POSTGRES_CRASHED']);
/** Failures of a promotion that somebody else's may cure. */
const FATAL: ReadonlySet<string> = new Set([...AGAIN, 'PROMOTION_HANGS', 'NO_DATA', 'TOOL_FAILED', 'STEP_FAILED']);

/** The second attempt follows at once, every further one rests longer, ms. */
const FIRST_REST_MS = 500;
const REST_MAX_MS = 30_000;

export const PROCEDURE_RULES: readonly Rule[] = [
  {
    code: 'BOOTSTRAPPED',
    why: 'The first data directory exists: its node is recorded and leads alone.',
    match: ({ state, observation }) => {
      if (state.procedure?.kind !== 'bootstrap') return null;
      const { node } = state.procedure;
      const status = statusOf(observation, node);
      if (status === null || status.dataId === null || !isDone(status, state.orders[node])) return null;
      return { state: bootstrapped(state, node, status.dataId), reason: `${node} has made the database and will lead` };
    },
  },
  {
    code: 'BOOTSTRAPPING',
    why: 'The first data directory is being made.',
    match: ({ state, observation }) => {
      if (state.procedure?.kind !== 'bootstrap') return null;
      const { node } = state.procedure;
      const status = statusOf(observation, node);
      if (status === null) return { reason: `${node} is to make the first database; start ${node} if it is off` };
      const message = status.failure === null ? '' : `: ${status.failure.message}`;
      return { reason: `${node} is making the first database${message}` };
    },
  },
  {
    code: 'ELECTED',
    why: 'Enough members promised: the most advanced of them is recorded and promoted.',
    match: (facts) => {
      const { state, observation, nowMs, policy } = facts;
      if (state.procedure?.kind !== 'elect') return null;
      const { cause, prefer } = state.procedure;
      const choice = pick(state, observation, policy, true, prefer);
      if (choice.kind !== 'candidate' || !mayPromote(facts)) return null;
      return {
        state: promote(state, observation, nowMs, policy, choice.node, cause),
        reason: `${choice.node} is promoted in term ${state.term}`,
      };
    },
  },
  {
    code: 'LEADER_BACK',
    why: 'No candidate, but the old leader is back with its data: it leads again in the new term.',
    match: ({ state, observation, nowMs, policy }) => {
      if (state.procedure?.kind !== 'elect' || !canLeadAgain(state, observation)) return null;
      const leader = state.leader ?? '';
      const waits = pick(state, observation, policy, true).kind !== 'nobody';
      const sinceMs = Math.max(viewOf(observation, leader).changedAtMs, observation.watch.stepSinceMs);
      if (waits && nowMs - sinceMs < PROMISE_PATIENCE_MS) return null;
      return {
        state: leadAgain(state, observation, nowMs, policy, false),
        reason: `${leader} is back with all its data and leads again in term ${state.term}`,
      };
    },
  },
  {
    code: 'ELECTING',
    why: 'Members are asked to promise that they follow the old leader no more.',
    match: ({ state, observation, nowMs, policy }) => {
      if (state.procedure?.kind !== 'elect') return null;
      const choice = pick(state, observation, policy, true);
      if (choice.kind === 'nobody') {
        const remedy = acceptLossRemedy(state, observation, nowMs, policy);
        return { code: 'NO_CANDIDATE', reason: `writes wait: ${choice.missing}${remedy}` };
      }
      if (choice.kind === 'candidate')
        return { reason: `${choice.node} is promoted when no session on ${state.leader ?? ''} is left` };
      const replaying = choice.nodes.filter((n) => hasUnknownPosition(state, statusOf(observation, n)));
      const late =
        replaying.length === 0 ? '' : `; ${list(replaying)} still applies the write-ahead log that is on its disk`;
      return {
        reason: `${list(choice.nodes)} promise to leave ${state.leader ?? ''} before one of them is promoted${late}`,
      };
    },
  },
  {
    code: 'OPEN',
    why: 'The new leader is proven: identity, sync configuration in force, one synchronous commit, old sessions gone.',
    match: ({ state, observation }) => {
      if (state.procedure?.kind !== 'promote') return null;
      if (!isProven(state, observation) || !isCertified(state, observation) || !isCutOff(state, observation))
        return null;
      return {
        state: opened(state, observation),
        reason: `${state.leader ?? ''} leads in term ${state.term}, writes go to it`,
      };
    },
  },
  {
    code: 'CANDIDATE_LOST',
    why: 'The candidate failed before it was opened and somebody else can take over: it is marked to be rebuilt.',
    match: (facts) => {
      const { state, observation, policy } = facts;
      if (state.procedure?.kind !== 'promote' || !candidateFailed(facts)) return null;
      const next = abandon(state, observation, policy);
      if (next === null) return null;
      return { state: next.state, reason: `${state.leader ?? ''} failed before it was opened; another node is chosen` };
    },
  },
  {
    code: 'PROMOTE_AGAIN',
    why: 'The candidate restarted in the middle and may lead only in a new term: it is recorded again.',
    match: ({ state, observation, nowMs, policy }) => {
      const leader = state.leader ?? '';
      const status = statusOf(observation, leader);
      if (state.procedure?.kind !== 'promote' || status === null || !AGAIN.has(status.failure?.code ?? '')) return null;
      if (status.accepted?.term !== state.term || status.stopping || !isMember(state, leader, status.dataId))
        return null;
      if (nowMs - observation.watch.stepSinceMs < attemptRestMs(state)) return null;
      const next = leadAgain(state, observation, nowMs, policy, true);
      return { state: next, reason: `${leader} was interrupted and is promoted again in term ${next.term}` };
    },
  },
  {
    code: 'PROMOTE_SYNC',
    why: 'A follower that was counted for the new leader is gone before the opening: it is counted no more.',
    match: ({ state, observation, nowMs, policy }) => {
      if (state.procedure?.kind !== 'promote') return null;
      const wanted = wantedConfig(state, observation, nowMs, policy, false);
      if (wanted === null) return null;
      return {
        state: change(state, { joint: withConfig(state.joint, wanted, false) }),
        reason: `${wanted.leader} is opened with ${list(wanted.members)} counted`,
      };
    },
  },
  {
    code: 'PROMOTING',
    why: 'The recorded candidate is being promoted; the slot stays closed until it is proven.',
    match: (facts) => (facts.state.procedure?.kind === 'promote' ? { reason: promotingReason(facts) } : null),
  },
  ...HANDOVER_RULES,
  ...RESTART_RULES,
];

/** How long the candidate rests before it is recorded again, ms; see {@link LedgerEntry} `attempts`. */
function attemptRestMs(state: ClusterState): number {
  const attempts = lastEntry(state)?.attempts ?? 1;
  return attempts === 1 ? 0 : Math.min(REST_MAX_MS, FIRST_REST_MS * 2 ** Math.min(attempts - 2, 10));
}

/** The node has promised and has no vote yet: it still applies write-ahead log that is on its disk. */
function hasUnknownPosition(state: ClusterState, status: Status | null): boolean {
  return status?.accepted?.kind === 'freeze' && status.accepted.term === state.term && status.postgres.lsn === null;
}

/**
 * What is acknowledged on the old leader in asynchronous mode is not seen by anybody else: its sessions are gone before
 * another one is promoted (S2).
 */
function mayPromote({ state, observation, policy }: Facts): boolean {
  const { reachable, closed, clean } = observation.haproxy;
  return !isAsynchronous(state, policy) || (reachable && closed && clean);
}

function candidateFailed({ state, observation, nowMs, policy }: Facts): boolean {
  const view = viewOf(observation, state.leader ?? '');
  if (!view.connected) return view.everConnected || isAbsent(view.name, observation, nowMs, policy);
  if (view.silentMs >= policy.hangTimeoutMs) return true;
  const status = view.status;
  return (
    status !== null &&
    (status.stopping || (FATAL.has(status.failure?.code ?? '') && status.accepted?.term === state.term))
  );
}

function promotingReason({ state, observation, nowMs, policy }: Facts): string {
  const leader = state.leader ?? '';
  const status = statusOf(observation, leader);
  const remedy = acceptLossRemedy(state, observation, nowMs, policy);
  if (status === null)
    return `waiting for ${leader}, which is recorded as the next leader; start ${leader} if it is off${remedy}`;
  if (status.failure !== null) {
    const attempts = lastEntry(state)?.attempts ?? 1;
    const again = attempts > 1 ? `, ${attempts} attempts so far, the next one follows by itself` : '';
    return `${leader} cannot lead yet: ${status.failure.message}${again}${remedy}`;
  }
  if (!isProven(state, observation)) {
    const ordered = state.joint.at(-1);
    const counted = ordered?.members ?? [];
    const rest = counted.length === 0 ? '' : `, waiting for ${list(counted)} to be counted`;
    return `${leader} is being promoted in term ${state.term}${rest}`;
  }
  if (!isCertified(state, observation)) return `${leader} is promoted, waiting for its first synchronous commit`;
  if (!observation.haproxy.reachable) return `${leader} is promoted, but HAProxy does not answer, so nothing is opened`;
  return `${leader} is promoted, waiting until the last session on the old leader is gone`;
}
