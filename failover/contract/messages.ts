/**
 * The messages between monitor and keeper. Both sides validate what they receive.
 *
 * Transport: each keeper opens one TCP connection to the monitor and keeps it open, so that a broken connection shows
 * at once that a container is dying. Frames are JSON, one a line (`\n`), at most {@link FRAME_BYTES_MAX} bytes. The
 * connection begins with a mutual proof of the cluster key (challenge → hello → welcome). Neither side accepts anything
 * before that proof, and a frame that does not parse ends the connection.
 *
 * The protocol is declarative: an order says what a node has to *be*, not which steps to run. Orders are idempotent, so
 * a lost, doubled or late order does no harm: a keeper remembers the highest (incarnation, term, seq) durably and
 * refuses every lower one (docs/safety.md S5, S11).
 */

import { z } from 'zod';
import { BackupView, GAPS_MAX, Gap, JobOrder, S3Settings } from './backups';
import { ClientSlotsView, SlotOrder } from './client-slots';
import { FailureCode, known, LogCode } from './codes';
import { NODES_MAX, PEM_MAX, STATUS_ROWS_MAX } from './limits';
import { Lsn } from './lsn-schema';
import { NodeName } from './naming';
import { RestoredView, RestoreSource } from './restore';
import { seam } from './seam';

export const PROTOCOL_VERSION = 1;
/** Longest frame that either side accepts, bytes. */
export const FRAME_BYTES_MAX = 256 * 1024;
/** How often the monitor asks each keeper for a sign of life, ms. */
export const PING_INTERVAL_MS = 100;
/**
 * The answer to each ping whose number is a multiple of this carries the whole status in the same packet. A changed
 * status is sent at once.
 */
export const PINGS_A_STATUS = 2;
/** Each ping whose number is a multiple of this says which slots of people there are. */
export const PINGS_A_SLOT_ORDER = 10;

export { Lsn };

/**
 * The standbys that a commit on `leader` waits for before it is acknowledged: `ANY k (members)`. `k = 0` without
 * members means "alone": only the leader itself satisfies such a configuration, no replica can (docs/safety.md, joint
 * set).
 */
export const SyncConfig = z
  .object({
    leader: NodeName,
    k: z.number().int().min(0),
    members: z.array(NodeName),
    /**
     * Term in which the monitor recorded this configuration. If the leadership of that term was never opened, no write
     * was acknowledged under it. Absent in states and orders of 0.1.0.
     */
    term: z.number().int().min(0).optional(),
  })
  .refine(
    (c) => c.k <= c.members.length && c.k > 0 === c.members.length > 0,
    'k must lie in 1…members, or be 0 when alone',
  );
export type SyncConfig = z.infer<typeof SyncConfig>;

/**
 * How a node's data gets onto its leader's history. `stream`: by streaming alone. `rewind`: by pg_rewind. `copy`: by a
 * base backup that is made beside the old data and takes its place once it is verified.
 */
export const RejoinMethod = z.enum(['stream', 'rewind', 'copy']);
export type RejoinMethod = z.infer<typeof RejoinMethod>;

