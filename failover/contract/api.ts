/**
 * Schemas of the monitor's HTTP API under `/api/v1`. The page and the command line use them, and the OpenAPI document
 * for other programs is made from them. Times are ISO 8601 with an offset, durations are ms, sizes are bytes. Within
 * `v1` a field may be added, but never renamed or given another meaning.
 */
import { z } from 'zod';
import { Backup, BackupType, Gap, JobEnd, JobKind, RepositoryName, RestoreTarget } from './backups';
import { ClientSlotsView } from './client-slots';
import { Level } from './log-line';
import { SettingsStatus, SlotView, TlsMode } from './messages';
import { NodeName } from './naming';
import { PauseState, PoolFigures } from './pooler';

/** A line of the log. `id` grows by one with each event since the monitor's start. */
export const LogEvent = z.object({
  id: z.number().int(),
  at: z.string(),
  level: Level,
  subject: z.string(),
  code: z.string(),
  message: z.string(),
  /** Id of the row of the rule table that made the decision; absent in lines that are no decision. */
  rule: z.string().optional(),
});
export type LogEvent = z.infer<typeof LogEvent>;

/** A finished change of leader, step by step. */
export const Failover = z.object({
  /** When the monitor detected that the leader has to change. */
  at: z.string(),
  /** Name of the former leader; null when there was none. */
  from: z.string().nullable(),
  /** Name of the new leader. */
  node: z.string(),
  term: z.number().int(),
  /** Code of the rule that began the change. */
  cause: z.string(),
  /**
   * Steps in the order in which they happened, in milliseconds since detection. The step `rejoined` may be added later.
   */
  steps: z.array(z.object({ name: z.string(), ms: z.number().int() })),
});
export type Failover = z.infer<typeof Failover>;

export const NodeStatus = z.object({
  name: z.string(),
  address: z.string(),
  role: z.enum(['leader', 'candidate', 'standby', 'joining', 'down']),
  /** State of the node's PostgreSQL: primary, standby, stopped and so on; `off` when its keeper is not connected. */
  state: z.string(),
  timeline: z.number().int().nullable(),
  lsn: z.string().nullable(),
  lagBytes: z.number().nullable(),
  /**
   * Age of the newest change that the node has replayed, while it lags; 0 when it is level with the leader. Null when
   * the age is not known, and on the leader.
   */
  lagSeconds: z.number().nullable(),
  /**
   * Which of the sync configurations that may be in force count this node: `counted`: all, `joining`: some, `no`: none.
   */
  sync: z.enum(['counted', 'joining', 'no']),
  /** True when the node is kept for reports (`reportReplicas`). Absent when the monitor is older than this field. */
  reports: z.boolean().optional(),
  /**
   * On a standby: age of the oldest transaction of a reader that is older than a second, s. VACUUM on the leader keeps
   * the rows that it may need. Null when there is none. Absent when the monitor is older than this field.
   */
  oldReadSeconds: z.number().nullable().optional(),
  streamingFrom: z.string().nullable(),
  connected: z.boolean(),
  /** When the keeper last connected or disconnected. */
  since: z.string(),
  /** The node's current order, as text for people. */
  order: z.string(),
  done: z.boolean(),
  /** Why the keeper cannot carry out the order now: `CODE: message`, with ` (attempt N)` from the second attempt on. */
  failure: z.string().nullable(),
  /** Whether `postgresSettings` are in force on this node; null when that is not known. */
  settings: SettingsStatus.nullable(),
  /**
   * The node's `sync_state` in the leader's `pg_stat_replication` (quorum, async and so on); null when it has no row
   * there.
   */
  syncState: z.string().nullable(),
  /** Replication slots on this node. Empty when they are not known. */
  slots: z.array(SlotView),
});
export type NodeStatus = z.infer<typeof NodeStatus>;

export const Pause = z.object({ reason: z.string(), since: z.string(), until: z.string().nullable() });
export type Pause = z.infer<typeof Pause>;

