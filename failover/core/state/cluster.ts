/**
 * What the monitor remembers and what it decides: schemas and types at once, so that what is stored is described once. Only
 * data: no classes, no clock, no I/O.
 */
import { z } from 'zod';
import { Cause, type RuleCode } from '../../contract/codes';
import type { Policy } from '../../contract/inputs';
import { Lsn, type NodeSettings, type OrderId, type Status, SyncConfig, Target } from '../../contract/messages';

export type { OrderId, Policy, Status, SyncConfig, Target };
export type DeclaredNode = NodeSettings['nodes'][number];

/** What is prepared for the leader while it serves. */
const LeaderPlan = z.discriminatedUnion('kind', [
  /** A planned switchover: the leader writes a checkpoint (`prepare`), then new connections are held until `to` is level. */
  z.object({
    kind: z.literal('switchover'),
    to: z.string(),
    by: z.enum(['person', 'switchback', 'removal', 'settings']),
    stage: z.enum(['prepare', 'hold']),
  }),
  /** The leader restarts for its settings, after the same two stages. */
  z.object({ kind: z.literal('restart'), stage: z.enum(['prepare', 'hold']) }),
]);
export type LeaderPlan = z.infer<typeof LeaderPlan>;

/** What is done with a standby while the leader serves: first it is counted no more. */
const StandbyWork = z.discriminatedUnion('kind', [
  /** It restarts for its settings. */
  z.object({ kind: z.literal('restart'), node: z.string(), stage: z.enum(['leave', 'restart']) }),
  /** It is to be copied anew. */
  z.object({ kind: z.literal('rebuild'), node: z.string() }),
]);
export type StandbyWork = z.infer<typeof StandbyWork>;

/** What the cluster is doing. */
const Activity = z.discriminatedUnion('kind', [
  /** There is no database yet. */
  z.object({ kind: z.literal('empty') }),
  /** `node` creates the first data directory. */
  z.object({ kind: z.literal('bootstrap'), node: z.string() }),
  /** The leader serves. */
  z.object({ kind: z.literal('serving'), standby: StandbyWork.optional() }),
  /** The leader serves, and its stop is prepared. */
  z.object({ kind: z.literal('preparing'), plan: LeaderPlan, standby: StandbyWork.optional() }),
  /** The leader is given up; counted members promise the new term (S1) until a candidate can be chosen. */
  z.object({ kind: z.literal('elect'), cause: Cause, prefer: z.string().optional() }),
  /** The leader of the newest ledger entry is being promoted; its slot is not open yet. */
  z.object({ kind: z.literal('promote'), cause: Cause }),
  /**
   * The leader shuts down cleanly, then `candidate` is promoted. `planned`: its clients are let finish first, unless HAProxy
   * is `cutOff` from it: then they cannot.
   */
  z.object({
    kind: z.literal('handover'),
    candidate: z.string(),
    planned: z.boolean().optional(),
    cutOff: z.boolean().optional(),
  }),
  /** The leader shuts down cleanly and leads again, in the next term, with settings that need a restart (S23). */
  z.object({ kind: z.literal('restart') }),
]);
export type Activity = z.infer<typeof Activity>;

/** One leadership in the ledger: who led in which term, on which timeline, forked where, and whether it was opened. */
export const LedgerEntry = z.object({
  term: z.number().int().min(1),
  /** See `generation` of the state. Absent: 1. */
  generation: z.number().int().min(1).optional(),
  node: z.string(),
  /** Identity of the data directory that was promoted (see {@link Status} `dataId`). */
  dataId: z.string(),
  /** Timeline after the promotion; null until the keeper has reported it. */
  timeline: z.number().int().min(1).nullable(),
  /** Where this timeline left its parent; null for the first one or until reported. */
  forkLsn: Lsn.nullable(),
  /** True once the slot was opened on it: only then may others build on its history (S3). */
  opened: z.boolean(),
  /** Until it is opened: node → data directory that was told to follow it, now or when it was promoted in an earlier term. */
  followed: z.record(z.string(), z.string()).optional(),
  /** How often this directory was recorded as the next leader without having been opened since, this time included. Absent: once. */
  attempts: z.number().int().min(1).optional(),
});
export type LedgerEntry = z.infer<typeof LedgerEntry>;

/**
 * The leader changes by a person's word alone. Times are of the wall clock, ms; the core has none, so the loop ends an
 * expired pause by a request.
 */
const Pause = z.object({
  reason: z.string(),
  sinceWallMs: z.number(),
  /** Null: until a person resumes. */
  untilWallMs: z.number().nullable(),
});
export type Pause = z.infer<typeof Pause>;

/** The order that a node was given last. Its id is (monitor's incarnation, term, seq). */
const GivenOrder = z.object({ term: z.number().int().min(0), seq: z.number().int().min(1), target: Target });
export type GivenOrder = z.infer<typeof GivenOrder>;

