/**
 * One PostgreSQL container: its volume, the shipped keeper over simulated ports, and the PostgreSQL that the keeper
 * runs.
 */

import type { Gap } from '../failover/contract/backups';
import type { StateCopy } from '../failover/contract/messages';
import { slotName } from '../failover/contract/naming';
import { Keeper } from '../failover/keeper/keeper';
import { EMPTY_STATE, type KeeperState } from '../failover/keeper/keeper-state';
import {
  type Clock,
  KeeperError,
  type Postgres,
  type ServerConfig,
  type Source,
  type StateFile,
  type View,
} from '../failover/keeper/ports';
import { settingValues } from '../failover/keeper/postgres/config-files';
import { OwnTime, TICK_MS } from '../failover/keeper/postgres/own-time';
import { type Floors, type PostgresSettings, Tunables, withSettings } from '../failover/keeper/tunables';
import { SimArchive } from './archive';
import { COPY_MB_A_MS, Disk, type Load, RESERVE_MB, VERIFY_MB_A_MS } from './disks';
import { type Engine, Process } from './engine';
import { CLUSTER_KEY, type Machine, MONITOR_ADDRESS } from './machine';
import { PostgresServer, type Session, type SimDisk } from './postgres';
import { SimGate } from './replication-clients';
import { SimRestorer } from './restorer';
import { ServerWords } from './server-words';
import { settingsOf } from './settings';
import { type Change, DataDir, printLsn, rewound, whyImpossible } from './wal';

/** The data that outlives the container. */
export interface Volume {
  state: KeeperState;
  memory: StateCopy | null;
  data: DataDir | null;
  fresh: DataDir | null;
  /** Disk space of a running or unfinished copy, MB. */
  copyMb: number;
  /** What is in no backup, as this node knows it. */
  gaps: readonly Gap[];
  /** Folders of a restore in place, by name. */
  folders: Map<string, DataDir>;
}

export function emptyVolume(): Volume {
  return { state: EMPTY_STATE, memory: null, data: null, fresh: null, copyMb: 0, gaps: [], folders: new Map() };
}

/** A standby that has not streamed for this time asks its leader why, ms. */
const ASK_AFTER_MS = 1_000;
const PROMOTE_LOOK_MS = 1_000;
const HEARTBEAT_MS = 100;
const BEATS_A_SESSION = 4;
const STOP_LIMIT_MS = 45_000;
const PROMOTE_LIMIT_MS = 60_000;
/** The verification of at most this much data takes no time, MB. */
const SMALL_MB = 100;
/** Time until the server's processes have read its files again, ms. */
const READ_MS = 20;

/** What the oracles get from the nodes, besides the story. */
export interface NodeWatch {
  keeperStored: (node: SimNode, before: KeeperState, after: KeeperState) => void;
  readonly copies: {
    begin: (node: SimNode, from: string) => void;
    crashed: (node: SimNode) => void;
  };
}

export class SimNode {
  readonly disk: SimDisk & { load: Load; room: Disk; crashes: { starts: number; promotions: number } };
  volume = emptyVolume();
  /** For scenarios: how replay proceeds after a start. */
  replay?: { behind: number; stepMs: number };
  keeper: Keeper | null = null;
  process: Process | null = null;
  postgres: PostgresServer | null = null;
  stopping = false;
  /** The keeper's files cannot be read at present. */
  unreadable = false;
  /** Part of the looks at a leader that return an old answer. */
  lateLooks = 0;
  /** The way in for clients of replication; null: the stack has none, or no keeper runs. */
  gate: SimGate | null = null;

