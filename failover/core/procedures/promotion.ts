/** Rows for the first creation, the election and the promotion of a leader. */

import type { FailureCode } from '../../contract/codes';
import { canLeadAgain } from '../facts/candidates';
import { isAsynchronous, pick } from '../facts/choice';
import { isAbsent } from '../facts/health';
import { acceptLossRemedy } from '../facts/loss';
import { isCertified, isCutOff } from '../facts/opening';
import type { Situation } from '../facts/situation';
import { isProven, wantedConfig, withConfig } from '../facts/sync-set';
import { isDone, list } from '../facts/view';
import type { Plan } from '../rule';
import type { Status } from '../state/cluster';
import { abandon, change, leadAgain, opened, promote, recordFirstLeader } from '../transitions';

/** How long an election with missing promises waits at most before an old leader that is there leads again, ms. */
const PROMISE_PATIENCE_MS = 1_000;

/**
 * Failures that a new term cures: the node was promoted before a restart, or PostgreSQL crashed under the order (S8).
 */
const AGAIN: ReadonlySet<FailureCode> = new Set(['MUST_NOT_LEAD', 'POSTGRES_CRASHED']);
/** Failures after which another node should be promoted instead. */
const FATAL: ReadonlySet<FailureCode> = new Set([...AGAIN, 'PROMOTION_HANGS', 'NO_DATA', 'TOOL_FAILED', 'STEP_FAILED']);

/** Rest before the third attempt, ms. The second one follows at once, and each further one rests longer. */
const FIRST_REST_MS = 500;
const REST_MAX_MS = 30_000;

export function bootstrapped(s: Situation): Plan | null {
  if (s.state.activity.kind !== 'bootstrap') return null;
  const { node } = s.state.activity;
  const status = s.status(node);
  if (status === null || status.dataId === null || !isDone(status, s.state.orders[node])) return null;
  return {
    state: recordFirstLeader(s.state, node, status.dataId),
    reason: `${node} has made the database and will lead`,
  };
}

export function bootstrapping(s: Situation): Plan | null {
  if (s.state.activity.kind !== 'bootstrap') return null;
  const { node } = s.state.activity;
  const status = s.status(node);
  if (status === null) return { reason: `${node} is to make the first database; start ${node} if it is off` };
  const message = status.failure === null ? '' : `: ${status.failure.message}`;
  return { reason: `${node} is making the first database${message}` };
}

export function elected(s: Situation): Plan | null {
  if (s.state.activity.kind !== 'elect') return null;
  const { cause, prefer } = s.state.activity;
  const choice = pick(s, true, prefer);
  if (choice.kind !== 'candidate' || !mayPromote(s)) return null;
  return {
    state: promote(s, choice.node, cause),
    reason: `${choice.node} is promoted in term ${s.state.term}`,
  };
}

export function electedLeaderBack(s: Situation): Plan | null {
  if (s.state.activity.kind !== 'elect' || !canLeadAgain(s)) return null;
  const { leader } = s;
  const waits = pick(s, true).kind !== 'nobody';
  const sinceMs = Math.max(s.view(leader).changedAtMs, s.observation.watch.stepSinceMs);
  if (waits && s.nowMs - sinceMs < PROMISE_PATIENCE_MS) return null;
  return {
    state: leadAgain(s, false),
    reason: `${leader} is back with all its data and leads again in term ${s.state.term}`,
  };
}

export function electing(s: Situation): Plan | null {
  if (s.state.activity.kind !== 'elect') return null;
  const choice = pick(s, true);
  if (choice.kind === 'nobody') {
    const remedy = acceptLossRemedy(s);
    return { code: 'NO_CANDIDATE', level: 'WARN', reason: `writes wait: ${choice.missing}${remedy}` };
  }
  if (choice.kind === 'candidate')
    return { reason: `${choice.node} is promoted when no session on ${s.leader} is left` };
  const replaying = choice.nodes.filter((n) => hasUnknownPosition(s, s.status(n)));
  const late =
    replaying.length === 0 ? '' : `; ${list(replaying)} still applies the write-ahead log that is on its disk`;
  return {
    reason: `${list(choice.nodes)} promise to leave ${s.leader} before one of them is promoted${late}`,
  };
}

export function open(s: Situation): Plan | null {
  if (s.state.activity.kind !== 'promote') return null;
  if (!isProven(s) || !isCertified(s) || !isCutOff(s)) return null;
  return {
    state: opened(s),
    reason: `${s.leader} leads in term ${s.state.term}, writes go to it`,
  };
}

export function candidateLost(s: Situation): Plan | null {
  if (s.state.activity.kind !== 'promote' || !candidateFailed(s)) return null;
  const next = abandon(s);
  if (next === null) return null;
  return { state: next.state, reason: `${s.leader} failed before it was opened; another node is chosen` };
}

export function promoteAgain(s: Situation): Plan | null {
  const { leader } = s;
  const status = s.status(leader);
  if (s.state.activity.kind !== 'promote' || status === null || !AGAIN.has(status.failure?.code ?? 'OTHER'))
    return null;
  if (status.accepted?.term !== s.state.term || status.stopping || !s.isMember(leader, status.dataId)) return null;
  if (s.stepMs < attemptRestMs(s)) return null;
  const next = leadAgain(s, true);
  return { state: next, reason: `${leader} was interrupted and is promoted again in term ${next.term}` };
}

export function promoteSync(s: Situation): Plan | null {
  if (s.state.activity.kind !== 'promote') return null;
  const wanted = wantedConfig(s, false);
  if (wanted === null) return null;
  return {
    state: change(s.state, { joint: withConfig(s.state.joint, wanted, false) }),
    reason: `${wanted.leader} is opened with ${list(wanted.members)} counted`,
  };
}

export function promoting(s: Situation): Plan | null {
  return s.state.activity.kind === 'promote' ? { reason: promotingReason(s) } : null;
}

/** How long the candidate rests before it is recorded again, ms; see {@link LedgerEntry} `attempts`. */
function attemptRestMs(s: Situation): number {
  const attempts = s.lastEntry?.attempts ?? 1;
  return attempts === 1 ? 0 : Math.min(REST_MAX_MS, FIRST_REST_MS * 2 ** Math.min(attempts - 2, 10));
}

/**
 * True when the node has promised but has no vote yet, because it still applies write-ahead log that is on its disk.
 */
function hasUnknownPosition(s: Situation, status: Status | null): boolean {
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
  const view = s.view(s.leader);
  if (!view.connected) return view.everConnected || isAbsent(s, view.name);
  if (view.silentMs >= s.policy.hangTimeoutMs) return true;
  const status = view.status;
  return (
    status !== null &&
    (status.stopping || (FATAL.has(status.failure?.code ?? 'OTHER') && status.accepted?.term === s.state.term))
  );
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
    const ordered = s.state.joint.at(-1);
    const counted = ordered?.members ?? [];
    const rest = counted.length === 0 ? '' : `, waiting for ${list(counted)} to be counted`;
    return `${leader} is being promoted in term ${s.state.term}${rest}`;
  }
  if (!isCertified(s)) return `${leader} is promoted, waiting for its first synchronous commit`;
  if (!s.observation.haproxy.reachable)
    return `${leader} is promoted, but HAProxy does not answer, so nothing is opened`;
  return `${leader} is promoted, waiting until the last session on the old leader is gone`;
}
