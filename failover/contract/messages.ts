/**
 * The messages between monitor and keeper, validated on both sides.
 *
 * Transport: one TCP connection per keeper, dialled by the keeper and held open, so that a dying container is noticed
 * by its break. Frames are JSON, one a line (`\n`), at most {@link FRAME_BYTES_MAX} bytes. The connection opens with a
 * mutual proof of the cluster key (challenge → hello → welcome); nothing is accepted before it, and a frame that does
 * not parse ends the connection.
 *
 * The protocol is declarative: an order says what a node has to *be*, not which steps to run. It is idempotent, so a
 * lost, doubled or late order does no harm: a keeper remembers the highest (incarnation, term, seq) durably and refuses
 * whatever is lower (docs/safety.md S5, S11).
 */

import { z } from 'zod';
import { FailureCode, known, LogCode } from './codes';
import { MonitorAddress } from './inputs';
import { NODES_MAX, STATUS_ROWS_MAX } from './limits';
import { NodeName } from './naming';
import { seam } from './seam';

export const PROTOCOL_VERSION = 1;
/** Longest frame that either side accepts, bytes. */
export const FRAME_BYTES_MAX = 256 * 1024;
/** How often the monitor asks each keeper for a sign of life, ms. */
export const PING_INTERVAL_MS = 100;
/** Every so many pings the answer carries the whole status, in one packet with it. Changes are sent at once. */
export const PINGS_A_STATUS = 2;

/** A write-ahead log position as PostgreSQL prints it, for example `0/3000060`. */
export const Lsn = z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/);

/**
 * What an acknowledged write waits for: `ANY k (members)` on `leader`. `k = 0` with no members is "alone": a
 * configuration that no replica can satisfy (docs/safety.md, joint set).
 */
export const SyncConfig = z
  .object({
    leader: NodeName,
    k: z.number().int().min(0),
    members: z.array(NodeName),
    /**
     * Term in which the monitor recorded it: a configuration of a leadership that was never opened acknowledged nothing.
     * Absent in states and orders of 0.1.0.
     */
    term: z.number().int().min(0).optional(),
  })
  .refine(
    (c) => c.k <= c.members.length && c.k > 0 === c.members.length > 0,
    'k must lie in 1…members, or be 0 when alone',
  );
export type SyncConfig = z.infer<typeof SyncConfig>;

/** How a node gets to its leader's history. `copy` = base backup beside the old data, swapped in when verified. */
export const RejoinMethod = z.enum(['stream', 'rewind', 'copy']);
export type RejoinMethod = z.infer<typeof RejoinMethod>;

/** What a node has to be. */
export const Target = z.discriminatedUnion('kind', [
  /** Do nothing yet; PostgreSQL is not started (or left running as it is, if it runs as a standby). `reason` is for people. */
  z.object({
    kind: z.literal('wait'),
    reason: z.string(),
    /** The node has to become something else before it is of use: the order does not count as carried out. */
    unready: z.boolean().optional(),
  }),
  /** Create a new database cluster (`initdb`). The only order that may; refused when data exists. Leaves it stopped. */
  z.object({ kind: z.literal('bootstrap') }),
  /**
   * Be the leader: start as a standby if stopped, promote if in recovery (durably noting "promoting in term T" first,
   * S3), put `sync` in force and prove it (S4, S17), keep the heartbeat. Sent again with a higher seq to change `sync`.
   */
  z.object({
    kind: z.literal('lead'),
    sync: SyncConfig,
    /** A switchover is near: write a checkpoint first, so that the shutdown is short. `done` waits for it. */
    prepare: z.boolean().optional(),
  }),
  /** Be a standby of `leader` (its term is the order's term), getting there by `method`. Only `copy` replaces the data. */
  z.object({
    kind: z.literal('follow'),
    leader: NodeName,
    method: RejoinMethod,
    /** PostgreSQL may be restarted now for settings that need it; `done` waits for that. One standby at a time has it. */
    restart: z.boolean().optional(),
    /** Identity of the data directory that a copy has to take the place of, also where it was copied in this term already. */
    replaces: z.string().optional(),
    /** The old data stays until the copy is complete, whatever `rebuildInPlace` says: it may be needed again. */
    keepOld: z.boolean().optional(),
  }),
  /** Promise (S1): store the term, stop the walreceiver, never follow a lower term again, report the frozen position. */
  z.object({ kind: z.literal('freeze') }),
  /**
   * Shut PostgreSQL down cleanly (fast) and stay down until the next order. With `drainMs` idle clients are sent away
   * first, and running transactions have that long to end.
   */
  z.object({ kind: z.literal('stop'), drainMs: z.number().int().min(0).optional() }),
]);
export type Target = z.infer<typeof Target>;

/** Identifies one order; see {@link compareOrders}. */
export const OrderId = z.object({
  /** Rises with each start of the monitor; keepers refuse orders of an older monitor (S11). */
  incarnation: z.number().int().min(1),
  /** Rises with each leadership. */
  term: z.number().int().min(0),
  /** Rises with every stored change of the monitor's state. Never falls, also across terms. */
  seq: z.number().int().min(1),
});
export type OrderId = z.infer<typeof OrderId>;

