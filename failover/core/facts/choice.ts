/**
 * Which node can be promoted in the stack's sync mode. Synchronous: only a node with every acknowledged write
 * (candidates.ts). Asynchronous: the leader alone acknowledges writes, so the most advanced standby may lead if it is
 * within `maxLagBytes` of the leader's last known position; if every standby is further behind, a person has to decide.
 */

import { lsnDistance } from '../../contract/lsn';
import { type Choice, choose, hasVote, isEligible, mostAdvanced } from './candidates';
import type { Situation } from './situation';
import { list } from './view';

/** True in asynchronous mode, once no earlier synchronous configuration may be in force any more. */
export function isAsynchronous(s: Situation): boolean {
  return s.policy.syncMode === 'asynchronous' && s.state.joint.every((c) => c.k === 0);
}

/** Like {@link choose}, for both modes. `promised` false: the term was not raised yet. */
export function pick(s: Situation, promised: boolean, prefer?: string): Choice {
  if (!isAsynchronous(s)) return choose(s, promised, prefer);
  const names = Object.keys(s.state.members).filter((n) => n !== s.state.leader);
  const eligible = names.filter((n) => isEligible(s, n));
  const near = eligible.filter((n) => isNear(s, n));
  if (near.length === 0) return { kind: 'nobody', missing: missingOf(s, eligible) };
  // Positions are compared only when no node follows the old leader any more, because they could still grow.
  if (!promised || eligible.some((n) => !hasVote(s, s.status(n)))) {
    return { kind: 'freeze', nodes: eligible };
  }
  const node = mostAdvanced(s, near, prefer);
  return node === null ? { kind: 'freeze', nodes: eligible } : { kind: 'candidate', node };
}

/**
 * True when the node is within `maxLagBytes` of the last known position. A node whose position is unknown passes for
 * now.
 */
function isNear(s: Situation, node: string): boolean {
  const { newest } = s.observation.watch;
  if (newest === null) return false;
  const lsn = s.status(node)?.postgres.lsn ?? null;
  return lsn === null || lsnDistance(lsn, newest.lsn) <= s.policy.maxLagBytes;
}

function missingOf(s: Situation, eligible: readonly string[]): string {
  const { leader } = s;
  if (eligible.length === 0) return `no standby of ${leader} is there; start ${leader} or one of its standbys`;
  const why =
    s.observation.watch.newest === null
      ? `the last position of ${leader} is not known`
      : `${list(eligible)} is more than ${s.policy.maxLagBytes} bytes behind ${leader}`;
  return `${why}; start ${leader}, or accept the loss: promote ${eligible[0] ?? ''} --accept-data-loss`;
}
