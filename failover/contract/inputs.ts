/**
 * The JSON input files of keeper and monitor. Both sides use these schemas: the Pulumi components write the files, and
 * keeper and monitor read them when they start and refuse a file that does not fit.
 */
import { z } from 'zod';
import { RestoreTarget, S3Settings } from './backups';
import { NODES_MAX, REPLICAS_MAX, TLS_NAMES_MAX } from './limits';
import { MonitorAddress, NodeSettings, TlsMode } from './messages';
import { NodeName } from './naming';

const ClusterKey = z.string().min(32);

/**
 * What the first node of a new cluster restores instead of making an empty database. The repository is in S3, or mounted
 * read-only at PATHS.restoreVolume.
 */
export const RestoreSource = z.strictObject({
  /** pgBackRest's name of the cluster in that repository. */
  stanza: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/),
  passphrase: z.string().regex(/^[^\r\n\0]{1,1024}$/),
  target: RestoreTarget,
  /** The timeline to follow, which a leader of the former cluster opened. */
  timeline: z.number().int().min(1).max(0x7fff_ffff),
  /** Where the repository is in S3, of which nothing but reading is asked; absent: it is mounted. */
  s3: S3Settings.strict().optional(),
});
export type RestoreSource = z.infer<typeof RestoreSource>;

/**
 * The only input of a PostgreSQL container. A change of it would replace the container, so it holds nothing that people
 * tune. Older releases knew only one monitor; their files name it in `monitor`.
 */
export const KeeperConfig = z
  .strictObject({
    node: NodeName,
    monitor: MonitorAddress.strict().optional(),
    /**
     * The monitors that the keeper knows before a monitor has sent it the current list. Later the keeper tries the sent
     * list first, and then these.
     */
    monitors: z.array(MonitorAddress.strict()).min(1).max(8).optional(),
    /** Shared secret of keepers and monitor; see `proof` and `derivedPassword` in proof.ts. */
    clusterKey: ClusterKey,
    /** Only the first node has it. It acts once, where there is no data. */
    restoreFrom: RestoreSource.optional(),
  })
  .transform(({ monitor, monitors, ...rest }, context) => {
    const contacts = monitors ?? (monitor === undefined ? [] : [monitor]);
    if (contacts.length === 0) context.addIssue({ code: 'custom', path: ['monitors'], message: 'no monitor is named' });
    return { ...rest, monitors: contacts };
  });
export type KeeperConfig = z.infer<typeof KeeperConfig>;
/** The config as it stands in the file. */
export type KeeperConfigFile = z.input<typeof KeeperConfig>;

/** The settings that tune the failover logic. Durations are ms, sizes bytes. */
export const Policy = z.strictObject({
  /** A leader that does not answer for this long counts as hung. */
  hangTimeoutMs: z.number().int().min(500),
  /** `synchronous`: a write is acknowledged when a replica has it. `asynchronous`: when the leader alone has it. */
  syncMode: z.enum(['synchronous', 'asynchronous']),
  /**
   * When no replica is left: with `continue` the leader goes on alone, once that is recorded; with `block` writes wait.
   */
  onNoReplica: z.enum(['continue', 'block']),
  /** How many replicas a write waits for (at most the number of connected ones). */
  syncCount: z.number().int().min(1).max(REPLICAS_MAX),
  /** A standby that lags more than this serves no reads, and in asynchronous mode it is not promoted. */
  maxLagBytes: z.number().int().min(0),
  /** How many standbys are kept for reports: no write waits for them, and readers may delay their replay. */
  reportReplicas: z.number().int().min(0).max(REPLICAS_MAX),
  /** How long the read sessions of a node stay that is not fit for new ones, for example because it lags. */
  readLagGraceMs: z.number().int().min(0),
  /** True when the read port leads to the leader while there is no standby. */
  readFallback: z.boolean(),
  /** How long the monitor waits for the recorded leader at a cold start before it fails over. */
  startGraceMs: z.number().int().min(0),
  /** True when the first declared node gets the lead back by a planned switchover. */
  switchback: z.boolean(),
  /**
   * How long the first declared node must have been a caught-up standby before that; doubled after each failure (S25).
   */
  switchbackAfterMs: z.number().int().min(0),
  /** How long a switchback that is due waits for a moment without an old transaction; then it is put off. */
  switchbackLimitMs: z.number().int().min(0),
  /** True when the leader archives its write-ahead log for backups. Absent: it does not. */
  backup: z.boolean().optional(),
  /** True when the leader lets clients of replication in. Absent: it does not. */
  replication: z.boolean().optional(),
  /** Intervals of full backups, and of backups of any type. Absent: none are made. */
  backupFullEveryMs: z.number().int().min(60_000).optional(),
  backupEveryMs: z.number().int().min(60_000).optional(),
  /** The same for the backups in S3. `only`: there are none on the machine with the data. Absent: there are none in S3. */
  backupS3: z
    .strictObject({
      fullEveryMs: z.number().int().min(60_000),
      everyMs: z.number().int().min(60_000),
      only: z.boolean(),
    })
    .optional(),
  /** `observe`: the monitor decides and logs a change of leader, but does not make it. Absent: automatic. */
  failoverMode: z.enum(['automatic', 'observe']).optional(),
});
export type Policy = z.infer<typeof Policy>;

