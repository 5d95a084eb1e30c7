/**
 * The two files that the program hands to the shipped processes, as JSON. Both sides use these schemas: the components
 * write them, keeper and monitor read them at start and refuse what does not fit.
 */
import { z } from 'zod';
import { NODES_MAX, REPLICAS_MAX } from './limits';
import { NodeName } from './naming';

const ClusterKey = z.string().min(32);

/** Where a monitor takes the connections of the keepers. */
export const MonitorAddress = z.object({ host: z.ipv4(), port: z.number().int() });
export type MonitorAddress = z.infer<typeof MonitorAddress>;

/**
 * A PostgreSQL container's only input. It never changes during a container's life, so nothing here may be tunable. In the
 * file one monitor may be named as `monitor`, as releases that knew one wrote it.
 */
export const KeeperConfig = z
  .strictObject({
    node: NodeName,
    monitor: MonitorAddress.strict().optional(),
    /** First contacts: dialled until one of them has told the current list, and where that list is of no use. */
    monitors: z.array(MonitorAddress.strict()).min(1).max(8).optional(),
    /** Shared secret of keepers and monitor; see `proof` and `derivedPassword` in proof.ts. */
    clusterKey: ClusterKey,
  })
  .transform(({ monitor, monitors, ...rest }, context) => {
    const contacts = monitors ?? (monitor === undefined ? [] : [monitor]);
    if (contacts.length === 0) context.addIssue({ code: 'custom', path: ['monitors'], message: 'no monitor is named' });
    return { ...rest, monitors: contacts };
  });
export type KeeperConfig = z.infer<typeof KeeperConfig>;
/** The same as the file has it. */
export type KeeperConfigFile = z.input<typeof KeeperConfig>;

/** What the failover logic may be tuned by. Durations are ms, sizes bytes. */
export const Policy = z.strictObject({
  /** A leader that does not answer for this long is hung. */
  hangTimeoutMs: z.number().int().min(500),
  /** `synchronous`: a write is acknowledged when a replica has it. `asynchronous`: when the leader has it. */
  syncMode: z.enum(['synchronous', 'asynchronous']),
  /** `continue`: the leader goes on alone when no replica is left (recorded first). `block`: writes wait. */
  onNoReplica: z.enum(['continue', 'block']),
  /** How many replicas a write waits for (at most the number of connected ones). */
  syncCount: z.number().int().min(1).max(REPLICAS_MAX),
  /** A standby that lags more than this serves no reads, and in asynchronous mode it is not promoted. */
  maxLagBytes: z.number().int().min(0),
  /** With no standby left the read port goes to the leader. */
  readFallback: z.boolean(),
  /** At a cold start the recorded leader is awaited for this long before a failover. */
  startGraceMs: z.number().int().min(0),
  /** The first declared node gets the lead back by a planned switchover. */
  switchback: z.boolean(),
  /** How long it must have been a caught-up standby before; doubled after each failure (S25). */
  switchbackAfterMs: z.number().int().min(0),
  /** `observe`: a change of leader is decided and logged, and not made. Absent: automatic. */
  failoverMode: z.enum(['automatic', 'observe']).optional(),
});
export type Policy = z.infer<typeof Policy>;

/** The monitor's input. A change of it replaces the monitor's container, which harms nothing. */
export const MonitorConfig = z.strictObject({
  /** For people: shown in page and log. */
  stack: z.string(),
  listenAddress: z.ipv4(),
  haproxyAddress: z.ipv4(),
  subnet: z.string(),
  /** In order of preference: the first one leads a new cluster. */
  nodes: z
    .array(z.strictObject({ name: z.string(), address: z.ipv4() }))
    .min(1)
    .max(NODES_MAX),
  clusterKey: ClusterKey,
  databaseName: z.string(),
  databaseUser: z.string(),
  databasePassword: z.string().min(1),
  postgresSettings: z.record(z.string(), z.string()),
  /** See `NodeSettings` in messages.ts. */
  rebuildInPlace: z.boolean().optional(),
  /** Names by which people and programs reach the monitor's HTTP side, beside `localhost` and addresses. */
  hostNames: z.array(z.string()).max(8).optional(),
  /** `json`: one object a line. Absent: text. */
  logFormat: z.enum(['text', 'json']).optional(),
  /** failover.log is rotated beyond this size, bytes. Absent: 10 MB. */
  logBytes: z.number().int().min(1_024).optional(),
  /** Each change of leader is posted here. May hold a secret. */
  notifyWebhook: z.url({ protocol: /^https?$/ }).optional(),
  policy: Policy,
});
export type MonitorConfig = z.infer<typeof MonitorConfig>;