/** The part of an order that says what the node has to be. */
export const Target = z.discriminatedUnion('kind', [
  /** Wait: the keeper does not start PostgreSQL, and lets a running standby run. `reason` is for people. */
  z.object({
    kind: z.literal('wait'),
    reason: z.string(),
    /**
     * True when the node is of no use before it gets another order: the order to wait then never counts as carried out.
     */
    unready: z.boolean().optional(),
  }),
  /**
   * Create a new database cluster (`initdb`) and leave it stopped. This is the only order that may do so, and the
   * keeper refuses it when data exists.
   */
  z.object({ kind: z.literal('bootstrap') }),
  /**
   * Be the leader: start as a standby if stopped, promote if in recovery (after noting "promoting in term T" durably,
   * S3), put `sync` in force and prove it (S4, S17), write the heartbeat. To change `sync` the monitor sends the order
   * with a higher seq.
   */
  z.object({
    kind: z.literal('lead'),
    sync: SyncConfig,
    /**
     * The leader will stop soon, so it writes a checkpoint first to make the shutdown short. `done` waits for the
     * checkpoint.
     */
    prepare: z.boolean().optional(),
  }),
  /**
   * Be a standby of `leader`, whose term is the order's term. `method` is how to get there; only `copy` replaces the
   * data.
   */
  z.object({
    kind: z.literal('follow'),
    leader: NodeName,
    method: RejoinMethod,
    /**
     * PostgreSQL may restart now for settings that need it, and `done` waits for that. Only one standby at a time is
     * allowed to.
     */
    restart: z.boolean().optional(),
    /**
     * Identity of the data directory that the copy has to replace, even if the keeper made a copy in this term already.
     */
    replaces: z.string().optional(),
    /** Readers may delay replay for long, because no write waits for this node (S16). */
    lateReplay: z.boolean().optional(),
    /** The old data may be needed again, so it stays until the copy is complete, even with `rebuildInPlace`. */
    keepOld: z.boolean().optional(),
  }),
  /**
   * Promise (S1): store the term durably, stop the walreceiver, never again follow a leader of a lower term, and report
   * the position at which the node is frozen.
   */
  z.object({ kind: z.literal('freeze') }),
  /**
   * Shut PostgreSQL down cleanly (fast mode) and stay down until the next order. With `drainMs` the keeper first ends
   * idle client sessions, and running transactions have that long to end.
   */
  z.object({ kind: z.literal('stop'), drainMs: z.number().int().min(0).optional() }),
  /**
   * A restore in place; PostgreSQL stays down. `make`: hand over all write-ahead log, and make the data beside the
   * present ones, complete and on a timeline of their own with a number higher than `above`. `swap`: put them in the
   * place of the present data. A node that fails reports RESTORE_FAILED and does nothing more under this order.
   */
  z.object({
    kind: z.literal('restore'),
    step: z.enum(['make', 'swap']),
    id: z.string().max(64),
    from: RestoreSource,
    above: z.number().int().min(0),
  }),
]);
export type Target = z.infer<typeof Target>;

/** Identity of one order; see {@link compareOrders}. */
export const OrderId = z.object({
  /** Rises with each start of the monitor. Keepers refuse orders of a lower incarnation (S11). */
  incarnation: z.number().int().min(1),
  /** Rises with each leadership. */
  term: z.number().int().min(0),
  /** Rises with every stored change of the monitor's state. It never falls, not even when the term rises. */
  seq: z.number().int().min(1),
});
export type OrderId = z.infer<typeof OrderId>;

/** Compares two orders by incarnation, then term, then seq. Negative when `a` is older than `b`. */
export const compareOrders = seam((a: OrderId, b: OrderId): number => {
  return a.incarnation - b.incarnation || a.term - b.term || a.seq - b.seq;
});

/** Address at which a monitor accepts the keepers' connections. */
export const MonitorAddress = z.object({ host: z.ipv4(), port: z.number().int() });
export type MonitorAddress = z.infer<typeof MonitorAddress>;

/** Which clients use TLS: `off`: none. `on`: those that ask for it. `require`: all; a client without TLS is refused. */
export const TlsMode = z.enum(['off', 'on', 'require']);
export type TlsMode = z.infer<typeof TlsMode>;

/** What a node needs for TLS with clients. */
export const TlsSettings = z.object({
  mode: TlsMode,
  /** Certificate and chain, PEM. Absent: the monitor has none, and a node keeps the one that it has. */
  certificate: z.string().max(PEM_MAX).optional(),
  /** Its private key, PEM, sealed with the cluster key (seal.ts). */
  key: z
    .string()
    .max(2 * PEM_MAX)
    .optional(),
});
export type TlsSettings = z.infer<typeof TlsSettings>;

