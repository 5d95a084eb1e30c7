/** The transitions: each takes a state and gives the next one. All raise seq; none does anything by itself. */

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

/** What is prepared for the leader while it serves; null: nothing any more. Work on a standby goes on beside it. */
export function prepare(state: ClusterState, plan: LeaderPlan | null): ClusterState {
  const standby = standbyWorkOf(state) ?? undefined;
  return change(state, {
    activity: plan === null ? { kind: 'serving', standby } : { kind: 'preparing', plan, standby },
  });
}

/** What is done with a standby while the leader serves; null: nothing any more. */
export function workOn(
  state: ClusterState,
  standby: StandbyWork | undefined,
  part: Partial<ClusterState> = {},
): ClusterState {
  const plan = planOf(state);
  const activity: Activity = plan === null ? { kind: 'serving', standby } : { kind: 'preparing', plan, standby };
  return change(state, { ...part, activity });
}

/** This state may not be the newest one that exists (S10); what it was is kept to be compared with others. */
export function suspected(state: ClusterState): ClusterState {
  return change(state, { adopting: true, suspectSeq: state.adopting ? state.suspectSeq : state.seq });
}

/** The first data directory is to be made by `node`. Only ever called when no member and no data exists. */
export function beginBootstrap(state: ClusterState, node: string): ClusterState {
  return change(state, { term: state.term + 1, activity: { kind: 'bootstrap', node } });
}

/** The first data directory exists: its node leads alone. */
export function recordFirstLeader(state: ClusterState, node: string, dataId: string): ClusterState {
  const based = { ...state, members: { [node]: dataId }, leader: node };
  return change(based, {
    ...addEntry(based, { term: state.term, node, dataId, timeline: null, forkLsn: null, opened: false }),
    joint: [aloneConfig(node, state.term)],
    activity: { kind: 'promote', cause: 'BOOTSTRAP' },
  });
}

/**
 * Gives the leader up. With one replica the candidate is known at once; else counted members have to promise first (S1).
 * Null when nobody could take over: then the leader stays recorded and only new connections are held. Of equally advanced
 * nodes `prefer` is taken.
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

/** Raises the term and asks for promises. Of equally advanced nodes `prefer` is taken. */
export function elect(state: ClusterState, cause: Cause, prefer?: string): ClusterState {
  const wish = prefer === undefined ? {} : { prefer };
  return change(state, { term: state.term + 1, activity: { kind: 'elect', cause, ...wish } });
}

/** Records `node` as the next leader of the state's term (S3) and the configuration that it starts with. */
export function promote(s: Situation, node: string, cause: Cause): ClusterState {
  const dataId = s.state.members[node] ?? '';
  const next = firstConfig(s, node);
  // Promoted again after an interruption: who followed it before may still be the only one with that history.
  const followed = s.state.activity.kind === 'promote' ? s.lastEntry?.followed : undefined;
  return change(s.state, {
    ...addEntry(s.state, { term: s.state.term, node, dataId, timeline: null, forkLsn: null, opened: false, followed }),
    leader: node,
    joint: withConfig(s.state.joint, next, true),
    activity: { kind: 'promote', cause },
  });
}

/** Followers that promised and are not ahead are counted from the start (S9); with nobody: alone, or writes wait. */
function firstConfig(s: Situation, node: string): SyncConfig {
  if (s.policy.syncMode === 'asynchronous') return aloneConfig(node, s.state.term);
  // Whether they stream says nothing here: none of them follows the new leader yet.
  const followers = followersOf(s, node).filter((f) => !isGone(s, f, Number.POSITIVE_INFINITY));
  if (followers.length > 0) return configOf(node, s.state.term, followers, s.policy.syncCount, s);
  return loneConfig(node, s.state.term, s);
}

/** The old leader leads again, in a term of its own and through the same opening as everybody (S15). */
export function leadAgain(s: Situation, raiseTerm: boolean, cause: Cause = 'LEADER_BACK'): ClusterState {
  const { leader } = s;
  const termed = raiseTerm ? { ...s.state, term: s.state.term + 1 } : s.state;
  return promote(s.with(termed), leader, cause);
}

/**
 * Gives up a candidate that was never opened: no client could write on it, so only the configurations of the last opened
 * leadership count, also where the candidate is the node that led before. Its ledger entry stays unopened, which durably
 * marks it as "must be rebuilt" (S3). Null when no other node could take over now.
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
 * Nodes that were told to follow the candidate that is not open: they may have taken over its unopened history, whose
 * timeline gets a namesake if somebody else is promoted (S3).
 */
export function builtOnIt(state: ClusterState): Record<string, string> {
  const entry = lastEntry(state);
  return entry?.opened === false ? (entry.followed ?? {}) : {};
}

/**
 * A person's override: `node` leads in the next term, alone or waiting for standbys as `onNoReplica` says. What was
 * recorded as acknowledged elsewhere counts no more.
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

/** The slot may be opened: stored before it is done. */
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