  constructor(
    readonly world: Machine & NodeWatch,
    readonly name: string,
    readonly address: string,
  ) {
    // The node's own disk, unless the machine's disk is shared ({@link putOn}).
    this.disk = { slowness: 1, room: new Disk(), load: world.load, crashes: { starts: 0, promotions: 0 } };
    this.disk.room.add(() => this.usedMb);
    world.network.hosts.set(address, name);
    world.network.down.add(name);
    world.network.raw.set(`${name}:5432`, {
      process: () => (this.postgres?.accepting ? this.postgres.process : null),
      accept: (socket) => {
        // The postmaster's child answers an SSLRequest with one byte.
        socket.on('data', () => {
          if (this.postgres?.postmasterFrozen === false) socket.write('N');
        });
      },
    });
  }

  /** Space of the data with its WAL, and of a copy beside it. */
  get usedMb(): number {
    const { data, copyMb } = this.volume;
    const { dataMb, recordMb } = this.world.load;
    return (data === null ? 0 : dataMb + (data.wal.length - data.oldest) * recordMb) + copyMb;
  }

  /** Puts the node's volume on this disk, which other volumes share. */
  putOn(disk: Disk): void {
    this.disk.room = disk;
    disk.add(() => this.usedMb);
  }

  get up(): boolean {
    return this.process !== null;
  }

  /** `docker start` */
  start(): void {
    if (this.process !== null) return;
    const { world, name } = this;
    world.network.down.delete(name);
    const process = new Process(world.engine, `keeper of ${name}`, name);
    this.process = process;
    this.stopping = false;
    world.engine.after(world.random.delay(80), process, () => {
      this.run(process).catch((error: unknown) => {
        if (error instanceof Unreadable) this.restarted();
        else world.fail(`the keeper of ${name} broke: ${String(error)}`);
      });
    });
  }

  /** The keeper ends by itself, and the container engine starts it again (`restart: always`). */
  restarted(): void {
    this.kill();
    this.world.engine.after(this.world.random.between(100, 600), null, () => this.start());
  }

  private async run(process: Process): Promise<void> {
    const { world, name } = this;
    const keeper = new Keeper({
      config: { node: name, monitors: [{ host: MONITOR_ADDRESS, port: 7400 }], clusterKey: CLUSTER_KEY },
      postgres: new SimPostgres(this, process),
      clock: simClock(process),
      files: new SimFiles(this, process),
    });
    this.keeper = keeper;
    await keeper.run((error) => world.fail(String(error)));
    // `terminate` ended the keeper. The rest follows main.ts.
    if (this.stopping) await world.engine.sleep(1, process);
  }

  /** `docker stop`: SIGTERM, and SIGKILL after the stop timeout. */
  stop(): void {
    const { keeper, process, world } = this;
    if (process === null) return;
    this.stopping = true;
    if (keeper === null) {
      this.kill();
      return;
    }
    world.engine.after(0, process, () => {
      keeper
        .terminate()
        .then(() => world.engine.sleep(2, process))
        .then(() => {
          if (this.process === process) this.kill();
        })
        .catch((error: unknown) => world.fail(String(error)));
    });
    world.engine.after(60_000, null, () => {
      if (this.process === process) this.kill();
    });
  }

  /** `docker kill` */
  kill(): void {
    const { process, postgres } = this;
    this.process = null;
    this.keeper = null;
    this.gate = null;
    this.postgres = null;
    if (this.world.random.chance(0.7)) this.world.network.lose(this.name);
    postgres?.process.kill();
    process?.kill();
    this.world.network.postgres.delete(this.name);
    this.world.network.down.add(this.name);
  }

  pause(): void {
    this.process?.pause();
    this.postgres?.process.pause();
  }

  unpause(): void {
    this.postgres?.process.resume();
    this.process?.resume();
  }

  /** PostgreSQL alone dies; the container keeps running. */
  crashPostgres(): void {
    const { postgres } = this;
    if (postgres?.config.flag('restart_after_crash') === true) postgres.restartInPlace();
    else postgres?.process.kill();
  }

  /** `docker volume rm` of a container that does not run. */
  wipe(): void {
    this.volume = emptyVolume();
  }
}

class Unreadable extends Error {}