/** What a node needs to know about backups; absent from {@link NodeSettings}: there are none. */
export const BackupSettings = z.object({
  /** Length of the lease of the node that archives, ms: at most the time after which a leader counts as hung. */
  leaseMs: z.number().int().min(500),
  /**
   * Write-ahead log that may wait while the archive takes nothing, bytes. Beyond it, it is let go: a gap is recorded.
   */
  queueBytes: z.number().int().min(0),
  /** How many full backups are kept, with all that builds on them. Absent: all. */
  keep: z.number().int().min(1).optional(),
  /** False: none are kept on the machine with the data. Absent: they are. */
  local: z.boolean().optional(),
  /** The second place of the backups. Absent: there is none. */
  s3: S3Settings.optional(),
  /** Of what a standby is made that has to be copied. Absent: of the leader. */
  replicaFrom: z.enum(['leader', 'backup']).optional(),
});
export type BackupSettings = z.infer<typeof BackupSettings>;

/** What a node needs to know to let clients of replication in; absent from {@link NodeSettings}: none are let in. */
export const ReplicationSettings = z.object({
  /** As in {@link BackupSettings}: how long the opened leader lets them in after the monitor was heard last, ms. */
  leaseMs: z.number().int().min(500),
});
export type ReplicationSettings = z.infer<typeof ReplicationSettings>;

const DeclaredNode = z.object({ name: NodeName, address: z.ipv4() });

/**
 * Settings that every node needs and that may change at run time. The monitor sends them after the handshake and on
 * change.
 */
export const NodeSettings = z.object({
  nodes: z.array(DeclaredNode).min(1).max(NODES_MAX),
  haproxyAddress: z.ipv4(),
  monitorAddress: z.ipv4(),
  /** CIDR of the inner network, for pg_hba.conf. */
  subnet: z.string(),
  databaseName: z.string(),
  databaseUser: z.string(),
  /**
   * SCRAM verifier of the database's owner, as PostgreSQL stores it. Absent from monitors of 0.1.0, which send
   * `databasePassword`.
   */
  databaseVerifier: z.string().optional(),
  /** Sent only to a keeper of 0.1.0, whose hello lacks `takesVerifier`. */
  databasePassword: z.string().optional(),
  /** Extra postgresql.conf settings (name → value as PostgreSQL prints it). */
  postgresSettings: z.record(z.string(), z.string()),
  /** True when a copy may delete the old data before it is complete, for a disk that is too small for both. */
  rebuildInPlace: z.boolean().optional(),
  backup: BackupSettings.optional(),
  replication: ReplicationSettings.optional(),
  /** Absent from monitors of 0.1.0: off. */
  tls: TlsSettings.optional(),
  /** The present monitors. When absent, the keeper keeps the list that it has. */
  monitors: z.array(MonitorAddress).min(1).max(8).optional(),
});
export type NodeSettings = z.infer<typeof NodeSettings>;

/** Which of the newest `postgresSettings` are in force on the node's running PostgreSQL. */
export const SettingsStatus = z.object({
  /**
   * - `none`: all settings are in force.
   * - `needed`: some settings wait for a restart.
   * - `in-place`: only on a leader. It lowers a setting whose value on a standby must be at least the leader's
   *   (PostgreSQL manual, "Hot Standby", "Administrator's Overview"). So the leader restarts first, and leads again
   *   (S23).
   */
  restart: z.enum(['none', 'needed', 'in-place']),
  /**
   * Names of the settings that wait for a restart of this node. A setting that may be lowered on a standby only after
   * its leader waits for the leader's restart first.
   */
  pending: z.array(z.string()),
  /**
   * Set when PostgreSQL did not start with the settings and runs with the former ones: the settings, and PostgreSQL's
   * own message. Null otherwise.
   */
  refused: z.string().nullable(),
});
export type SettingsStatus = z.infer<typeof SettingsStatus>;

const PostgresState = z.enum([
  'absent', // no data directory
  'stopped',
  'starting',
  'standby',
  'promoting',
  'primary',
  'stopping',
  'initialising',
  'rewinding',
  'copying',
]);

/** A standby as its leader sees it in pg_stat_replication. The row's application_name is the node's name. */
export const StandbyView = z.object({
  name: NodeName,
  /** `startup`, `catchup`, `streaming` and so on. */
  state: z.string(),
  /** `async`, `potential`, `sync` or `quorum`. */
  syncState: z.string(),
  flushLsn: Lsn.nullable(),
  replayLsn: Lsn.nullable(),
  /**
   * Time between the leader's own flush of recent WAL and the news that the standby has flushed it (`flush_lag`), ms.
   */
  flushLagMs: z.number().min(0).nullable().optional(),
});
export type StandbyView = z.infer<typeof StandbyView>;

