/** What doctor looked at, as data. An absent part was not asked for, because what comes before it failed. */
import type { ClusterStatus } from '../../../failover/contract/api';
import type { EngineState } from '../../lib/docker';

/** `missing`: there is no container of that name. The others are Docker's own words. */
export type ContainerState =
  | 'missing'
  | 'created'
  | 'running'
  | 'paused'
  | 'restarting'
  | 'removing'
  | 'exited'
  | 'dead';

export interface ContainerFact {
  name: string;
  role: 'haproxy' | 'monitor' | 'node' | 'backend' | 'prometheus' | 'pgadmin';
  state: ContainerState;
  exitCode: number;
  /** The engine's own words about a start that failed, or an empty string. */
  error: string;
  outOfMemory: boolean;
  /** Belongs to something else than this stack. */
  foreign: boolean;
  /** Networks that the stack wants it in and it is not in. Empty unless it runs. */
  missingNetworks: string[];
}

export interface PortFact {
  /** Config key. */
  key: string;
  port: number;
  /** The container of the stack that publishes it when it runs. */
  owner: string;
  published: boolean;
  /** Who else listens there, in words; null: nobody. */
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
  /** Address that the write slot leads to; null: closed or not known. */
  write: string | null;
  /** Sessions, their limit and the queue of the write slot. */
  sessions: number;
  limit: number;
  queued: number;
}

/** A setting of `synchronous_commit` below `on`, and for whom it holds; null: for all of them. */
export interface LoweredFact {
  role: string | null;
  database: string | null;
  value: string;
}

/** What keeps dead rows from being removed, since so many seconds. */
export type HolderFact =
  | { kind: 'session'; pid: number; role: string; database: string; seconds: number }
  /** Names of a prepared transaction are its client's. */
  | { kind: 'prepared'; name: string; database: string; seconds: number };

export interface DatabaseFact {
  standby: boolean;
  connections: number;
  /** For ordinary roles: `max_connections` less what is reserved. */
  room: number;
  slots: {
    name: string;
    active: boolean;
    lost: boolean;
    /** How long it has been unused while it keeps dead rows (`xmin`), seconds; null: it keeps none. */
    heldSeconds: number | null;
  }[];
  /** A person paused replay (`pg_wal_replay_pause`). */
  replayPaused: boolean;
  /** `synchronous_commit` of roles and databases, where it is set at all. */
  commitSettings: LoweredFact[];
  /** The oldest ones. */
  holders: HolderFact[];
}

export interface NodeFact {
  name: string;
  /** Null: PostgreSQL gave no answer. */
  database: DatabaseFact | null;
  /** PostgreSQL's words when it gave none. */
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
  passfile?: PassfileFact;
  nodes: NodeFact[];
  log: { file: string; there: boolean; freeBytes: number | null };
  /** This machine's clock less the monitor's, ms; null: not known. */
  clockMs: number | null;
  /** Slot that each node keeps for each other one. */
  slotOf: (node: string) => string;
}
