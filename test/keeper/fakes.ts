/** Ports without a world: a PostgreSQL that obeys, a clock that the test moves, a disk and a link in memory. */

import type { FailureCode } from '../../failover/contract/codes';
import type {
  KeeperFrame,
  NodeSettings,
  RejoinMethod,
  StateCopy,
  Status,
  SyncConfig,
  Target,
} from '../../failover/contract/messages';
import { Keeper } from '../../failover/keeper/keeper';
import { EMPTY_STATE, type KeeperState } from '../../failover/keeper/keeper-state';
import {
  type Clock,
  KeeperError,
  type Link,
  type Postgres,
  type ServerConfig,
  type Source,
  type SqlView,
  type StateFile,
  type View,
} from '../../failover/keeper/ports';

export const SETTINGS: NodeSettings = {
  nodes: ['a', 'b', 'c'].map((name, i) => ({ name, address: `10.0.0.2${i}` })),
  haproxyAddress: '10.0.0.10',
  monitorAddress: '10.0.0.11',
  subnet: '10.0.0.0/24',
  databaseName: 'blink_db',
  databaseUser: 'blink_user',
  databasePassword: 'secret',
  postgresSettings: {},
};

/** No write waits for a standby. */
export const ALONE: SyncConfig = { leader: 'a', k: 0, members: [] };
/** Writes wait for b. */
export const WITH_B: SyncConfig = { leader: 'a', k: 1, members: ['b'] };

export function lead(sync: SyncConfig = ALONE): Target {
  return { kind: 'lead', sync };
}

/** The order to follow b, or with another leader the order to follow that one. */
export function follow(method: RejoinMethod, part: Partial<Extract<Target, { kind: 'follow' }>> = {}): Target {
  return { kind: 'follow', leader: 'b', method, ...part };
}

/** The leader's standby `b`, as PostgreSQL shows it, with the log flushed up to this position. */
export function streaming(flushLsn = '0/3000100'): SqlView['standbys'][number] {
  return { name: 'b', state: 'streaming', syncState: 'quorum', flushLsn, replayLsn: null };
}

export class FakeClock implements Clock {
  private now = 0;
  nowMs(): number {
    return this.now;
  }
  /** Time passes only by sleeping. */
  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted !== true) this.now += ms;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export class FakeFiles implements StateFile {
  state: KeeperState = EMPTY_STATE;
  memory: StateCopy | null = null;
  broken = false;
  constructor(
    /** What happened on the node, in order; shared with the fake PostgreSQL. */
    readonly journal: string[],
  ) {}
  async load(): Promise<KeeperState> {
    return this.state;
  }
  async save(state: KeeperState): Promise<void> {
    if (this.broken) throw new Error('no space left on device');
    const marks = [state.promotingTerm !== null && `promoting ${state.promotingTerm}`, state.rewinding && 'rewinding'];
    this.journal.push(`save ${state.accepted?.target.kind ?? '-'} ${marks.filter(Boolean).join(' ')}`.trim());
    this.state = state;
  }
  async loadMemory(): Promise<StateCopy | null> {
    return this.memory;
  }
  async saveMemory(memory: StateCopy): Promise<void> {
    this.memory = memory;
  }
}

export class FakeLink implements Link {
  connected = true;
  readonly sent: KeeperFrame[] = [];
  send(...frames: readonly KeeperFrame[]): void {
    this.sent.push(...frames);
  }
  /** Called when the keeper has loaded its state. */
  begun: () => void = () => undefined;
  async run(): Promise<void> {
    this.begun();
  }
  async close(): Promise<void> {}
  status(): Status {
    const status = this.sent.findLast((frame) => frame.type === 'status');
    if (status?.type !== 'status') throw new Error('no status was sent');
    return status;
  }
  notes(): string[] {
    return this.sent.flatMap((frame) => (frame.type === 'note' ? [frame.code] : []));
  }
}