/** A replication slot on a node. */
export const SlotView = z.object({
  name: z.string(),
  active: z.boolean(),
  /** `pg_replication_slots.wal_status`: reserved, extended, unreserved, lost (PostgreSQL manual 53.20). */
  walStatus: z.string().nullable(),
  /** WAL that the node keeps for this slot, bytes. */
  retainedBytes: z.number().nullable(),
});
export type SlotView = z.infer<typeof SlotView>;

/** The archive as the node that archives sees it. */
export const ArchiveView = z.object({
  /** The newest lease has not ended. */
  open: z.boolean(),
  /** Files that wait for the archive, and their size together, bytes. */
  waiting: z.number().int().min(0),
  waitingBytes: z.number().min(0),
  /** Up to here all write-ahead log of this leader's history is in the repository, or in the gaps. Null: not known. */
  archivedTo: Lsn.nullable(),
  /** Timeline of the leader that `archivedTo` is about; absent: not known. */
  timeline: z.number().int().optional(),
  /**
   * What is in no backup, oldest first: it was let go or was not there any more. A gap is listed as long as a backup is
   * kept that begins before its end; absent: there is none.
   */
  gaps: z.array(Gap).max(GAPS_MAX).optional(),
  /** Why the archive takes nothing; absent: it does. */
  problem: z.string().max(1_000).optional(),
});
export type ArchiveView = z.infer<typeof ArchiveView>;

/** Short name of one place in S3; see `s3Place` in keeper/backup-side.ts. */
const S3Place = z.string().max(64);

/** Why a keeper cannot carry out its order now. */
export const Failure = z
  .object({
    code: z.string(),
    message: z.string(),
    /** Number of attempts under this order; absent when they are not counted. */
    tries: z.number().int().min(1).optional(),
  })
  .transform(known(FailureCode));
export type Failure = z.infer<typeof Failure>;

/**
 * Everything that a keeper reports about its node. It is sent on every change and with every {@link PINGS_A_STATUS}th
 * answer to a ping.
 */