export function simClock(process: Process): Clock {
  const { engine } = process;
  return {
    nowMs: () => engine.nowMs,
    sleep: (ms, signal) => {
      if (signal?.aborted) return Promise.resolve();
      return new Promise((resolve) => {
        const task = engine.after(ms + engine.random.between(0, 1), process, () => {
          signal?.removeEventListener('abort', abort);
          resolve();
        });
        const abort = () => {
          task.cancelled = true;
          resolve();
        };
        signal?.addEventListener('abort', abort, { once: true });
      });
    },
  };
}

/** The keeper's folder. An interrupted write leaves the old or the new text. */
export class SimFiles implements StateFile {
  constructor(
    private readonly node: SimNode,
    private readonly process: Process,
  ) {}

  async load(): Promise<KeeperState> {
    if (this.node.unreadable) throw new Unreadable('EIO: i/o error, read');
    return structuredClone(this.node.volume.state);
  }

  async save(state: KeeperState): Promise<void> {
    const { world, volume } = this.node;
    await this.written(() => {
      world.keeperStored(this.node, volume.state, state);
      volume.state = structuredClone(state);
    });
  }

  async loadMemory(): Promise<StateCopy | null> {
    return this.node.volume.memory;
  }

  async saveMemory(memory: StateCopy): Promise<void> {
    const { volume } = this.node;
    await this.written(() => {
      volume.memory = memory;
    });
  }

  private async written(write: () => void): Promise<void> {
    const { process, node } = this;
    const { engine } = process;
    while (!Number.isFinite(node.disk.slowness)) await engine.sleep(20, process);
    const early = engine.random.chance(0.5);
    if (early) write();
    await engine.sleep(engine.random.delay(1) * node.disk.slowness, process);
    if (!early) write();
  }
}

/** The model has only one setting that must not be lower on a standby than on its leader: `max_connections`. */
function floorsOf(data: DataDir): Floors {
  return {
    max_connections: data.connections,
    max_worker_processes: 0,
    max_wal_senders: 0,
    max_prepared_transactions: 0,
    max_locks_per_transaction: 0,
  };
}

export class SimPostgres implements Postgres {
  onCrash: (reason: string | null) => void = () => undefined;
  private readonly engine: Engine;
  private inForce = '';
  /** True once the keeper has ended this server, so that its end is no crash. */
  private endsByOrder = false;
  /** For one mutation only. No shipped code decides by PostgreSQL's log. */
  readonly words = new ServerWords();
  private upstream: Source | null = null;
  private silentSinceMs: number | null = null;
  private verdict: string | null = null;
  private canary: Session | null = null;
  private life: { beats: boolean; time: OwnTime } | null = null;
  private lastBeatMs = 0;
  private beatCount = 0;
  private cached: View | null = null;
  private exited: Promise<'exit'> = Promise.resolve('exit');
  private readonly tunables: Tunables;
  private wanted: PostgresSettings = {};
  /** Time at which the server's processes have read its files, ms. */
  private readAtMs = 0;
  private floorsAtMs = Number.NEGATIVE_INFINITY;
  /** The settings in the files. `isNew`: they changed and were not looked at since. */
  private inFile = '';
  private isNew = true;

  readonly archive?: SimArchive;
  readonly restorer?: SimRestorer;
  readonly gate?: SimGate;

  constructor(
    private readonly node: SimNode,
    private readonly process: Process,
  ) {
    if (node.world.policy.backup === true) {
      this.archive = new SimArchive(node, process);
      this.restorer = new SimRestorer(node, process);
    }
    if (node.world.policy.replication === true) {
      this.gate = new SimGate(process);
      node.gate = this.gate;
    }
    this.tunables = new Tunables(settingValues(node.name, null));
    this.engine = process.engine;
  }

  private takes(ms: number): Promise<void> {
    return this.engine.sleep(this.engine.random.delay(ms), this.process);
  }