export class FakePostgres implements Postgres {
  onCrash: (reason: string | null) => void = () => undefined;
  dataExists = false;
  running = false;
  inRecovery = true;
  timeline = 1;
  clean = true;
  config: ServerConfig | null = null;
  standbys: SqlView['standbys'] = [];
  /** Names that wait for a restart once the configuration is reloaded; a start has them all. */
  pending: string[] = [];
  /** The server answers only when it is promoted. */
  blind = false;
  paused = false;
  /** Whether a standby streams from what it is configured to follow. */
  streams = true;
  streamImpossible: string | null = null;
  slots: View['slots'] = undefined;
  rewindFails = false;
  /** It has not the WAL that it needs to be consistent; a copy brings it. */
  starved = false;
  reachable = true;
  /** Looks fail, and give an older answer. */
  stale = false;
  /** A person paused replay: what was received is not applied. */
  replayPaused = false;
  /** It can be resumed. */
  resumes = true;
  /** No walreceiver has run since the server's start. */
  neverReceived = false;
  /** A walreceiver connects. */
  receiverRuns = false;
  /** So many times a new sync setting is not taken in time. */
  unproven = 0;
  /** No room for the old data and a copy. */
  diskTooSmall = false;
  /** What a copy ends with; null: it succeeds. */
  copyFails: Error | null = null;
  /** Copies take until the test lets them end. */
  copyGate: Promise<void> = Promise.resolve();

  constructor(readonly journal: string[]) {}

  crash(reason: string | null = 'exit code 1'): void {
    this.running = false;
    this.clean = false;
    this.onCrash(reason);
  }