export const Status = z.object({
  type: z.literal('status'),
  /** Number of this status; rises by one within a connection. */
  n: z.number().int().min(0),
  /**
   * How long the keeper's process has been running, ms. If that is longer than the monitor has been running, the stack
   * is not in a cold start (S25).
   */
  upMs: z.number().min(0).optional(),
  /**
   * Identity of the data directory, `<system identifier>:<directory id>`. The directory id is random and is made anew
   * by initdb and by a base backup. Null when there is no data.
   */
  dataId: z.string().nullable(),
  /** The container was told to stop (SIGTERM). The keeper waits a bounded time for a handover (S18). */
  stopping: z.boolean(),
  /** The highest order that the keeper has stored durably, and the kind of its target. */
  accepted: OrderId.extend({ kind: z.string() }).nullable(),
  /**
   * True when the accepted order is fully carried out: `follow` when the node streams, `lead` when it is a primary with
   * its sync configuration in force.
   */
  done: z.boolean(),
  /** Why the keeper cannot carry out the accepted order now. It goes on trying where that makes sense. */
  failure: Failure.nullable(),
  /** Durable marker of an unfinished promotion: the term in which it was begun (S3, S12). */
  promotingTerm: z.number().int().nullable(),
  /** Term of the last finished promotion of this data that no rewind or copy has undone. */
  promotedTerm: z.number().int().nullable().optional(),
  /** Durable marker of an unfinished rewind, which leaves the data half changed (S12). */
  rewinding: z.boolean(),
  /**
   * PostgreSQL became a primary on this data without an order. Its timeline may share its number with another history
   * (S3).
   */
  promotedByHand: z.boolean().optional(),
  /** Null while it is not known: for settings that have just arrived, or when the server does not run. */
  settings: SettingsStatus.nullable().optional(),
  postgres: z.object({
    state: PostgresState,
    /**
     * Current timeline, from SQL while PostgreSQL runs and from pg_controldata while it is stopped; null when it is not
     * known.
     */
    timeline: z.number().int().nullable(),
    /**
     * Position that counts as a vote (S6): the greater one of the received and the replayed position. It is known only
     * while the walreceiver is off or streaming. In addition, the walreceiver must have run since this server's start,
     * or the startup process must have applied all local WAL. After a clean stop it is the position of the shutdown
     * checkpoint. Null means that the position is not known, so the node has no vote.
     */
    lsn: Lsn.nullable(),
    /** True when pg_controldata says "shut down" or "shut down in recovery". Null while PostgreSQL runs. */
    cleanShutdown: z.boolean().nullable(),
    /**
     * Name of the node that this standby receives WAL from while its walreceiver's status is `streaming`; else null.
     */
    streamingFrom: NodeName.nullable(),
    /** Replay position. It shows how far reads on this node lag. */
    replayLsn: Lsn.nullable(),
    /**
     * Newest heartbeat count on this node: the value of the sequence `failover.beat`, which standbys replay too (S21).
     */
    heartbeatSeen: z.number().int().nullable(),
    /**
     * How long ago the newest transaction that the standby has applied was committed, ms: the age of the data that it
     * shows.
     */
    heartbeatSeenAgeMs: z.number().min(0).nullable().optional(),
    /**
     * On a standby: age of the oldest transaction of a reader that is older than a second, ms; null: there is none. The
     * leader's VACUUM keeps the rows that it may need.
     */
    oldReadMs: z.number().min(0).nullable().optional(),
    /** Crashes of PostgreSQL within the last minute (S8). */
    crashes: z.number().int().min(0),
    /** Consecutive crashes, without a minute between them in which PostgreSQL ran well. Absent: not counted. */
    crashesInRow: z.number().int().min(0).optional(),
  }),
  /** Set while this node is the leader. */
  lead: z
    .object({
      term: z.number().int(),
      timeline: z.number().int(),
      forkLsn: Lsn.nullable(),
      /** Flush position of the leader. */
      flushLsn: Lsn.nullable(),
      /** Count of the last heartbeat that the leader has flushed (committed with synchronous_commit=local, S21). */
      heartbeat: z.number().int(),
      /**
       * Time since PostgreSQL last answered a heartbeat, even with an error, ms (S27). Up to 0.1.0: since the last
       * commit.
       */
      heartbeatAgeMs: z.number().min(0),
      /** Age of the oldest client transaction that is older than a second, ms; null: there is none. */
      oldTransactionMs: z.number().min(0).nullable().optional(),
      /** The number of such transactions. */
      oldTransactions: z.number().int().min(0).optional(),
      /** How long the last heartbeat's local commit took, ms; null when none has come back since the promotion. */
      commitMs: z.number().min(0).nullable().optional(),
      /** The sync configuration that the keeper has *proven* in force (S4); null until it has. */
      syncInForce: SyncConfig.nullable(),
      standbys: z.array(StandbyView).max(STATUS_ROWS_MAX),
    })
    .nullable(),
  /**
   * Replication slots on this node. The keeper looks at them every few seconds and leaves them out of the statuses
   * between.
   */
  slots: z.array(SlotView).max(STATUS_ROWS_MAX).optional(),
  /** The slots that people made on the opened leader. Sent after each look; absent between, and on other nodes. */
  clientSlots: ClientSlotsView.optional(),
  /** Absent while this node does not archive. */
  archive: ArchiveView.optional(),
  /** Absent while this node may make no backups. */
  backup: BackupView.optional(),
  /**
   * The same for the backups in S3, absent while this node has nothing to do with them. `place` names the bucket and
   * the folder in it, so that positions of a former place are never taken for those of the present one.
   */
  s3: z.object({ place: S3Place, archive: ArchiveView.optional(), backup: BackupView.optional() }).optional(),
  /** Free in the node's volume, bytes. Absent: not known, or the keeper cannot restore in place. */
  freeBytes: z.number().min(0).optional(),
  /** Absent: no restore in place has ended here. */
  restored: RestoredView.optional(),
});
export type Status = z.infer<typeof Status>;

