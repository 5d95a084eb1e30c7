/**
 * A model of a running PostgreSQL, with the difficult behaviour that the real one showed (docs/safety.md): sync
 * settings reach checkpointer and walsenders at different times (S4), the receive position is wrong after a restart
 * (S6), a commit is visible after its wait was cancelled (S7), a backend finishes its statement after its client was
 * cut off (S2), and a promotion does not regard other nodes (S3).
 */
import { isNodeSlot } from '../failover/contract/naming';
import { type Disk, type Load, SEGMENT_MB, SLOT_KEEP_MB, START_MB, WAL_KEEP_MB } from './disks';
import { type Engine, Process } from './engine';
import { Channel, type Links } from './links';
import { type Settings, TOO_MUCH_MEMORY } from './settings';
import { archivedUpTo, type Change, type DataDir, printLsn, type Table, type WalRecord, whyImpossible } from './wal';

export interface SimDisk {
  /** Factor of the duration of every write; Infinity: frozen. */
  slowness: number;
  /** The archive behind `restore_command` does not answer. */
  archiveHangs?: boolean;
  /** The disk that it belongs to; undefined: there is always enough space. */
  room?: Disk;
  load?: Load;
  /** Number of the next starts and promotions that end in a crash. */
  crashes?: { starts: number; promotions: number };
}

export type Request =
  | { kind: 'identity' }
  /** With `as`: the commit is written only if this is the node's name. */
  | { kind: 'commit'; as?: string }
  | { kind: 'row'; row: number }
  | { kind: 'register'; value: number }
  /** Changes a table: replay of it needs a lock that readers of a standby may hold (S16). */
  | { kind: 'alter' }
  /** A read-only statement that runs for this time, and goes on when its client is gone. */
  | { kind: 'hold'; ms: number }
  | { kind: 'read' };

export type Reply =
  | { ok: false; error: string; code?: string }
  | { ok: true; kind: 'identity'; name: string; recovery: boolean }
  | { ok: true; kind: 'committed'; version: number; warned: boolean }
  | {
      ok: true;
      kind: 'read';
      rows: readonly number[];
      count: number;
      version: number;
      value: number;
      /** The answer comes from a standby. */
      recovery: boolean;
    };

interface Waiter {
  position: number;
  change: Change;
  session: Session | null;
  /** Called when the wait is over; `warned`: it was cancelled. */
  end: (warned: boolean) => void;
}

interface SyncNames {
  k: number;
  members: string[];
}

/**
 * Role of a connection: a client of the stack, the monitor's role with its reserved places, or the keeper as superuser
 * (S24).
 */
export type Role = 'client' | 'monitor' | 'keeper';

/** One connection's backend. */
export class Session {
  closed = false;
  /** A read-only statement runs. Replay of a change of its table waits for it (S16). */
  holds = false;
  onClosed: () => void = () => undefined;

  constructor(
    readonly postgres: PostgresServer,
    readonly role: Role,
  ) {}

  execute(request: Request, reply: (reply: Reply) => void): void {
    if (!this.closed) this.postgres.execute(this, request, reply);
  }

  /** A cancel request: a commit that waits for a standby returns with a warning (S7). */
  cancel(): void {
    this.postgres.cancel(this);
  }

  /** The server ends the session. */
  end(): void {
    if (this.closed) return;
    this.closed = true;
    this.onClosed();
  }
}

/** The other end of a stream: a standby, or a client of replication. */
export interface Receiving {
  readonly process: Process;
  readonly disk: Pick<SimDisk, 'slowness'>;
  receive(sender: Sender, from: number, records: readonly WalRecord[]): void;
  keptAlive(sender: Sender, wantsAnswer: boolean): void;
  lost(sender: Sender): void;
}

/** The leader's side of one stream. */
export class Sender {
  readonly down: Channel;
  readonly up: Channel;
  sent: number;
  flush: number | null = null;
  replay: number | null = null;
  state = 'catchup';
  alive = true;
  heardMs: number;
  /** The stream of a logical slot: the slots of the standbys that must have a change before (`synchronized_standby_slots`). */
  after: readonly string[] | null = null;

  constructor(
    readonly name: string,
    readonly slot: string,
    readonly receiver: Receiving,
    own: PostgresServer,
    public names: SyncNames,
    from: number,
  ) {
    this.down = new Channel(own.network, own.process.host, receiver.process.host);
    this.up = new Channel(own.network, receiver.process.host, own.process.host);
    this.sent = from;
    this.heardMs = own.engine.nowMs;
  }

  /**
   * Whether the standby counts as synchronous. A walsender computes its priority in shared memory from the setting that
   * it has read itself.
   */
  get counted(): boolean {
    return this.names.members.includes(this.name);
  }
}

const KEEPALIVE_MS = 1_000;
/**
 * Longest time from the walsenders' reading of a setting until waiting writers are released, ms. The next record or the
 * standby's regular answer (once a second) releases them.
 */
const LET_GO_MS = 1_200;
/** Limit far above the time for which a reader may hold up replay on a member (S16), ms. */
const HELD_UP_MAX_MS = 1_000;
/** Processor time of a connection's authentication on a machine of two cores, ms (S24: 115 a second). */
const AUTHENTICATION_MS = 8.7;
/**
 * A failed request for a stream is repeated after this time at the earliest, ms, because every step takes a little
 * time.
 */
const RETRY_LEAST_MS = 5;

function changeOf(request: Extract<Request, { kind: 'commit' | 'row' | 'alter' }>): Change {
  if (request.kind === 'row') return { kind: 'row', row: request.row };
  return request.kind === 'alter' ? { kind: 'alter' } : { kind: 'note', what: 'synchronous commit' };
}

/** The synchronous standbys of these settings. */
function namesIn(config: Settings): SyncNames {
  const match = /^ANY (\d+) \((.*)\)$/.exec(config.text('synchronous_standby_names'));
  if (match === null) return { k: 0, members: [] };
  return { k: Number(match[1]), members: (match[2] ?? '').split(', ').map((m) => m.replaceAll('"', '')) };
}

