/** The transitions: pure functions that take a state and return the next one, with a higher seq. */

import type { Cause } from '../contract/codes';
import { type Choice, canLeadAgain, followersOf, pick } from './facts/candidates';
import { addEntry } from './facts/ledger';
import { preferCounted } from './facts/reports';
import { RESTORES_MAX } from './facts/restores';
import type { Situation } from './facts/situation';
import { aloneConfig, configOf, isGone, loneConfig, withConfig } from './facts/sync-set';
import { lastEntry, without } from './facts/view';
import type { Activity, ClusterState, LeaderPlan, Restore, StandbyWork, SyncConfig } from './state/cluster';
import { planOf, standbyWorkOf } from './state/cluster';

/** A changed state, with the next seq. */
export function change(state: ClusterState, part: Partial<ClusterState>): ClusterState {
  return { ...state, ...part, seq: state.seq + 1 };
}

/** Sets what is prepared for the leader while it serves; null ends it. Work on a standby goes on beside it. */
export function prepare(state: ClusterState, plan: LeaderPlan | null): ClusterState {
  return servingWith(state, plan, standbyWorkOf(state));
}

/** Sets the work on a standby while the leader serves; null ends it. A plan for the leader stays. */
export function workOn(state: ClusterState, work: StandbyWork | null): ClusterState {
  return servingWith(state, planOf(state), work);
}

function servingWith(state: ClusterState, plan: LeaderPlan | null, work: StandbyWork | null): ClusterState {
  const standby = work ?? undefined;
  const activity: Activity = plan === null ? { kind: 'serving', standby } : { kind: 'preparing', plan, standby };
  return change(state, { activity });
}

/**
 * Marks the state as perhaps not the newest one that exists (S10). Its seq is kept, to be compared with the keepers'
 * copies.
 */
export function suspected(state: ClusterState): ClusterState {
  return change(state, { adopting: true, suspectSeq: state.adopting ? state.suspectSeq : state.seq });
}

/** Records the node that made the first data directory as a leader without standbys. */
export function recordFirstLeader(state: ClusterState, node: string, dataId: string): ClusterState {
  return record({ ...state, members: { [node]: dataId } }, node, [aloneConfig(node, state.term)], 'BOOTSTRAP');
}

/**
 * Gives the leader up. With one replica the candidate is known at once; with more the counted members have to promise
 * first (S1). Returns null when no node could take over: then the leader stays recorded and only new connections are
 * held. Among equally advanced nodes `prefer` is chosen.
 */
export function giveUp(s: Situation, cause: Cause, prefer?: string): { state: ClusterState; choice: Choice } | null {
  const choice = pick(s, false, prefer);
  if (choice.kind === 'none') return null;
  const state = choice.kind === 'candidate' ? promoteNext(s, choice.node, cause) : elect(s.state, cause, prefer);
  return { state, choice };
}

/** Raises the term and asks for promises. Among equally advanced nodes `prefer` will be chosen. */
export function elect(state: ClusterState, cause: Cause, prefer?: string): ClusterState {
  return change(state, { term: state.term + 1, activity: { kind: 'elect', cause, prefer } });
}

/**
 * Records `node` as the leader of the next term. The old leader is recorded in the same way when it leads again, so it
 * passes the same opening as every leader (S15).
 */
export function promoteNext(s: Situation, node: string, cause: Cause): ClusterState {
  return promote(s.with({ ...s.state, term: s.state.term + 1 }), node, cause);
}

/** Records `node` as the leader of the state's term (S3), with the sync configuration that it starts with. */
export function promote(s: Situation, node: string, cause: Cause): ClusterState {
  // This may be a second attempt of the same promotion. Nodes that followed the first attempt may hold its history.
  const followed = s.state.activity.kind === 'promote' ? s.lastEntry?.followed : undefined;
  return record(s.state, node, withConfig(s.state.joint, firstConfig(s, node), true), cause, followed);
}

/** Records a leadership that is not opened yet, with the joint set that counts in it. */
function record(
  state: ClusterState,
  node: string,
  joint: SyncConfig[],
  cause: Cause,
  followed?: Record<string, string>,
): ClusterState {
  const { term, members } = state;
  const entry = { term, node, dataId: members[node] ?? '', timeline: null, forkLsn: null, opened: false, followed };
  return change(state, { ...addEntry(state, entry), leader: node, joint, activity: { kind: 'promote', cause } });
}

/**
 * The sync configuration that a new leader starts with. Followers that promised and are not ahead of it are counted
 * from the start (S9). Without followers it leads alone, or writes wait (`onNoReplica`).
 */