/** The pooler, with an entry in `pools` for each role that has a port. */
export const PoolerStatus = z.object({
  /** False while its supervisor is not connected to the monitor; then nothing else is known. */
  connected: z.boolean(),
  pause: PauseState,
  pools: z.array(PoolFigures),
});
export type PoolerStatus = z.infer<typeof PoolerStatus>;

const MadeBackup = z.object({ label: z.string(), type: BackupType, at: z.string(), sizeBytes: z.number() });

/** The restores of one place that the stack tests by itself. */
export const RestoreTestStatus = z.object({
  /** Interval of the tests, s. */
  everySeconds: z.number(),
  /** How the last test ended; null: there was none. `newest`: newest commit of the restored copy. */
  last: z
    .object({
      result: z.enum(['done', 'failed']),
      message: z.string(),
      label: z.string().nullable(),
      newest: z.string().nullable(),
      ended: z.string(),
      tookMs: z.number(),
    })
    .nullable(),
  /** End of the last test that passed, and its age; null: none has. */
  passed: z.string().nullable(),
  passedAgeSeconds: z.number().nullable(),
  /** When the next one may begin; null: one runs, or there is nothing to test. */
  next: z.string().nullable(),
  /** The test that runs; null: none. */
  running: z.object({ since: z.string(), step: z.string() }).nullable(),
  /** Why no test passed for too long; null: one did, or there was no time for it yet. */
  old: z.string().nullable(),
  /** Why no test can begin; null: it can. */
  problem: z.string().nullable(),
});
export type RestoreTestStatus = z.infer<typeof RestoreTestStatus>;

/** The backups of one place in short. */
export const BackupPart = z.object({
  /** The place; absent from an older monitor: `local`. */
  repository: RepositoryName.optional(),
  /** A restore can reach each moment of it. Null: none. */
  window: z.object({ from: z.string(), to: z.string() }).nullable(),
  /** End of the oldest backup, also one that cannot be restored; null: none. Absent from an older monitor. */
  oldest: z.string().nullable().optional(),
  /** The newest backups that can be restored: the newest full one, and the newest of any type. */
  lastFull: MadeBackup.nullable(),
  last: MadeBackup.nullable(),
  /** The next scheduled run; null while the repository is not known. */
  next: z.object({ kind: z.enum(['full', 'incr']), at: z.string() }).nullable(),
  /** The job that is under way; `since` is null while it has not begun. */
  job: z
    .object({ id: z.string(), kind: JobKind, progress: z.number().nullable(), since: z.string().nullable() })
    .nullable(),
  /** How the last job ended, as far as this start of the monitor knows. */
  lastJob: z
    .object({
      id: z.string(),
      kind: JobKind,
      result: JobEnd.shape.result,
      message: z.string(),
      ended: z.string(),
      tookMs: z.number(),
      /** Files of the repository that `verify` found damaged or missing. */
      damaged: z.array(z.string()),
    })
    .nullable(),
  /** Why the backups are too old; null: they are not, or it is not known. */
  old: z.string().nullable(),
  /** Why the repository cannot be used; null: it can. */
  problem: z.string().nullable(),
  archive: z.object({
    /** The leader may archive now. */
    open: z.boolean(),
    /** Write-ahead log that waits for the archive; null: not known. */
    waitingBytes: z.number().nullable(),
    /** Age of the newest change that is surely in the archive, s; null: not known. */
    lagSeconds: z.number().nullable(),
    archivedTo: z.string().nullable(),
    /** The gap after which there is no backup that can be restored yet: its first and last file; null: none. */
    gap: Gap.nullable(),
    /** All gaps behind the oldest backup, oldest first. */
    gaps: z.array(Gap),
  }),
  /** Stored for all backups, without the write-ahead log, and free where they are, bytes. */
  storedBytes: z.number(),
  freeBytes: z.number().nullable(),
  /** Absent when the stack tests no restores (`backupCheckEvery: off`), and when the monitor is older than this field. */
  restoreTest: RestoreTestStatus.optional(),
});
export type BackupPart = z.infer<typeof BackupPart>;

/** The backups in short: the first place, and the second if there is one. */
export const BackupSummary = BackupPart.extend({ second: BackupPart.optional() });
export type BackupSummary = z.infer<typeof BackupSummary>;

