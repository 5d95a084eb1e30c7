/**
 * Who can be promoted, by the stack's mode. Synchronous: only whoever has every acknowledged write (candidate.ts).
 * Asynchronous: writes are acknowledged by the leader alone, so the most advanced standby may lead as long as it is within
 * `maxLagBytes` of the last position that the leader was seen at; further behind a person has to decide.
 */

import { lsnDistance } from '../../contract/lsn';
import type { ClusterState, Observation, Policy } from '../state/cluster';
import { type Choice, choose, hasVote, isEligible, mostAdvanced } from './candidates';
import { list, statusOf } from './view';

/** In asynchronous mode, once every earlier synchronous promise has been taken back. */
export function isAsynchronous(state: ClusterState, policy: Policy): boolean {
  return policy.syncMode === 'asynchronous' && state.joint.every((c) => c.k === 0);
}

/** See {@link choose}; `promised` false: the term was not raised yet. */
export function pick(
  state: ClusterState,
  observation: Observation,
  policy: Policy,
  promised: boolean,
  prefer?: string,
): Choice {
  if (!isAsynchronous(state, policy)) return choose(state, observation, policy.hangTimeoutMs, promised, prefer);
  const names = Object.keys(state.members).filter((n) => n !== state.leader);
  const eligible = names.filter((n) => isEligible(state, observation, n, policy.hangTimeoutMs));
  const near = eligible.filter((n) => isNear(observation, n, policy));
  if (near.length === 0) return { kind: 'nobody', missing: missingOf(state, observation, eligible, policy) };
  // Positions are compared only when nobody follows the old leader any more.
  if (!promised || eligible.some((n) => !hasVote(state, statusOf(observation, n)))) {
    return { kind: 'freeze', nodes: eligible };
  }
  const node = mostAdvanced(observation, near, prefer);
  return node === null ? { kind: 'freeze', nodes: eligible } : { kind: 'candidate', node };
}

/** Not further behind the last known position than allowed. A position that is not known yet may still turn out so. */
function isNear(observation: Observation, node: string, policy: Policy): boolean {
  const { newest } = observation.watch;
  if (newest === null) return false;
  const lsn = statusOf(observation, node)?.postgres.lsn ?? null;
  return lsn === null || lsnDistance(lsn, newest.lsn) <= policy.maxLagBytes;
}

function missingOf(state: ClusterState, observation: Observation, eligible: readonly string[], policy: Policy): string {
  const leader = state.leader ?? '';
  if (eligible.length === 0) return `no standby of ${leader} is there; start ${leader} or one of its standbys`;
  const why =
    observation.watch.newest === null
      ? `the last position of ${leader} is not known`
      : `${list(eligible)} is more than ${policy.maxLagBytes} bytes behind ${leader}`;
  return `${why}; start ${leader}, or accept the loss: promote ${eligible[0] ?? ''} --accept-data-loss`;
}