  async observe(): Promise<View> {
    const { node } = this;
    await this.takes(1.2);
    const { data } = node.volume;
    const { postgres } = node;
    const view: View = {
      systemId: data?.systemId ?? null,
      dataExists: data !== null,
      running: postgres !== null,
      control: null,
      sql: null,
      streamImpossible: this.whyNoStream(postgres),
      settings: null,
      blind: postgres !== null && !postgres.isHot && !postgres.isPrimary,
      paused: postgres?.paused === true,
      warning: null,
    };
    if (data === null) return view;
    if (postgres === null) {
      // "Latest checkpoint location" is the position at which the shutdown's record begins.
      const checkpointLsn = data.cleanLeader ? printLsn(data.wal.length - 1) : null;
      const { clean, controlTimeline: timeline } = data;
      return { ...view, control: { clean, checkpointLsn, timeline, primary: data.production || data.cleanLeader } };
    }
    if (!postgres.accepting) return this.cached === null ? view : { ...this.cached, stale: true };
    // A query may fail or take too long. Then the view shows the leader's last answer.
    if (this.cached !== null && this.engine.random.chance(node.lateLooks)) return { ...this.cached, stale: true };
    const seen = postgres.look();
    const sql = {
      inRecovery: seen.inRecovery,
      timeline: seen.timeline,
      receiveLsn: seen.inRecovery && seen.receive !== null ? printLsn(seen.receive) : null,
      replayLsn: seen.inRecovery ? printLsn(seen.replay) : null,
      flushLsn: seen.inRecovery ? null : printLsn(data.flushed),
      walReceiver: seen.receivingFrom === null ? null : { status: 'streaming', host: seen.receivingFrom },
      receiverRuns: seen.receivingFrom !== null || postgres.connects,
      startupWaits: seen.waits,
      heartbeatSeen: postgres.table.beat === 0 || postgres.table.heartbeat !== 'there' ? null : postgres.table.beat,
      standbys: seen.standbys,
    };
    const full = { ...view, sql, settings: this.lookAtSettings(postgres, data, seen.inRecovery) };
    this.cached = seen.inRecovery ? null : full;
    return full;
  }

  /**
   * Works like stream-watch.ts and stream-check.ts: uses the leader's own answers, once the standby has not streamed
   * for a second.
   */
  private whyNoStream(postgres: PostgresServer | null): string | null {
    const { upstream, engine, node } = this;
    const { network } = node.world;
    const follows = postgres !== null && upstream !== null && !postgres.isPrimary && postgres.look().receiving === null;
    if (!follows) {
      this.silentSinceMs = null;
      this.verdict = null;
      return null;
    }
    this.silentSinceMs ??= engine.nowMs;
    if (engine.nowMs - this.silentSinceMs < ASK_AFTER_MS) return this.verdict;
    const leader = network.postgres.get(network.hostOf(upstream.address));
    if (leader === undefined || !leader.reachableFrom(node.name)) return this.verdict;
    if (leader.isPrimary && leader.name === upstream.name)
      this.verdict = whyImpossible(postgres.data, leader.data, true);
    return this.verdict;
  }

  private lookAtSettings(postgres: PostgresServer, data: DataDir, inRecovery: boolean): View['settings'] {
    const { engine, tunables, wanted } = this;
    tunables.answered();
    if (!inRecovery) tunables.promoted();
    else if (this.isNew || engine.nowMs - this.floorsAtMs >= 1_000) {
      this.floorsAtMs = engine.nowMs;
      tunables.floorsAre(floorsOf(data));
    }
    if (JSON.stringify(tunables.inFile(wanted)) !== this.inFile || engine.nowMs < this.readAtMs) return null;
    this.isNew = false;
    const pending = postgres.atStart.pending(postgres.config);
    return { wanted: JSON.stringify(wanted), status: tunables.status(wanted, pending, !inRecovery) };
  }

  async initialise(): Promise<void> {
    await this.takes(400);
    const systemId = `70${this.engine.random.integer(1_000, 9_999)}`;
    this.node.volume.fresh = new DataDir(systemId, [], [{ timeline: 1, start: 0 }]);
  }

