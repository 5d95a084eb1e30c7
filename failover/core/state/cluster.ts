/**
 * What the monitor remembers and what it decides. Schema and type are one declaration, so the stored form is described
 * only once. Only data: no classes, no clock, no I/O.
 */
import { z } from 'zod';
import { ClientSlotsRecord } from '../../contract/client-slots';
import { Cause, type RuleCode } from '../../contract/codes';
import type { Policy } from '../../contract/inputs';
import { Lsn, type NodeSettings, type OrderId, type Status, SyncConfig, Target } from '../../contract/messages';
import { RestoreSource } from '../../contract/restore';

export type { OrderId, Policy, Status, SyncConfig, Target };
export type DeclaredNode = NodeSettings['nodes'][number];

/** A restore in place that a person asked for; `words`: a description of its target, for people. */
const Restore = z.object({ id: z.string(), from: RestoreSource, words: z.string() });
export type Restore = z.infer<typeof Restore>;

/** A planned stop of the leader that is prepared while the leader still serves. */
const LeaderPlan = z.discriminatedUnion('kind', [
  /**
   * A planned switchover: the leader writes a checkpoint (`prepare`), then new connections are held (`hold`) until `to`
   * is level.
   */
  z.object({
    kind: z.literal('switchover'),
    to: z.string(),
    by: z.enum(['person', 'switchback', 'removal', 'settings']),
    stage: z.enum(['prepare', 'hold']),
  }),
  /** The leader will restart for its settings, after the same two stages. */
  z.object({ kind: z.literal('restart'), stage: z.enum(['prepare', 'hold']) }),
  /** The leader's data will be replaced, after the same two stages. */
  z.object({ kind: z.literal('restore'), stage: z.enum(['prepare', 'hold']), restore: Restore }),
]);
export type LeaderPlan = z.infer<typeof LeaderPlan>;
export type Switchover = Extract<LeaderPlan, { kind: 'switchover' }>;

/** Work on a standby while the leader serves. It begins by taking the standby out of the sync configuration. */
const StandbyWork = z.discriminatedUnion('kind', [
  /** The standby restarts for its settings. */
  z.object({ kind: z.literal('restart'), node: z.string(), stage: z.enum(['leave', 'restart']) }),
  /** The standby's data will be replaced by a fresh copy. */
  z.object({ kind: z.literal('rebuild'), node: z.string() }),
]);
export type StandbyWork = z.infer<typeof StandbyWork>;
export type StandbyRestart = Extract<StandbyWork, { kind: 'restart' }>;

/** What the cluster is doing. Exactly one activity is under way at any time. */
const Activity = z.discriminatedUnion('kind', [
  /** There is no database yet. */
  z.object({ kind: z.literal('empty') }),
  /** `node` creates the first data directory. */
  z.object({ kind: z.literal('bootstrap'), node: z.string() }),
  /** The leader serves. */
  z.object({ kind: z.literal('serving'), standby: StandbyWork.optional() }),
  /** The leader serves while its planned stop is prepared. */
  z.object({ kind: z.literal('preparing'), plan: LeaderPlan, standby: StandbyWork.optional() }),
  /** The leader is given up. The counted members promise the new term (S1) until the monitor can choose a candidate. */
  z.object({ kind: z.literal('elect'), cause: Cause, prefer: z.string().optional() }),
  /** The leader of the newest ledger entry is being promoted; HAProxy's write slot is not open to it yet. */
  z.object({ kind: z.literal('promote'), cause: Cause }),
  /**
   * The leader shuts down cleanly, then `candidate` is promoted. With `planned` the leader's clients may first finish
   * their transactions. With `cutOff` they may not, because HAProxy does not reach the leader, so they are cut off
   * already. A switchback (`gentle`) ends no transaction: if one does not end in time, the switchback is called off.
   */
  z.object({
    kind: z.literal('handover'),
    candidate: z.string(),
    planned: z.boolean().optional(),
    cutOff: z.boolean().optional(),
    gentle: z.boolean().optional(),
  }),
  /** The leader shuts down cleanly and leads again, in the next term, with settings that need a restart (S23). */
  z.object({ kind: z.literal('restart') }),
  /**
   * A restore in place. `stop`: the leader shuts down cleanly. `make`: the other nodes are stopped, and the leader's
   * keeper makes the data beside the present ones. `swap`: they take the place of the present ones. Then the leader is
   * promoted in a new generation. `above`: highest timeline that any node may know.
   */
  z.object({
    kind: z.literal('restore'),
    stage: z.enum(['stop', 'make', 'swap']),
    restore: Restore,
    above: z.number().int().min(0),
  }),
]);
export type Activity = z.infer<typeof Activity>;

