/**
 * The pooler's input file, and the messages between the monitor and the pooler's supervisor.
 *
 * Transport as between monitor and keeper (messages.ts): the supervisor opens one TCP connection to the monitor, frames
 * are JSON, one a line. The connection begins with the mutual proof of handshake.ts, of a key that is derived
 * from the cluster key. Clients can reach the pooler, so it knows neither the cluster key nor a password.
 *
 * The monitor pauses the pooler by a lease: `pause` lasts `forMs` from its arrival, and each further one renews it. When
 * no renewal comes, the supervisor resumes by itself, so a monitor that dies in a pause stops no client for longer.
 *
 * The certificate for clients comes the same way, its key sealed with the key of this connection (seal.ts).
 */
import { z } from 'zod';
import { Challenge, Welcome } from './handshake';
import { PEM_MAX } from './limits';
import { MonitorAddress, TlsMode } from './messages';
import { NodeName } from './naming';

export const POOLER_PROTOCOL = 1;
/** How long a pause lasts without a renewal, ms. */
export const PAUSE_LEASE_MS = 5_000;
/** How often the monitor renews a pause, ms. Every frame of the monitor is also a sign of life. */
export const RENEW_EVERY_MS = 1_000;
/** How often the supervisor reports its figures, ms. */
export const FIGURES_EVERY_MS = 1_000;
/** Most processes of PgBouncer: the stack's own role, and those of `poolRoles`. */
export const POOLS_MAX = 9;

/** A verifier as PostgreSQL stores it (`pg_authid.rolpassword`), which is not enough to log in anywhere. */
export const ScramVerifier = z
  .string()
  .max(512)
  .regex(/^SCRAM-SHA-256\$\d{1,7}:[A-Za-z0-9+/]+=*\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$/);

/** A database's name that PgBouncer's configuration takes: its parser knows no quotes there, whatever the manual says. */
export const PooledDatabase = z.string().regex(/^[A-Za-z0-9_.-]+$/);

/**
 * PgBouncer 1.24 builds `connect_query` in a buffer of 512 bytes. With a longer one every new connection is closed without a
 * line in the log.
 */
export const CONNECT_QUERY_MAX = 500;

/** One process of PgBouncer. */
const Pool = z.strictObject({
  /** The only user that may log in through it. */
  role: z.string().min(1),
  verifier: ScramVerifier,
  /** Port inside the container. */
  port: z.number().int(),
});

/** The input of the pooler's container. */
export const PoolerConfig = z.strictObject({
  monitor: MonitorAddress.strict(),
  /** See `derivedPassword` in proof.ts. */
  key: z.string().min(32),
  /** HAProxy's write port on the inner network. */
  haproxy: z.strictObject({ host: z.ipv4(), port: z.number().int() }),
  database: PooledDatabase,
  /** Which clients use TLS, as for the nodes. */
  tls: TlsMode,
  /** How long HAProxy holds a connection while there is no leader, ms. PgBouncer has to wait longer than that. */
  holdTimeoutMs: z.number().int().min(0),
  /** Connections to PostgreSQL that each pool may open. */
  poolSize: z.number().int().min(1),
  pools: z.array(Pool).min(1).max(POOLS_MAX),
  /**
   * The backends' own pool, in the first process: the database name by which they ask for it, and what PgBouncer runs on
   * each new connection of that pool. Absent without backends.
   */
  backends: z.strictObject({ alias: PooledDatabase, connectQuery: z.string().max(CONNECT_QUERY_MAX) }).optional(),
});
export type PoolerConfig = z.infer<typeof PoolerConfig>;
export type Pool = z.infer<typeof Pool>;

/** What one process of PgBouncer reports (`SHOW POOLS`, `SHOW STATS`). */
export const PoolFigures = z.object({
  role: NodeName,
  /** Clients that have a connection to PostgreSQL now, or are idle. */
  clients: z.number().int(),
  /** Clients whose statement waits for a connection. */
  waiting: z.number().int(),
  /** How long the oldest of them has waited, ms. */
  maxWaitMs: z.number(),
  /** Connections to PostgreSQL: in use, and idle. */
  active: z.number().int(),
  idle: z.number().int(),
  /** Transactions since the process started. */
  transactions: z.number(),
  /** How often the process was started again since the container's start. */
  restarts: z.number().int(),
});
export type PoolFigures = z.infer<typeof PoolFigures>;

/** `pausing`: statements wait, but transactions that were running still do. `paused`: none runs any more. */
export const PauseState = z.enum(['no', 'pausing', 'paused']);
export type PauseState = z.infer<typeof PauseState>;

const Pause = z.object({ type: z.literal('pause'), forMs: z.number().int().min(0).max(60_000) });
const Resume = z.object({ type: z.literal('resume') });

/** The certificate for clients: the same one as the nodes have. Sent after the handshake and on change. */
const Certificate = z.object({
  type: z.literal('certificate'),
  /** Certificate and chain, PEM. */
  certificate: z.string().max(PEM_MAX),
  /** Its private key, PEM, sealed with the key of this connection. */
  key: z.string().max(2 * PEM_MAX),
  /** Certificate of the authority that signed it, PEM. Absent when it is the user's own, whose authority is not known. */
  authority: z.string().max(PEM_MAX).optional(),
});
export type SealedLeaf = z.infer<typeof Certificate>;

/** What the monitor sends. `resume` is also the sign of life while nothing is paused. */
export const ToPooler = z.discriminatedUnion('type', [Challenge, Welcome, Pause, Resume, Certificate]);
export type ToPooler = z.infer<typeof ToPooler>;

const Hello = z.object({
  type: z.literal('hello'),
  version: z.number().int(),
  nonce: z.string(),
  mac: z.string(),
  /** Absent from poolers that do not speak TLS: they would end the connection at a frame that they do not know. */
  takesCertificate: z.boolean().optional(),
});
const State = z.object({ type: z.literal('state'), pause: PauseState });
const Figures = z.object({
  type: z.literal('figures'),
  pools: z.array(PoolFigures).max(POOLS_MAX),
  /** Why the newest certificate for clients is not in force; null or absent: it is. */
  certificateProblem: z.string().max(1_024).nullable().optional(),
});

/** What the supervisor sends. */
export const FromPooler = z.discriminatedUnion('type', [Hello, State, Figures]);
export type FromPooler = z.infer<typeof FromPooler>;

/** The name that stands for the pooler in the proofs. */
export const POOLER_NAME = 'pooler';