/** Orders are compared by incarnation, then term, then seq: negative when a is older than b. */
export const compareOrders = seam((a: OrderId, b: OrderId): number => {
  return a.incarnation - b.incarnation || a.term - b.term || a.seq - b.seq;
});

/** Settings that every node needs and that may change at run time; sent after the handshake and on each change. */
export const NodeSettings = z.object({
  nodes: z
    .array(z.object({ name: NodeName, address: z.ipv4() }))
    .min(1)
    .max(NODES_MAX),
  haproxyAddress: z.ipv4(),
  monitorAddress: z.ipv4(),
  /** CIDR of the inner network, for pg_hba. */
  subnet: z.string(),
  databaseName: z.string(),
  databaseUser: z.string(),
  databasePassword: z.string(),
  /** Extra postgresql.conf settings (name → value as PostgreSQL prints it). */
  postgresSettings: z.record(z.string(), z.string()),
  /** A copy may take the place of the old data before it is complete, where the disk is too small for both. */
  rebuildInPlace: z.boolean().optional(),
  /** The monitors that there are now. Absent: the keeper goes on with those that it knows. */
  monitors: z.array(MonitorAddress).min(1).max(8).optional(),
});
export type NodeSettings = z.infer<typeof NodeSettings>;

/** How the node's running PostgreSQL stands to the newest `postgresSettings`. */
export const SettingsStatus = z.object({
  /**
   * `none`: all are in force. `needed`: some wait for a restart. `in-place`: on a leader, one of them is lower than before, so
   * that its standbys cannot have it earlier (S23): the leader itself has to restart and lead again.
   */
  restart: z.enum(['none', 'needed', 'in-place']),
  /** Names of the settings that wait for a restart, of this node or, for those that a standby must not have less of, of its leader first. */
  pending: z.array(z.string()),
  /** PostgreSQL did not start with them and runs with the former ones: the settings, and its own words. Else null. */
  refused: z.string().nullable(),
});
export type SettingsStatus = z.infer<typeof SettingsStatus>;

