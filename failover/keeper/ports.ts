/**
 * What the keeper's life cycle needs from the world. The logic (`keeper.ts`, `pursue.ts`, `sync.ts`) knows only these
 * interfaces; the real ones are beside it, the simulator and the tests have their own.
 */
import type { FailureCode } from '../contract/codes';
import type {
  KeeperFrame,
  MonitorFrame,
  NodeSettings,
  SettingsStatus,
  SlotView,
  StandbyView,
  StateCopy,
} from '../contract/messages';
import type { KeeperState } from './keeper-state';

/** A failure with a stable code for the status and a sentence for people. */
export class KeeperError extends Error {
  readonly code: FailureCode;
  constructor(code: FailureCode, message: string) {
    super(message);
    this.code = code;
  }
}

export interface Clock {
  /** Monotonic time, ms. */
  nowMs(): number;
  /** Resolves after `ms`, or at once when the signal is or becomes aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The connection to the monitor. */
export interface Link {
  readonly connected: boolean;
  /** Sends, in one packet, when connected, else drops: what counts is repeated by the next status. */
  send(...frames: readonly KeeperFrame[]): void;
}

export interface LinkEvents {
  connected(): void;
  receive(frame: MonitorFrame): void;
  /** One line for the container's log. */
  log(message: string): void;
}

/** A connection that is made again whenever it breaks. */
export interface DialledLink extends Link {
  /** Keeps a connection up until {@link close}. */
  run(events: LinkEvents): Promise<void>;
  /** Sends what is waiting and ends the connection for good, within the limit, ms. */
  close(limitMs: number): Promise<void>;
}

/** The leader's heartbeat. */
export interface Beat {
  /** Number of the last one that was flushed. */
  count: number;
  /**
   * Time since the last question that PostgreSQL answered was sent, ms: with a commit, an empty result or an error that has
   * an SQLSTATE. That it starts or shuts down (57P0x) is no answer, nor is a refused or broken connection, nor a hang.
   */
  ageMs: number;
  /** How long the last commit took, ms. Null or absent: none came back since the heartbeat was started. */
  commitMs?: number | null;
}

export interface StateFile {
  load(): Promise<KeeperState>;
  save(state: KeeperState): Promise<void>;
  loadMemory(): Promise<StateCopy | null>;
  saveMemory(memory: StateCopy): Promise<void>;
}

/** What a running PostgreSQL says of itself. */
export interface SqlView {
  inRecovery: boolean;
  timeline: number | null;
  receiveLsn: string | null;
  replayLsn: string | null;
  /** Flush position; leader only. */
  flushLsn: string | null;
  walReceiver: { status: string; host: string | null } | null;
  /** A walreceiver's process is there, also one that still connects and is not in the view of receivers. */
  receiverRuns?: boolean;
  /** The startup process waits for WAL (S6). */
  startupWaits: boolean;
  heartbeatSeen: number | null;
  /** How long ago that heartbeat was written, ms. */
  heartbeatSeenAgeMs?: number | null;
  standbys: StandbyView[];
}

/** Of a server of which no more is known than that it is in recovery. */
export const NOTHING_SEEN: SqlView = {
  inRecovery: true,
  timeline: null,
  receiveLsn: null,
  replayLsn: null,
  flushLsn: null,
  walReceiver: null,
  startupWaits: false,
  heartbeatSeen: null,
  standbys: [],
};

/** What is known of the running server: for which settings, and how they stand. */
export interface SettingsView {
  wanted: string;
  status: SettingsStatus;
}

export interface View {
  systemId: string | null;
  dataExists: boolean;
  /** The postmaster's process lives. */
  running: boolean;
  /** From pg_controldata, when stopped; the shutdown checkpoint is a leader's. `primary`: it ran as one until it ended. */
  control: { clean: boolean; checkpointLsn: string | null; timeline: number; primary: boolean } | null;
  /** Null: not running or not (yet) answering. */
  sql: SqlView | null;
  /** PostgreSQL has applied all WAL that is here and is not consistent yet: without a source it never answers. */
  starved?: boolean;
  /** Why this data can never stream from the leader that the running server follows, by the leader's own answers. */
  streamImpossible: string | null;
  /** How the running server stands to the stack's settings; null or absent: not known yet. */
  settings?: SettingsView | null;
  /** Runs and answers nobody until it is promoted (tunables.ts). */
  blind?: boolean;
  /** A standby whose replay stands still, because its leader has more of something than it (S23): only a restart helps. */
  paused?: boolean;
  /** The data was just copied: it replays the log that was received meanwhile, and streams after that. */
  catchingUp?: boolean;
  /** Slots as last looked at: the same object until they are looked at again. */
  slots?: SlotView[];
  /** The look failed: this is an older answer of a leader, which may hang. */
  stale?: true;
  /** Something that a person should know and that stops nothing, for example a refused setting. */
  warning: string | null;
  /** Why no superuser role lets the keeper in; absent: one does, or PostgreSQL does not run. */
  lockedOut?: string;
}

/** Of a node without data. */
export const NO_VIEW: View = {
  systemId: null,
  dataExists: false,
  running: false,
  control: null,
  sql: null,
  streamImpossible: null,
  warning: null,
};

/** Everything in the configuration that an order decides. */
export interface ServerConfig {
  settings: NodeSettings;
  /** Node to stream from; null: a standby without source. */
  upstream: { name: string; address: string } | null;
  /** Value of synchronous_standby_names. */
  syncNames: string;
}

export interface Source {
  name: string;
  address: string;
}

/** One PostgreSQL and its data directory. Every call has its own deadline and throws {@link KeeperError} or an Error. */
export interface Postgres {
  /**
   * Called whenever the postmaster ends without having been told to. `reason`: its exit code or signal and PostgreSQL's own
   * last message, for people, escaped and cut; null: not known.
   */
  onCrash: (reason: string | null) => void;
  /** Told every few seconds how much a copy has still to replay, after {@link Postgres.copyFrom}. */
  onProgress?: (text: string) => void;
  observe(): Promise<View>;