/** The standbys' slots for which the streams of logical slots wait. */
function standbySlotsIn(config: Settings): string[] {
  const text = config.text('synchronized_standby_slots');
  return text === '' ? [] : text.split(', ');
}

/** What a server reports to the simulation. */
export interface Witness {
  /** Something for the story. */
  say: (words: string) => void;
  /** A commit's wait was cancelled: from then on it can be read, but it may still be lost (S7). */
  unsure: (change: Change) => void;
  /** The change is in this server's WAL. */
  inserted: (change: Change) => void;
  /** Something that the shipped settings promise does not hold. */
  broken: (words: string) => void;
  /** True when readers may delay this node's replay for long, because no write waits for it. */
  mayBeHeldUp: (node: string) => boolean;
  /** Makes the number of the next record. */
  nextId: () => number;
}

const SILENT: Witness = {
  say: () => undefined,
  unsure: () => undefined,
  inserted: () => undefined,
  broken: () => undefined,
  mayBeHeldUp: () => false,
  nextId: () => 0,
};

export interface ServerParts {
  network: Links;
  /** The server on each host. */
  servers: ReadonlyMap<string, PostgresServer>;
  /** Name of the node and of its host. */
  node: string;
  data: DataDir;
  disk: SimDisk;
  config: Settings;
  /** How many records before the end of the WAL the replay begins, and how long a step takes; by default random. */
  replay?: { behind: number; stepMs: number };
  witness?: Partial<Witness>;
}

export class PostgresServer {
  readonly engine: Engine;
  readonly network: Links;
  readonly node: string;
  readonly process: Process;
  readonly data: DataDir;
  readonly disk: SimDisk;
  state: 'starting' | 'recovery' | 'promoting' | 'primary' | 'stopping' = 'starting';
  table: Table;
  /** The settings in force. `max_connections` and similar settings stay as they were at the start. */
  config: Settings;
  readonly atStart: Settings;
  /** Its last message, when it ends by itself. */
  fatal: string | null = null;
  /** Replay is paused because `max_connections` is too low (S23). */
  paused = false;
  streamImpossible: string | null = null;
  /**
   * Called with each line of its log. A client can add any text to it, for example in its user name or in an error's
   * message.
   */
  onLine: (line: string) => void = () => undefined;
  /** A person has paused replay. Received WAL is still flushed and acknowledged. */
  private replayHeld = false;
  /** Time that replay takes for a record, ms; null: it keeps pace. */
  private replayTakesMs: number | null = null;
  /** Address to which the startup process connects. The process takes a reload when it reaches that point. */
  private source: string | null;
  /** With a stopped postmaster, existing sessions work and no new ones are accepted (S27). */
  postmasterFrozen = false;
  readonly senders = new Set<Sender>();
  /** Called when the process ends. */
  onExit: () => void = () => undefined;
  private readonly sessions = new Set<Session>();
  private waiters: Waiter[] = [];
  /** The setting that the postmaster has read, and hence every new process. */
  private names: SyncNames;
  /**
   * Flag in shared memory that says whether commits wait at all. The checkpointer sets it, later than the file changes
   * (S4).
   */
  private syncDefined: boolean;
  /** `synchronized_standby_slots` as the postmaster has read it, and hence every new session. */
  private standbySlots: readonly string[];
  private authenticating = 0;
  private processorFreeMs = 0;
  private registerLock: (() => void)[] | null = null;
  private upstream: { server: PostgresServer; address: string; sender: Sender; heardMs: number } | null = null;
  private restsUntilMs = 0;
  /** The state that a refused walreceiver reports for a moment. */
  private pretends: { address: string | null; untilMs: number } = { address: null, untilMs: 0 };
  /** Time when the WAL that is being applied was received. The limit of S16 counts from here. */
  private batchMs = 0;
  /** Replay waits for a reader's transaction. */
  private conflicts = false;
  /** Time for which it has waited, counted in this process's own steps, ms. */
  private heldUpMs = 0;
  private receivePosition: number | null = null;
  private receiverFlush = 0;
  private dialling = false;
  /** A walreceiver process exists and is still connecting. */
  connects = false;
  /** A record is being applied slowly. */
  private replaying = false;
  /** Duration of a step of the replay after a start. */
  private readonly replayMs: number;
  private readonly servers: ReadonlyMap<string, PostgresServer>;
  private readonly witness: Witness;

  constructor(parts: ServerParts) {
    this.engine = parts.network.engine;
    this.network = parts.network;
    this.servers = parts.servers;
    this.node = parts.node;
    this.data = parts.data;
    this.disk = parts.disk;
    this.config = parts.config;
    this.atStart = parts.config;
    this.source = parts.config.upstreamAddress;
    this.witness = { ...SILENT, ...parts.witness };
    this.process = new Process(this.engine, `postgres of ${parts.node}`, parts.node);
    this.names = namesIn(parts.config);
    this.syncDefined = this.names.k > 0;
    this.standbySlots = standbySlotsIn(parts.config);
    const { data } = this;
    // Replay begins at the last restart point, so SQL sees at first an older state than before the restart (S6).
    const behind = this.engine.random.integer(0, 40);
    const stepMs = this.engine.random.chance(0.6) ? this.engine.random.between(10, 80) : 3;
    const restartPoint = Math.max(0, data.flushed - (parts.replay?.behind ?? behind));
    // A standby applies now what it had not applied before it was stopped, for example because `max_connections` was
    // too low.
    const wasPrimary = data.production || data.cleanLeader;
    data.applied = wasPrimary ? restartPoint : Math.min(data.applied, restartPoint);
    this.replayMs = parts.replay?.stepMs ?? stepMs;
    // A primary's WAL is applied to its end before the first session. A standby's WAL is applied only to its last
    // restart point and to the records whose later pages were written. So a standby may show less than before its crash
    // (xlogrecovery.c, InitWalRecovery).
    if (data.production) data.consistentAt = data.flushed;
    data.production = false;
    data.clean = false;
    data.cleanLeader = false;
    this.table = data.table(data.applied);
    this.process.onDeath.add(() => this.died());
    this.after(this.engine.random.delay(60), () => this.started());
    this.every(KEEPALIVE_MS, () => this.watchPeers());
    this.answerAgain();
  }