function firstConfig(s: Situation, node: string): SyncConfig {
  if (s.policy.syncMode === 'asynchronous') return aloneConfig(node, s.state.term);
  // The timeout is infinite because no follower streams from the new leader yet.
  const fit = followersOf(s, node).filter((f) => !isGone(s, f, Number.POSITIVE_INFINITY));
  const followers = preferCounted(s, fit, node);
  return followers.length > 0 ? configOf(s, node, followers, s.policy.syncCount) : loneConfig(s, node);
}

/**
 * Gives up a candidate that was never opened. No client could write on it, so only the sync configurations of the last
 * opened leadership count, even if the candidate is the node that led before. Its ledger entry stays unopened, which
 * marks its data durably as "must be rebuilt" (S3). Null when no other node could take over now.
 */
export function abandon(s: Situation): ClusterState | null {
  const opened = s.lastOpened;
  if (opened === null) return null;
  const failed = s.state.leader;
  const joint = s.state.joint.filter((c) => c.leader === opened.node && (c.term ?? opened.term) <= opened.term);
  const rebuild = { ...s.state.rebuild, ...followersOfUnopened(s.state) };
  const back = s.with({ ...s.state, leader: opened.node, joint, rebuild });
  const choice = pick(back, false);
  const otherThan = choice.kind === 'candidate' && choice.node !== failed;
  const again = opened.node !== failed && canLeadAgain(back);
  return otherThan || choice.kind === 'freeze' || again ? elect(back.state, 'CANDIDATE_LOST') : null;
}

/**
 * Nodes that were ordered to follow a candidate that was never opened: node → data directory. They may have taken over
 * the candidate's history. If another node is promoted now, its different history gets the same timeline number (S3).
 */
export function followersOfUnopened(state: ClusterState): Record<string, string> {
  const entry = lastEntry(state);
  return entry?.opened === false ? (entry.followed ?? {}) : {};
}

/**
 * Carries out a person's override: `node` leads in the next term of `s`. It leads alone, or writes wait for a standby
 * (`onNoReplica`). All former sync configurations are dropped, so writes that were acknowledged elsewhere may be lost.
 */
export function override(s: Situation, node: string, rebuild: Record<string, string>): ClusterState {
  const next = s.with({ ...s.state, term: s.state.term + 1 });
  const state: ClusterState = {
    ...next.state,
    members: { ...s.state.members, [node]: s.status(node)?.dataId ?? '' },
    adopting: false,
    suspectSeq: undefined,
    rebuild: without(rebuild, node),
    rebuildAsked: without(s.state.rebuildAsked, node),
  };
  return record(state, node, [loneConfig(next, node)], 'DATA_LOSS_ACCEPTED');
}

/**
 * Records the leader with the data that a restore put in its place, in the next term and in a new generation. What any
 * other node has is of a history that was left, and may look as if it fitted. So no member, sync configuration or mark of
 * the former generation counts for them. `atMs`: when the former history ended.
 */
export function promoteRestored(
  s: Situation,
  dataId: string,
  { id, from, words }: Restore,
  atMs: number,
): ClusterState {
  const { leader } = s;
  const next = s.with({ ...s.state, term: s.state.term + 1 });
  const left = { atMs, timeline: s.lastOpened?.timeline ?? 1 };
  const state: ClusterState = {
    ...next.state,
    generation: s.state.generation + 1,
    members: { [leader]: dataId },
    rebuild: {},
    rebuildAsked: undefined,
    restores: [...(s.state.restores ?? []), left].slice(-RESTORES_MAX),
    restored: from.kind === 'backup' ? { id, node: leader, words } : undefined,
  };
  return record(state, leader, [loneConfig(next, leader)], from.kind === 'backup' ? 'RESTORED' : 'RESTORE_UNDONE');
}

/** Records that HAProxy's write slot may be opened to the leader. This is stored before the slot is opened. */
export function opened(s: Situation): ClusterState {
  const lead = s.status(s.leader)?.lead;
  const newest = s.state.ledger.slice(-1).map((entry) => ({
    ...entry,
    opened: true,
    timeline: lead?.timeline ?? entry.timeline,
    forkLsn: lead?.forkLsn ?? entry.forkLsn,
    followed: undefined,
  }));
  const ledger = [...s.state.ledger.slice(0, -1), ...newest];
  return change(s.state, { ledger, joint: s.state.joint.slice(-1), activity: { kind: 'serving' } });
}
