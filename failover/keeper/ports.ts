/**
 * The interfaces through which the keeper's logic (`keeper.ts`, `pursue.ts`, `sync.ts`) reaches everything outside. The
 * logic knows only these interfaces. The real implementations are beside it; the simulator and the tests have their
 * own.
 */
import type { Backup, BackupType, Gap } from '../contract/backups';
import type { ClientSlot } from '../contract/client-slots';
import type { FailureCode } from '../contract/codes';
import type {
  ArchiveView,
  BackupSettings,
  KeeperFrame,
  MonitorFrame,
  NodeSettings,
  SettingsStatus,
  SlotView,
  StandbyView,
  StateCopy,
} from '../contract/messages';
import type { RestoreSource } from '../contract/restore';
import type { KeeperState } from './keeper-state';

/** A failure, with a stable code for the status and a sentence for people. */
export class KeeperError extends Error {
  constructor(
    readonly code: FailureCode,
    message: string,
  ) {
    super(message);
  }
}

export interface Clock {
  /** Monotonic time, ms. */
  nowMs(): number;
  /** Resolves after `ms`, or at once when the signal is aborted or becomes so. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** What a connection to the monitor calls. */
export interface LinkEvents {
  /** The handshake succeeded. */
  connected(): void;
  receive(frame: MonitorFrame): void;
  /** Writes one line to the container's log. */
  log(message: string): void;
}

/** The connection to the monitor. It reconnects whenever it breaks. */
export interface Link {
  readonly connected: boolean;
  /**
   * Sends the frames in one packet when connected, and drops them otherwise: the next status repeats all that matters.
   */
  send(...frames: readonly KeeperFrame[]): void;
  /** Keeps the connection up until {@link close}. */
  run(events: LinkEvents): Promise<void>;
  /** Sends the waiting frames and closes the connection for good, within the limit, ms. */
  close(limitMs: number): Promise<void>;
}

/** The leader's heartbeat. */
export interface Beat {
  /** Number of the last beat that was flushed. */
  count: number;
  /**
   * Time since the keeper sent the last statement that PostgreSQL answered, ms. An answer is a commit, an empty result
   * or an error with an SQLSTATE. An error that says that PostgreSQL starts or shuts down (57P0x) is not an answer; nor
   * is a refused or broken connection, or a hang.
   */
  ageMs: number;
  /** Duration of the last commit, ms. Null or absent: no commit has returned since the heartbeat was started. */
  commitMs?: number | null;
}

export interface StateFile {
  load(): Promise<KeeperState>;
  save(state: KeeperState): Promise<void>;
  loadMemory(): Promise<StateCopy | null>;
  saveMemory(memory: StateCopy): Promise<void>;
}

/** What a running PostgreSQL says about itself. */
export interface SqlView {
  inRecovery: boolean;
  timeline: number | null;
  receiveLsn: string | null;
  replayLsn: string | null;
  /** Flush position; leader only. */
  flushLsn: string | null;
  walReceiver: { status: string; host: string | null } | null;
  /**
   * A walreceiver process exists. This includes one that is still connecting and does not yet appear in
   * `pg_stat_wal_receiver`.
   */
  receiverRuns?: boolean;
  /** The startup process waits for WAL (S6). */
  startupWaits: boolean;
  heartbeatSeen: number | null;
  /** Time since that heartbeat was written, ms. */
  heartbeatSeenAgeMs?: number | null;
  standbys: StandbyView[];
  /** Age of the oldest client transaction that is older than a second, ms; null: there is none. */
  oldTransactionMs?: number | null;
  /** The number of such transactions. */
  oldTransactions?: number;
}

/** The view of a server about which only one thing is known: it is in recovery. */
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

export interface View {
  systemId: string | null;
  dataExists: boolean;
  /** The postmaster process is alive. */
  running: boolean;
  /**
   * From pg_controldata, when the server is stopped. `checkpointLsn` is the shutdown checkpoint, which only a leader
   * writes. `primary`: the server ran as a primary until it ended.
   */
  control: { clean: boolean; checkpointLsn: string | null; timeline: number; primary: boolean } | null;
  /** Null: the server does not run, or does not answer (yet). */
  sql: SqlView | null;
  /** PostgreSQL has applied all local WAL and is not consistent yet. Without a source of WAL it will never answer. */
  starved?: boolean;
  /**
   * Why this data can never stream from the leader that the running server follows, derived from the leader's own
   * answers.
   */
  streamImpossible: string | null;
  /** How the running server's settings compare with the wanted ones; null or absent: not known yet. */
  settings?: { wanted: string; status: SettingsStatus } | null;
  /** The server runs, but accepts no sessions until it is promoted (tunables.ts). */
  blind?: boolean;
  /**
   * Replay of this standby is paused, because one of its settings is lower than the leader's (S23). Only a restart
   * helps.
   */
  paused?: boolean;
  /** The data was just copied. It replays the WAL that was received during the copy, and streams after that. */
  catchingUp?: boolean;
  /** Slots as last seen. The same object is returned until the slots are looked at again. */
  slots?: SlotView[];
  /** The look failed. This is an earlier answer of a leader that may hang. */
  stale?: true;
  /** A message for people about a problem that stops nothing, for example a refused setting. */
  warning: string | null;
  /** Why the keeper cannot log in with any superuser role; absent: it can, or PostgreSQL does not run. */
  lockedOut?: string;
}

/** The view of a node without data. */
export const NO_VIEW: View = {
  systemId: null,
  dataExists: false,
  running: false,
  control: null,
  sql: null,
  streamImpossible: null,
  warning: null,
};

/** The part of the configuration that an order decides. */
export interface ServerConfig {
  settings: NodeSettings;
  /** Node to stream from; null: a standby without a source. */
  upstream: { name: string; address: string } | null;
  /** Value of synchronous_standby_names. */
  syncNames: string;
  /** Value of synchronized_standby_slots, on a leader; absent: none. */
  consumerSlots?: string;
  /** Readers may delay replay for long, because no write waits for this node. */
  lateReplay?: true;
}

export interface Source {
  name: string;
  address: string;
}

/** The repository has all write-ahead log up to this position, except the gaps. `timeline`: that of the position. */
export interface Archived {
  lsn: string;
  timeline: number;
  gaps: readonly Gap[];
}

/** The backups' repository, and what this node hands to it. Files of write-ahead log go there one after the other. */
export interface Archive {
  /** Time since the machine started, also while it was suspended, ms. */
  bootMs(): number;
  /**
   * Makes the repository ready for this node, and finds out where to go on. `archived`: what it has; null: not known,
   * so the node begins with the oldest file that it has. May take a while; {@link shut} ends it.
   */
  prepare(timeline: number, archived: Archived | null): Promise<void>;
  /**
   * Hands the next finished file over, or writes down that it is lost. Resolves with false: none is finished. May take
   * a while; {@link shut} ends it.
   */
  push(flushLsn: string): Promise<boolean>;
  /**
   * Hands over all that a leader which has stopped cleanly has left, with the file that it wrote last: its timeline
   * ends there. Throws when the repository does not take all of it.
   */
  finish(archived: Archived | null, signal: AbortSignal): Promise<void>;
  /** Ends what is under way. */
  shut(): void;
  /** What waits. */
  look(flushLsn: string): ArchiveQueue;
  /** Lets write-ahead log go, so that no more than `queueBytes` waits, and writes the gap down. */
  letGo(flushLsn: string, queueBytes: number): Promise<void>;
  /** Changes the list of gaps, which outlives the container. One change after the other. */
  changeGaps(make: (gaps: readonly Gap[]) => readonly Gap[]): Promise<void>;
  /** Beginning of the file that is being written; null: not known. */
  present(flushLsn: string): string | null;
  /** Finishes the file that is being written. Writes write-ahead log. */
  switchSegment(): Promise<void>;
  /** Keeps all write-ahead log from this position on, for a later leadership of this node; null: from now on. */
  keep(archivedTo: string | null): Promise<void>;
  /** Keeps none any more. */
  release(): Promise<void>;
}

/** What the repository holds; whether a backup can be used follows from the archive. */
export interface RepositoryFacts {
  backups: Omit<Backup, 'usable'>[];
  /** Labels of those that belong to a history which a restore in place left. Absent: none. */
  left?: readonly string[];
  leftOut: number;
  freeBytes: number | null;
}

/** Makes and checks backups of this node. Each call throws when it fails, is aborted or takes too long. */
export interface BackupTool {
  /** Makes a backup and removes what is older than `keep` full ones. `onProgress`: from 0 to 1. */
  backup(
    type: BackupType,
    keep: number | undefined,
    onProgress: (part: number) => void,
    signal: AbortSignal,
    limitMs: number,
  ): Promise<void>;
  /** Reads the whole repository. Returns the files that are damaged or missing. */
  verify(signal: AbortSignal, limitMs: number): Promise<string[]>;
  repository(): Promise<RepositoryFacts>;
}

/**
 * Replaces the data of this node by data of the backups, and keeps the former ones. PostgreSQL does not run meanwhile.
 */
export interface Restorer {
  /** Free in the node's volume, as last seen, bytes; null: not known. */
  readonly freeBytes: number | null;
  /**
   * Makes the data in {@link RESTORED}, or prepares the kept ones where they are: brought to their target, shut down
   * cleanly, and on a timeline of their own that is higher than `above` and all that the repository has. Throws a
   * sentence for people when that is not possible; the present data are not touched.
   */
  make(source: MadeFrom, above: number, progress: (text: string) => void, signal: AbortSignal): Promise<void>;
  /**
   * Puts the folder `from` in the place of `data`, which is kept as `keep`, or removed. Finishes an interrupted swap.
   */
  swap(from: string, keep: string | null): Promise<void>;
  /** Size of the present data, bytes. */
  sizeBytes(): Promise<number>;
  /** Removes such a folder. */
  remove(folder: string): Promise<void>;
}

/** The backups, or the folder with the data from before the last restore. */
export type MadeFrom = Extract<RestoreSource, { kind: 'backup' }> | { kind: 'kept'; folder: string };

/** Folder in which the restored data are made. */
export const RESTORED = 'data.restored';

export type ArchiveQueue = Pick<ArchiveView, 'waiting' | 'waitingBytes' | 'archivedTo' | 'timeline' | 'gaps'>;

/** The slots that people made on this node; those of the failover are never among them. Each call has a deadline. */
export interface ClientSlotTool {
  look(): Promise<{ slots: ClientSlot[]; more: boolean }>;
  /**
   * Makes a physical slot. With `reserve` it keeps all write-ahead log from the last checkpoint on. Resolves with where
   * that begins; null: it keeps none.
   */
  make(name: string, reserve: boolean): Promise<string | null>;
  /** Moves a physical slot that is not in use, no further than to what this node has. */
  advance(name: string, lsn: string): Promise<void>;
  /** Drops a slot. It is no error if there is none. */
  drop(name: string): Promise<void>;
}

/** The way in for clients of replication. */
export interface ClientGate {
  /** Time since the machine's start, also while the container was paused, ms. */
  bootMs(): number;
  /** Listens, if it does not yet. */
  open(): void;
  /** Ends every session at once, if it is open. */
  shut(): void;
}

/**
 * One PostgreSQL and its data directory. Every call has its own deadline and throws {@link KeeperError} or an Error.
 */
export interface Postgres {
  /**
   * Called whenever the postmaster ends without having been told to. `reason` is for people: the exit code or signal
   * and PostgreSQL's last message, escaped and cut; null: not known.
   */
  onCrash: (reason: string | null) => void;
  /**
   * Called every few seconds with the amount of WAL that a copy has still to replay, after {@link Postgres.copyFrom}.
   */
  onProgress?: (text: string) => void;
  /** Absent: this PostgreSQL has no backups. {@link stop} shuts it until the next start. */
  readonly archive?: Archive;
  /** Absent: this PostgreSQL has no backups. {@link stop} kills what it does. */
  readonly backups?: BackupTool;
  /** Archive and backup tool of the second repository (S3). */
  readonly archiveS3?: Archive;
  readonly backupsS3?: BackupTool;
  /** Tells archive and backup tools which repositories there are; undefined: none. */
  usePlaces?(places: BackupSettings | undefined): void;
  /** Absent: this PostgreSQL has no backups. */
  readonly restorer?: Restorer;
  /** Absent: no clients of replication are let in. {@link stop} shuts it. */
  readonly gate?: ClientGate;
  /** Absent: slots of people are left alone. */
  readonly clientSlots?: ClientSlotTool;
  observe(): Promise<View>;