  /** Out of recovery: it accepts writes. */
  isPrimary = false;

  /** The name that it reports (S14). */
  get name(): string {
    return this.atStart.text('cluster_name');
  }

  get accepting(): boolean {
    const states = this.isHot ? ['recovery', 'promoting', 'primary'] : ['primary'];
    const consistent = this.isPrimary || this.data.applied >= this.data.consistentAt;
    return !this.process.dead && consistent && states.includes(this.state);
  }

  /** Whether it is a hot standby. Without that, a standby accepts no sessions, and no leader's settings bind it. */
  get isHot(): boolean {
    return this.atStart.flag('hot_standby');
  }

  private after(ms: number, run: () => void): void {
    this.engine.after(ms, this.process, run);
  }

  private every(ms: number, run: () => void): void {
    this.after(ms, () => {
      run();
      this.every(ms, run);
    });
  }

  private started(): void {
    const { crashes } = this.disk;
    if (crashes !== undefined && crashes.starts > 0) {
      crashes.starts -= 1;
      this.fails('could not open file "global/pg_filenode.map": Input/output error');
      return;
    }
    if (this.freeMb < START_MB && this.engine.random.chance(0.3)) {
      this.fails('could not write lock file "postmaster.pid": No space left on device');
      return;
    }
    if (this.data.broken && this.comesUpBroken()) return;
    if (this.lacksConnections(this.data.connections)) {
      this.fails('recovery aborted because of insufficient parameter settings: max_connections');
      return;
    }
    if (this.atStart.text('shared_buffers') === TOO_MUCH_MEMORY) {
      this.fails('could not map anonymous shared memory: Cannot allocate memory');
      return;
    }
    this.state = 'recovery';
    this.replay();
    this.dial();
  }

  /** Partly rewound data may not start at all. Or it starts with data that no server ever had, which is worse (S12). */
  private comesUpBroken(): boolean {
    if (this.engine.random.chance(0.5)) {
      this.process.kill();
      return true;
    }
    this.data.damage(this.witness.nextId());
    return false;
  }

  /** A standby needs at least the `max_connections` of the leader whose WAL it replays (S23). */
  private lacksConnections(leaders: number): boolean {
    return this.isHot && this.atStart.number('max_connections') < leaders;
  }

  private fails(words: string): void {
    this.witness.say(`${this.node}: ${words}`);
    this.log(`FATAL:  ${words}`);
    this.fatal = words;
    this.process.kill();
  }

  log(words: string): void {
    this.onLine(`2026-01-01 00:00:00.000 UTC [52] ${words}`);
  }

  private died(): void {
    for (const sender of this.senders) this.endSender(sender);
    this.dropUpstream();
    for (const session of [...this.sessions]) session.end();
    // WAL that was written but not flushed may survive or not.
    const { data } = this;
    const kept = this.engine.random.integer(data.flushed, data.wal.length);
    data.wal.length = Math.max(data.flushed, kept);
    data.flushed = data.wal.length;
    data.applied = Math.min(data.applied, data.flushed);
    this.onExit();
  }

  // Disk

  private flush(run: () => void): void {
    const upTo = this.data.wal.length;
    this.write(() => {
      this.data.flushed = Math.max(this.data.flushed, Math.min(upTo, this.data.wal.length));
      run();
    });
  }

  private get freeMb(): number {
    return this.disk.room?.freeMb ?? Number.POSITIVE_INFINITY;
  }

  /** A new segment begins and the disk has no space for it, so the whole server ends (PANIC). */
  private panics(from: number, to: number): boolean {
    if (this.freeMb >= SEGMENT_MB) return false;
    const segment = (position: number) => Math.floor((position * (this.disk.load?.recordMb ?? 0)) / SEGMENT_MB);
    if (segment(from) === segment(to)) return false;
    this.fails('could not write to file "pg_wal/xlogtemp.52": No space left on device');
    return true;
  }

  /** Does one write with its sync. It waits while the disk is frozen. */
  write(run: () => void): void {
    if (!Number.isFinite(this.disk.slowness)) {
      this.after(20, () => this.write(run));
      return;
    }
    this.after(this.engine.random.delay(0.8) * this.disk.slowness, run);
  }

  // Sessions

  /** Opens a session at once, as if the connection had passed its authentication; null: refused. */
  open(role: Role): Session | null {
    return this.postmasterFrozen ? null : this.opened(role);
  }

  private opened(role: Role): Session | null {
    if (!this.accepting || !this.hasPlace(role)) return null;
    const session = new Session(this, role);
    this.sessions.add(session);
    return session;
  }

  /**
   * A new connection: it first takes a place, then processor time for its authentication. Its role counts only after
   * that.
   */
  admit(role: Role, admitted: (session: Session | null) => void): void {
    if (!this.accepting || this.sessions.size + this.authenticating >= this.atStart.number('max_connections')) {
      admitted(null);
      return;
    }
    this.authenticating += 1;
    const { nowMs, random } = this.engine;
    this.processorFreeMs = Math.max(nowMs, this.processorFreeMs) + random.delay(AUTHENTICATION_MS);
    this.after(this.processorFreeMs - nowMs, () => {
      this.authenticating -= 1;
      admitted(this.opened(role));
    });
  }

  private hasPlace(role: Role): boolean {
    const superuser = this.atStart.number('superuser_reserved_connections');
    const reserved = { client: superuser + this.atStart.number('reserved_connections'), monitor: superuser, keeper: 0 };
    return this.atStart.number('max_connections') - this.sessions.size - this.authenticating > reserved[role];
  }

  get connections(): number {
    return this.sessions.size + this.authenticating;
  }

  /** Ends the clients' sessions that wait for no commit. Returns the number of clients. */
  endIdleSessions(): number {
    const all = [...this.sessions].filter((s) => s.role === 'client');
    for (const session of all) if (!this.isWaiting(session)) session.end();
    return all.length;
  }

