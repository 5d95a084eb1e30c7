/**
 * Doctor's observations as data. A part is absent when it was not checked, because an earlier part of the chain failed.
 */
import { z } from 'zod';
import type { ClusterStatus } from '../../failover/contract/api';
import type { EngineState } from '../../scripts/lib/docker';
import type { Answer } from '../../scripts/lib/updates';

/** Docker's own words for the state of a container. */
export const DockerState = z.enum(['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead']);

export interface ContainerFact {
  name: string;
  role: 'haproxy' | 'monitor' | 'node' | 'backend' | 'pooler' | 'checker' | 'prometheus' | 'pgadmin';
  /** `missing`: there is no container of that name. */
  state: z.infer<typeof DockerState> | 'missing';
  exitCode: number;
  /** The engine's message about a failed start, or an empty string. */
  error: string;
  outOfMemory: boolean;
  /** The container does not belong to this stack. */
  foreign: boolean;
  /** Networks to which the container is not connected as it should be. Empty unless it runs. */
  wrongNetworks: NetworkFact[];
  /** Id of its image. */
  image: string;
  /** When the engine last started the container again because its program had ended, ms since the epoch; null: never. */
  restartedAt: number | null;
}

export interface NetworkFact {
  network: string;
  /** Options of `docker network connect`, with a blank after each. */
  options: string;
  /** In which way the container is connected wrongly; null: it is not connected. */
  problem: string | null;
}

/** Containers with the same image, and its packages that are older than Debian's newest. */
export interface UpdatesFact {
  containers: string[];
  answer: Answer;
}

export interface PortFact {
  /** Config key. */
  key: string;
  port: number;
  /** The stack's container that publishes the port when it runs. */
  owner: string;
  published: boolean;
  /** Another process or container that listens on the port, in words; null: none. */
  takenBy: string | null;
}

/** A login by the database's owner through the write port. */
export type LoginFact =
  | { kind: 'in'; readOnly: boolean; standby: boolean; tookMs: number }
  /** `code`: SQLSTATE or Node's error code, or an empty string. */
  | { kind: 'failed'; code: string; message: string }
  | { kind: 'no-password'; message: string };

export interface HaproxyFact {
  answers: boolean;
  message: string;
  /** Address of the open write slot; null: no slot is open, or it is not known. */
  write: string | null;
  /** Sessions, their limit and the queue of the write slot. */
  sessions: number;
  limit: number;
  queued: number;
}

/** A setting of `synchronous_commit` below `on`, with the role and database for which it holds; null: for all. */
const LoweredFact = z.object({ role: z.string().nullable(), database: z.string().nullable(), value: z.string() });
export type LoweredFact = z.infer<typeof LoweredFact>;

const holder = { database: z.string(), seconds: z.number() };
/** An object that prevents the removal of dead rows, and for how many seconds. */
const HolderFact = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('session'), pid: z.number(), role: z.string(), ...holder }),
  // The client chooses the name of a prepared transaction.
  z.object({ kind: z.literal('prepared'), name: z.string(), ...holder }),
]);
export type HolderFact = z.infer<typeof HolderFact>;

const SlotFact = z.object({
  name: z.string(),
  active: z.boolean(),
  lost: z.boolean(),
  /** Time for which the slot has been unused while it keeps dead rows (`xmin`), seconds; null: it keeps none. */
  heldSeconds: z.number().nullable(),
  /** Write-ahead log that the slot keeps although nothing reads it, bytes; null: it is read, or it keeps none. */
  keptBytes: z.number().nullable(),
});

/** What PostgreSQL of a node answers: see `QUERY` in nodes.ts. */
export const DatabaseFact = z.object({
  standby: z.boolean(),
  connections: z.number(),
  /** Connections for ordinary roles: `max_connections` minus the reserved ones. */
  room: z.number(),
  slots: z.array(SlotFact),
  /** A person paused replay (`pg_wal_replay_pause`). */
  replayPaused: z.boolean(),
  /** Why clients cannot use the application's role and database; null: they can. */
  barred: z.enum(['role missing', 'role closed', 'role barred', 'database missing', 'database closed']).nullable(),
  /** The application's role has another password than the program put in force last. */
  passwordBySql: z.boolean(),
  /** Settings of `synchronous_commit` for roles and databases that do not wait for a standby's disk. */
  commitSettings: z.array(LoweredFact),
  /**
   * Null: `archive_mode` is off. `fails`: the last attempt failed. `waitSeconds`: time for which the oldest file has
   * waited for the archive; null: none waits.
   */
  archive: z.object({ fails: z.boolean(), waitSeconds: z.number().nullable() }).nullable(),
  /** The database with the oldest row that is not frozen, and for how many transactions it has not been frozen. */
  oldest: z.object({ database: z.string(), transactions: z.number() }),
  /** The oldest ones. */
  holders: z.array(HolderFact),
});
export type DatabaseFact = z.infer<typeof DatabaseFact>;

export interface NodeFact {
  name: string;
  /** Null: PostgreSQL did not answer. */
  database: DatabaseFact | null;
  /** The error message when PostgreSQL did not answer. */
  message: string;
  disk: { freeBytes: number; usedPercent: number } | null;
}

export interface PassfileFact {
  file: string;
  /** `wrong`: its line for this database has another password. `open`: libpq ignores it, others can read it. */
  state: 'absent' | 'fits' | 'wrong' | 'open';
}

export interface Facts {
  stack: string;
  engine: EngineState;
  containers: ContainerFact[];
  ports: PortFact[];
  monitor: { cluster: ClusterStatus | null; healthy: boolean; message: string };
  haproxy?: HaproxyFact;
  login?: LoginFact;
  /** What a backend that runs says of itself (`/ready`); absent: there is none, or it says nothing. */
  backend?: { code: string; detail: string };
  /** The names of the application's role and database. */
  application: { user: string; database: string };
  passfile?: PassfileFact;
  nodes: NodeFact[];
  log: { file: string; there: boolean; freeBytes: number | null };
  /** Absent when it was not asked for. */
  updates?: UpdatesFact[];
  /** This machine's clock minus the monitor's, ms; null: not known. */
  clockMs: number | null;
  /** Name of the slot that the other nodes keep for a node. */
  slotOf: (node: string) => string;
}
