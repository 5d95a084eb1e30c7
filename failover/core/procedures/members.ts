/**
 * Rows that keep the list of data directories in the cluster: nodes join, and leave when their data has its own
 * history.
 */

import { NODES_MAX } from '../../contract/limits';
import type { Situation } from '../facts/situation';
import { list, without } from '../facts/view';
import type { Plan } from '../rule';
import { type ClusterState, type DeclaredNode, serves } from '../state/cluster';
import { change } from '../transitions';

/**
 * The leader that was removed from the config, with its last known address. The monitor treats it as a node until it
 * has handed over. Null when there is none, or when its address is not known.
 */
export function retiringLeader(state: ClusterState | null, declared: readonly DeclaredNode[]): DeclaredNode | null {
  const name = state?.leader ?? null;
  if (name === null || declared.some((d) => d.name === name) || declared.length >= NODES_MAX) return null;
  const address = state?.addresses?.[name];
  return address === undefined || declared.some((d) => d.address === address) ? null : { name, address };
}

/** True when nothing depends on a retiring node any more, so that the monitor can forget it. */
export function isRetired(state: ClusterState, node: string): boolean {
  return serves(state) && state.members[node] === undefined && countsNowhere(state, node);
}

/** True when the node does not lead and is in no sync configuration. */
function countsNowhere({ leader, joint }: ClusterState, node: string): boolean {
  return leader !== node && !joint.some((c) => c.leader === node || c.members.includes(node));
}

/**
 * True when PostgreSQL on this node became a primary without an order: its keeper reports it, or the node's order is to
 * stream and it is a primary (keepers of 0.1.0 do not report it). A former leader that still has to be stopped has the
 * order to rewind, so it does not count.
 */
function isPromotedByHand(s: Situation, node: string): boolean {
  const status = s.status(node);
  const target = s.state.orders[node]?.target;
  if (status === null || node === s.state.leader || !s.isMember(node, status.dataId)) return false;
  if (status.promotedByHand === true) return true;
  const onlyFollows = target?.kind === 'follow' && target.method === 'stream';
  return onlyFollows && s.hasAccepted(node) && status.postgres.state === 'primary';
}

/** Marks a node that was promoted by hand, which only a copy can bring back (S3). Null when there is none. */
export function promotedByHand(s: Situation): Plan | null {
  const node = s.names.find((n) => isPromotedByHand(s, n));
  if (node === undefined) return null;
  const rebuild = { ...s.state.rebuild, [node]: s.state.members[node] ?? '' };
  const what = `${node} was promoted by hand, so its history is its own`;
  return { state: change(s.state, { rebuild }), reason: `${what}; it is copied anew when there is a leader` };
}

/**
 * Makes the recorded leader a member again when it has the data directory that the newest ledger entry names but is
 * missing in the list of members, which releases up to 0.1.0 could shorten too far. Null when that is not so.
 */
export function leaderKnown(s: Situation): Plan | null {
  const { leader } = s.state;
  const entry = s.lastEntry;
  const dataId = leader === null ? null : (s.status(leader)?.dataId ?? null);
  if (leader === null || dataId === null || entry?.node !== leader || entry.dataId !== dataId) return null;
  if (s.state.members[leader] === dataId) return null;
  const members = { ...s.state.members, [leader]: dataId };
  const reason = `${leader} has the data that was recorded for it and is a member again`;
  return { state: change(s.state, { members }), reason };
}

/**
 * Makes a node a member when it has carried out its order with a data directory that is not recorded; null when there
 * is none.
 */
export function memberJoined(s: Situation): Plan | null {
  const { members, rebuild, rebuildAsked } = s.state;
  for (const { name } of s.observation.declared) {
    const dataId = s.status(name)?.dataId ?? null;
    const target = s.state.orders[name]?.target;
    if (dataId === null || name === s.state.leader || target?.kind !== 'follow') continue;
    if (!s.isDone(name) || members[name] === dataId) continue;
    const counted = s.state.joint.some((c) => c.members.includes(name));
    // Writes wait for this member (`block`), so its old data counts until the leader sees the new copy as a standby.
    // The copy has every acknowledged write: since it was made, no write was acknowledged without this member.
    if (counted && s.status(s.leader)?.lead?.standbys.every((s) => s.name !== name)) continue;
    const state = change(s.state, {
      members: { ...members, [name]: dataId },
      rebuild: without(rebuild, name),
      rebuildAsked: rebuildAsked && without(rebuildAsked, name),
    });
    return { state, reason: `${name} has joined as a standby of ${target.leader}` };
  }
  return null;
}

/** Forgets nodes that were removed from the config and are counted nowhere; null when there are none. */
export function memberRemoved(s: Situation): Plan | null {
  const gone = Object.keys(s.state.members).filter((n) => !s.isDeclared(n) && countsNowhere(s.state, n));
  if (gone.length === 0) return null;
  const members = Object.fromEntries(Object.entries(s.state.members).filter(([n]) => !gone.includes(n)));
  return { state: change(s.state, { members }), reason: `no longer declared: ${list(gone)}` };
}