  /** The server loses its network: every connection ends. */
  endSessions(): void {
    for (const session of [...this.sessions]) session.end();
    this.sessions.clear();
  }

  /** The client has gone. A commit that is under way continues (S2). */
  closeSession(session: Session): void {
    // A backend that computes does not check its client's connection.
    if (!session.holds) this.sessions.delete(session);
    session.closed = true;
  }

  /** The statement has ended. */
  private released(session: Session): void {
    session.holds = false;
    if (session.closed) this.sessions.delete(session);
  }

  execute(session: Session, request: Request, reply: (reply: Reply) => void): void {
    this.after(this.engine.random.delay(0.3), () => {
      if (session.closed) return;
      switch (request.kind) {
        case 'identity':
          reply({ ok: true, kind: 'identity', name: this.name, recovery: !this.isPrimary });
          return;
        case 'read':
          reply({
            ok: true,
            kind: 'read',
            rows: this.table.rows,
            count: this.table.rows.length,
            version: this.table.version,
            value: this.table.value,
            recovery: !this.isPrimary,
          });
          return;
        case 'hold':
          session.holds = true;
          this.after(request.ms, () => this.released(session));
          reply({ ok: true, kind: 'read', rows: [], count: 0, version: 0, value: 0, recovery: !this.isPrimary });
          return;
        case 'commit':
        case 'row':
        case 'alter':
        case 'register':
          this.commit(session, request, reply);
      }
    });
  }

  private commit(
    session: Session,
    request: Extract<Request, { kind: 'commit' | 'row' | 'alter' | 'register' }>,
    reply: (reply: Reply) => void,
  ): void {
    if (!this.isPrimary || this.state !== 'primary') {
      reply({ ok: false, error: 'cannot execute INSERT in a read-only transaction', code: '25006' });
      return;
    }
    if (request.kind === 'commit' && request.as !== undefined && request.as !== this.name) {
      reply({ ok: true, kind: 'read', rows: [], count: 0, version: 0, value: 0, recovery: false });
      return;
    }
    if (request.kind === 'register') {
      this.lockRegister(() => this.updateRegister(session, request.value, reply));
      return;
    }
    const change = changeOf(request);
    this.commitChange(session, change, (warned) => {
      this.table.apply(change);
      reply({ ok: true, kind: 'committed', version: 0, warned });
    });
  }

  private updateRegister(session: Session, value: number, reply: (reply: Reply) => void): void {
    const version = this.table.version + 1;
    const change: Change = { kind: 'register', version, value };
    this.commitChange(session, change, (warned) => {
      this.table.apply(change);
      this.unlockRegister();
      reply({ ok: true, kind: 'committed', version, warned });
    });
  }

  private lockRegister(run: () => void): void {
    if (this.registerLock === null) {
      this.registerLock = [];
      run();
    } else this.registerLock.push(run);
  }

  private unlockRegister(): void {
    const next = this.registerLock?.shift();
    if (next === undefined) this.registerLock = null;
    else this.after(0, next);
  }

  private commitChange(session: Session | null, change: Change, visible: (warned: boolean) => void): void {
    this.insert(change, (position) => {
      if (!this.syncDefined) visible(false);
      else this.waiters.push({ position, change, session, end: visible });
    });
  }

  /** Inserts and flushes one record. Flushed records are sent. */
  insert(change: Change, flushed: (position: number) => void): void {
    const { length } = this.data.wal;
    if (this.process.dead || this.panics(length, length + 1)) return;
    this.data.wal.push({ id: this.witness.nextId(), change });
    this.witness.inserted(change);
    const position = this.data.wal.length;
    this.flush(() => {
      if (!this.process.dead) flushed(position);
      this.pump();
    });
  }

  cancel(session: Session): void {
    const waiting = this.waiters.filter((w) => w.session === session);
    this.waiters = this.waiters.filter((w) => w.session !== session);
    for (const waiter of waiting) {
      this.witness.unsure(waiter.change);
      waiter.end(true);
    }
  }

  isWaiting(session: Session): boolean {
    return this.waiters.some((w) => w.session === session);
  }

  /** `synchronous_standby_names`, as a new process reads it. */
  get namesInForce(): string {
    return this.config.text('synchronous_standby_names');
  }

  get waiting(): number {
    return this.waiters.length;
  }

  // Configuration

  reload(config: Settings): void {
    const before = this.config;
    this.config = config;
    const { random } = this.engine;
    const changed = before.upstreamAddress !== config.upstreamAddress;
    if (changed) this.after(random.chance(0.05) ? random.between(20, 300) : random.delay(4), () => this.redirect());
    if (before.text('synchronized_standby_slots') !== config.text('synchronized_standby_slots')) {
      this.after(random.between(0, 5), () => this.postmasterReadsSlots());
    }
    const changesNames = before.text('synchronous_standby_names') !== config.text('synchronous_standby_names');
    if (!changesNames) return;
    this.after(random.between(0, 5), () => this.postmasterReads());
  }

  /** The postmaster signals its children, and each child reads the setting when it reaches that point (S4). */
  private postmasterReads(): void {
    const { random } = this.engine;
    this.names = namesIn(this.config);
    const waiting = [...this.waiters];
    const late = () => (random.chance(0.2) ? random.between(20, 400) : random.between(0, 8));
    this.after(late(), () => this.checkpointerReads());
    let readMs = 0;
    for (const sender of this.senders) {
      const afterMs = late();
      readMs = Math.max(readMs, afterMs);
      this.after(afterMs, () => {
        sender.names = namesIn(this.config);
      });
    }
    // A walsender releases commits by the setting that it has read itself.
    if (waiting.length > 0) this.after(readMs + LET_GO_MS, () => this.watchWaiters(waiting));
  }

  private postmasterReadsSlots(): void {
    const { random } = this.engine;
    this.standbySlots = standbySlotsIn(this.config);
    for (const sender of this.senders) {
      if (sender.after === null) continue;
      const read = () => {
        sender.after = standbySlotsIn(this.config);
        this.feed(sender);
      };
      this.after(random.chance(0.2) ? random.between(20, 400) : random.between(0, 8), read);
    }
  }

