/**
 * The transitions: each takes a state and returns the next one, with a higher seq. They only compute; none has any
 * effect.
 */

import type { Cause } from '../contract/codes';
import { type Choice, canLeadAgain, followersOf } from './facts/candidates';
import { pick } from './facts/choice';
import { addEntry } from './facts/ledger';
import type { Situation } from './facts/situation';
import { aloneConfig, configOf, isGone, loneConfig, withConfig } from './facts/sync-set';
import { lastEntry } from './facts/view';
import type { Activity, ClusterState, LeaderPlan, StandbyWork, SyncConfig } from './state/cluster';
import { planOf, standbyWorkOf } from './state/cluster';

/** A changed state, with the next seq. */
export function change(state: ClusterState, part: Partial<ClusterState>): ClusterState {
  return { ...state, ...part, seq: state.seq + 1 };
}

/** Sets what is prepared for the leader while it serves; null ends it. Work on a standby goes on beside it. */
export function prepare(state: ClusterState, plan: LeaderPlan | null): ClusterState {
  const standby = standbyWorkOf(state) ?? undefined;
  return change(state, {
    activity: plan === null ? { kind: 'serving', standby } : { kind: 'preparing', plan, standby },
  });
}

/** Sets the work on a standby while the leader serves; undefined ends it. A plan for the leader stays. */
export function workOn(
  state: ClusterState,
  standby: StandbyWork | undefined,
  part: Partial<ClusterState> = {},
): ClusterState {
  const plan = planOf(state);
  const activity: Activity = plan === null ? { kind: 'serving', standby } : { kind: 'preparing', plan, standby };
  return change(state, { ...part, activity });
}

/**
 * Marks the state as perhaps not the newest one that exists (S10). Its seq is kept, to be compared with the keepers'
 * copies.
 */
export function suspected(state: ClusterState): ClusterState {
  return change(state, { adopting: true, suspectSeq: state.adopting ? state.suspectSeq : state.seq });
}

/** Lets `node` make the first data directory. Called only when there is no member and no data. */
export function beginBootstrap(state: ClusterState, node: string): ClusterState {
  return change(state, { term: state.term + 1, activity: { kind: 'bootstrap', node } });
}

/** Records the node that made the first data directory as a leader without standbys. */
export function recordFirstLeader(state: ClusterState, node: string, dataId: string): ClusterState {
  const based = { ...state, members: { [node]: dataId }, leader: node };
  return change(based, {
    ...addEntry(based, { term: state.term, node, dataId, timeline: null, forkLsn: null, opened: false }),
    joint: [aloneConfig(node, state.term)],
    activity: { kind: 'promote', cause: 'BOOTSTRAP' },
  });
}

/**
 * Gives the leader up. With one replica the candidate is known at once; with more the counted members have to promise
 * first (S1). Returns null when no node could take over: then the leader stays recorded and only new connections are
 * held. Among equally advanced nodes `prefer` is chosen.
 */
export function giveUp(s: Situation, cause: Cause, prefer?: string): { state: ClusterState; choice: Choice } | null {
  const choice = pick(s, false, prefer);
  switch (choice.kind) {
    case 'candidate':
      return {
        state: promote(s.with({ ...s.state, term: s.state.term + 1 }), choice.node, cause),
        choice,
      };
    case 'freeze':
      return { state: elect(s.state, cause, prefer), choice };
    case 'nobody':
      return null;
  }
}

/** Raises the term and asks for promises. Among equally advanced nodes `prefer` will be chosen. */
export function elect(state: ClusterState, cause: Cause, prefer?: string): ClusterState {
  const wish = prefer === undefined ? {} : { prefer };
  return change(state, { term: state.term + 1, activity: { kind: 'elect', cause, ...wish } });
}

/** Records `node` as the leader of the state's term (S3), with the sync configuration that it starts with. */
export function promote(s: Situation, node: string, cause: Cause): ClusterState {
  const dataId = s.state.members[node] ?? '';
  const next = firstConfig(s, node);
  // This may be a second attempt of the same promotion. Nodes that followed the first attempt may hold its history.
  const followed = s.state.activity.kind === 'promote' ? s.lastEntry?.followed : undefined;
  return change(s.state, {
    ...addEntry(s.state, { term: s.state.term, node, dataId, timeline: null, forkLsn: null, opened: false, followed }),
    leader: node,
    joint: withConfig(s.state.joint, next, true),
    activity: { kind: 'promote', cause },
  });
}