export const PostgresState = z.enum([
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
export type PostgresState = z.infer<typeof PostgresState>;

/** A standby as its leader sees it (pg_stat_replication), by application_name = node name. */
export const StandbyView = z.object({
  name: NodeName,
  /** startup, catchup, streaming … */
  state: z.string(),
  /** async, potential, sync, quorum */
  syncState: z.string(),
  flushLsn: Lsn.nullable(),
  replayLsn: Lsn.nullable(),
  /** Time from the leader's own flush of recent WAL until it heard that the standby has flushed it (`flush_lag`), ms. */
  flushLagMs: z.number().min(0).nullable().optional(),
});
export type StandbyView = z.infer<typeof StandbyView>;

/** A replication slot on a node. */
export const SlotView = z.object({
  name: z.string(),
  active: z.boolean(),
  /** `pg_replication_slots.wal_status`: reserved, extended, unreserved, lost (PostgreSQL manual 53.20). */
  walStatus: z.string().nullable(),
  /** WAL that is kept for it, bytes. */
  retainedBytes: z.number().nullable(),
});
export type SlotView = z.infer<typeof SlotView>;

/** Why a keeper cannot carry out its order now. */
export const Failure = z
  .object({
    code: z.string(),
    message: z.string(),
    /** How often it was tried under this order; absent: not counted. */
    tries: z.number().int().min(1).optional(),
  })
  .transform(known(FailureCode));
export type Failure = z.infer<typeof Failure>;

/** A keeper's whole view of its node. Sent on every change and with every {@link PINGS_A_STATUS}th answer to a ping. */
export const Status = z.object({
  type: z.literal('status'),
  /** Counts up within one connection. */
  n: z.number().int().min(0),
  /** How long the keeper's process runs, ms: longer than the monitor's tells that not everything has just started (S25). */
  upMs: z.number().min(0).optional(),
  /** `<system identifier>:<directory id>`; the directory id is random, made by initdb or base backup. Null: no data. */
  dataId: z.string().nullable(),
  /** The container was told to stop (SIGTERM); it waits a bounded time for a hand-over (S18). */
  stopping: z.boolean(),
  /** Highest order that was stored durably, and the kind it asked for. */
  accepted: OrderId.extend({ kind: z.string() }).nullable(),
  /** True when the accepted order is wholly carried out (for `follow`: streaming; for `lead`: primary with sync in force). */
  done: z.boolean(),
  /** Why the accepted order cannot be carried out now (the keeper goes on trying where that makes sense). */
  failure: Failure.nullable(),
  /** A durable marker of an unfinished promotion or rewind: term in which it was begun (S3, S12). */
  promotingTerm: z.number().int().nullable(),
  /** Term of the last promotion of this data that was finished and not undone by a rewind or a copy. */
  promotedTerm: z.number().int().nullable().optional(),
  rewinding: z.boolean(),
  /** PostgreSQL became a primary on this data without an order: its timeline is its own, whatever number it has (S3). */
  promotedByHand: z.boolean().optional(),
  /** Null: not known yet, for settings that have just come or a server that does not run. */
  settings: SettingsStatus.nullable().optional(),
  postgres: z.object({
    state: PostgresState,
    /** Current timeline where it can be told (running: from SQL; stopped: from pg_controldata), else null. */
    timeline: z.number().int().nullable(),
    /**
     * Position that counts as a vote (S6): greatest(receive, replay), only when the walreceiver is off or streaming, and
     * has run since this server's start or the startup process has applied all local WAL. Stopped cleanly: the shutdown
     * checkpoint's. Else null = unknown, no vote.
     */
    lsn: Lsn.nullable(),
    /** pg_controldata says "shut down" or "shut down in recovery". Null while running. */
    cleanShutdown: z.boolean().nullable(),
    /** Node whose walsender feeds this standby and walreceiver status is `streaming`; else null. */
    streamingFrom: NodeName.nullable(),
    /** Replay position, for the lag on the read port. */
    replayLsn: Lsn.nullable(),
    /** Newest heartbeat count that this node shows: of the sequence `failover.beat`, also on standbys (S21). */
    heartbeatSeen: z.number().int().nullable(),
    /** How long ago the newest transaction that a standby has applied was committed, ms: the age of what it shows. */
    heartbeatSeenAgeMs: z.number().min(0).nullable().optional(),
    /** Crashes of PostgreSQL within the last minute (S8). */
    crashes: z.number().int().min(0),
    /** Crashes one after the other, none of them after a minute in which it ran well. Absent: not counted. */
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
      /** Count of the last heartbeat that was flushed (committed with synchronous_commit=local, S21). */
      heartbeat: z.number().int(),
      /** Time since PostgreSQL last answered a heartbeat, be it with an error, ms (S27). Up to 0.1.0: since the last commit. */
      heartbeatAgeMs: z.number().min(0),
      /** How long the last heartbeat's local commit took, ms; null: none came back since the promotion. */
      commitMs: z.number().min(0).nullable().optional(),
      /** The configuration that is *proven* in force (S4); null until proven. */
      syncInForce: SyncConfig.nullable(),
      standbys: z.array(StandbyView).max(STATUS_ROWS_MAX),
    })
    .nullable(),
  /** Slots that this node keeps; sent when they were looked at anew, every few seconds, and else absent. */
  slots: z.array(SlotView).max(STATUS_ROWS_MAX).optional(),
});
export type Status = z.infer<typeof Status>;

/** First frame, monitor → keeper. */
export const Challenge = z.object({
  type: z.literal('challenge'),
  version: z.literal(PROTOCOL_VERSION),
  incarnation: z.number().int().min(1),
  nonce: z.string().length(64),
});
/** Second frame, keeper → monitor. `mac` = proof(key, 'keeper', monitor's nonce, own nonce, node). */
export const Hello = z.object({
  type: z.literal('hello'),
  version: z.literal(PROTOCOL_VERSION),
  node: NodeName,
  nonce: z.string().length(64),
  mac: z.string(),
});
/** Third frame, monitor → keeper. `mac` = proof(key, 'monitor', keeper's nonce, own nonce, node). */
export const Welcome = z.object({ type: z.literal('welcome'), mac: z.string() });

/** A copy of the monitor's stored state, which every keeper keeps (S10). `blob` is opaque to the keeper. */
export const StateCopy = z.object({ term: z.number().int(), seq: z.number().int(), blob: z.string() });
export type StateCopy = z.infer<typeof StateCopy>;

/** Keeper → monitor, once after the handshake, before the first status: the newest copy that it holds. */
export const Recall = z.object({
  type: z.literal('recall'),
  newest: StateCopy.nullable(),
});

/** Monitor → keeper. */
export const MonitorFrame = z.discriminatedUnion('type', [
  Challenge,
  Welcome,
  z.object({ type: z.literal('settings'), settings: NodeSettings }),
  OrderId.extend({ type: z.literal('order'), target: Target }),
  /** A stored change of the monitor's state. */
  StateCopy.extend({ type: z.literal('remember') }),
  /** Answered at once by a `pong` with the same n; silence counts only between a probe sent and its missing answer (S11). */
  z.object({ type: z.literal('ping'), n: z.number().int() }),
]);
export type MonitorFrame = z.infer<typeof MonitorFrame>;
export type Order = Extract<MonitorFrame, { type: 'order' }>;

/** Keeper → monitor. */
export const KeeperFrame = z.discriminatedUnion('type', [
  Hello,
  Recall,
  Status,
  z.object({ type: z.literal('pong'), n: z.number().int() }),
  /** One line for people (what the keeper is doing: "base backup 40 %"), shown in failover.log. */
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