/** First frame, monitor → keeper. */
const Challenge = z.object({
  type: z.literal('challenge'),
  version: z.literal(PROTOCOL_VERSION),
  incarnation: z.number().int().min(1),
  nonce: z.string().length(64),
});
/** Second frame, keeper → monitor. `mac` = proof(key, 'keeper', monitor's nonce, own nonce, node). */
const Hello = z.object({
  type: z.literal('hello'),
  version: z.literal(PROTOCOL_VERSION),
  node: NodeName,
  nonce: z.string().length(64),
  mac: z.string(),
  /** The keeper sets the owner's password by `databaseVerifier` alone. Absent up to 0.1.0. */
  takesVerifier: z.boolean().optional(),
});
/** Third frame, monitor → keeper. `mac` = proof(key, 'monitor', keeper's nonce, own nonce, node). */
const Welcome = z.object({ type: z.literal('welcome'), mac: z.string() });

/** A copy of the monitor's stored state. Every keeper keeps one (S10). The keeper does not read `blob`. */
export const StateCopy = z.object({ term: z.number().int(), seq: z.number().int(), blob: z.string() });
export type StateCopy = z.infer<typeof StateCopy>;

/** Frames that the monitor sends to a keeper. */
export const MonitorFrame = z.discriminatedUnion('type', [
  Challenge,
  Welcome,
  z.object({ type: z.literal('settings'), settings: NodeSettings }),
  OrderId.extend({ type: z.literal('order'), target: Target }),
  /** Tells the keeper to remember the monitor's newest stored state. */
  StateCopy.extend({ type: z.literal('remember') }),
  /**
   * The keeper answers at once with a `pong` of the same n. Silence is counted only from a ping that was really sent
   * (S11).
   */
  z.object({
    type: z.literal('ping'),
    n: z.number().int(),
    /**
     * Sent to the opened leader alone: it may archive, and let clients of replication in, in this term. `heard`: number
     * of the last ping whose answer the monitor had when it said so. The lease is counted from the moment at which the
     * keeper sent that answer, so a late ping gives no time.
     */
    archive: z.object({ term: z.number().int(), heard: z.number().int() }).optional(),
    /** `archivedTo`, `timeline` and `gaps` of the node that archives, or archived last. */
    archivedTo: Lsn.optional(),
    archivedTimeline: z.number().int().optional(),
    /** Beside `archivedTo`: its gaps; absent: there is none. */
    archivedGaps: z.array(Gap).max(GAPS_MAX).optional(),
    /** Beside `archive`: the job for the backups. */
    backup: JobOrder.optional(),
    /** The same for the backups in S3. */
    s3: z
      .object({
        place: S3Place,
        archivedTo: Lsn.optional(),
        archivedTimeline: z.number().int().optional(),
        archivedGaps: z.array(Gap).max(GAPS_MAX).optional(),
        backup: JobOrder.optional(),
      })
      .optional(),
    /** A person confirmed this restore: the data from before it are to be removed. */
    confirmed: z.string().max(64).optional(),
    /** In each {@link PINGS_A_SLOT_ORDER}th ping, while a leader is open. */
    slots: SlotOrder.optional(),
  }),
]);
export type MonitorFrame = z.infer<typeof MonitorFrame>;
export type Order = Extract<MonitorFrame, { type: 'order' }>;

/** Frames that a keeper sends to the monitor. */
export const KeeperFrame = z.discriminatedUnion('type', [
  Hello,
  /** Once after the handshake and before the first status: the newest state copy that the keeper has. */
  z.object({ type: z.literal('recall'), newest: StateCopy.nullable() }),
  Status,
  z.object({ type: z.literal('pong'), n: z.number().int() }),
  /** One line for people about what the keeper is doing ("base backup 40 %"); the monitor writes it to failover.log. */
  z
    .object({
      type: z.literal('note'),
      level: z.enum(['info', 'warn', 'error']),
      code: z.string(),
      message: z.string(),
    })
    .transform(known(LogCode)),
]);
export type KeeperFrame = z.infer<typeof KeeperFrame>;