  /** Value of `synchronized_standby_slots` in a session that begins now. */
  get slotsOfNewSession(): string {
    return this.standbySlots.join(', ');
  }

  private checkpointerReads(): void {
    this.syncDefined = namesIn(this.config).k > 0;
    if (this.syncDefined) return;
    for (const waiter of this.waiters.splice(0)) waiter.end(false);
  }

  private redirect(): void {
    // After several reloads, only the newest files are read.
    if (this.source === this.config.upstreamAddress) return;
    this.source = this.config.upstreamAddress;
    this.dropUpstream();
    this.streamImpossible = null;
    this.dial();
  }

  // Sending

  private pump(): void {
    for (const sender of this.senders) this.feed(sender);
  }

  private feed(sender: Sender): void {
    const { data } = this;
    const upTo = this.mayBeSent(sender);
    if (!sender.alive || sender.sent >= upTo) return;
    const from = sender.sent;
    const records = data.wal.slice(from, upTo);
    sender.sent = upTo;
    sender.down.send(sender.receiver.process, () => sender.receiver.receive(sender, from, records));
  }

  /**
   * Number of records that the stream may have. That of a logical slot has to wait for the standbys of
   * `synchronized_standby_slots` (slot.c, StandbySlotsHaveCaughtup).
   */
  private mayBeSent({ after }: Sender): number {
    const { flushed, slotAt } = this.data;
    return after === null ? flushed : Math.min(flushed, ...after.map((slot) => slotAt.get(slot) ?? 0));
  }

  /**
   * A client of replication gets a stream from this record on; null: this server gives none. `isLogical`: of a logical
   * slot, which only a primary decodes here.
   */
  serve(client: Receiving, name: string, slot: string, from: number, isLogical: boolean): Sender | null {
    if (!this.accepting || !this.isPrimary) return null;
    const sender = new Sender(name, slot, client, this, this.names, from);
    if (isLogical) sender.after = this.standbySlots;
    this.senders.add(sender);
    this.feed(sender);
    return sender;
  }

  heard(sender: Sender, flush: number, replay: number): void {
    if (!sender.alive) return;
    sender.heardMs = this.engine.nowMs;
    sender.flush = flush;
    this.data.slotAt.set(sender.slot, flush);
    sender.replay = replay;
    if (sender.state === 'catchup' && sender.sent >= this.data.flushed) sender.state = 'streaming';
    if (!this.isPrimary) return;
    this.release(sender);
    for (const other of this.senders) if (other.after !== null) this.feed(other);
  }

  /**
   * Checks that writers are released after the setting was changed. `before` are the commits that waited then. If
   * enough standbys have the record of such a commit, and no fault delays a process or a packet, it must not wait any
   * more (S17).
   */
  private watchWaiters(before: readonly Waiter[]): void {
    const { k, members } = this.names;
    const { network, engine, disk, process } = this;
    const isAwake = (p: Process) => p.state === 'running' && engine.nowMs - p.wokeMs > 2 * LET_GO_MS;
    const isWhole = engine.nowMs - network.healedMs > 2 * LET_GO_MS;
    const calm =
      isWhole && engine.cpuMs === 0 && network.jitterMs === 0 && network.latencyMs < 1 && disk.slowness === 1;
    const counted = [...this.senders].filter((s) => s.state === 'streaming' && members.includes(s.name));
    const near = counted.every(({ receiver }) => {
      const there = isAwake(receiver.process) && network.reaches(process.host, receiver.process.host);
      return there && receiver.disk.slowness === 1 && !network.far.has(`${process.host}>${receiver.process.host}`);
    });
    const have = counted.map((s) => s.flush ?? 0).sort((a, b) => b - a)[k - 1] ?? 0;
    const late = this.waiters.find((w) => before.includes(w) && w.position <= have);
    if (late === undefined || k === 0 || !calm || !near || !isAwake(process) || this.state !== 'primary') return;
    this.witness.broken(
      `STILL WAITS: a writer on ${this.node} waits, although ${members.join(' and ')} have its record`,
    );
  }

  /**
   * SyncRepReleaseWaiters: uses the setting that the releasing walsender has read, and all standbys that count
   * themselves as members.
   */
  private release(sender: Sender): void {
    if (!sender.counted || sender.state !== 'streaming') return;
    const { k } = sender.names;
    const positions = [...this.senders]
      .filter((s) => s.alive && s.counted && s.state === 'streaming' && s.flush !== null)
      .map((s) => s.flush ?? 0)
      .sort((a, b) => b - a);
    const synced = positions[k - 1];
    if (k === 0 || synced === undefined) return;
    const free = this.waiters.filter((w) => w.position <= synced);
    this.waiters = this.waiters.filter((w) => w.position > synced);
    for (const waiter of free) waiter.end(false);
  }

  endSender(sender: Sender): void {
    if (!sender.alive) return;
    sender.alive = false;
    this.senders.delete(sender);
    const { receiver } = sender;
    sender.down.send(receiver.process, () => receiver.lost(sender));
  }

  /** The leader asks a silent standby for an answer. Each side gives up the other after its limit. */
  private watchPeers(): void {
    const { nowMs } = this.engine;
    const limitMs = this.config.ms('wal_sender_timeout');
    for (const sender of [...this.senders]) {
      const silentMs = nowMs - sender.heardMs;
      if (silentMs > limitMs) this.endSender(sender);
      else sender.down.send(sender.receiver.process, () => sender.receiver.keptAlive(sender, silentMs > limitMs / 2));
    }
    const { upstream } = this;
    if (upstream === null || nowMs - upstream.heardMs <= limitMs) return;
    this.dropUpstream();
    this.dial();
  }

  keptAlive(sender: Sender, wantsAnswer: boolean): void {
    if (this.upstream?.sender !== sender) return;
    this.upstream.heardMs = this.engine.nowMs;
    if (wantsAnswer) this.answer();
  }

  /** What a walreceiver does when it has nothing new to report (S17). */
  private answerAgain(): void {
    this.after(this.config.ms('wal_receiver_status_interval'), () => {
      this.answer();
      this.answerAgain();
    });
  }

