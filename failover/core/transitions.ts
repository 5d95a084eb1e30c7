/** The transitions: each takes a state and gives the next one. All raise seq; none does anything by itself. */
import { type Choice, canLeadAgain, followersOf } from './facts/candidates';
import { pick } from './facts/choice';
import { addEntry } from './facts/ledger';
import { aloneConfig, configOf, isGone, loneConfig, withConfig } from './facts/sync-set';
import { lastEntry, lastOpened, statusOf } from './facts/view';
import type { ClusterState, Observation, Policy, SyncConfig } from './state/cluster';

/** A changed state, with the next seq. A procedure ends what was being prepared. */
export function change(state: ClusterState, part: Partial<ClusterState>): ClusterState {
  const next = { ...state, ...part, seq: state.seq + 1 };
  if (next.procedure !== null) {
    delete next.switchover;
    delete next.restart;
    delete next.renewing;
  }
  return next;
}

/** This state may not be the newest one that exists (S10); what it was is kept to be compared with others. */
export function suspected(state: ClusterState): ClusterState {
  return change(state, { adopting: true, suspectSeq: state.adopting ? state.suspectSeq : state.seq });
}

/** The first data directory is to be made by `node`. Only ever called when no member and no data exists. */
export function bootstrap(state: ClusterState, node: string): ClusterState {
  return change(state, { term: state.term + 1, procedure: { kind: 'bootstrap', node } });
}

/** The first data directory exists: its node leads alone. */
export function bootstrapped(state: ClusterState, node: string, dataId: string): ClusterState {
  const based = { ...state, members: { [node]: dataId }, leader: node };
  return change(based, {
    ...addEntry(based, { term: state.term, node, dataId, timeline: null, forkLsn: null, opened: false }),
    joint: [aloneConfig(node, state.term)],
    procedure: { kind: 'promote', cause: 'BOOTSTRAP' },
  });
}

/**
 * Gives the leader up. With one replica the candidate is known at once; else counted members have to promise first (S1).
 * Null when nobody could take over: then the leader stays recorded and only new connections are held. Of equally advanced
 * nodes `prefer` is taken.
 */
export function giveUp(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
  cause: string,
  prefer?: string,
): { state: ClusterState; choice: Choice } | null {
  const choice = pick(state, observation, policy, false, prefer);
  switch (choice.kind) {
    case 'candidate':
      return {
        state: promote({ ...state, term: state.term + 1 }, observation, nowMs, policy, choice.node, cause),
        choice,
      };
    case 'freeze':
      return { state: elect(state, cause, prefer), choice };
    case 'nobody':
      return null;
  }
}

/** Raises the term and asks for promises. Of equally advanced nodes `prefer` is taken. */
export function elect(state: ClusterState, cause: string, prefer?: string): ClusterState {
  const wish = prefer === undefined ? {} : { prefer };
  return change(state, { term: state.term + 1, procedure: { kind: 'elect', cause, ...wish } });
}

/** Records `node` as the next leader of the state's term (S3) and the configuration that it starts with. */
export function promote(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
  node: string,
  cause: string,
): ClusterState {
  const dataId = state.members[node] ?? '';
  const next = firstConfig(state, observation, nowMs, policy, node);
  // Promoted again after an interruption: who followed it before may still be the only one with that history.
  const followed = state.procedure?.kind === 'promote' ? lastEntry(state)?.followed : undefined;
  return change(state, {
    ...addEntry(state, { term: state.term, node, dataId, timeline: null, forkLsn: null, opened: false, followed }),
    leader: node,
    joint: withConfig(state.joint, next, true),
    procedure: { kind: 'promote', cause },
  });
}

/** Followers that promised and are not ahead are counted from the start (S9); with nobody: alone, or writes wait. */
function firstConfig(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
  node: string,
): SyncConfig {
  if (policy.syncMode === 'asynchronous') return aloneConfig(node, state.term);
  const followers = followersOf(state, observation, node).filter(
    (f) => !isGone(state, observation, f, nowMs, { ...policy, hangTimeoutMs: Number.POSITIVE_INFINITY }),
  );
  if (followers.length > 0) return configOf(node, state.term, followers, policy.syncCount, observation);
  return loneConfig(node, state.term, observation, policy);
}

/** The old leader leads again, in a term of its own and through the same opening as everybody (S15). */
export function leadAgain(
  state: ClusterState,
  observation: Observation,
  nowMs: number,
  policy: Policy,
  raiseTerm: boolean,
  cause = 'LEADER_BACK',
): ClusterState {
  const leader = state.leader ?? '';
  const termed = raiseTerm ? { ...state, term: state.term + 1 } : state;
  return promote(termed, observation, nowMs, policy, leader, cause);
}

/**
 * Gives up a candidate that was never opened: no client could write on it, so only the configurations of the last opened
 * leadership count, also where the candidate is the node that led before. Its ledger entry stays unopened, which durably
 * marks it as "must be rebuilt" (S3). Null when no other node could take over now.
 */
export function abandon(
  state: ClusterState,
  observation: Observation,
  policy: Policy,
): { state: ClusterState; choice: Choice } | null {
  const opened = lastOpened(state);
  if (opened === null) return null;
  const failed = state.leader;
  const joint = state.joint.filter((c) => c.leader === opened.node && (c.term ?? opened.term) <= opened.term);
  const rebuild = { ...state.rebuild, ...builtOnIt(state) };
  const back: ClusterState = { ...state, leader: opened.node, joint, rebuild };
  const choice = pick(back, observation, policy, false);
  const otherThan = choice.kind === 'candidate' && choice.node !== failed;
  const again = opened.node !== failed && canLeadAgain(back, observation);
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
  observation: Observation,
  policy: Policy,
  node: string,
  dataId: string,
  rebuild: Record<string, string>,
): ClusterState {
  const term = base.term + 1;
  const { [node]: _own, ...others } = rebuild;
  const known = { ...base, term, members: { ...base.members, [node]: dataId } };
  return change(known, {
    ...addEntry(known, { term, node, dataId, timeline: null, forkLsn: null, opened: false }),
    adopting: false,
    suspectSeq: undefined,
    leader: node,
    rebuild: others,
    joint: [loneConfig(node, term, observation, policy)],
    procedure: { kind: 'promote', cause: 'DATA_LOSS_ACCEPTED' },
  });
}

/** The slot may be opened: stored before it is done. */
export function opened(state: ClusterState, observation: Observation): ClusterState {
  const leader = state.leader ?? '';
  const lead = statusOf(observation, leader)?.lead ?? null;
  const ordered = state.joint.at(-1);
  return change(state, {
    ledger: state.ledger.map((e, i) =>
      i === state.ledger.length - 1
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
    procedure: null,
  });
}