  /** Makes a new cluster in `data.new`, complete and synced. */
  initialise(): Promise<void>;
  /** Throws LEADER_UNREACHABLE when the source does not answer as a primary over the replication role. */
  reach(source: Source): Promise<void>;
  /**
   * Base backup of the source in `data.new`, verified and synced (S25: under its own application name), with all write-ahead
   * log since it began; it is received on until the node streams. Where the disk is too small for both copies it throws
   * DISK_TOO_SMALL, or, with `giveUp`, removes the old data first: `giveUp` is called before that and stores that this data
   * may only be replaced. DISK_TOO_SMALL also comes in the middle, before the disk is full. After an error or an abort
   * nothing of the copy stays, and the old data is as it was.
   */
  copyFrom(
    source: Source,
    progress: (text: string) => void,
    signal: AbortSignal,
    giveUp?: () => Promise<void>,
  ): Promise<void>;
  /**
   * Opens a session in the database and ends it. The first one reads the catalogs and writes them into the file that all
   * others begin with (`pg_internal.init`): after a failover every client would do so at the same moment.
   */
  warm(database: string): Promise<void>;
  /** Removes a copy that was not swapped in. */
  dropCopy(): Promise<void>;
  /** Puts `data.new` in the place of `data`. Idempotent: finishes what was interrupted. */
  swapIn(): Promise<void>;
  /** Removes stale lock files (S25), and beside all else left-over copies. Only before the first start. */
  tidy(): Promise<void>;
  /** `pg_rewind` of cleanly stopped data to the source (S12). Throws when it was not stopped cleanly. */
  rewindFrom(source: Source, signal: AbortSignal): Promise<void>;

  /** Writes the configuration and `standby.signal` (S8) and spawns the postmaster. `leads`: it is to be promoted at once. */
  start(config: ServerConfig, leads?: boolean): Promise<void>;
  /** Writes the configuration and reloads when it differs from the one in force; resolves with whether it did. */
  configure(config: ServerConfig): Promise<boolean>;
  /** Fast shutdown; ends walsenders that do not advance (S18). Resolves when the process has ended. */
  stop(): Promise<void>;
  /** Writes a checkpoint, so that a shutdown that follows is short. */
  checkpoint(): Promise<void>;
  /**
   * Ends the sessions of idle clients, of one that has just come only after a moment, in which its first statement may
   * arrive. Resolves with the number of clients that were there, those that are still connecting included.
   */
  endIdleClients(): Promise<number>;
  /**
   * Sends the promotion and resolves with the new timeline as soon as PostgreSQL is out of recovery. Throws PROMOTION_HANGS
   * when replay stands still for a minute; `tell` hears now and then how far it is. Throws soon after the signal is aborted.
   */
  promote(tell: (text: string) => void, signal: AbortSignal): Promise<number>;
  /** Resumes a replay that a person paused; does nothing else. */
  resumeReplay(): Promise<void>;
  /** Where `timeline` left its parent; null for the first. */
  forkLsn(timeline: number): Promise<string | null>;

  /** Begins a commit that waits for the standbys, and resolves when it is seen waiting (S4). */
  startCanary(): Promise<void>;
  /** Whether that commit still waits. */
  canaryWaits(): Promise<boolean>;
  /** Commits one record with synchronous_commit=local, so that standbys answer and waiters are looked at (S17). */
  kick(): Promise<void>;
  /** Number of sessions that wait for a standby's acknowledgement. */
  syncWaiters(): Promise<number>;

  /** Makes a physical slot for each peer; with `renew` drops existing ones that are not in use first (S22). */
  ensureSlots(peers: string[], renew: boolean): Promise<void>;
  /** Roles, application database and table, the heartbeat's sequence and the canary table; all committed locally. Idempotent. */
  furnish(settings: NodeSettings): Promise<void>;
  /**
   * Makes again what people removed or changed of the failover's own roles, grants and objects; resolves with their names.
   * When all is there it costs one statement. Throws when something could not be made, for example for a client's lock.
   */
  mend(): Promise<string[]>;
  startHeartbeat(): void;
  stopHeartbeat(): void;
  heartbeat(): Beat;
}
