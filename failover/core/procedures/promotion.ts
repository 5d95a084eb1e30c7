/** Rows for the first creation, the election and the promotion of a leader. */

import type { FailureCode } from '../../contract/codes';
import { canLeadAgain, isAsynchronous, pick } from '../facts/candidates';
import { isCertified, isCutOff } from '../facts/haproxy';
import { crashRestMs, isAbsent } from '../facts/health';
import { acceptLossRemedy } from '../facts/loss';
import type { Situation } from '../facts/situation';
import { isProven, wantedConfig, withConfig } from '../facts/sync-set';
import { list } from '../facts/view';
import { during } from '../rule';
import { abandon, change, opened, promote, promoteNext, recordFirstLeader } from '../transitions';

/** How long an election waits for missing promises before an old leader that is back leads again, ms. */
const PROMISE_PATIENCE_MS = 1_000;

/**
 * Failures after which the same node can still lead, in a new term: it restarted after its promotion, or PostgreSQL
 * crashed under the order (S8).
 */
const AGAIN: ReadonlySet<FailureCode> = new Set(['MUST_NOT_LEAD', 'POSTGRES_CRASHED']);
/** Failures after which another node should be promoted instead. */
const FATAL: ReadonlySet<FailureCode> = new Set([...AGAIN, 'PROMOTION_HANGS', 'NO_DATA', 'TOOL_FAILED', 'STEP_FAILED']);

export const bootstrapped = during('bootstrap', (s, { node }) => {
  const dataId = s.status(node)?.dataId ?? null;
  if (dataId === null || !s.isDone(node)) return null;
  const state = recordFirstLeader(s.state, node, dataId);
  return { state, reason: `${node} has made the database and will lead` };
});

export const bootstrapping = during('bootstrap', (s, { node }) => {
  const status = s.status(node);
  if (status === null) return { reason: `${node} is to make the first database; start ${node} if it is off` };
  const message = status.failure === null ? '' : `: ${status.failure.message}`;
  return { reason: `${node} is making the first database${message}` };
});

export const elected = during('elect', (s, { cause, prefer }) => {
  const choice = pick(s, true, prefer);
  if (choice.kind !== 'candidate' || !mayPromote(s)) return null;
  return { state: promote(s, choice.node, cause), reason: `${choice.node} is promoted in term ${s.state.term}` };
});

export const electedLeaderBack = during('elect', (s) => {
  if (!canLeadAgain(s)) return null;
  const { leader } = s;
  const waits = pick(s, true).kind !== 'none';
  const sinceMs = Math.max(s.view(leader).changedAtMs, s.observation.watch.stepSinceMs);
  if (waits && s.nowMs - sinceMs < PROMISE_PATIENCE_MS) return null;
  const state = promote(s, leader, 'LEADER_BACK');
  return { state, reason: `${leader} is back with all its data and leads again in term ${state.term}` };
});

export const electing = during('elect', (s) => {
  const choice = pick(s, true);
  if (choice.kind === 'none') {
    const remedy = acceptLossRemedy(s);
    return { code: 'NO_CANDIDATE', level: 'WARN', reason: `writes wait: ${choice.missing}${remedy}` };
  }
  if (choice.kind === 'candidate')
    return { reason: `${choice.node} is promoted when no session on ${s.leader} is left` };
  const promise = `${list(choice.nodes)} promise to leave ${s.leader} before one of them is promoted`;
  const replaying = choice.nodes.filter((n) => hasUnknownPosition(s, n));
  if (replaying.length === 0) return { reason: promise };
  return { reason: `${promise}; ${list(replaying)} still applies the write-ahead log that is on its disk` };
});

export const open = during('promote', (s) => {
  if (!isProven(s) || !isCertified(s) || !isCutOff(s)) return null;
  return { state: opened(s), reason: `${s.leader} leads in term ${s.state.term}, writes go to it` };
});

export const candidateLost = during('promote', (s) => {
  if (!candidateFailed(s)) return null;
  const state = abandon(s);
  return state && { state, reason: `${s.leader} failed before it was opened; another node is chosen` };
});

export const promoteAgain = during('promote', (s) => {
  const { leader } = s;
  const status = s.status(leader);
  if (status === null || !AGAIN.has(status.failure?.code ?? 'OTHER')) return null;
  if (status.accepted?.term !== s.state.term || status.stopping || !s.isMember(leader, status.dataId)) return null;
  if (s.stepMs < crashRestMs(s.lastEntry?.attempts ?? 1)) return null;
  const state = promoteNext(s, leader, 'LEADER_BACK');
  return { state, reason: `${leader} was interrupted and is promoted again in term ${state.term}` };
});

export const promoteSync = during('promote', (s) => {
  const wanted = wantedConfig(s, false);
  if (wanted === null) return null;
  const state = change(s.state, { joint: withConfig(s.state.joint, wanted, false) });
  return { state, reason: `${wanted.leader} is opened with ${list(wanted.members)} counted` };
});

export const promoting = during('promote', (s) => ({ reason: promotingReason(s) }));

/**
 * True when the node has promised but its position is not known yet, because it still applies write-ahead log from its
 * disk (S6).
 */
function hasUnknownPosition(s: Situation, node: string): boolean {
  const status = s.status(node);
  return status?.accepted?.kind === 'freeze' && status.accepted.term === s.state.term && status.postgres.lsn === null;
}

/**
 * True when a candidate may be promoted. In asynchronous mode only the old leader sees its own acknowledged writes, so
 * its client sessions have to be gone first (S2).
 */
function mayPromote(s: Situation): boolean {
  const { reachable, closed, clean } = s.observation.haproxy;
  return !isAsynchronous(s) || (reachable && closed && clean);
}

function candidateFailed(s: Situation): boolean {
  const { name, connected, everConnected, silentMs, status } = s.view(s.leader);
  if (!connected) return everConnected || isAbsent(s, name);
  if (silentMs >= s.policy.hangTimeoutMs || status?.stopping === true) return true;
  return FATAL.has(status?.failure?.code ?? 'OTHER') && status?.accepted?.term === s.state.term;
}

function promotingReason(s: Situation): string {
  const { leader } = s;
  const status = s.status(leader);
  const remedy = acceptLossRemedy(s);
  if (status === null)
    return `waiting for ${leader}, which is recorded as the next leader; start ${leader} if it is off${remedy}`;
  if (status.failure !== null) {
    const attempts = s.lastEntry?.attempts ?? 1;
    const again = attempts > 1 ? `, ${attempts} attempts so far, the next one follows by itself` : '';
    return `${leader} cannot lead yet: ${status.failure.message}${again}${remedy}`;
  }
  if (!isProven(s)) {
    const counted = s.ordered?.members ?? [];
    const rest = counted.length === 0 ? '' : `, waiting for ${list(counted)} to be counted`;
    return `${leader} is being promoted in term ${s.state.term}${rest}`;
  }
  if (!isCertified(s)) return `${leader} is promoted, waiting for its first synchronous commit`;
  if (!s.observation.haproxy.reachable)
    return `${leader} is promoted, but HAProxy does not answer, so nothing is opened`;
  return `${leader} is promoted, waiting until the last session on the old leader is gone`;
}