  private async source(source: Source): Promise<PostgresServer> {
    const { world, name } = this.node;
    await this.takes(20);
    const server = world.network.postgres.get(world.network.hostOf(source.address));
    const limit = this.engine.nowMs + 3_000;
    while (this.engine.nowMs < limit) {
      if (server?.reachableFrom(name) && server.process.state === 'running') {
        if (!server.table.mayConnect) {
          throw new KeeperError('LEADER_UNREACHABLE', `${source.name} does not answer: permission denied for database`);
        }
        if (!server.isPrimary) throw new KeeperError('LEADER_UNREACHABLE', `${source.name} is not a primary yet`);
        if (server.name !== source.name) {
          throw new KeeperError('LEADER_UNREACHABLE', `the address of ${source.name} answers as ${server.name}`);
        }
        return server;
      }
      if (server === undefined) break;
      await this.engine.sleep(50, this.process);
    }
    throw new KeeperError('LEADER_UNREACHABLE', `${source.name} does not answer`);
  }

  async reach(source: Source): Promise<void> {
    await this.source(source);
  }

  async copyFrom(
    source: Source,
    _progress: (text: string) => void,
    signal: AbortSignal,
    giveUp?: () => Promise<void>,
  ): Promise<void> {
    const { node } = this;
    const { volume, world, disk } = node;
    world.copies.begin(node, source.name);
    volume.fresh = null;
    volume.copyMb = 0;
    const server = await this.source(source);
    const { dataMb } = world.load;
    if (disk.room.freeMb < dataMb + 2 * RESERVE_MB && giveUp !== undefined) {
      await giveUp();
      volume.data = null;
    }
    if (disk.room.freeMb < dataMb + 2 * RESERVE_MB) throw new KeeperError('DISK_TOO_SMALL', 'the disk is too small');
    try {
      await this.receiveCopy(server, source, signal);
    } catch (error) {
      await this.dropCopy();
      throw error;
    }
  }

  /**
   * The replication slot keeps the WAL from the first byte on. The WAL is received all the time, also while the copy is
   * verified.
   */
  private async receiveCopy(server: PostgresServer, source: Source, signal: AbortSignal): Promise<void> {
    const { node, engine, process } = this;
    const { volume, name, world, disk } = node;
    const { dataMb } = world.load;
    const slot = slotName(name);
    const lasts = async (ms: number, each: () => void) => {
      const until = engine.nowMs + ms;
      while (engine.nowMs < until) {
        await engine.sleep(Math.min(30 + ms / 50, until - engine.nowMs), process);
        if (signal.aborted) throw new Error('aborted');
        if (disk.room.freeMb < RESERVE_MB) throw new KeeperError('DISK_TOO_SMALL', 'the disk gets too small');
        if (!server.process.dead && server.reachableFrom(name)) this.reserve(server, slot);
        each();
      }
    };
    const copyMs = engine.random.between(200, 1_500) + dataMb / COPY_MB_A_MS;
    const begunMs = engine.nowMs;
    await lasts(copyMs, () => {
      if (server.process.dead || !server.reachableFrom(name)) throw new Error('the base backup broke');
      volume.copyMb = (dataMb * (engine.nowMs - begunMs)) / copyMs;
    });
    if (!server.isPrimary) throw new Error('the base backup broke');
    volume.fresh = server.data.copy();
    if (dataMb > SMALL_MB) await lasts(dataMb / VERIFY_MB_A_MS, () => this.receiveMore(server));
    world.say(`${name}: has copied the data of ${source.name}`);
  }

  /** Receives what the leader has written since the copy. */
  private receiveMore(server: PostgresServer): void {
    const { volume, name } = this.node;
    if (!server.process.dead && server.reachableFrom(name) && server.isPrimary) volume.fresh = server.data.copy();
  }