  async observe(): Promise<View> {
    const upstream = this.config?.upstream ?? null;
    const sql: SqlView = {
      inRecovery: this.inRecovery,
      timeline: this.timeline,
      receiveLsn: this.inRecovery && !this.neverReceived ? '0/3000060' : null,
      replayLsn: this.inRecovery ? '0/3000060' : null,
      flushLsn: this.inRecovery ? null : '0/3000100',
      walReceiver:
        this.inRecovery && upstream !== null && this.streams ? { status: 'streaming', host: upstream.address } : null,
      receiverRuns: this.receiverRuns,
      startupWaits: !this.replayPaused,
      heartbeatSeen: 1,
      standbys: this.standbys,
    };
    return {
      systemId: this.dataExists ? '7000' : null,
      dataExists: this.dataExists,
      running: this.running,
      control:
        this.dataExists && !this.running
          ? { clean: this.clean, checkpointLsn: '0/3000028', timeline: this.timeline, primary: !this.inRecovery }
          : null,
      sql: this.running && !this.blind && !this.starved ? sql : null,
      settings: this.running
        ? {
            wanted: JSON.stringify(this.config?.settings.postgresSettings ?? {}),
            status: { restart: this.pending.length === 0 ? 'none' : 'needed', pending: this.pending, refused: null },
          }
        : null,
      blind: this.running && this.blind,
      paused: this.paused,
      starved: this.starved,
      streamImpossible: this.streamImpossible,
      slots: this.slots,
      ...(this.stale ? { stale: true as const } : {}),
      warning: null,
    };
  }
  async initialise(): Promise<void> {
    this.journal.push('initdb');
  }
  async reach(source: Source): Promise<void> {
    if (!this.reachable) throw new Error(`${source.name} does not answer`);
  }
  async copyFrom(
    source: Source,
    _progress: (text: string) => void,
    signal: AbortSignal,
    giveUp?: () => Promise<void>,
  ): Promise<void> {
    if (this.diskTooSmall && giveUp === undefined) throw new KeeperError('DISK_TOO_SMALL', 'too small for both');
    if (this.diskTooSmall) {
      await giveUp?.();
      this.journal.push('old data removed');
      this.dataExists = false;
    }
    this.journal.push(`copy ${source.name}`);
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error('aborted')));
    });
    await Promise.race([this.copyGate, aborted]);
    if (this.copyFails !== null) throw this.copyFails;
  }
  async swapIn(): Promise<void> {
    this.journal.push('swap');
    this.dataExists = true;
    this.clean = true;
    this.starved = false;
    this.streamImpossible = null;
  }
  async dropCopy(): Promise<void> {
    this.journal.push('drop copy');
  }
  async tidy(): Promise<void> {
    this.journal.push('tidy');
  }
  async rewindFrom(source: Source): Promise<void> {
    this.journal.push(`rewind ${source.name}`);
    if (!this.clean) throw new Error('target server must be shut down cleanly');
    if (this.rewindFails) throw new Error('could not find common ancestor');
  }
  async start(config: ServerConfig): Promise<void> {
    this.journal.push(`start from ${config.upstream?.name ?? 'nobody'} sync "${config.syncNames}"`);
    this.pending = [];
    this.paused = false;
    this.config = config;
    this.running = true;
    this.inRecovery = true;
  }
  async configure(config: ServerConfig): Promise<boolean> {
    if (JSON.stringify(config) === JSON.stringify(this.config)) return false;
    this.journal.push(`configure from ${config.upstream?.name ?? 'nobody'} sync "${config.syncNames}"`);
    this.config = config;
    return true;
  }
  /** Pending while PostgreSQL's archiver is at work after the rest has ended. */
  archiving = Promise.resolve();
  ended(): Promise<void> {
    return this.archiving;
  }
  async stop(): Promise<void> {
    if (this.running) this.journal.push('stop');
    this.running = false;
    this.clean = true;
  }
  async promote(): Promise<number> {
    this.journal.push('promote');
    this.blind = false;
    this.inRecovery = false;
    this.timeline += 1;
    return this.timeline;
  }
  /** Clients that {@link endIdleClients} finds at each look, one after the other; then none. */
  clients: number[] = [];
  async warm(): Promise<void> {}

  /** Pending while a checkpoint is written. */
  checkpointing = Promise.resolve();
  async checkpoint(): Promise<void> {
    this.journal.push('checkpoint');
    await this.checkpointing;
  }
  async endIdleClients(): Promise<number> {
    this.journal.push('end idle clients');
    return this.clients.shift() ?? 0;
  }
  async resumeReplay(): Promise<void> {
    if (!this.replayPaused || !this.resumes) return;
    this.journal.push('resume replay');
    this.replayPaused = false;
  }
  async forkLsn(): Promise<string> {
    return '0/3000060';
  }
  async startCanary(): Promise<void> {
    this.journal.push('canary');
    if (this.unproven-- > 0) throw new KeeperError('SYNC_UNPROVEN', 'commits do not wait under the barrier');
  }
  async canaryWaits(): Promise<boolean> {
    return true;
  }
  async kick(): Promise<void> {}
  async syncWaiters(): Promise<number> {
    return 0;
  }
  /** Slots of nodes that are not declared any more: the next call drops them. */
  left: string[] = [];
  async ensureSlots(peers: string[], renew: boolean): Promise<string[]> {
    this.journal.push(`${renew ? 'renew' : 'ensure'} slots ${peers.join(' ')}`);
    return this.left.splice(0);
  }
  /** Whether each call of {@link furnish} was to make the application's database and table. */
  readonly furnishedAsNew: boolean[] = [];
  async furnish(_settings: NodeSettings, isNew: boolean): Promise<void> {
    this.furnishedAsNew.push(isNew);
    this.journal.push('furnish');
  }
  /** What people removed since the last look; an error: it cannot be made again. */
  removed: string[] | Error = [];
  async mend(): Promise<string[]> {
    const { removed } = this;
    if (removed instanceof Error) throw removed;
    this.removed = [];
    return removed;
  }
  startHeartbeat(): void {}
  stopHeartbeat(): void {}
  pinged(): void {}
  heartbeat(): { count: number; ageMs: number } {
    return { count: 1, ageMs: 0 };
  }
}

/** A keeper that is waited for is pinged once in so many turns. */
const TURNS_A_PING = 8;
const QUIET_TURNS = 200;