/** A person's request that the state has begun to carry out. `ended` absent: it is under way. */
const StoredRequest = z.object({
  id: z.string(),
  kind: z.enum(['switchover', 'promote', 'rebuild']),
  /** Absent: any node. */
  node: z.string().optional(),
  /** Leader and term when it was begun. */
  from: z.string().nullable(),
  term: z.number().int().min(0),
  /** Why it was called off, once it was; it ends when the leader serves again. */
  aborted: z.string().optional(),
  ended: z.object({ done: z.boolean(), message: z.string() }).optional(),
});
export type StoredRequest = z.infer<typeof StoredRequest>;

/** Work of hours that goes on beside the activity, whatever that is: a backup, say. */
const Job = z.object({ id: z.string(), kind: z.string(), node: z.string(), sinceWallMs: z.number() });

/**
 * Everything that the monitor remembers. It is stored durably before anything that follows from it is done, and it is
 * small: some kilobytes of JSON. `seq` rises with each stored change.
 */
export const ClusterState = z.object({
  version: z.literal(3),
  /**
   * Of the data: a major upgrade and a restore begin a new one, in which timelines and positions of the former mean nothing.
   * Only entries of the same generation are compared.
   */
  generation: z.number().int().min(1),
  /** Rises with each leadership; 0 before the first. */
  term: z.number().int().min(0),
  seq: z.number().int().min(0),
  /** True until it is certain that this is the newest state that exists (S10). While true, no node is promoted. */
  adopting: z.boolean(),
  /**
   * While adopting: the seq that this state had before it was suspected. Adoption itself raises seq, and a copy that is
   * newer than the state was must not look older for that.
   */
  suspectSeq: z.number().int().min(0).optional(),
  /** Null as long as the activity is `empty` or `bootstrap`. */
  leader: z.string().nullable(),
  activity: Activity,
  /** Node → identity of the data directory that belongs to the cluster. A node with another one has to be copied (S10). */
  members: z.record(z.string(), z.string()),
  /** Node → data directory that must be rebuilt before it may take part again: promoted by hand, or unknown history. */
  rebuild: z.record(z.string(), z.string()),
  /** The part of `rebuild` whose data is sound and is replaced only because a person asked for it. Absent: none. */
  rebuildAsked: z.record(z.string(), z.string()).optional(),
  /**
   * Every sync configuration that may be in force. The last one is ordered; the others count until it is proven.
   * A promotion must satisfy all of them.
   */
  joint: z.array(SyncConfig),
  ledger: z.array(LedgerEntry),
  /** Node → address, as last declared: a leader that is not declared any more is still to be reached. */
  addresses: z.record(z.string(), z.string()).optional(),
  pause: Pause.optional(),
  /** Switchbacks that were begun since the preferred node last kept the lead for long enough (S25). */
  switchbacks: z.number().int().min(1).optional(),
  /** The person's request that was carried out last, and how it ended; absent: none. */
  request: StoredRequest.optional(),
  jobs: z.array(Job).optional(),
  orders: z.record(z.string(), GivenOrder),
});
export type ClusterState = z.infer<typeof ClusterState>;

/** True while the leader serves, also while its stop is prepared. */
export function serves({ activity }: ClusterState): boolean {
  return activity.kind === 'serving' || activity.kind === 'preparing';
}

/** True from the first step in which the leader changes, or restarts, to the last. */
export function isChanging(state: ClusterState): boolean {
  return !serves(state) && state.activity.kind !== 'empty';
}

/** What is prepared for the leader; null: nothing. */
export function planOf({ activity }: ClusterState): LeaderPlan | null {
  return activity.kind === 'preparing' ? activity.plan : null;
}

/** The switchover that is prepared; null: none. */
export function switchoverOf(state: ClusterState): Extract<LeaderPlan, { kind: 'switchover' }> | null {
  const plan = planOf(state);
  return plan?.kind === 'switchover' ? plan : null;
}

/** What is done with a standby; null: nothing. */
export function standbyWorkOf({ activity }: ClusterState): StandbyWork | null {
  return activity.kind === 'serving' || activity.kind === 'preparing' ? (activity.standby ?? null) : null;
}

/** What the write slot has to be. `held` = closed for new connections, the leader's sessions stay (S19). */
export type WriteRoute =
  | { kind: 'open'; node: string; address: string }
  | { kind: 'held'; node: string; address: string }
  /** Closed; sessions of everybody but `keep` (the next leader) are ended. */
  | { kind: 'closed'; keep: string | null };

/** What the loop has to do. Each is idempotent and stays in the list until it is done. */
export type Action =
  | { kind: 'route-write'; route: WriteRoute }
  /** Read slots by node name, in any order; sessions of a node that leaves are ended (S13). */
  | { kind: 'route-read'; nodes: string[] }
  | { kind: 'order'; node: string; order: GivenOrder }
  /** One quick connect to the node's PostgreSQL, with a limit of its own. */
  | { kind: 'probe'; node: string }
  /** Make the opening checks on this node for this term. */
  | { kind: 'certify'; node: string; term: number };

/** `WARN`: a person should see it. */
export type Level = 'INFO' | 'WARN';

/** Result of one cycle. */
export interface Decision {
  state: ClusterState;
  actions: Action[];
  /** Id of the row of the table that decided. */
  rule: string;
  /** The row's code or that of its cause, the same in log, page and metrics. */
  code: RuleCode;
  level: Level;
  /** One sentence for people. */
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
