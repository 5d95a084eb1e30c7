/**
 * A running PostgreSQL, as mean as the real one was seen to be (SAFETY.md): sync settings that reach checkpointer and
 * walsenders at different times (S4), a receive position that lies after a restart (S6), commits visible when their wait
 * is cancelled (S7), backends that finish what a client was cut off from (S2), promotion without regard to others (S3).
 */
import type { StandbyView } from '../../failover/protocol';
import { type Engine, Process } from './engine';
import { Channel, type Network } from './network';
import { type Change, type DataDir, printLsn, type Table, type WalRecord, whyImpossible } from './wal';

export interface SimDisk {
  /** Factor of every write; Infinity: frozen. */
  slowness: number;
}

export interface PgConfig {
  upstream: { name: string; host: string } | null;
  syncNames: string;
}

export type Request =
  | { kind: 'identity' }
  | { kind: 'commit' }
  | { kind: 'row'; row: number }
  | { kind: 'register'; value: number }
  | { kind: 'read' };

export type Reply =
  | { ok: false; error: string }
  | { ok: true; kind: 'identity'; name: string; recovery: boolean }
  | { ok: true; kind: 'committed'; version: number; warned: boolean }
  | { ok: true; kind: 'read'; rows: readonly number[]; count: number; version: number; value: number };

interface Waiter {
  position: number;
  session: Session | null;
  /** The wait is over; `warned` when it was cut short. */
  end: (warned: boolean) => void;
}

interface SyncNames {
  k: number;
  members: string[];
}

/** One connection's backend. */
export class Session {
  readonly postgres: PostgresServer;
  closed = false;
  onClosed: () => void = () => undefined;

  constructor(postgres: PostgresServer) {
    this.postgres = postgres;
  }

  execute(request: Request, reply: (reply: Reply) => void): void {
    if (!this.closed) this.postgres.execute(this, request, reply);
  }

  /** A cancel request: a commit that waits for a standby returns with a warning (S7). */
  cancel(): void {
    this.postgres.cancel(this);
  }

  /** The server ends it. */
  end(): void {
    if (this.closed) return;
    this.closed = true;
    this.onClosed();
  }
}

/** The leader's side of one stream. */
class Sender {
  readonly name: string;
  readonly receiver: PostgresServer;
  readonly down: Channel;
  readonly up: Channel;
  names: SyncNames;
  sent: number;
  flush: number | null = null;
  replay: number | null = null;
  state = 'catchup';
  alive = true;
  heardMs: number;

  constructor(name: string, receiver: PostgresServer, own: PostgresServer, names: SyncNames, from: number) {
    this.name = name;
    this.receiver = receiver;
    this.down = new Channel(own.network, own.process.host, receiver.process.host);
    this.up = new Channel(own.network, receiver.process.host, own.process.host);
    this.names = names;
    this.sent = from;
    this.heardMs = own.engine.nowMs;
  }

  /** Its priority in shared memory is what this process itself has read of the setting. */
  get counted(): boolean {
    return this.names.members.includes(this.name);
  }
}

const TIMEOUT_MS = 10_000;

export function parseNames(text: string): SyncNames {
  const match = /^ANY (\d+) \((.*)\)$/.exec(text);
  if (match === null) return { k: 0, members: [] };
  return { k: Number(match[1]), members: (match[2] ?? '').split(', ').map((m) => m.replaceAll('"', '')) };
}

export class PostgresServer {
  readonly engine: Engine;
  readonly network: Network;
  readonly node: string;
  readonly process: Process;
  readonly data: DataDir;
  readonly disk: SimDisk;
  state: 'starting' | 'recovery' | 'promoting' | 'primary' | 'stopping' = 'starting';
  table: Table;
  config: PgConfig;
  streamImpossible: string | null = null;
  /** A stopped postmaster serves its old sessions and accepts no new ones (S27). */
  postmasterFrozen = false;
  readonly senders = new Set<Sender>();
  /** Told when the process ends. */
  onExit: () => void = () => undefined;
  private readonly sessions = new Set<Session>();
  private waiters: Waiter[] = [];
  /** What the postmaster, hence every new process, has read of the setting. */
  private names: SyncNames;
  /** Shared memory: does anybody wait at all? Set by the checkpointer, later than the file (S4). */
  private syncDefined: boolean;
  private registerLock: (() => void)[] | null = null;
  private upstream: { server: PostgresServer; sender: Sender; heardMs: number } | null = null;
  private receivePosition: number | null = null;
  private receiverFlush = 0;
  private dialling = false;
  /** Time that a step of the replay takes after a start. */
  private readonly replayMs: number;
  private readonly say: (words: string) => void;
  private readonly nextId: () => number;