  /** Makes the replication slot keep the WAL from here on. */
  private reserve({ data }: PostgresServer, slot: string): void {
    data.slots.add(slot);
    data.lostSlots.delete(slot);
    data.slotAt.set(slot, data.flushed);
  }

  async swapIn(): Promise<void> {
    const { volume } = this.node;
    await this.takes(3);
    if (volume.fresh !== null) {
      volume.data = volume.fresh;
      volume.fresh = null;
      volume.copyMb = 0;
    }
    this.words.begin();
  }

  async dropCopy(): Promise<void> {
    this.node.volume.fresh = null;
    this.node.volume.copyMb = 0;
  }

  tidy(): Promise<void> {
    return this.dropCopy();
  }

  async rewindFrom(source: Source, signal: AbortSignal): Promise<void> {
    const { volume, name, world } = this.node;
    const { data } = volume;
    if (data === null) throw new Error('no data');
    // pg_rewind may not notice an earlier interrupted rewind. It then leaves data that no server ever had (S12).
    const damaged = data.broken;
    if (damaged && this.engine.random.chance(0.5)) throw new Error('the data is broken');
    if (!data.clean) throw new Error('target server must be shut down cleanly');
    const server = await this.source(source);
    const result = rewound(data, server.data);
    if (result === null && !damaged) {
      world.say(`${name}: pg_rewind from ${source.name}: no rewind required`);
      await this.takes(50);
      return;
    }
    data.broken = true;
    const until = this.engine.nowMs + this.engine.random.between(100, 800);
    while (this.engine.nowMs < until) {
      await this.engine.sleep(30, this.process);
      if (signal.aborted || server.process.dead || !server.reachableFrom(name)) throw new Error('the rewind broke');
    }
    if (!server.isPrimary) throw new Error('the rewind broke');
    volume.data = rewound(data, server.data) ?? result ?? data;
    if (damaged) volume.data.damage(world.nextId());
    else volume.data.broken = false;
    this.words.begin();
    world.say(`${name}: is rewound to the history of ${source.name}`);
  }

  async start(config: ServerConfig, leads = false): Promise<void> {
    const { node } = this;
    const { data } = node.volume;
    if (node.postgres !== null || data === null) return;
    await this.takes(5);
    const asked = config.settings.postgresSettings;
    const { settings, blind } = this.tunables.begin(asked, floorsOf(data), leads && data.cleanLeader);
    const written = withSettings(config, settings);
    this.upstream = config.upstream;
    this.silentSinceMs = null;
    this.verdict = null;
    this.wanted = asked;
    this.inFile = JSON.stringify(settings);
    this.isNew = true;
    this.readAtMs = 0;
    this.inForce = JSON.stringify([asked, written]);
    this.words.begin();
    this.endsByOrder = false;
    this.cached = null;
    const { world } = node;
    const server = new PostgresServer({
      network: world.network,
      servers: world.network.postgres,
      node: node.name,
      data,
      disk: node.disk,
      config: settingsOf(node.name, written, blind),
      replay: node.replay,
      witness: world.witness,
    });
    server.onLine = (line) => this.words.hear(line);
    node.postgres = server;
    world.network.postgres.set(node.name, server);
    const { process } = this;
    this.exited = new Promise((resolve) => {
      server.onExit = () => {
        const { fatal } = server;
        // PostgreSQL requests its shared memory before recovery begins.
        const recovered = fatal?.startsWith('could not map') !== true;
        if (!this.endsByOrder) this.tunables.failed({ code: fatal === null ? null : 1, recovered, message: fatal });
        if (node.postgres === server) node.postgres = null;
        if (world.network.postgres.get(node.name) === server) world.network.postgres.delete(node.name);
        this.engine.after(0.2, process, () => {
          this.cached = null;
          this.life = null;
          resolve('exit');
          if (this.endsByOrder) return;
          world.copies.crashed(node);
          this.onCrash(fatal);
        });
      };
    });
  }