const ConfiguredNode = z.strictObject({ name: z.string(), address: z.ipv4() });

/** How the monitor comes to the certificate that the nodes show to clients. */
export const TlsConfig = z.strictObject({
  mode: TlsMode,
  /** The stack's authority follows from it: `authorityOf` in certificates.ts. */
  secret: z.string().min(32),
  /** Names and addresses for which the certificate is valid. */
  names: z.array(z.string().min(1).max(253)).min(1).max(TLS_NAMES_MAX),
  /** The user's own files, as paths in the container; they take the place of the stack's own certificate. */
  own: z.strictObject({ certificate: z.string(), key: z.string() }).optional(),
  /**
   * The monitor's published port speaks HTTPS. `backends`: HAProxy's port of the backends, too. Absent where both are
   * published on loopback only.
   */
  https: z.strictObject({ backends: z.boolean() }).optional(),
  /** Life of a certificate, for tests. @default 90 days */
  lifeMs: z.number().int().min(3_000).optional(),
});
export type TlsConfig = z.infer<typeof TlsConfig>;

/** The monitor's input. A change replaces the monitor's container, which harms neither leader nor clients. */
export const MonitorConfig = z.strictObject({
  /** Name of the stack, for page and log. */
  stack: z.string(),
  /** The nodes in order of preference: the first one leads a new cluster. */
  nodes: z.array(ConfiguredNode).min(1).max(NODES_MAX),
  clusterKey: ClusterKey,
  /**
   * For the command line in the monitor's container (cli/inside.ts), and for keepers of 0.1.0, which know no verifier.
   */
  databasePassword: z.string().min(1),
  /** The monitor sends these to the keepers unchanged. */
  settings: NodeSettings.omit({ nodes: true, databasePassword: true, monitors: true, tls: true })
    .required({ databaseVerifier: true })
    .strict(),
  /** Host names by which people and programs reach the monitor's HTTP server, beside `localhost` and IP addresses. */
  hostNames: z.array(z.string()).max(8 + TLS_NAMES_MAX),
  /** `json`: one JSON object a line. */
  logFormat: z.enum(['text', 'json']),
  /** failover.log is rotated beyond this size. */
  logSizeBytes: z.number().int().min(1_024),
  /** The monitor posts each change of leader to this address. It may hold a secret. */
  notifyWebhook: z.url({ protocol: /^https?$/ }).optional(),
  /** Absent: clients are not offered TLS. */
  tls: TlsConfig.optional(),
  /** True when the stack has a pooler, which the monitor pauses during planned changes. */
  pooler: z.boolean().optional(),
  /** Interval at which the stack tests a restore of each place of the backups. Absent: it tests none. */
  backupCheckEveryMs: z.number().int().min(60_000).optional(),
  policy: Policy,
});
export type MonitorConfig = z.infer<typeof MonitorConfig>;