/** All backups of one place, oldest first. */
export const BackupsPart = BackupPart.extend({
  backups: z.array(Backup.omit({ startMs: true, stopMs: true }).extend({ start: z.string(), stop: z.string() })),
  /** How many older backups are left out. */
  leftOut: z.number().int(),
});
export type BackupsPart = z.infer<typeof BackupsPart>;

/** `GET /api/v1/backups`. */
export const BackupsAnswer = BackupsPart.extend({ second: BackupsPart.optional() });
export type BackupsAnswer = z.infer<typeof BackupsAnswer>;

/** `GET /api/v1/cluster`. */
export const ClusterStatus = z.object({
  stack: z.string(),
  version: z.string(),
  at: z.string(),
  /** True when clients can write now. */
  serving: z.boolean(),
  /** Sentence and code of the last decision. */
  sentence: z.string(),
  code: z.string(),
  /** Id of the row of the rule table that decided last. Absent when the monitor is older than this field. */
  rule: z.string().optional(),
  /**
   * What would happen if the leader died now: the node that takes over, and whether acknowledged writes would be lost.
   */
  ifLeaderDied: z.object({
    sentence: z.string(),
    /** Null when no node takes over. */
    takesOver: z.string().nullable(),
    loss: z.enum(['none', 'possible', 'unknown']),
  }),
  term: z.number().int(),
  leader: z.string().nullable(),
  /** A leader that was removed from the config and still has to hand over; null when there is none. */
  leaving: z.string().nullable(),
  /** `observe`: the monitor decides and logs a change of leader, but does not make it. */
  failoverMode: z.enum(['automatic', 'observe']),
  /** The pause of automatic changes of leader; null when they are on. */
  pause: Pause.nullable(),
  syncMode: z.enum(['synchronous', 'asynchronous']),
  nodes: z.array(NodeStatus),
  haproxy: z.object({
    reachable: z.boolean(),
    write: z.string().nullable(),
    read: z.array(z.string()),
    /**
     * Nodes that HAProxy's own health checks (one a second) do not reach. None of them is made the leader while HAProxy
     * reaches another candidate.
     */
    unreached: z.array(z.string()),
  }),
  /**
   * Clients on the leader: sessions of both ports, how many it takes, and clients of the write port that wait for a place.
   * Absent while no leader is open, and when the monitor is older than this field.
   */
  clientPlaces: z.object({ used: z.number().int(), of: z.number().int(), waiting: z.number().int() }).optional(),
  /**
   * Replication slots that people made, as the opened leader has them, and what may be missing for their readers since a
   * change of leader. Absent while there is none, and when the monitor is older than this field.
   */
  clientSlots: ClientSlotsView.omit({ term: true }).optional(),
  /** Absent in a stack without a pooler. */
  pooler: PoolerStatus.optional(),
  /** Absent in a stack without backups, and when the monitor is older than this field. */
  backup: BackupSummary.optional(),
  /** The restore in place. Absent when there was none, and when the monitor is older than this field. */
  restore: z
    .object({
      /** What is under way, as half a sentence; null: none is. */
      underWay: z.string().nullable(),
      /** The data from before the last one, until a person confirms or undoes it; null: none are kept. */
      kept: z
        .object({ node: z.string(), to: z.string(), bytes: z.number().nullable(), at: z.string().nullable() })
        .nullable(),
      /** How the last one ended; null: not known, or it is under way. */
      last: z.object({ done: z.boolean(), message: z.string() }).nullable(),
    })
    .optional(),
  sync: z.object({ waitsFor: z.number().int(), members: z.array(z.string()), changing: z.boolean() }),
  lastFailover: Failover.nullable(),
  /** TLS with clients. Absent when the monitor is older than this field. */
  tls: z
    .object({
      mode: TlsMode,
      /** End of the certificate's life; null when there is none. */
      expires: z.string().nullable(),
      /** Why the newest certificate is not used; null: it is. */
      problem: z.string().nullable(),
      /** `authority`: the stack's own one has signed it; `files`: it is the user's (`tlsCertificate`). Absent: not known. */
      source: z.enum(['authority', 'files']).optional(),
    })
    .optional(),
  /** The newest events, at most 100, oldest first. */
  events: z.array(LogEvent),
});
export type ClusterStatus = z.infer<typeof ClusterStatus>;