  // Receiving

  /** The startup process requests a stream whenever it has applied all WAL and has no stream. */
  private dial(): void {
    if (this.dialling) return;
    this.dialling = true;
    const again = (ms: number) => {
      this.after(ms, () => {
        this.dialling = false;
        this.dial();
      });
    };
    const address = this.source;
    if (this.state !== 'recovery' || address === null || this.upstream !== null) {
      this.dialling = false;
      return;
    }
    if (this.data.applied < this.data.wal.length || this.replayHeld) {
      again(20);
      return;
    }
    const upstream = this.network.hostOf(address);
    const source = this.servers.get(upstream);
    const { host } = this.process;
    if (source === undefined || source === this || !source.reachableFrom(host) || source.process.state === 'paused') {
      // No host refuses the connection, so the attempt ends only at its time limit.
      again(Math.max(60, this.rest()));
      return;
    }
    this.connects = true;
    this.after(this.engine.random.delay(8), () => {
      this.connects = false;
      this.dialling = false;
      this.connectTo(source, address);
    });
  }

  /**
   * Time for which the startup process sleeps until the next attempt, ms. Now and then it also misses a promotion
   * during that sleep (S20).
   */
  private rest(): number {
    const restMs = Math.max(RETRY_LEAST_MS, this.config.ms('wal_retrieve_retry_interval'));
    this.restsUntilMs = this.engine.nowMs + restMs;
    return restMs;
  }

  /** True when a new connection from that host gets through. */
  reachableFrom(host: string): boolean {
    return this.accepting && !this.postmasterFrozen && this.network.reaches(host, this.process.host);
  }

  private connectTo(source: PostgresServer, address: string): void {
    if (this.source !== address) {
      this.dial();
      return;
    }
    if (this.state !== 'recovery' || this.upstream !== null) return;
    const reachable = source.reachableFrom(this.process.host);
    const hasSlot = reachable && source.givesSlot(this.slot, this);
    const impossible = reachable ? whyImpossible(this.data, source.data, hasSlot) : null;
    if (!hasSlot || impossible !== null) {
      if (impossible !== null) this.refused(source, impossible);
      // PostgreSQL 17 shows a walreceiver as `streaming` from its start, also while its request is being refused.
      if (reachable) {
        this.pretends = { address, untilMs: this.engine.nowMs + this.engine.random.delay(8) };
      }
      this.dialling = true;
      this.after(this.rest(), () => {
        this.dialling = false;
        this.dial();
      });
      return;
    }
    const own = this.data;
    // Streaming begins at the start of the segment, which is before the end of the existing WAL (S6).
    const from = Math.max(
      source.data.oldest,
      Math.min(own.wal.length - this.engine.random.integer(0, 10), source.data.flushed),
    );
    this.receivePosition = from;
    this.receiverFlush = from;
    own.history = [...source.data.history];
    own.newestTimeline = Math.max(own.newestTimeline, source.data.newestTimeline);
    const sender = new Sender(this.node, this.slot, this, source, source.names, from);
    source.senders.add(sender);
    this.upstream = { server: source, address, sender, heardMs: this.engine.nowMs };
    source.feed(sender);
    this.answer();
  }

  /** Both ends log the refusal; the walsender does so if the message is its own. */
  private refused(source: PostgresServer, words: string): void {
    if (words.startsWith('requested')) source.log(`ERROR:  ${words}`);
    if (this.streamImpossible === null) this.log(`FATAL:  could not start WAL streaming: ERROR:  ${words}`);
    this.streamImpossible ??= words;
  }

  private get slot(): string {
    return this.config.text('primary_slot_name');
  }

  /**
   * Without its slot a follower never streams (S22). A slot that was invalidated, or that a walsender still uses, is
   * refused, too.
   */
  private givesSlot(slot: string, to: PostgresServer): boolean {
    if (slot === '') return true;
    if (!this.data.slots.has(slot) || this.data.lostSlots.has(slot)) return false;
    const old = [...this.senders].find((s) => s.slot === slot);
    if (old === undefined) return true;
    // The process at the other end of the old connection is dead. The old walsender learns this when it repeats a
    // packet.
    if (old.receiver !== to && old.receiver.process.dead) {
      this.after(this.engine.random.between(1, 400), () => this.endSender(old));
    }
    return false;
  }

  /**
   * Creates the peers' slots and drops those of other nodes, ending the walsenders that still use them. With `renew` it
   * also replaces existing slots that are not in use (S22). Invalidated slots are replaced in any case. Returns the
   * dropped ones of other nodes.
   */
  ensureSlots(wanted: readonly string[], renew: boolean): string[] {
    const { slots, slotAt, lostSlots } = this.data;
    const isForeign = (slot: string) => slot !== '' && !wanted.includes(slot) && !isNodeSlot(slot, this.name);
    const ends = [...this.senders].filter(({ slot }) => !wanted.includes(slot) && !isForeign(slot));
    for (const sender of ends) this.endSender(sender);
    const active = new Set([...this.senders].map((s) => s.slot));
    const before = [...slots];
    for (const slot of slots) {
      if (isForeign(slot)) continue;
      if (active.has(slot) || (!renew && wanted.includes(slot) && !lostSlots.has(slot))) continue;
      for (const known of [slots, slotAt, lostSlots]) known.delete(slot);
    }
    for (const slot of wanted) slots.add(slot);
    return before.filter((slot) => !slots.has(slot));
  }

  /**
   * A checkpoint keeps `kept` records for slots that are behind, and no more. A slot that needs older records is
   * invalidated (S22).
   */
  removeLog(kept: number): void {
    const { data } = this;
    // A leader has applied what it wrote. Its `applied` stays at the value of its promotion.
    const done = this.isPrimary ? data.flushed : data.applied;
    data.oldest = Math.max(data.oldest, Math.min(done, data.flushed - kept));
    for (const sender of [...this.senders]) if (sender.sent < data.oldest) this.endSender(sender);
    for (const [slot, position] of data.slotAt) if (position < data.oldest) data.lostSlots.add(slot);
  }