  /** Creates a new cluster in `data.new`, complete and synced. */
  initialise(): Promise<void>;
  /**
   * Restores another cluster in `data.new` instead, complete and synced, and resolves with how far it goes, for people.
   * Absent: there is none to restore. Throws RESTORE_IMPOSSIBLE, DATA_EXISTS when it was restored already,
   * DISK_TOO_SMALL.
   */
  readonly restore?: (progress: (text: string) => void, signal: AbortSignal) => Promise<string>;
  /**
   * Throws LEADER_UNREACHABLE when the source does not answer as a primary over the replication role. Makes the folders
   * of its tablespaces where that is possible.
   */
  reach(source: Source): Promise<void>;
  /**
   * Makes a base backup of the source in `data.new`, verified and synced, under an application name of its own (S25).
   * It contains all WAL since the backup began, and WAL is received until the node streams.
   * If the disk is too small for the old data and the copy, it throws DISK_TOO_SMALL. With `giveUp` it removes the old
   * data first instead; before that it calls `giveUp`, which stores that this data may only be replaced. DISK_TOO_SMALL
   * is also thrown in the middle of a copy, before the disk is full. After an error or an abort, nothing of the copy
   * stays and the old data is unchanged, unless `giveUp` was called.
   */
  copyFrom(
    source: Source,
    progress: (text: string) => void,
    signal: AbortSignal,
    giveUp?: () => Promise<void>,
  ): Promise<void>;
  /**
   * Opens a session in the database and ends it. The first session of a database reads the catalogs and writes the file
   * from which later sessions start (`pg_internal.init`). Without this call every client would do that work at the same
   * moment after a failover.
   */
  warm(database: string): Promise<void>;
  /** Removes a copy that did not replace `data`. */
  dropCopy(): Promise<void>;
  /** Replaces `data` by `data.new`. Idempotent: it finishes an interrupted swap. */
  swapIn(): Promise<void>;
  /** Removes stale lock files (S25), and left-over copies in the background. Call it only before the first start. */
  tidy(): Promise<void>;
  /** Runs `pg_rewind` of cleanly stopped data to the source (S12). Throws when the data was not stopped cleanly. */
  rewindFrom(source: Source, signal: AbortSignal): Promise<void>;

