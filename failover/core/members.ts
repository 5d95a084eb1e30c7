/** Who belongs to the cluster: nodes that have just joined, and nodes that left it by their own history. */
import { change } from './plan';
import type { Facts, Plan } from './rules';
import type { ClusterState, Observation } from './types';
import { hasAccepted, isDone, isMember, statusOf } from './view';

/**
 * A node that only followed and is a primary now. A former leader that still has to be stopped is ordered to rewind, so it is not
 * mistaken for one.
 */
export function isPromotedByHand(state: ClusterState, observation: Observation, node: string): boolean {
  const status = statusOf(observation, node);
  const given = state.orders[node];
  if (status === null || node === state.leader || !isMember(state, node, status.dataId)) return false;
  const onlyFollows = given?.target.kind === 'follow' && given.target.method === 'stream';
  return onlyFollows && hasAccepted(status, given) && status.postgres.state === 'primary';
}

/** A node that carries out its order with a data directory that is not recorded becomes a member; null when there is none. */
export function memberJoined({ state, observation }: Facts): Plan | null {
  for (const { name } of observation.declared) {
    const status = statusOf(observation, name);
    const dataId = status?.dataId ?? null;
    const given = state.orders[name];
    if (dataId === null || name === state.leader || given?.target.kind !== 'follow') continue;
    if (!isDone(status, given) || state.members[name] === dataId) continue;
    const counted = state.joint.some((c) => c.members.includes(name));
    // Where writes wait for this very member (`block`) its complete copy takes the old one's place: it was made from the
    // leader after everything that had been acknowledged, and nothing has been acknowledged without it since.
    if (counted && statusOf(observation, state.leader ?? '')?.lead?.standbys.every((s) => s.name !== name)) continue;
    const rebuild = Object.fromEntries(Object.entries(state.rebuild).filter(([n]) => n !== name));
    return {
      state: change(state, { members: { ...state.members, [name]: dataId }, rebuild }),
      reason: `${name} has joined as a standby of ${given.target.leader}`,
    };
  }
  return null;
}