  async configure(config: ServerConfig): Promise<boolean> {
    const asked = config.settings.postgresSettings;
    const written = withSettings(config, this.tunables.inFile(asked));
    const key = JSON.stringify([asked, written]);
    if (key === this.inForce) return false;
    await this.takes(1.5);
    if (config.upstream?.name !== this.upstream?.name) this.verdict = null;
    this.upstream = config.upstream;
    this.wanted = asked;
    this.inFile = JSON.stringify(written.settings.postgresSettings);
    this.isNew = true;
    this.readAtMs = this.engine.nowMs + READ_MS;
    this.node.postgres?.reload(settingsOf(this.node.name, written));
    this.inForce = key;
    return true;
  }

  async stop(): Promise<void> {
    const { postgres } = this.node;
    if (postgres === null) return;
    this.endsByOrder = true;
    this.stopHeartbeat();
    this.archive?.shut();
    this.gate?.shut();
    const limit = this.engine.sleep(STOP_LIMIT_MS, this.process);
    await Promise.race([postgres.shutDown(), this.exited, limit]);
    postgres.process.kill();
    await this.exited;
  }

  async ended(): Promise<void> {}

  async promote(_tell: (text: string) => void, signal: AbortSignal): Promise<number> {
    const { engine, process } = this;
    const postgres = await this.standing();
    this.upstream = null;
    const promoted = postgres.promote();
    let [applied, movedMs] = [postgres.data.applied, engine.nowMs];
    for (;;) {
      const look = engine.sleep(PROMOTE_LOOK_MS, process).then(() => 'look' as const);
      const result = await Promise.race([promoted, this.exited, look]);
      if (result === 'exit' || postgres.process.dead) throw new Error('PostgreSQL is gone');
      if (result !== 'look') {
        this.tunables.promoted();
        return result;
      }
      if (signal.aborted) throw new Error('the promotion is not waited for any more: there is another order');
      if (postgres.data.applied !== applied) [applied, movedMs] = [postgres.data.applied, engine.nowMs];
      if (engine.nowMs - movedMs > PROMOTE_LIMIT_MS) throw new KeeperError('PROMOTION_HANGS', 'replay stands still');
    }
  }

  /** A server that was started blind accepts no sessions, but obeys the order to promote once it recovers. */
  private async standing(): Promise<PostgresServer> {
    const { postgres } = this.node;
    if (postgres === null || postgres.isHot) return this.running();
    while (postgres.state === 'starting' && !postgres.process.dead) await this.engine.sleep(5, this.process);
    if (postgres.process.dead) throw new Error('PostgreSQL is gone');
    return postgres;
  }

  async resumeReplay(): Promise<void> {
    await this.takes(1);
    this.running().resumeReplay();
  }

  async forkLsn(timeline: number): Promise<string | null> {
    await this.takes(0.5);
    return this.running().forkOf(timeline);
  }

  private running(): PostgresServer {
    const { postgres } = this.node;
    if (postgres === null || !postgres.accepting) throw new Error('PostgreSQL does not answer');
    return postgres;
  }

  async startCanary(): Promise<void> {
    const postgres = this.running();
    if (this.canary !== null) {
      this.canary.cancel();
      postgres.closeSession(this.canary);
      this.canary = null;
    }
    await this.takes(3);
    const session = postgres.open('keeper');
    if (session === null) throw new Error('no connection');
    const deadline = this.engine.nowMs + 2_000;
    while (this.engine.nowMs < deadline) {
      let over = false;
      postgres.execute(session, { kind: 'commit' }, () => {
        over = true;
      });
      while (!over && this.engine.nowMs < deadline) {
        await this.engine.sleep(2, this.process);
        if (postgres.process.dead) throw new Error('PostgreSQL is gone');
        if (postgres.isWaiting(session)) {
          this.canary = session;
          return;
        }
      }
    }
    throw new KeeperError('SYNC_UNPROVEN', 'commits do not wait under the barrier');
  }