  /**
   * Writes the configuration and `standby.signal` (S8) and starts the postmaster. `leads`: it is to be promoted at
   * once.
   */
  start(config: ServerConfig, leads?: boolean): Promise<void>;
  /** Writes the configuration and reloads it if it differs from the one in force. Resolves with true if it differed. */
  configure(config: ServerConfig): Promise<boolean>;
  /**
   * Shuts PostgreSQL down in fast mode and ends walsenders that do not advance (S18). Resolves when the process has
   * ended.
   */
  stop(): Promise<void>;
  /** Waits until its last process has ended, and ends what is left after the limit, ms. */
  ended(limitMs: number): Promise<void>;
  /** Writes a checkpoint, so that the shutdown after it is short. */
  checkpoint(): Promise<void>;
  /**
   * Ends the sessions of idle clients. The session of a client that has just connected is ended only after a moment, in
   * which its first statement may arrive. Resolves with the number of clients that were present, including those that
   * are still connecting.
   */
  endIdleClients(): Promise<number>;
  /**
   * Promotes the server. Resolves with the new timeline as soon as PostgreSQL is out of recovery. Throws
   * PROMOTION_HANGS when replay does not move for a minute. `tell` is called now and then with the progress. Throws
   * soon after the signal is aborted.
   */
  promote(tell: (text: string) => void, signal: AbortSignal): Promise<number>;
  /** Resumes replay that a person paused; does nothing otherwise. */
  resumeReplay(): Promise<void>;
  /** Position at which `timeline` left its parent; null for the first timeline. */
  forkLsn(timeline: number): Promise<string | null>;