/**
 * One entry of the ledger, which lists the leaderships: the leader, its term and timeline, where that timeline forked,
 * and whether the leader was opened to clients.
 */
export const LedgerEntry = z.object({
  term: z.number().int().min(1),
  /** The state's `generation` at that time. Absent: 1. */
  generation: z.number().int().min(1).optional(),
  node: z.string(),
  /** Identity of the data directory that was promoted (see {@link Status} `dataId`). */
  dataId: z.string(),
  /** Timeline after the promotion; null until the keeper has reported it. */
  timeline: z.number().int().min(1).nullable(),
  /**
   * Position at which this timeline left its parent; null for the first timeline, and until the keeper has reported it.
   */
  forkLsn: Lsn.nullable(),
  /** True once HAProxy's write slot was opened to this leader. Only then may other nodes build on its history (S3). */
  opened: z.boolean(),
  /**
   * Nodes that were ordered to follow this leader before it was opened, now or in an earlier attempt: node → data
   * directory.
   */
  followed: z.record(z.string(), z.string()).optional(),
  /**
   * How many times this data directory was recorded as the next leader without being opened since, this time included.
   * Absent: once.
   */
  attempts: z.number().int().min(1).optional(),
});
export type LedgerEntry = z.infer<typeof LedgerEntry>;

/**
 * A pause: the leader changes only when a person asks for it. Times are wall clock, ms. The core has no wall clock, so
 * the loop ends an expired pause by a request.
 */
const Pause = z.object({
  reason: z.string(),
  sinceWallMs: z.number(),
  /** End of the pause; null when it lasts until a person resumes. */
  untilWallMs: z.number().nullable(),
});
export type Pause = z.infer<typeof Pause>;

/** The last order for a node. Its id is (monitor's incarnation, term, seq). */
const GivenOrder = z.object({ term: z.number().int().min(0), seq: z.number().int().min(1), target: Target });
export type GivenOrder = z.infer<typeof GivenOrder>;

/** A person's request that the monitor has begun to carry out. `ended` is absent while it is under way. */
const StoredRequest = z.object({
  id: z.string(),
  kind: z.enum(['switchover', 'promote', 'rebuild', 'restore', 'undo']),
  /** The node that the person named; absent when any node will do. */
  node: z.string().optional(),
  /** Leader and term at the beginning of the request. */
  from: z.string().nullable(),
  term: z.number().int().min(0),
  /** Why the request was called off, if it was. It ends when the leader serves again. */
  aborted: z.string().optional(),
  ended: z.object({ done: z.boolean(), message: z.string() }).optional(),
});
export type StoredRequest = z.infer<typeof StoredRequest>;

/**
 * Everything that the monitor remembers: some kilobytes of JSON. It is stored durably before the monitor does anything
 * that follows from it. `seq` rises with each stored change.
 */
export const ClusterState = z.object({
  version: z.literal(3),
  /**
   * Generation of the data. A major upgrade or a restore begins a new one, in which timelines and positions of the
   * former one mean nothing. Only entries of the same generation are compared.
   */
  generation: z.number().int().min(1),
  /** Rises with each leadership; 0 before the first. */
  term: z.number().int().min(0),
  seq: z.number().int().min(0),
  /** True until it is certain that no newer state exists (S10). While true, the monitor promotes no node. */
  adopting: z.boolean(),
  /**
   * While adopting: the seq of this state before it was suspected to be old. Adoption itself raises seq, and a keeper's
   * copy that is newer than the suspected state must not look older because of that.
   */
  suspectSeq: z.number().int().min(0).optional(),
  /** The recorded leader; null while the activity is `empty` or `bootstrap`. */
  leader: z.string().nullable(),
  activity: Activity,
  /**
   * Node → identity of its data directory in the cluster. A node that comes with another directory has to be copied
   * (S10).
   */
  members: z.record(z.string(), z.string()),
  /**
   * Node → data directory that must be rebuilt before the node may take part again, because it was promoted by hand or
   * its history is unknown.
   */
  rebuild: z.record(z.string(), z.string()),
  /** The entries of `rebuild` whose data is sound and is replaced only because a person asked for it. Absent: none. */
  rebuildAsked: z.record(z.string(), z.string()).optional(),
  /**
   * The joint set: every sync configuration that may be in force. The last one is ordered; the others count until the
   * last one is proven. A promotion must satisfy all of them.
   */
  joint: z.array(SyncConfig),
  ledger: z.array(LedgerEntry),
  /** Node → address, as last declared: a leader that was removed from the config still has to be reached. */
  addresses: z.record(z.string(), z.string()).optional(),
  pause: Pause.optional(),
  /** Number of switchbacks begun since the preferred node last kept the lead for long enough (S25). */
  switchbacks: z.number().int().min(1).optional(),
  /** The last request of a person that was begun, and how it ended; absent when there was none. */
  request: StoredRequest.optional(),
  /** Work that takes hours and goes on beside any activity, for example a backup. */
  jobs: z.array(z.object({ id: z.string(), kind: z.string(), node: z.string(), sinceWallMs: z.number() })).optional(),
  /** Each restore in place: when, and the timeline whose history it left, the newest ones. Absent: there was none. */
  restores: z.array(z.object({ atMs: z.number().int(), timeline: z.number().int() })).optional(),
  /**
   * The last restore in place, while the data from before it are kept on `node`. `confirmed`: they are being removed.
   */
  restored: z
    .object({ id: z.string(), node: z.string(), words: z.string(), confirmed: z.boolean().optional() })
    .optional(),
  /** Replication slots that people made on the leader. Absent: there never was one. */
  slots: ClientSlotsRecord.optional(),
  orders: z.record(z.string(), GivenOrder),
});
export type ClusterState = z.infer<typeof ClusterState>;