  async holdsConsumersFor(slots: string): Promise<boolean> {
    await this.takes(0.8);
    return this.running().slotsOfNewSession === slots;
  }

  async warm(): Promise<void> {}

  async checkpoint(): Promise<void> {
    await this.takes(20);
  }

  async endIdleClients(): Promise<number> {
    await this.takes(0.8);
    return this.running().endIdleSessions();
  }

  async canaryWaits(): Promise<boolean> {
    await this.takes(0.8);
    return this.canary !== null && this.node.postgres?.isWaiting(this.canary) === true;
  }

  async kick(): Promise<void> {
    const postgres = this.running();
    const done = new Promise<void>((resolve) => postgres.insert({ kind: 'note', what: 'kick' }, () => resolve()));
    const limit = this.engine.sleep(2_000, this.process).then(() => 'late' as const);
    const result = await Promise.race([done, this.exited, limit]);
    if (result === 'exit' || result === 'late') throw new Error('PostgreSQL did not answer');
  }

  async syncWaiters(): Promise<number> {
    await this.takes(0.8);
    return this.running().waiting;
  }

  async ensureSlots(peers: string[], renew: boolean): Promise<string[]> {
    await this.takes(3);
    return this.running().ensureSlots(peers.map(slotName), renew);
  }

  async furnish(): Promise<void> {
    await this.takes(30);
    this.repair();
  }

  async mend(): Promise<string[]> {
    await this.takes(1);
    return this.repair() ? ['what people removed'] : [];
  }

  /** Restores what is missing; true if something was. */
  private repair(): boolean {
    const postgres = this.running();
    const { heartbeat, mayConnect } = postgres.table;
    if (!postgres.isPrimary || (heartbeat === 'there' && mayConnect)) return false;
    const change: Change = { kind: 'sql', what: 'furnish' };
    postgres.insert(change, () => postgres.table.apply(change));
    return true;
  }

  startHeartbeat(): void {
    if (this.life !== null) return;
    const life = { beats: true, time: new OwnTime({ nowMs: () => this.engine.nowMs }) };
    this.life = life;
    this.lastBeatMs = life.time.nowMs();
    const tick = () => {
      if (!life.beats) return;
      life.time.nowMs();
      this.engine.after(TICK_MS, this.process, tick);
    };
    tick();
    const beat = () => {
      if (!life.beats || this.life !== life) return;
      const { postgres } = this.node;
      const again = () => this.engine.after(HEARTBEAT_MS, this.process, beat);
      if (postgres === null || !postgres.isPrimary || postgres.postmasterFrozen) {
        again();
        return;
      }
      if (postgres.table.heartbeat !== 'there') {
        this.beatErred(life.time.nowMs());
        again();
        return;
      }
      const sentMs = life.time.nowMs();
      const n = postgres.table.beat + 1;
      // Every few beats use a new connection, which needs a free place (S24).
      if (n % BEATS_A_SESSION === 0) {
        const session = postgres.open('keeper');
        if (session === null) {
          if (postgres.accepting) this.beatErred(life.time.nowMs());
          again();
          return;
        }
        postgres.closeSession(session);
      }
      postgres.table.beat = n;
      postgres.insert({ kind: 'beat', n }, () => {
        if (this.life !== life) return;
        this.beatCount = n;
        this.lastBeatMs = sentMs;
        again();
      });
    };
    this.engine.after(1, this.process, beat);
  }

  /** PostgreSQL answered a heartbeat with an error, so it does not hang. */
  beatErred(sentMs: number): void {
    this.lastBeatMs = sentMs;
  }

  stopHeartbeat(): void {
    if (this.life !== null) this.life.beats = false;
    this.life = null;
  }

  /** A simulated beat is always on time. */
  pinged(): void {}

  heartbeat(): { count: number; ageMs: number } {
    return {
      count: this.beatCount,
      ageMs: this.life === null ? 0 : Math.round(this.life.time.nowMs() - this.lastBeatMs),
    };
  }
}