  /** A checkpoint: WAL that is needed neither for `wal_keep_size` nor by a slot within its limit is recycled (S22). */
  recycle(): void {
    const recordMb = this.disk.load?.recordMb ?? 0;
    if (recordMb === 0) return;
    this.recycleBut(Math.floor(WAL_KEEP_MB / recordMb), Math.floor(SLOT_KEEP_MB / recordMb));
  }

  /** A checkpoint that keeps so many records for all, and at most so many for slots. */
  recycleBut(kept: number, slotMax: number): void {
    const { data } = this;
    const asked = [...data.slotAt].filter(([slot]) => data.slots.has(slot) && !data.lostSlots.has(slot));
    const slotsFrom = Math.min(data.flushed, ...asked.map(([, position]) => position), archivedUpTo(data));
    const least = Math.max(slotsFrom, data.flushed - slotMax);
    this.removeLog(Math.max(kept, data.flushed - least));
  }

  receive(sender: Sender, from: number, records: readonly WalRecord[]): void {
    if (this.upstream?.sender !== sender || this.state !== 'recovery') return;
    this.upstream.heardMs = this.engine.nowMs;
    const { data } = this;
    if (data.applied >= data.wal.length) this.batchMs = this.engine.nowMs;
    if (this.panics(from, from + records.length)) return;
    if (from > data.wal.length) throw new Error(`the stream to ${this.node} skips records: no TCP does that`);
    records.forEach((record, i) => {
      // Applied records stay as they are, whatever the new source has at that position.
      const at = from + i;
      if (at >= data.applied && at < data.wal.length) data.wal[at] = record;
      else if (at === data.wal.length) data.wal.push(record);
    });
    const upTo = from + records.length;
    this.receivePosition = upTo;
    this.flush(() => {
      this.receiverFlush = Math.max(this.receiverFlush, upTo);
      if (this.upstream?.sender === sender) this.answer();
      this.after(this.engine.random.delay(1, 0.05), () => this.replay());
      this.pump();
    });
  }

  private answer(): void {
    const { upstream, receiverFlush, data } = this;
    if (upstream === null) return;
    const { server, sender } = upstream;
    const { applied } = data;
    sender.up.send(server.process, () => server.heard(sender, receiverFlush, applied));
  }

  lost(sender: Sender): void {
    if (this.upstream?.sender !== sender) return;
    this.upstream = null;
    this.dial();
  }

  private dropUpstream(): void {
    const { upstream } = this;
    this.upstream = null;
    if (upstream === null) return;
    const { server, sender } = upstream;
    sender.up.send(server.process, () => server.endSender(sender));
  }

  /** Applies flushed records. After a start it takes a while until all local WAL is applied. */
  private replay(): void {
    const { data } = this;
    // A fault that ends may still refer to the previous server. Two servers would then share this data's counter.
    if (this.process.dead || this.conflicts || this.replayHeld) return;
    if (this.isPrimary || !['recovery', 'promoting'].includes(this.state)) return;
    if (this.replayTakesMs !== null) {
      this.replaySlowly(this.replayTakesMs);
      return;
    }
    const step = this.upstream === null ? 3 : data.flushed - data.applied;
    for (let i = 0; i < step && data.applied < data.flushed; i++) if (!this.applyNext()) return;
    if (data.applied < data.flushed) this.after(this.engine.random.delay(this.replayMs), () => this.replay());
  }

  /** Applies one record at a time, whatever is received meanwhile. */
  private replaySlowly(ms: number): void {
    if (this.replaying || this.data.applied >= this.data.flushed) return;
    this.replaying = true;
    this.after(ms, () => {
      this.replaying = false;
      if (this.data.applied < this.data.flushed && !this.isPrimary && !this.applyNext()) return;
      this.replay();
    });
  }

  /** `pg_wal_replay_pause()`: receiving and acknowledging continue. The pause ends with a restart or a promotion. */
  pauseReplay(): void {
    this.replayHeld = true;
  }

  resumeReplay(): void {
    this.replayHeld = false;
    this.replay();
  }

  /**
   * Sets the time that replay takes for each record, ms. Replay is then slower than receiving. Null: it keeps pace
   * again.
   */
  slowReplay(ms: number | null): void {
    this.replayTakesMs = ms;
    if (ms === null) this.replay();
  }

  /** Number of records that were received and not applied. */
  get backlog(): number {
    return this.data.flushed - this.data.applied;
  }

  /** Applies one record; false when it has to wait. */
  private applyNext(): boolean {
    const { data } = this;
    const change = data.wal[data.applied]?.change;
    if (change?.kind === 'alter' && this.isHeldUp()) return false;
    if (change?.kind === 'parameters') {
      data.connections = change.connections;
      // Replay continues only after a restart with enough connections. A promotion now has no effect (S23).
      if (this.lacksConnections(change.connections)) {
        this.conflicts = true;
        this.paused = true;
        this.log('WARNING:  hot standby is not possible because of insufficient parameter settings');
        return false;
      }
    }
    if (change !== undefined) this.table.apply(change);
    data.applied += 1;
    return true;
  }

  /** A reader's statement holds up replay until the limit is over and the reader's session is ended (S16). */
  private isHeldUp(): boolean {
    const readers = [...this.sessions].filter((s) => s.holds);
    if (readers.length === 0) return this.goesOn();
    const leftMs = this.batchMs + this.config.ms('max_standby_streaming_delay') - this.engine.nowMs;
    if (leftMs <= 0) {
      for (const reader of readers) {
        reader.end();
        this.released(reader);
      }
      return this.goesOn();
    }
    this.conflicts = true;
    const stepMs = Math.min(leftMs, 20);
    const isLong = this.heldUpMs < HELD_UP_MAX_MS && this.heldUpMs + stepMs >= HELD_UP_MAX_MS;
    if (isLong && !this.witness.mayBeHeldUp(this.node)) {
      this.witness.broken(
        `HELD UP: a reader holds up ${this.node} for ${HELD_UP_MAX_MS} ms: it could not be promoted meanwhile`,
      );
    }
    this.heldUpMs += stepMs;
    this.after(stepMs, () => {
      this.conflicts = false;
      this.replay();
    });
    return true;
  }

