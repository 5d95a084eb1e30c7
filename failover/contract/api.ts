/**
 * What the monitor's HTTP API under `/api/v1` answers and takes: the page, the command line and other people's programs
 * use these same schemas, and the OpenAPI document is made from them. Times are ISO 8601 with an offset, durations ms,
 * sizes bytes. A field is added, never renamed or given another meaning, within `v1`.
 */
import { z } from 'zod';
import { Level } from './log-line';
import { SettingsStatus, SlotView } from './messages';
import { NodeName } from './naming';

/** A line of the log. `id` grows by one with each event since the monitor's start. */
export const LogEvent = z.object({
  id: z.number().int(),
  at: z.string(),
  level: Level,
  subject: z.string(),
  code: z.string(),
  message: z.string(),
  /** Of a decision: id of the row of the rule table that made it. */
  rule: z.string().optional(),
});
export type LogEvent = z.infer<typeof LogEvent>;

/** A finished change of leader, step by step. */
export const Failover = z.object({
  /** When it was detected. */
  at: z.string(),
  /** The leader before; null: there was none. */
  from: z.string().nullable(),
  /** The leader since. */
  node: z.string(),
  term: z.number().int(),
  /** Code of the rule that began it. */
  cause: z.string(),
  /** Milliseconds since detection, in the order in which they happened; the last ones may come later (`rejoined`). */
  steps: z.array(z.object({ name: z.string(), ms: z.number().int() })),
});
export type Failover = z.infer<typeof Failover>;

export const NodeStatus = z.object({
  name: z.string(),
  address: z.string(),
  role: z.enum(['leader', 'candidate', 'standby', 'joining', 'down']),
  /** Of its PostgreSQL: primary, standby, stopped, …; `off` when its keeper is not connected. */
  state: z.string(),
  timeline: z.number().int().nullable(),
  lsn: z.string().nullable(),
  lagBytes: z.number().nullable(),
  /** Age of the newest change that it has replayed while it lags; 0: level. Null: not known, or it leads. */
  lagSeconds: z.number().nullable(),
  /** counted: acknowledged writes are on it; joining: being added; no */
  sync: z.enum(['counted', 'joining', 'no']),
  streamingFrom: z.string().nullable(),
  connected: z.boolean(),
  /** When the keeper's connection last came or went. */
  since: z.string(),
  /** What it is told to do, in words, and whether that is done. */
  order: z.string(),
  done: z.boolean(),
  /** Why the order cannot be carried out now: `CODE: message`, and ` (attempt N)` from the second attempt on. */
  failure: z.string().nullable(),
  /** How its PostgreSQL stands to `postgresSettings`; null: not known. */
  settings: SettingsStatus.nullable(),
  /** `sync_state` that the leader's `pg_stat_replication` has for it (quorum, async, …); null: it has no row. */
  syncState: z.string().nullable(),
  /** Slots that it keeps. Empty when not known. */
  slots: z.array(SlotView),
});
export type NodeStatus = z.infer<typeof NodeStatus>;

export const Pause = z.object({ reason: z.string(), since: z.string(), until: z.string().nullable() });
export type Pause = z.infer<typeof Pause>;

/** `GET /api/v1/cluster`. */
export const ClusterStatus = z.object({
  stack: z.string(),
  version: z.string(),
  at: z.string(),
  /** Writes go through now. */
  serving: z.boolean(),
  /** Sentence and code of the last decision. */
  sentence: z.string(),
  code: z.string(),
  /** Id of the row of the rule table that decided last; absent: the monitor is older than it. */
  rule: z.string().optional(),
  /** If the leader died now: who takes over, and would anything that was acknowledged be lost? */
  ifLeaderDied: z.object({
    sentence: z.string(),
    /** Null: nobody. */
    takesOver: z.string().nullable(),
    loss: z.enum(['none', 'possible', 'unknown']),
  }),
  term: z.number().int(),
  leader: z.string().nullable(),
  /** A leader that the config has no place for any more: it still has to hand over. */
  leaving: z.string().nullable(),
  /** `observe`: everything is decided and logged, nothing is done. */
  failoverMode: z.enum(['automatic', 'observe']),
  /** Automatic changes of leader are off; null: they are on. */
  pause: Pause.nullable(),
  syncMode: z.enum(['synchronous', 'asynchronous']),
  nodes: z.array(NodeStatus),
  haproxy: z.object({
    reachable: z.boolean(),
    write: z.string().nullable(),
    read: z.array(z.string()),
    /** Nodes that HAProxy's own connects, one a second, do not reach; none of them is given the lead. */
    unreached: z.array(z.string()),
  }),
  sync: z.object({ waitsFor: z.number().int(), members: z.array(z.string()), changing: z.boolean() }),
  lastFailover: Failover.nullable(),
  /** The newest ones, oldest first, at most 100. */
  events: z.array(LogEvent),
});
export type ClusterStatus = z.infer<typeof ClusterStatus>;

/** `GET /api/v1/failovers`: those that the monitor remembers, oldest first. */
export const Failovers = z.object({ failovers: z.array(Failover) });

/** `GET /api/v1/events?after=ID&limit=N`: oldest first. */
export const Events = z.object({ events: z.array(LogEvent) });

/** One moment of the charts. */
export const Sample = z.object({
  at: z.string(),
  /** How long a synchronous one-row commit took on the leader; null: none came back. */
  writeMs: z.number().nullable(),
  /** Lag by node name; a node that is not known is left out. */
  lagBytes: z.record(z.string(), z.number()),
});
export type Sample = z.infer<typeof Sample>;

/** `GET /api/v1/history`: oldest first, `everyMs` apart, at most an hour. */
export const History = z.object({ everyMs: z.number().int(), samples: z.array(Sample) });

/**
 * `GET /api/v1/stream` (server-sent events): `cluster` with a {@link ClusterStatus} whose `events` is empty (at once, on
 * each change but at most four times a second, and at least every two seconds), `log` with a {@link LogEvent} (its id is
 * the SSE id, so that a reconnecting browser misses none), `failover` with a {@link Failover}, `sample` with a {@link Sample}.
 */
export const STREAM_EVENTS = ['cluster', 'log', 'failover', 'sample'] as const;

/** With `dryRun` nothing is done, and the answer's message says what would happen. */
const dryRun = z.boolean().default(false);

/** Bodies of the POST calls, by the last part of the path. Each needs `Authorization: Bearer <adminToken>`. */
export const Bodies = {
  switchover: z.strictObject({ to: NodeName.optional(), dryRun }),
  promote: z.strictObject({ node: NodeName, acceptDataLoss: z.boolean().default(false), dryRun }),
  /** `forMs`: the pause ends by itself; absent: when somebody resumes. */
  pause: z.strictObject({
    reason: z.string().trim().min(1).max(200),
    forMs: z
      .number()
      .int()
      .min(1_000)
      .max(30 * 24 * 3_600_000)
      .optional(),
    dryRun,
  }),
  resume: z.strictObject({ dryRun }),
  /** Throws a standby's data away and copies it anew. */
  rebuild: z.strictObject({ node: NodeName, dryRun }),
} as const;
export type Command = keyof typeof Bodies;

/** What a POST call answers: 200 when done (or with dryRun: when it would be), 409 when refused or failed. */
export const Answer = z.object({
  done: z.boolean(),
  /** One sentence. */
  message: z.string(),
  leader: z.string().nullable(),
  term: z.number().int(),
  tookMs: z.number(),
});
export type Answer = z.infer<typeof Answer>;

/** 400 (bad body), 401 (no or wrong token), 404, 503 (the monitor is starting). */
export const ApiError = z.object({ error: z.string() });
