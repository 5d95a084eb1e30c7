/** The real PostgreSQL of this container, as an implementation of the port `Postgres`. */
import { setTimeout as delay } from 'node:timers/promises';
import { inBackground, messageOf } from '../../contract/errors';
import type { RestoreSource } from '../../contract/inputs';
import { PORTS } from '../../contract/layout';
import { linesTo } from '../../contract/log-line';
import { printLsn } from '../../contract/lsn';
import type { BackupSettings, NodeSettings } from '../../contract/messages';
import { KEEPER_ROLE, MONITOR_ROLE } from '../../contract/naming';
import { KeeperError, type Postgres, type ServerConfig, type Source, type View } from '../ports';
import { NodeArchive } from './archive';
import { NodeBackup } from './backup';
import { Canary } from './canary';
import { NodeClientSlots } from './client-slots';
import { Configuration } from './configuration';
import { DataFolder, type Warning } from './data-folder';
import { Furnishing } from './furnish';
import { BEAT_LOCK_MS, Heartbeat, provePostmaster } from './heartbeat';
import { openLogPipes, type Pipe } from './log-pipes';
import { readHistory } from './look';
import { NodeGate } from './node-gate';
import { Observer } from './observer';
import { OwnSessions, SOCKET, SOCKETS } from './own-sessions';
import type { Place } from './place';
import { type Exit, Postmaster } from './postmaster';
import { isConnecting, isUnnamed, noServerLeft, serverProcesses, waitingConnections } from './processes';
import { promote } from './promotion';
import { reach } from './rejoin';
import { Repositories } from './repositories';
import { NodeRestore } from './restore-source';
import { NodeRestorer } from './restorer';
import { RoleList } from './role-list';
import { ServerLog } from './server-log';
import { SharedWal } from './shared-wal';
import { dropLedSlots, ensureSlots, releaseRows } from './slots';
import { mustHaveTablespaces } from './tablespaces';

const START_WAIT_MS = 2_000;
const CHECKPOINT_LIMIT_MS = 60_000;
/** Exit code of a postmaster that ends because of its own error. */
const START_FAILED = 1;
/**
 * How long to wait for the last message of a server that ended, ms. It comes through the logger and may arrive a moment
 * later.
 */
const MESSAGE_LIMIT_MS = 1_000;
const MESSAGE_LOOK_MS = 25;
/** Shortest interval at which unused slots are made to release dead rows, ms. */
const RELEASE_EVERY_MS = 5_000;
/** Limit of each step of that release, ms. */
const RELEASE_LIMIT_MS = 500;
/** Longest part of PostgreSQL's message in a warning, characters. */
const WORDS_MAX = 300;

// The keeper's and the monitor's own sessions do not count; the names of their roles are reserved.
const END_IDLE_CLIENTS = `
SELECT count(*)::int AS clients, count(CASE WHEN state = 'idle'
  AND (backend_start < clock_timestamp() - interval '300 ms' OR state_change < clock_timestamp() - interval '50 ms')
  THEN pg_terminate_backend(pid) END)
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND coalesce(usename, '') NOT IN ('${MONITOR_ROLE}', '${KEEPER_ROLE}')
  AND NOT (coalesce(usename, '') = 'postgres' AND application_name = current_setting('application_name'))`;