  /** No reader holds up replay any more. */
  private goesOn(): false {
    this.heldUpMs = 0;
    return false;
  }

  // Life

  /** Promotes the server. Resolves with the new timeline. Throws when it is not a standby. */
  async promote(): Promise<number> {
    if (this.isPrimary) return this.data.timeline;
    this.state = 'promoting';
    this.replayHeld = false;
    this.dropUpstream();
    await this.engine.sleep(this.engine.random.delay(12), this.process);
    const restMs = this.restsUntilMs - this.engine.nowMs;
    if (restMs > 0 && this.engine.random.chance(0.4)) await this.engine.sleep(restMs, this.process);
    const { data } = this;
    // The archive is asked before a timeline is chosen. An archive that hangs makes the promotion hang (S26).
    while (this.config.text('restore_command') !== '' && this.disk.archiveHangs === true) {
      await this.engine.sleep(50, this.process);
    }
    // All received WAL is applied first, including WAL that has not been flushed yet.
    data.flushed = data.wal.length;
    while (data.applied < data.flushed) {
      if (this.conflicts || !this.applyNext()) await this.engine.sleep(2, this.process);
      else if (this.replayTakesMs !== null) await this.engine.sleep(this.replayTakesMs, this.process);
      if (this.lacksConnections(data.connections)) {
        this.fails('recovery aborted because of insufficient parameter settings: max_connections');
        return data.timeline;
      }
    }
    await new Promise<void>((resolve) => this.write(resolve));
    const timeline = data.newestTimeline + 1;
    if (this.crashesWhenPromoted(timeline)) return data.timeline;
    data.newestTimeline = timeline;
    data.history = [...data.history, { timeline, start: data.wal.length }];
    // A stream of the old timeline ends at the fork.
    for (const sender of [...this.senders]) this.endSender(sender);
    await new Promise<void>((resolve) => this.insert({ kind: 'note', what: `timeline ${timeline}` }, () => resolve()));
    const connections = this.atStart.number('max_connections');
    if (connections !== data.connections) {
      data.connections = connections;
      this.insert({ kind: 'parameters', connections }, () => undefined);
    }
    this.isPrimary = true;
    this.data.production = true;
    this.state = 'primary';
    this.after(this.engine.random.between(200, 3_000), () => {
      data.controlTimeline = timeline;
    });
    this.witness.say(
      `${this.node}: PostgreSQL is promoted to timeline ${timeline}, forked after ${data.wal.length - 1} records`,
    );
    return timeline;
  }

  /** The new timeline needs a segment of its own. When that fails, the history file may already exist. */
  private crashesWhenPromoted(timeline: number): boolean {
    const { crashes } = this.disk;
    const byChance = crashes !== undefined && crashes.promotions > 0;
    if (!byChance && this.freeMb >= SEGMENT_MB) return false;
    if (byChance) crashes.promotions -= 1;
    if (this.engine.random.chance(0.5)) this.data.newestTimeline = timeline;
    const words = byChance ? 'Input/output error' : 'No space left on device';
    this.fails(`could not write to file "pg_wal/xlogtemp.52": ${words}`);
    return true;
  }

  forkOf(timeline: number): string | null {
    const entry = this.data.history.find((h) => h.timeline === timeline);
    return entry === undefined || entry.start === 0 ? null : printLsn(entry.start);
  }

  /** Fast shutdown: sessions end, and a leader waits until its standbys have all its WAL. */
  async shutDown(): Promise<void> {
    if (this.process.dead) return;
    const wasPrimary = this.isPrimary;
    this.state = 'stopping';
    for (const session of [...this.sessions]) {
      this.cancel(session);
      session.end();
    }
    this.waiters = [];
    this.dropUpstream();
    if (wasPrimary) {
      await new Promise<void>((resolve) => this.insert({ kind: 'note', what: 'shutdown' }, () => resolve()));
      const end = this.data.wal.length;
      const deadline = this.engine.nowMs + this.patienceMs();
      const behind = () => [...this.senders].some((s) => s.after === null && (s.flush ?? 0) < end);
      while (behind() && this.engine.nowMs < deadline) await this.engine.sleep(5, this.process);
    }
    await this.engine.sleep(this.engine.random.delay(10), this.process);
    const { data } = this;
    data.flushed = data.wal.length;
    this.process.kill();
    data.clean = true;
    data.cleanLeader = wasPrimary;
    data.production = false;
    data.controlTimeline = data.timeline;
  }

  /** Time after which the keeper ends a walsender that does not advance (S18), ms. */
  patienceMs(): number {
    return this.engine.random.between(1_300, 2_500);
  }

  /** What `restart_after_crash = on` does: PostgreSQL is the leader again at once, and no other node notices (S8). */
  restartInPlace(): void {
    for (const session of [...this.sessions]) session.end();
    for (const sender of this.senders) this.endSender(sender);
    this.waiters = [];
    this.registerLock = null;
    this.table = this.data.table(this.isPrimary ? this.data.wal.length : this.data.applied);
  }

  /** What SQL shows. Positions are numbers of records. */
  look() {
    const { data, upstream } = this;
    return {
      inRecovery: !this.isPrimary,
      timeline: data.timeline,
      receive: this.receivePosition === null ? null : this.receiverFlush,
      replay: data.applied,
      receiving: upstream?.server.node ?? null,
      // The address to which it connected for that.
      receivingFrom: upstream?.address ?? (this.pretends.untilMs > this.engine.nowMs ? this.pretends.address : null),
      waits: data.applied >= data.wal.length && !this.replayHeld,
      standbys: [...this.senders].map((s) => ({
        name: s.name,
        state: s.state,
        syncState: s.counted ? 'quorum' : 'async',
        flushLsn: s.flush === null ? null : printLsn(s.flush),
        replayLsn: s.replay === null ? null : printLsn(s.replay),
      })),
    };
  }
}