/** `GET /api/v1/failovers`: the changes of leader that the monitor remembers, oldest first. */
export const Failovers = z.object({ failovers: z.array(Failover) });

/** `GET /api/v1/events?after=ID&limit=N`: oldest first. */
export const Events = z.object({ events: z.array(LogEvent) });

/** One moment of the charts. */
export const Sample = z.object({
  at: z.string(),
  /** How long a synchronous one-row commit took on the leader; null when no commit came back. */
  writeMs: z.number().nullable(),
  /** Lag by node name. A node whose lag is not known is left out. */
  lagBytes: z.record(z.string(), z.number()),
});
export type Sample = z.infer<typeof Sample>;

/** `GET /api/v1/history`: oldest first, `everyMs` apart, at most an hour. */
export const History = z.object({ everyMs: z.number().int(), samples: z.array(Sample) });

/**
 * `GET /api/v1/stream` sends server-sent events:
 * - `cluster` carries a {@link ClusterStatus} whose `events` is empty: at once, on each change but at most four times a
 *   second, and at least every two seconds.
 * - `log` carries a {@link LogEvent}. Its id is the SSE id, so a browser that reconnects misses no line.
 * - `failover` carries a {@link Failover}, `sample` a {@link Sample}.
 */
export const STREAM_EVENTS = ['cluster', 'log', 'failover', 'sample'] as const;

/** Maximum length of a pause that ends by itself, ms (30 days). */
const PAUSE_MS_MAX = 30 * 24 * 3_600_000;
/** With `dryRun` the monitor does nothing and answers what it would do. */
const dryRun = z.boolean().default(false);

/** Bodies of the POST calls, by the last part of the path. Each needs `Authorization: Bearer <adminToken>`. */
export const Bodies = {
  switchover: z.strictObject({ to: NodeName.optional(), dryRun }),
  promote: z.strictObject({ node: NodeName, acceptDataLoss: z.boolean().default(false), dryRun }),
  /** `forMs`: after this time the pause ends by itself. Without it the pause lasts until a person resumes. */
  pause: z.strictObject({
    reason: z.string().trim().min(1).max(200),
    forMs: z.number().int().min(1_000).max(PAUSE_MS_MAX).optional(),
    dryRun,
  }),
  resume: z.strictObject({ dryRun }),
  /** Replaces a standby's data by a fresh copy from the leader. */
  rebuild: z.strictObject({ node: NodeName, dryRun }),
  /** Begins a job for the backups. The answer comes at once; `GET /api/v1/backups` shows how it goes on. */
  backup: z.strictObject({ kind: JobKind.default('incr'), repository: RepositoryName.optional(), dryRun }),
  /** Restores the leader's data in place. The answer comes when it has begun; the status shows how it goes on. */
  restore: z.strictObject({ to: RestoreTarget, dryRun }),
  /** Brings the data from before the last restore in place back. */
  'restore-undo': z.strictObject({ dryRun }),
  /** Removes the data from before the last restore in place. */
  'restore-confirm': z.strictObject({ dryRun }),
} as const;
export type Command = keyof typeof Bodies;

/**
 * Answer of a POST call. The status is 200 when the command was done (with `dryRun`: would be done), and 409 when it
 * was refused or failed.
 */
export const Answer = z.object({
  done: z.boolean(),
  /** One sentence. */
  message: z.string(),
  leader: z.string().nullable(),
  term: z.number().int(),
  tookMs: z.number(),
  /** Id of the job that `backup` began. */
  job: z.string().optional(),
});
export type Answer = z.infer<typeof Answer>;

/** Body of the error answers: 400 (bad body), 401 (no or wrong token), 404, 503 (the monitor is starting). */
export const ApiError = z.object({ error: z.string() });