  constructor(parts: {
    engine: Engine;
    network: Network;
    node: string;
    host: string;
    data: DataDir;
    disk: SimDisk;
    config: PgConfig;
    say: (words: string) => void;
    nextId: () => number;
  }) {
    this.engine = parts.engine;
    this.network = parts.network;
    this.node = parts.node;
    this.data = parts.data;
    this.disk = parts.disk;
    this.config = parts.config;
    this.say = parts.say;
    this.nextId = parts.nextId;
    this.process = new Process(parts.engine, `postgres of ${parts.node}`, parts.host);
    this.names = parseNames(parts.config.syncNames);
    this.syncDefined = this.names.k > 0;
    const { data } = this;
    // Replay begins at the last restart point; what SQL sees at first is older than what it saw before (S6).
    data.applied = Math.max(0, data.flushed - this.engine.random.integer(0, 40));
    this.replayMs = this.engine.random.chance(0.6) ? this.engine.random.between(10, 80) : 3;
    data.clean = false;
    data.cleanLeader = false;
    this.table = data.table(data.applied);
    this.process.onDeath.push(() => this.died());
    this.after(this.engine.random.delay(60), () => this.started());
    this.every(1_000, () => this.watchPeers());
  }

  /** Out of recovery: takes writes. */
  isPrimary = false;

  get accepting(): boolean {
    return !this.process.dead && ['recovery', 'promoting', 'primary'].includes(this.state);
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
    if (this.data.broken) {
      this.process.kill();
      return;
    }
    this.state = 'recovery';
    this.replay();
    this.dial();
  }