/** True while the leader serves, even while its planned stop is prepared. */
export function serves({ activity }: ClusterState): boolean {
  return activity.kind === 'serving' || activity.kind === 'preparing';
}

/** True from the first to the last step of a change or restart of the leader, while it does not serve. */
export function isChanging(state: ClusterState): boolean {
  return !serves(state) && state.activity.kind !== 'empty';
}

/** The leader's planned stop that is being prepared; null when there is none. */
export function planOf({ activity }: ClusterState): LeaderPlan | null {
  return activity.kind === 'preparing' ? activity.plan : null;
}

/** The switchover that is being prepared; null when there is none. */
export function switchoverOf(state: ClusterState): Switchover | null {
  const plan = planOf(state);
  return plan?.kind === 'switchover' ? plan : null;
}

/** The restore in place that is under way, until the leader is promoted with its data; null when there is none. */
export function restoreOf({ activity }: ClusterState): Restore | null {
  if (activity.kind === 'restore') return activity.restore;
  return activity.kind === 'preparing' && activity.plan.kind === 'restore' ? activity.plan.restore : null;
}

/** The work on a standby that is under way; null when there is none. */
export function standbyWorkOf({ activity }: ClusterState): StandbyWork | null {
  return activity.kind === 'serving' || activity.kind === 'preparing' ? (activity.standby ?? null) : null;
}

/** What HAProxy's write slot has to be. `held`: closed for new connections, while the leader's sessions stay (S19). */
export type WriteRoute =
  | { kind: 'open' | 'held'; node: string; address: string }
  /** Closed. HAProxy ends all sessions except those on `keep`, the next leader. */
  | { kind: 'closed'; keep: string | null };

/** What the loop has to do. Each action is idempotent, and every cycle lists it again until it is done. */
export type Action =
  | { kind: 'route-write'; route: WriteRoute }
  /**
   * The nodes that serve reads, in any order, and those that get no new read session while theirs go on. HAProxy ends
   * the read sessions of every other node (S13).
   */
  | { kind: 'route-read'; nodes: string[]; stay: string[] }
  | { kind: 'order'; node: string; order: GivenOrder }
  /** Make one quick connect to the node's PostgreSQL, with a time limit of its own. */
  | { kind: 'probe'; node: string }
  /** Make the opening checks on this node for this term. */
  | { kind: 'certify'; node: string; term: number }
  /** This node alone may archive, for as long as each cycle lists it. */
  | { kind: 'archive'; node: string; term: number; slots?: ClientSlotsRecord }
  /** The data from before this restore are to be removed, on whatever node has them. */
  | { kind: 'confirm'; id: string };

/** `WARN`: a person should see it. */
export type Level = 'INFO' | 'WARN';

/** Result of one cycle. */
export interface Decision {
  state: ClusterState;
  actions: Action[];
  /** Id of the rule row that decided. */
  rule: string;
  /** The row's code or that of its cause; log, page and metrics show the same. */
  code: RuleCode;
  level: Level;
  /** The reason in one sentence for people. */
  reason: string;
}

/** The state before anything is known. */
export function emptyState(): ClusterState {
  return {
    version: 3,
    generation: 1,
    term: 0,
    seq: 0,
    adopting: true,
    leader: null,
    activity: { kind: 'empty' },
    members: {},
    rebuild: {},
    joint: [],
    ledger: [],
    orders: {},
  };
}