/** The PostgreSQL of this container. Nothing runs before {@link Server.start}. */
export class Server implements Postgres {
  onCrash: (reason: string | null) => void = () => undefined;
  onProgress: (text: string) => void = () => undefined;
  readonly archive: NodeArchive;
  readonly backups: NodeBackup;
  readonly archiveS3: NodeArchive;
  readonly backupsS3: NodeBackup;
  private readonly repositories = new Repositories();
  readonly restore: Postgres['restore'];
  /** Null: this cluster begins empty. */
  private readonly restored: NodeRestore | null;
  readonly restorer: NodeRestorer;
  readonly gate: NodeGate;
  readonly clientSlots: NodeClientSlots;
  private readonly warning: Warning = { text: null };
  private readonly log = new ServerLog(linesTo(process.stderr));
  private readonly sessions: OwnSessions;
  private readonly files: Configuration;
  private readonly data: DataFolder;
  private readonly canary: Canary;
  private readonly furnishing: Furnishing;
  private readonly beats: Heartbeat;
  private readonly roles: RoleList;
  /** The present life of the process, and its observer; null: PostgreSQL does not run. */
  private run: { postmaster: Postmaster; observer: Observer } | null = null;
  private pipes: readonly Pipe[] = [];
  private releaseAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly place: Place,
    memoryLimitBytes: number | null,
    restoreFrom?: RestoreSource,
  ) {
    const sessions = new OwnSessions(place.node);
    this.sessions = sessions;
    const wal = new SharedWal(sessions, ['local', 's3']);
    this.archive = new NodeArchive(place, sessions, undefined, 'local', this.repositories, wal);
    this.backups = new NodeBackup(place, sessions);
    this.archiveS3 = new NodeArchive(place, sessions, undefined, 's3', this.repositories, wal);
    this.backupsS3 = new NodeBackup(place, sessions, undefined, undefined, 's3', this.repositories);
    this.files = new Configuration(place, memoryLimitBytes);
    this.data = new DataFolder(place, this.files, this.warning, {
      isRunning: () => this.run !== null,
      progress: (text) => this.onProgress(text),
      backups: () => (this.repositories.replicaFrom === 'backup' ? this.repositories : null),
    });
    this.restored = restoreFrom === undefined ? null : new NodeRestore(place, restoreFrom);
    this.restore = this.restored?.into(() => this.data.emptyFresh());
    this.restorer = new NodeRestorer(place, { replaced: () => this.data.replaced() }, this.repositories);
    this.canary = new Canary(sessions);
    const reload = () => this.run?.postmaster.signal('SIGHUP');
    const lists = { conf: place.conf, warning: this.warning, reload };
    this.roles = new RoleList(lists);
    this.gate = new NodeGate(place, this.files, new RoleList({ ...lists, replicators: true }), this.warning);
    this.clientSlots = new NodeClientSlots(place.node, sessions, () => this.gate.settings);
    this.furnishing = new Furnishing(sessions, place.clusterKey, this.warning);
    this.beats = new Heartbeat({
      open: (limitMs) => sessions.home(limitMs, BEAT_LOCK_MS),
      prove: (limitMs) => provePostmaster(SOCKET, limitMs),
      runs: () => this.run?.postmaster.seemsWell() === true,
    });
  }

  /** The places of the backups, as the monitor says. */
  usePlaces(places: BackupSettings | undefined): void {
    this.repositories.local = places?.local !== false;
    this.repositories.s3 = places?.s3;
    this.repositories.replicaFrom = places?.replicaFrom ?? 'leader';
  }

  async observe(): Promise<View> {
    const seen = (await this.run?.observer.look()) ?? null;
    return seen ?? (await this.data.look()).view;
  }

  // Data directory

  readonly initialise = () => this.data.initialise();
  readonly reach = (source: Source) => reach(source, this.place);
  readonly copyFrom: Postgres['copyFrom'] = (...args) => this.data.copyFrom(...args);
  readonly dropCopy = () => this.data.dropCopy();
  readonly rewindFrom: Postgres['rewindFrom'] = (...args) => this.data.rewindFrom(...args);
  readonly swapIn = () => this.data.swapIn();
  readonly tidy = () => this.data.tidy();

  async forkLsn(timeline: number): Promise<string | null> {
    const begin = (await readHistory(this.place.data, timeline)).at(-1)?.begin ?? 0n;
    return begin === 0n ? null : printLsn(begin);
  }

  // Process

  async configure(ordered: ServerConfig): Promise<boolean> {
    const config = await this.data.staged(ordered);
    const { run } = this;
    if (run !== null) run.observer.upstream = config.upstream;
    this.sessions.application = config.settings.databaseName;
    this.gate.settings = config.settings;
    if (!(await this.files.write(config, run?.postmaster.blind === true))) return false;
    this.warnOfCertificate();
    this.run?.postmaster.signal('SIGHUP');
    return true;
  }

  async start(ordered: ServerConfig, leads = false): Promise<void> {
    if (this.run !== null) return;
    const { place, files, sessions, warning, log, data, beats, roles } = this;
    await noServerLeft(START_WAIT_MS);
    await data.removeLocks();
    await data.resumeCatchUp(ordered.upstream);
    const config = await data.staged(ordered);
    const { view, floors } = await data.look();
    if (floors === null || view.control === null) throw new KeeperError('NO_DATA', 'there is no data to start');
    // A copy may have to replay the WAL that makes a tablespace.
    if (!data.catchesUp) await mustHaveTablespaces(place.data);
    const cleanLeader = view.control.clean && view.control.checkpointLsn !== null;
    warning.text = null;
    this.archive.begin();
    this.archiveS3.begin();
    sessions.begin(config.settings.databaseName);
    await roles.begin(config.settings.databaseUser);
    await this.gate.begin(config.settings);
    const blind = await files.writeForStart(config, floors, leads && cleanLeader, (words) => {
      warning.text = `PostgreSQL refuses postgresSettings, the former ones stay: ${words}`;
    });
    this.warnOfCertificate();
    await data.beStandby();
    if (this.pipes.length === 0) this.pipes = await openLogPipes(log);
    for (const pipe of this.pipes) pipe.drain();
    log.begin();
    const postmaster = new Postmaster({
      ...{ place, serverArguments: files.serverArguments(), blind, log, warning },
      controlStamp: () => data.controlStamp(),
      onExit: (exit) => this.gone(postmaster, exit),
    });
    const { systemId } = view;
    const { gate } = this;
    const observer = new Observer({ place, systemId, postmaster, data, sessions, files, beats, roles, gate, warning });
    observer.upstream = config.upstream;
    this.run = { postmaster, observer };
  }

  private warnOfCertificate(): void {
    const { certificateProblem } = this.files;
    if (certificateProblem !== null) this.warning.text = certificateProblem;
  }

  private gone({ recovered }: Postmaster, { code, how, told }: Exit): void {
    for (const pipe of this.pipes) pipe.drain();
    const message = this.log.reason;
    if (!told) this.files.tunables.failed({ code, recovered, message });
    if (!told && code === START_FAILED && !recovered) this.files.startFailed();
    this.run = null;
    this.data.forget();
    this.sessions.end();
    this.gate.shut();
    this.archive.close();
    this.archiveS3.close();
    this.canary.drop();
    this.beats.stop();
    if (told) return;
    if (message === null && code !== null) void this.awaitMessage();
    this.onCrash(message === null ? how : `${how}; ${message}`);
  }

  /**
   * The end of the server is reported at once. A last message that arrives later through the logger is reported when it
   * is here.
   */
  private async awaitMessage(): Promise<void> {
    const { log, warning } = this;
    const deadline = performance.now() + MESSAGE_LIMIT_MS;
    while (this.run === null && performance.now() < deadline) {
      await delay(MESSAGE_LOOK_MS);
      if (log.reason === null) continue;
      warning.text = `the last message of PostgreSQL before it ended: ${log.reason}`;
      this.data.forget();
      return;
    }
  }

  async stop(): Promise<void> {
    const { run } = this;
    await this.data.endCatchUp();
    if (run === null) return;
    this.beats.stop();
    this.gate.shut();
    for (const archive of [this.archive, this.archiveS3]) archive.close();
    for (const backups of [this.backups, this.backupsS3]) backups.stop();
    await run.postmaster.stop();
  }

  readonly ended = noServerLeft;

  async promote(tell: (text: string) => void, signal: AbortSignal): Promise<number> {
    const { run, place, data, sessions, files } = this;
    if (run === null) throw new Error('PostgreSQL does not run');
    if (data.catchesUp) await data.endCatchUp(true);
    run.observer.promotes();
    const told = () => files.tunables.promoted();
    const timeline = await promote({ data: place.data, postmaster: run.postmaster, sessions, told, tell, signal });
    // A role may have been made a moment before. The promotion does not wait for it.
    this.roles.soon();
    inBackground(async () => this.roles.look(await sessions.common(), false));
    return timeline;
  }

  async resumeReplay(): Promise<void> {
    const session = await this.sessions.common();
    await session.query('SELECT pg_wal_replay_resume() WHERE pg_is_wal_replay_paused()');
  }

  // Clients

  async warm(database: string): Promise<void> {
    (await this.sessions.into(database)).destroy();
  }

  async checkpoint(): Promise<void> {
    using session = await this.sessions.home(CHECKPOINT_LIMIT_MS, 0);
    await session.query('CHECKPOINT');
  }

  async endIdleClients(): Promise<number> {
    const session = await this.sessions.common();
    // The order of these counts matters: a connection that advances meanwhile is then counted at its next stage.
    const waiting = await waitingConnections(PORTS.postgres);
    const titles = (await serverProcesses()).map((p) => p.title);
    const connecting = titles.filter(isConnecting).length;
    const unnamed = Math.max(0, titles.filter(isUnnamed).length - 1);
    const { clients } = await session.askOne<{ clients: number }>('idle clients', END_IDLE_CLIENTS);
    return waiting + unnamed + connecting + clients;
  }

  // Synchronous commit

  readonly startCanary = () => this.canary.start();
  readonly canaryWaits = () => this.canary.waits();
  readonly kick = () => this.canary.kick();
  readonly syncWaiters = () => this.canary.waiters();

  // Objects that a node keeps in PostgreSQL

  async ensureSlots(peers: string[], renew: boolean): Promise<string[]> {
    const { holding, dropped } = await ensureSlots(await this.sessions.common(), this.place.node, peers, renew);
    if (holding.length > 0) this.release(holding);
    return dropped;
  }

  async dropLedSlots(): Promise<string[]> {
    return dropLedSlots(await this.sessions.common());
  }

  async holdsConsumersFor(slots: string): Promise<boolean> {
    using session = await this.sessions.home();
    const text = `SELECT current_setting('synchronized_standby_slots') AS held`;
    return (await session.askOne<{ held: string }>('held consumers', text)).held === slots;
  }

  /**
   * Releases dead rows in the background. A leader where this fails still serves its clients; it only keeps the dead
   * rows.
   */
  private release(slots: readonly string[]): void {
    if (performance.now() < this.releaseAtMs) return;
    const { place, warning } = this;
    // The interval is counted from the beginning of the release. Each step of the release has a limit.
    this.releaseAtMs = performance.now() + RELEASE_EVERY_MS;
    const applicationName = `${place.node}-slots`;
    const login = { host: SOCKETS, user: 'postgres', applicationName, limitMs: RELEASE_LIMIT_MS };
    releaseRows(slots, login).catch((error: unknown) => {
      const words = messageOf(error).slice(0, WORDS_MAX);
      warning.text = `dead rows are still kept for slot ${slots.join(', ')}: ${words}`;
    });
  }

  async furnish(settings: NodeSettings, isNew: boolean): Promise<void> {
    await this.furnishing.furnish(settings, isNew, this.restored !== null);
    if (!isNew) return;
    await this.restored?.remember();
    // The application's first clients come at once.
    this.roles.forget();
    await this.roles.look(await this.sessions.common(), true);
  }

  async mend(): Promise<string[]> {
    const missing = await this.furnishing.missing(await this.sessions.common());
    return missing.length === 0 ? [] : this.furnishing.repair(missing);
  }

  readonly startHeartbeat = () => this.beats.start();
  readonly stopHeartbeat = () => this.beats.stop();
  readonly heartbeat = () => this.beats.read();
  readonly pinged = () => this.beats.awake();
}