  /** Begins a commit that waits for the standbys. Resolves when the commit is seen to wait (S4). */
  startCanary(): Promise<void>;
  /** Whether the canary's commit still waits. */
  canaryWaits(): Promise<boolean>;
  /**
   * Commits one record with synchronous_commit=local. The standbys answer it, and then PostgreSQL checks the waiting
   * commits again (S17).
   */
  kick(): Promise<void>;
  /** Number of sessions that wait for a standby's acknowledgement. */
  syncWaiters(): Promise<number>;

  /**
   * Creates a physical slot for each peer. With `renew`, it first drops existing slots of peers that are not in use
   * (S22). Resolves with the slots that it dropped because their nodes are not declared any more.
   */
  ensureSlots(peers: string[], renew: boolean): Promise<string[]>;
  /**
   * Creates the roles, the heartbeat's sequence and the canary table; with `isNew`, in a cluster that was just
   * bootstrapped, also the application's database and table. All commits are local. Idempotent.
   */
  furnish(settings: NodeSettings, isNew: boolean): Promise<void>;
  /**
   * Drops the logical slots that this standby has from when it led, because PostgreSQL copies none from the leader
   * under a name that is taken. Resolves with their names. Absent: there are none.
   */
  dropLedSlots?(): Promise<string[]>;
  /** Whether a session that begins now has this value of `synchronized_standby_slots`. Absent: it always has. */
  holdsConsumersFor?(slots: string): Promise<boolean>;
  /**
   * Restores those of the failover's own roles, grants and objects that people removed or changed. Resolves with their
   * names. It costs one statement when nothing is missing. Throws when an object could not be restored, for example
   * because a client holds a lock.
   */
  mend(): Promise<string[]>;
  startHeartbeat(): void;
  stopHeartbeat(): void;
  heartbeat(): Beat;
  /** The monitor's ping woke the keeper, so a heartbeat that is nearly due begins now. */
  pinged(): void;
}