  private died(): void {
    for (const sender of this.senders) this.endSender(sender);
    this.dropUpstream();
    for (const session of [...this.sessions]) session.end();
    // What was written and not flushed may or may not be there.
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

  /** One write with its sync; waits while the disk is frozen. */
  write(run: () => void): void {
    if (!Number.isFinite(this.disk.slowness)) {
      this.after(20, () => this.write(run));
      return;
    }
    this.after(this.engine.random.delay(0.8) * this.disk.slowness, run);
  }

  // Sessions

  open(): Session | null {
    if (!this.accepting || this.postmasterFrozen) return null;
    const session = new Session(this);
    this.sessions.add(session);
    return session;
  }

  /** Ends the sessions that wait for no commit; returns how many there were of all. */
  endIdleSessions(): number {
    const all = [...this.sessions];
    for (const session of all) if (!this.isWaiting(session)) session.end();
    return all.length;
  }

  /** The client is gone. A commit that is under way goes on (S2). */
  closeSession(session: Session): void {
    this.sessions.delete(session);
    session.closed = true;
  }

  execute(session: Session, request: Request, reply: (reply: Reply) => void): void {
    this.after(this.engine.random.delay(0.3), () => {
      if (session.closed) return;
      switch (request.kind) {
        case 'identity':
          reply({ ok: true, kind: 'identity', name: this.node, recovery: !this.isPrimary });
          return;
        case 'read':
          reply({
            ok: true,
            kind: 'read',
            rows: this.table.rows,
            count: this.table.rows.length,
            version: this.table.version,
            value: this.table.value,
          });
          return;
        case 'commit':
        case 'row':
        case 'register':
          this.commit(session, request, reply);
      }
    });
  }

  private commit(
    session: Session,
    request: Extract<Request, { kind: 'commit' | 'row' | 'register' }>,
    reply: (reply: Reply) => void,
  ): void {
    if (!this.isPrimary || this.state !== 'primary') {
      reply({ ok: false, error: 'cannot execute INSERT in a read-only transaction' });
      return;
    }
    if (request.kind === 'register') {
      this.lockRegister(() => this.updateRegister(session, request.value, reply));
      return;
    }
    const change: Change =
      request.kind === 'row' ? { kind: 'row', row: request.row } : { kind: 'note', what: 'synchronous commit' };
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
      else this.waiters.push({ position, session, end: visible });
    });
  }

  /** Inserts and flushes one record; what is flushed is sent. */
  insert(change: Change, flushed: (position: number) => void): void {
    this.data.wal.push({ id: this.nextId(), change });
    const position = this.data.wal.length;
    this.flush(() => {
      if (!this.process.dead) flushed(position);
      this.pump();
    });
  }

  cancel(session: Session): void {
    const waiting = this.waiters.filter((w) => w.session === session);
    this.waiters = this.waiters.filter((w) => w.session !== session);
    for (const waiter of waiting) waiter.end(true);
  }

  isWaiting(session: Session): boolean {
    return this.waiters.some((w) => w.session === session);
  }

  get waiting(): number {
    return this.waiters.length;
  }

  // Configuration

  reload(config: PgConfig): void {
    const before = this.config;
    this.config = config;
    const { random } = this.engine;
    const changed = before.upstream?.host !== config.upstream?.host;
    if (changed) this.after(random.delay(4), () => this.redirect());
    if (before.syncNames === config.syncNames) return;
    this.after(random.between(0, 5), () => this.postmasterReads());
  }

  /** It tells its children, and each reads the setting when it comes to it (S4). */
  private postmasterReads(): void {
    const { random } = this.engine;
    const read = () => parseNames(this.config.syncNames);
    this.names = read();
    const late = () => (random.chance(0.2) ? random.between(20, 400) : random.between(0, 8));
    this.after(late(), () => this.checkpointerReads());
    for (const sender of this.senders) {
      this.after(late(), () => {
        sender.names = read();
      });
    }
  }

  private checkpointerReads(): void {
    this.syncDefined = parseNames(this.config.syncNames).k > 0;
    if (this.syncDefined) return;
    for (const waiter of this.waiters.splice(0)) waiter.end(false);
  }

  private redirect(): void {
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
    if (!sender.alive || sender.sent >= data.flushed) return;
    const from = sender.sent;
    const records = data.wal.slice(from, data.flushed);
    sender.sent = data.flushed;
    sender.down.send(sender.receiver.process, () => sender.receiver.receive(sender, from, records));
  }

  private heard(sender: Sender, flush: number, replay: number): void {
    if (!sender.alive) return;
    sender.heardMs = this.engine.nowMs;
    sender.flush = flush;
    sender.replay = replay;
    if (sender.state === 'catchup' && sender.sent >= this.data.flushed) sender.state = 'streaming';
    if (this.isPrimary) this.release(sender);
  }

  /** SyncRepReleaseWaiters: by the releasing walsender's own reading, over all that count themselves in. */
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

  private endSender(sender: Sender): void {
    if (!sender.alive) return;
    sender.alive = false;
    this.senders.delete(sender);
    const { receiver } = sender;
    sender.down.send(receiver.process, () => receiver.lost(sender));
  }

  private watchPeers(): void {
    const lateMs = this.engine.nowMs - TIMEOUT_MS;
    for (const sender of [...this.senders]) {
      if (sender.heardMs < lateMs) this.endSender(sender);
      else
        sender.down.send(sender.receiver.process, () => {
          if (sender.receiver.upstream?.sender === sender) sender.receiver.upstream.heardMs = this.engine.nowMs;
        });
    }
    const { upstream } = this;
    if (upstream === null) return;
    if (upstream.heardMs < lateMs) {
      this.dropUpstream();
      this.dial();
    } else this.answer();
  }

  // Receiving

  /** The startup process asks for a stream whenever it has applied all and has none. */
  private dial(): void {
    if (this.dialling) return;
    this.dialling = true;
    const again = (ms: number) => {
      this.after(ms, () => {
        this.dialling = false;
        this.dial();
      });
    };
    const { upstream } = this.config;
    if (this.state !== 'recovery' || upstream === null || this.upstream !== null) {
      this.dialling = false;
      return;
    }
    if (this.data.applied < this.data.wal.length) {
      again(20);
      return;
    }
    const source = this.network.postgres.get(upstream.host);
    const { host } = this.process;
    if (source === undefined || !source.reachableFrom(host) || source.process.state === 'paused') {
      again(60);
      return;
    }
    this.after(this.engine.random.delay(8), () => {
      this.dialling = false;
      this.connectTo(source, upstream.host);
    });
  }

  /** A new connection from that host gets through. */
  reachableFrom(host: string): boolean {
    return this.accepting && !this.postmasterFrozen && this.network.reaches(host, this.process.host);
  }

  private connectTo(source: PostgresServer, host: string): void {
    if (this.config.upstream?.host !== host) {
      this.dial();
      return;
    }
    if (this.state !== 'recovery' || this.upstream !== null) return;
    const impossible = whyImpossible(this.data, source.data);
    if (!source.reachableFrom(this.process.host) || !source.data.slots.has(this.node) || impossible !== null) {
      if (impossible !== null && this.streamImpossible === null) this.streamImpossible = impossible;
      this.dialling = true;
      this.after(100, () => {
        this.dialling = false;
        this.dial();
      });
      return;
    }
    const own = this.data;
    // Streaming begins at the start of the segment: earlier than what is already there (S6).
    const from = Math.max(0, Math.min(own.wal.length - this.engine.random.integer(0, 10), source.data.flushed));
    this.receivePosition = from;
    this.receiverFlush = from;
    own.history = [...source.data.history];
    own.newestTimeline = Math.max(own.newestTimeline, source.data.newestTimeline);
    const sender = new Sender(this.node, this, source, source.namesNow(), from);
    source.senders.add(sender);
    this.upstream = { server: source, sender, heardMs: this.engine.nowMs };
    source.feed(sender);
    this.answer();
  }

  private namesNow(): SyncNames {
    return this.names;
  }

  private receive(sender: Sender, from: number, records: readonly WalRecord[]): void {
    if (this.upstream?.sender !== sender || this.state !== 'recovery') return;
    this.upstream.heardMs = this.engine.nowMs;
    const { data } = this;
    records.forEach((record, i) => {
      // What was applied stays as it is, whatever the new source has at that place.
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

  private lost(sender: Sender): void {
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

  /** Applies what is flushed; after a start it takes a while until all local log is applied. */
  private replay(): void {
    const { data } = this;
    if (this.isPrimary || !['recovery', 'promoting'].includes(this.state)) return;
    const step = this.upstream === null ? 3 : data.flushed - data.applied;
    for (let i = 0; i < step && data.applied < data.flushed; i++) {
      const record = data.wal[data.applied];
      if (record !== undefined) this.table.apply(record.change);
      data.applied += 1;
    }
    if (data.applied < data.flushed) this.after(this.engine.random.delay(this.replayMs), () => this.replay());
  }

  // Life

  /** Resolves with the new timeline. Throws when it is no standby. */
  async promote(): Promise<number> {
    if (this.isPrimary) return this.data.timeline;
    this.state = 'promoting';
    this.dropUpstream();
    await this.engine.sleep(this.engine.random.delay(12), this.process);
    const { data } = this;
    // All that was received is applied first, whatever has not been flushed yet included.
    data.flushed = data.wal.length;
    while (data.applied < data.flushed) {
      const record = data.wal[data.applied];
      if (record !== undefined) this.table.apply(record.change);
      data.applied += 1;
    }
    await new Promise<void>((resolve) => this.write(resolve));
    const timeline = data.newestTimeline + 1;
    data.newestTimeline = timeline;
    data.history = [...data.history, { timeline, start: data.wal.length }];
    // A stream of the old timeline ends at the fork.
    for (const sender of [...this.senders]) this.endSender(sender);
    await new Promise<void>((resolve) => this.insert({ kind: 'note', what: `timeline ${timeline}` }, () => resolve()));
    this.isPrimary = true;
    this.state = 'primary';
    this.after(this.engine.random.between(200, 3_000), () => {
      data.controlTimeline = timeline;
    });
    this.say(
      `${this.node}: PostgreSQL is promoted to timeline ${timeline}, forked after ${data.wal.length - 1} records`,
    );
    return timeline;
  }

  forkOf(timeline: number): string | null {
    const entry = this.data.history.find((h) => h.timeline === timeline);
    return entry === undefined || entry.start === 0 ? null : printLsn(entry.start);
  }

  /** Fast shutdown: sessions end, a leader waits until its standbys have all of it. */
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
      const deadline = this.engine.nowMs + this.engine.random.between(1_300, 2_500);
      const behind = () => [...this.senders].some((s) => (s.flush ?? 0) < end);
      while (behind() && this.engine.nowMs < deadline) await this.engine.sleep(5, this.process);
    }
    await this.engine.sleep(this.engine.random.delay(10), this.process);
    const { data } = this;
    data.flushed = data.wal.length;
    this.process.kill();
    data.clean = true;
    data.cleanLeader = wasPrimary;
    data.controlTimeline = data.timeline;
  }

  /** What `restart_after_crash = on` does: the leader is a leader again in an instant, unknown to everybody (S8). */
  restartInPlace(): void {
    for (const session of [...this.sessions]) session.end();
    for (const sender of this.senders) this.endSender(sender);
    this.waiters = [];
    this.registerLock = null;
    this.table = this.data.table(this.isPrimary ? this.data.wal.length : this.data.applied);
  }

  look(): {
    inRecovery: boolean;
    timeline: number;
    receive: number | null;
    replay: number;
    receiving: string | null;
    waits: boolean;
    standbys: StandbyView[];
  } {
    const { data, upstream } = this;
    return {
      inRecovery: !this.isPrimary,
      timeline: data.timeline,
      receive: this.receivePosition === null ? null : this.receiverFlush,
      replay: data.applied,
      receiving: upstream?.server.process.host ?? null,
      waits: data.applied >= data.wal.length,
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