/**
 * The sync configuration that a new leader starts with. Followers that promised and are not ahead of it are counted
 * from the start (S9). Without followers it leads alone, or writes wait (`onNoReplica`).
 */
function firstConfig(s: Situation, node: string): SyncConfig {
  if (s.policy.syncMode === 'asynchronous') return aloneConfig(node, s.state.term);
  // The timeout is infinite because no follower streams from the new leader yet.
  const followers = followersOf(s, node).filter((f) => !isGone(s, f, Number.POSITIVE_INFINITY));
  if (followers.length > 0) return configOf(node, s.state.term, followers, s.policy.syncCount, s);
  return loneConfig(node, s.state.term, s);
}

/** Records the old leader as the leader again, through the same opening as every leader (S15). */
export function leadAgain(s: Situation, raiseTerm: boolean, cause: Cause = 'LEADER_BACK'): ClusterState {
  const { leader } = s;
  const termed = raiseTerm ? { ...s.state, term: s.state.term + 1 } : s.state;
  return promote(s.with(termed), leader, cause);
}

/**
 * Gives up a candidate that was never opened. No client could write on it, so only the sync configurations of the last
 * opened leadership count, even if the candidate is the node that led before. Its ledger entry stays unopened, which
 * marks its data durably as "must be rebuilt" (S3). Null when no other node could take over now.
 */
export function abandon(s: Situation): { state: ClusterState; choice: Choice } | null {
  const opened = s.lastOpened;
  if (opened === null) return null;
  const failed = s.state.leader;
  const joint = s.state.joint.filter((c) => c.leader === opened.node && (c.term ?? opened.term) <= opened.term);
  const rebuild = { ...s.state.rebuild, ...builtOnIt(s.state) };
  const back: ClusterState = { ...s.state, leader: opened.node, joint, rebuild };
  const choice = pick(s.with(back), false);
  const otherThan = choice.kind === 'candidate' && choice.node !== failed;
  const again = opened.node !== failed && canLeadAgain(s.with(back));
  if (!otherThan && choice.kind !== 'freeze' && !again) return null;
  return { state: elect(back, 'CANDIDATE_LOST'), choice };
}

/**
 * Nodes that were told to follow a candidate that was never opened. They may have its history, and if another node is
 * promoted, its timeline gets the same number as that history (S3).
 */
export function builtOnIt(state: ClusterState): Record<string, string> {
  const entry = lastEntry(state);
  return entry?.opened === false ? (entry.followed ?? {}) : {};
}

/**
 * Carries out a person's override: `node` leads in the next term, alone or with writes that wait, as `onNoReplica`
 * says. All former sync configurations are dropped, so writes that were acknowledged elsewhere may be lost.
 */
export function override(
  base: ClusterState,
  s: Situation,
  node: string,
  dataId: string,
  rebuild: Record<string, string>,
): ClusterState {
  const term = base.term + 1;
  const { [node]: _own, ...others } = rebuild;
  const { [node]: _asked, ...rebuildAsked } = base.rebuildAsked ?? {};
  const known = { ...base, term, members: { ...base.members, [node]: dataId } };
  return change(known, {
    ...addEntry(known, { term, node, dataId, timeline: null, forkLsn: null, opened: false }),
    adopting: false,
    suspectSeq: undefined,
    leader: node,
    rebuild: others,
    rebuildAsked,
    joint: [loneConfig(node, term, s)],
    activity: { kind: 'promote', cause: 'DATA_LOSS_ACCEPTED' },
  });
}

/** Records that HAProxy's write slot may be opened to the leader. This is stored before the slot is opened. */
export function opened(s: Situation): ClusterState {
  const { leader } = s;
  const lead = s.status(leader)?.lead ?? null;
  const ordered = s.state.joint.at(-1);
  return change(s.state, {
    ledger: s.state.ledger.map((e, i) =>
      i === s.state.ledger.length - 1
        ? {
            ...e,
            opened: true,
            timeline: lead?.timeline ?? e.timeline,
            forkLsn: lead?.forkLsn ?? e.forkLsn,
            followed: undefined,
          }
        : e,
    ),
    joint: ordered === undefined ? [] : [ordered],
    activity: { kind: 'serving' },
  });
}