/** A keeper of node `a` on fake ports, with a term and seq that count up. */
export class Rig {
  readonly journal: string[] = [];
  readonly postgres = new FakePostgres(this.journal);
  readonly files = new FakeFiles(this.journal);
  readonly link = new FakeLink();
  readonly clock = new FakeClock();
  keeper = this.make();
  private seq = 0;
  private pings = 0;
  private running: Promise<void> = Promise.resolve();

  /** A keeper that has its settings, and neither data nor an order. */
  static async fresh(): Promise<Rig> {
    const rig = new Rig();
    await rig.begin();
    return rig;
  }

  /** A keeper that made the cluster in term 1 and leads it. What it did for that is not in the journal. */
  static async leader(): Promise<Rig> {
    const rig = await Rig.fresh();
    await rig.done(1, { kind: 'bootstrap' });
    await rig.done(1, lead());
    rig.journal.length = 0;
    return rig;
  }

  /** A keeper whose data was copied from b in term 1, and that streams from it. This, too, is not in the journal. */
  static async standby(): Promise<Rig> {
    const rig = await Rig.fresh();
    await rig.done(1, follow('copy'));
    rig.journal.length = 0;
    return rig;
  }

  private make(): Keeper {
    const { postgres, files, link, clock } = this;
    const config = { node: 'a', monitors: [{ host: '10.0.0.11', port: 7400 }], clusterKey: 'k'.repeat(32) };
    return new Keeper({ config, postgres, files, clock, link });
  }

  async begin(): Promise<void> {
    const begun = new Promise<void>((resolve) => {
      this.link.begun = resolve;
    });
    this.running = this.keeper.run(() => undefined);
    await Promise.race([begun, this.running]);
    this.keeper.connected();
    this.settle();
  }

  /** The monitor sends the settings. */
  settle(part: Partial<NodeSettings> = {}): void {
    this.keeper.receive({ type: 'settings', settings: { ...SETTINGS, ...part } });
  }

  /** The data that the keeper has reported last. */
  dataId(): string {
    return this.link.status().dataId ?? '';
  }

  /** The container is killed and started again: only the disk is left. */
  async restart(): Promise<void> {
    this.postgres.running = false;
    this.postgres.clean = false;
    await this.keeper.terminate();
    await this.running;
    this.postgres.clean = false;
    this.journal.length = 0;
    this.keeper = this.make();
    await this.begin();
  }

  async end(): Promise<void> {
    await this.keeper.terminate();
    await this.running;
  }

  order(term: number, target: Target, seq = ++this.seq): number {
    this.keeper.receive({ type: 'order', incarnation: 1, term, seq, target });
    return seq;
  }

  /** What happened on the node: the journal's lines of this form. */
  did(form: RegExp): string[] {
    return this.journal.filter((line) => form.test(line));
  }

  /** Gives an order and waits until it fails with this code. */
  async fails(term: number, target: Target, code: FailureCode): Promise<Status> {
    const seq = this.order(term, target);
    return this.until((s) => s.accepted?.seq === seq && s.failure?.code === code);
  }

  /** Gives an order and waits until it is done. */
  async done(term: number, target: Target): Promise<Status> {
    const seq = this.order(term, target);
    return this.until((s) => s.accepted?.seq === seq && s.done);
  }

  /** Long enough for everything that can happen without an event from outside. */
  async quiet(): Promise<void> {
    for (let turn = 0; turn < QUIET_TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Pings meanwhile, as the monitor does. */
  async until(holds: (status: Status) => boolean): Promise<Status> {
    for (let turn = 0; turn < 5_000; turn++) {
      if (turn % TURNS_A_PING === 0) this.keeper.receive({ type: 'ping', n: ++this.pings });
      const status = this.link.sent.findLast((frame) => frame.type === 'status');
      if (status?.type === 'status' && holds(status)) return status;
      await new Promise((resolve) => setImmediate(resolve));
    }
    throw new Error(`never: ${JSON.stringify(this.link.status())}\n${this.journal.join('\n')}`);
  }
}
