/** The real PostgreSQL of this container behind the port `Postgres`. */
import { type ChildProcess, spawn } from 'node:child_process';
import { statSync, watch } from 'node:fs';
import { access, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { PORTS } from '../../contract/layout';
import type { NodeSettings, SlotView } from '../../contract/messages';
import { KEEPER_ROLE, MONITOR_ROLE, REPLICATION_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { syncFolder } from '../../disk/durable';
import {
  type Beat,
  KeeperError,
  messageOf,
  type Postgres,
  type ServerConfig,
  type Source,
  type SqlView,
  type View,
} from '../ports';
import {
  FLOORED,
  type Floors,
  type Pending,
  type PostgresSettings,
  type SettingsView,
  Tunables,
  withSettings,
} from '../tunables';
import { Canary } from './canary';
import { CatchUp } from './catch-up';
import { settingValues } from './config-files';
import { Configuration } from './configuration';
import { CATCHING_UP, copyData } from './copy';
import { Furnishing, REPAIR_LOCK_MS } from './furnish';
import { BEAT_LOCK_MS, Heartbeat, provePostmaster } from './heartbeat';
import { LogPipes } from './log-pipes';
import { HOME, LOCKED_OUT, type LoginOptions, Logins } from './logins';
import {
  LED_TIMELINE,
  laterTimeline,
  lookAtControlFile,
  lookAtSlots,
  lookBySql,
  lookForPause,
  lookForPending,
} from './look';
import {
  commandLine,
  isReady,
  noServerLeft,
  resumeServer,
  run,
  seemsToRun,
  serverProcesses,
  signalProcess,
  waitingConnections,
} from './processes';
import { type RejoinContext, reach, rewind } from './rejoin';
import { Replication } from './replication';
import { reserveFor } from './room';
import { ServerLog } from './server-log';
import type { Session } from './session';
import { ensureSlots, releaseRows } from './slots';
import { StartupProcess } from './startup-process';
import { ask, type Finding } from './stream-check';
import { StreamWatch } from './stream-watch';
import { forgetTablespaces, removeLeftTablespaces, removeTablespaces } from './tablespaces';
import { isConnecting, isUnnamed, isWalsender } from './titles';

const SQL_LIMIT_MS = 2_000;
const CONNECT_LIMIT_MS = 500;
/** A promotion hangs when replay has stood still for this time, ms; how much is left to replay does not matter. */
const PROMOTE_LIMIT_MS = 60_000;
/** How often a promotion that has to replay first tells how far it is, ms. */
const PROMOTE_TELL_MS = 5_000;
const PROMOTE_LOOK_MS = 25;
const PROMOTE_SOON_MS = 1;
const STAND_LOOK_MS = 5;
const STOP_LIMIT_MS = 45_000;
/** A walsender whose position stands still for this long holds up a shutdown (S18), ms. */
const WALSENDER_PATIENCE_MS = 1_000;
const WALSENDER_LOOK_MS = 300;
const CHECKPOINT_LIMIT_MS = 60_000;
/** How often a standby that has more than the stack asks for looks whether its leader has less now (S23), ms. */
const FLOORS_EVERY_MS = 1_000;
/** How often a standby is asked whether its replay is paused, ms. */
const PAUSE_EVERY_MS = 500;
/** The message of a server that ended may come a moment after its end, through the logger, ms. */
const MESSAGE_LIMIT_MS = 1_000;
/** How often replication slots are looked at, ms. */
const SLOTS_EVERY_MS = 5_000;
/** How often slots that are not in use are told to keep no dead rows, at most, ms. */
const RELEASE_EVERY_MS = 5_000;
/** Limit of each step of that, ms. */
const RELEASE_LIMIT_MS = 500;
const SOCKETS = '/var/run/postgresql';
/** A look that waits for a client's lock fails after this, ms; the next look asks again. */
const ASK_LOCK_MS = 250;
/** How often a session outside the failover's own database tries to get there, ms. */
const HOME_EVERY_MS = 1_000;

// Keeper and monitor have their own sessions; both names are reserved.
const END_IDLE_CLIENTS = `
SELECT count(*)::int AS clients, count(CASE WHEN state = 'idle'
  AND (backend_start < clock_timestamp() - interval '300 ms' OR state_change < clock_timestamp() - interval '50 ms')
  THEN pg_terminate_backend(pid) END)
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND coalesce(usename, '') NOT IN ('${MONITOR_ROLE}', '${KEEPER_ROLE}')
  AND NOT (coalesce(usename, '') = 'postgres' AND application_name = current_setting('application_name'))`;

export interface ServerOptions {
  node: string;
  clusterKey: string;
  /** The node's volume. */
  volume: string;
  memoryLimitBytes: number | null;
}

export class Server implements Postgres {
  onCrash: (reason: string | null) => void = () => undefined;
  onProgress: (text: string) => void = () => undefined;
  private readonly options: ServerOptions;
  private readonly data: string;
  private readonly fresh: string;
  /** Where write-ahead log is received while `fresh` is made. */
  private readonly wal: string;
  private readonly old: string;
  private readonly files: Configuration;
  private readonly beats: Heartbeat;
  private process: ChildProcess | null = null;
  private ended: Promise<void> = Promise.resolve();
  private told = false;
  private session: Session | null = null;
  private sessionAtMs = Number.NEGATIVE_INFINITY;
  private readonly logins = new Logins();
  private readonly furnishing: Furnishing;
  /** Why no superuser role gets in; null: one does. */
  private lockedOut: string | null = null;
  /** The application's database: the last choice for a session, see {@link Logins.home}. */
  private application: string | null = null;
  private readonly canary: Canary;
  private inForce = '';
  /** Newest timeline that this server was seen on since its start. */
  private received: number | null = null;
  private readonly watch: StreamWatch;
  /** The node that this server was told to follow. */
  private upstream: Source | null = null;
  private readonly startup: StartupProcess;
  private readonly log = new ServerLog(
    (line) => process.stderr.write(`${line}\n`),
    () => performance.now(),
  );
  private pipes: LogPipes | null = null;
  /** When the control file was last written before the start, ns. */
  private controlAtStart: bigint | null = null;
  private warning: string | null = null;
  /** The last answer of a running leader. */
  private leader: View | null = null;
  /** What the stopped data says; null: to be read. */
  private stoppedView: View | null = null;
  private stoppedFloors: Floors | null = null;
  private readonly tunables: Tunables;
  /** The stack's settings that the files were written for. */
  private wanted: PostgresSettings = {};
  /** Counts the changes of the settings in the files; whom to follow and whom to wait for are none. */
  private version = 0;
  /** The settings that the files have. */
  private inFile = '';
  /** Settings that wait for a restart, as the files of `version` have them. */
  private pending: { version: number; settings: Pending[] } | null = null;
  private floorsAtMs = Number.NEGATIVE_INFINITY;
  private slots: SlotView[] | undefined;
  private slotsAtMs = Number.NEGATIVE_INFINITY;
  private releaseAtMs = Number.NEGATIVE_INFINITY;
  private blind = false;
  private paused = false;
  private pauseAtMs = Number.NEGATIVE_INFINITY;
  /** Source of the copy in `data.new`, and the room that has to stay free while it is made, bytes. */
  private copied: { source: Source; reserveBytes: number } | null = null;
  /** Receives the log that the present data still has to replay before it can stream. */
  private catchUp: CatchUp | null = null;
  /** The removal of an unfinished copy's files, while it is under way. */
  private removing: Promise<void> = Promise.resolve();

  constructor(options: ServerOptions) {
    this.options = options;
    this.startup = new StartupProcess(options.node);
    this.data = join(options.volume, 'data');
    this.fresh = join(options.volume, 'data.new');
    this.old = join(options.volume, 'data.old');
    this.wal = join(options.volume, 'data.wal');
    this.files = new Configuration({ ...options, data: this.data, folder: join(options.volume, 'conf') });
    this.tunables = new Tunables(settingValues(options.node, options.memoryLimitBytes));
    this.canary = new Canary(
      (setup) => this.home(SQL_LIMIT_MS, 0, setup),
      () => this.sql(),
    );
    this.watch = new StreamWatch({ ask: (leader) => this.askWhy(leader), nowMs: () => performance.now() });
    this.beats = new Heartbeat({
      open: (limitMs) => this.home(limitMs, BEAT_LOCK_MS),
      prove: (limitMs) => provePostmaster(`${SOCKETS}/.s.PGSQL.${PORTS.postgres}`, limitMs),
      runs: () => this.process?.pid !== undefined && seemsToRun(this.process.pid) && isReady(this.data),
    });
    this.furnishing = new Furnishing(
      {
        into: (database, limitMs) => this.logins.into(database, this.login(limitMs, REPAIR_LOCK_MS)),
        home: (limitMs) => this.home(limitMs, REPAIR_LOCK_MS),
      },
      options.clusterKey,
    );
  }

  /** A session of the superuser; its commits wait for no standby. */
  private login(limitMs: number, lockTimeoutMs: number, setup?: string): LoginOptions {
    const applicationName = `${this.options.node}-keeper`;
    const settings = { synchronous_commit: 'local', lock_timeout: String(lockTimeoutMs) };
    return { host: SOCKETS, applicationName, limitMs, settings, setup };
  }

  private home(limitMs: number, lockTimeoutMs: number, setup?: string): Promise<Session> {
    return this.logins.home(this.login(limitMs, lockTimeoutMs, setup), this.application);
  }

  private async sql(limitMs = SQL_LIMIT_MS): Promise<Session> {
    const { session } = this;
    const isAway =
      session !== null && session.database !== HOME && performance.now() - this.sessionAtMs >= HOME_EVERY_MS;
    if (isAway) session.destroy();
    if (this.session?.usable !== true) {
      this.session = await this.home(limitMs, ASK_LOCK_MS);
      this.sessionAtMs = performance.now();
    }
    return this.session;
  }

  async observe(): Promise<View> {
    if (this.process === null) {
      this.stoppedView ??= await this.lookStopped();
      return this.stoppedView;
    }
    const view: View = {
      systemId: this.stoppedView?.systemId ?? null,
      dataExists: true,
      running: true,
      control: null,
      sql: null,
      streamImpossible: this.watch.impossible,
      settings: null,
      blind: this.blind,
      paused: this.paused,
      catchingUp: this.catchUp !== null,
      warning: this.warning,
    };
    try {
      const session = await this.sql(CONNECT_LIMIT_MS);
      const { systemId, ...sql } = await lookBySql(session);
      this.lockedOut = null;
      // The walreceiver's timeline is gone with its process, just when a candidate is chosen by it.
      if (sql.inRecovery) sql.timeline = this.received = laterTimeline(this.received, sql.timeline);
      else this.fillBeat(sql);
      const settings = await this.lookAtSettings(session, sql.inRecovery);
      await this.lookAtSlots(session);
      await this.lookAtPause(session, sql.inRecovery);
      this.watch.seen(sql, this.upstream);
      const seen = {
        ...view,
        ...{ systemId, sql, settings, slots: this.slots, paused: this.paused },
        streamImpossible: this.watch.impossible,
      };
      this.leader = sql.inRecovery ? null : seen;
      return seen;
    } catch (error) {
      if (this.process === null) return this.observe();
      this.tellSilence(error);
      if (this.leader === null) this.watch.seen(null, this.upstream);
      // A leader that hangs is still the leader; how long it hangs is the heartbeat's to tell (S27).
      const seen: View =
        this.leader === null ? { ...view, starved: await this.isStarved() } : { ...this.leader, stale: true };
      return { ...seen, ...this.silence() };
    }
  }

  /** The server has applied all log that is here and is not consistent yet: its startup process looks for more and finds none. */
  private async isStarved(): Promise<boolean> {
    const pid = this.process?.pid;
    return pid !== undefined && (await this.startup.stillMs(pid)) > 0;
  }

  /**
   * Replay is paused, and the control file has more of something than this server: the leader's log brought that, and only
   * a restart helps (S23). A pause by a person alone is not the keeper's to end.
   */
  private async lookAtPause(session: Session, inRecovery: boolean): Promise<void> {
    if (!inRecovery) this.paused = false;
    if (!inRecovery || performance.now() - this.pauseAtMs < PAUSE_EVERY_MS) return;
    this.pauseAtMs = performance.now();
    const seen = await lookForPause(session);
    if (seen?.held !== true) {
      this.paused = false;
      return;
    }
    const { floors } = await lookAtControlFile(this.data);
    this.paused = FLOORED.some((name) => seen.own[name] < floors[name]);
  }

  /** Asks the leader why this standby does not stream from it. */
  private askWhy(leader: Source): Promise<Finding> {
    const { clusterKey, node } = this.options;
    return ask({
      leader,
      place: { data: this.data, timeline: this.received },
      openSession: () => this.home(SQL_LIMIT_MS, ASK_LOCK_MS),
      openReplication: ({ address: host }) =>
        Replication.open({
          ...{ host, port: PORTS.postgres, user: REPLICATION_ROLE, applicationName: `${node}-check` },
          ...{ password: derivedPassword(clusterKey, 'replication'), limitMs: SQL_LIMIT_MS },
        }),
    });
  }

  /** A leader knows its own heartbeat without asking. */
  private fillBeat(sql: SqlView): void {
    const { count, ageMs } = this.beats.read();
    if (count === 0) return;
    sql.heartbeatSeen = count;
    sql.heartbeatSeenAgeMs = ageMs;
  }

  private silence(): Pick<View, 'warning' | 'lockedOut'> {
    const { warning, lockedOut } = this;
    return lockedOut === null ? { warning } : { warning, lockedOut };
  }

  /** For people only, so not with every look. */
  private async lookAtSlots(session: Session): Promise<void> {
    if (performance.now() - this.slotsAtMs < SLOTS_EVERY_MS) return;
    this.slotsAtMs = performance.now();
    this.slots = await lookAtSlots(session);
  }

  /** How the running server stands to the stack's settings; asked once after each change of theirs in the files. */
  private async lookAtSettings(session: Session, inRecovery: boolean): Promise<SettingsView | null> {
    const { tunables, wanted, version } = this;
    tunables.answered();
    let pending = this.pending?.version === version ? this.pending.settings : null;
    const due = tunables.isFloored(wanted) && performance.now() - this.floorsAtMs >= FLOORS_EVERY_MS;
    // By what is, not by what was done: a promotion may have succeeded although its answer was lost.
    if (!inRecovery) tunables.promoted();
    else if (pending === null || due) {
      this.floorsAtMs = performance.now();
      tunables.floorsAre((await lookAtControlFile(this.data)).floors);
    }
    // The files are about to be written again.
    if (JSON.stringify(tunables.inFile(wanted)) !== this.inFile) return null;
    pending ??= await lookForPending(session, version);
    if (pending === null) return null;
    this.pending = { version, settings: pending };
    return { wanted: JSON.stringify(wanted), status: tunables.status(wanted, pending, !inRecovery) };
  }

  /** An answer that is neither "not there" nor "not yet" is worth a line. */
  private tellSilence(error: unknown): void {
    const message = messageOf(error);
    if (error instanceof KeeperError && error.code === LOCKED_OUT) {
      this.lockedOut = message;
      return;
    }
    if (/ECONNREFUSED|ENOENT|starting up|not (yet )?accepting|shutting down/.test(message)) return;
    this.warning = `PostgreSQL does not answer as it should: ${message.slice(0, 300)}`;
  }

  private async lookStopped(): Promise<View> {
    const empty: View = {
      systemId: null,
      dataExists: false,
      running: false,
      control: null,
      sql: null,
      streamImpossible: null,
      warning: this.warning,
    };
    if (!(await exists(join(this.data, 'PG_VERSION')))) return empty;
    const { systemId, control, floors } = await lookAtControlFile(this.data);
    this.stoppedFloors = floors;
    return { ...empty, systemId, control, dataExists: true };
  }

  // Data directory

  async initialise(): Promise<void> {
    await this.removing;
    await rm(this.fresh, { recursive: true, force: true });
    await run(
      'initdb',
      [
        ...['-D', this.fresh, '--username=postgres', '--encoding=UTF8', '--data-checksums'],
        ...['--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C.UTF-8'],
        ...['--auth-local=peer', '--auth-host=scram-sha-256'],
        // A promotion copies the segment that is being written and syncs it: small segments make it faster.
        ...['--wal-segsize=1', '--sync-method=syncfs'],
      ],
      { limitMs: 120_000 },
    );
  }

  private context(): RejoinContext {
    const { node, clusterKey, volume } = this.options;
    const { data, fresh, wal, files } = this;
    const { passfile, mainFile: configFile } = files;
    return { node, clusterKey, volume, data, fresh, wal, passfile, configFile, port: PORTS.postgres };
  }

  async reach(source: Source): Promise<void> {
    await reach(source, this.context());
  }

  async copyFrom(
    source: Source,
    progress: (text: string) => void,
    signal: AbortSignal,
    giveUp?: () => Promise<void>,
  ): Promise<void> {
    await this.endCatchUp();
    await this.dropCopy();
    await this.files.writePassfile();
    const removeData = async () => {
      await giveUp?.();
      await removeTablespaces(this.data, null);
      await rm(this.data, { recursive: true, force: true });
      this.stoppedView = null;
    };
    const options = { progress, signal, removeOld: giveUp === undefined ? null : removeData };
    try {
      const reserveBytes = await copyData(source, this.context(), options);
      if (signal.aborted) throw new Error('aborted');
      this.copied = { source, reserveBytes };
    } catch (error) {
      // A new order does not wait until a large copy is removed.
      void this.dropCopy();
      throw error;
    }
  }

  dropCopy(): Promise<void> {
    this.copied = null;
    const work = async () => {
      await rm(this.fresh, { recursive: true, force: true });
      await rm(this.wal, { recursive: true, force: true });
      await removeLeftTablespaces(this.options.volume, this.data);
    };
    return this.remove(work);
  }

  /** Removes large folders in the background, one after the other. */
  private remove(work: () => Promise<void>): Promise<void> {
    this.removing = this.removing.then(work).catch((error: unknown) => {
      this.warning = `files of an unfinished copy cannot be removed: ${messageOf(error)}`;
    });
    return this.removing;
  }

  private removeOld(): Promise<void> {
    return this.remove(async () => {
      await removeTablespaces(this.old, this.data);
      await rm(this.old, { recursive: true, force: true });
    });
  }

  /** Goes on receiving for data that was just copied, also after a restart of this container. */
  private beginCatchUp(source: Source, reserveBytes: number): void {
    if (this.catchUp !== null) return;
    this.catchUp = new CatchUp({
      source,
      reserveBytes,
      context: this.context(),
      isRunning: () => this.process !== null,
      progress: (text) => this.onProgress(text),
    });
  }

  /** Ends the receiving. `streams`: the walreceiver has taken over, so that pg_receivewal is never begun again. */
  private async endCatchUp(streams = false): Promise<void> {
    const { catchUp } = this;
    await catchUp?.end();
    this.catchUp = null;
    if (!streams || !(await exists(join(this.data, CATCHING_UP)))) return;
    // From now on a walreceiver writes there. pg_receivewal would take a segment that it has only begun for a whole one.
    await rm(join(this.data, CATCHING_UP), { force: true });
    await syncFolder(this.data);
  }

  async rewindFrom(source: Source, signal: AbortSignal): Promise<void> {
    await this.endCatchUp(true);
    await noServerLeft(5_000);
    await this.removeLocks();
    await rm(join(this.data, 'standby.signal'), { force: true });
    await this.files.writeForRewind();
    await rewind(source, this.context(), signal);
    this.stoppedView = null;
    this.watch.forget();
  }

  async swapIn(): Promise<void> {
    const { copied } = this;
    this.copied = null;
    await this.endCatchUp();
    await this.removing;
    if (await exists(join(this.fresh, 'PG_VERSION'))) {
      await rm(this.old, { recursive: true, force: true });
      if (await exists(this.data)) await rename(this.data, this.old);
      await rename(this.fresh, this.data);
    }
    await syncFolder(this.options.volume);
    this.stoppedView = null;
    this.watch.forget();
    if (copied !== null) this.beginCatchUp(copied.source, copied.reserveBytes);
    await forgetTablespaces(this.options.volume);
    // The removal may take a while, and the new data need not wait for it.
    void this.removeOld();
  }

  async tidy(): Promise<void> {
    if (!(await exists(this.data)) && (await exists(this.old))) await rename(this.old, this.data);
    // These may be as large as the database: the node must not be silent until they are removed.
    void this.dropCopy();
    void this.removeOld();
    await this.removeLocks();
  }

  /** Lock files of a server that is gone; a stale one whose process id lives again would stop PostgreSQL (S25). */
  private async removeLocks(): Promise<void> {
    if ((await serverProcesses()).length > 0) return;
    await rm(join(this.data, 'postmaster.pid'), { force: true });
    await rm(join(SOCKETS, `.s.PGSQL.${PORTS.postgres}`), { force: true });
    await rm(join(SOCKETS, `.s.PGSQL.${PORTS.postgres}.lock`), { force: true });
  }

  // Configuration

  /** While a copy catches up PostgreSQL follows no leader: its walreceiver would need the slot. */
  private async staged(config: ServerConfig): Promise<ServerConfig> {
    const { catchUp } = this;
    if (catchUp === null) return config;
    const isSame = config.upstream?.address === catchUp.source.address;
    if (isSame && !catchUp.isOver) return { ...config, upstream: null };
    await this.endCatchUp(true);
    return config;
  }

  async configure(ordered: ServerConfig): Promise<boolean> {
    const config = await this.staged(ordered);
    this.upstream = config.upstream;
    const asked = config.settings.postgresSettings;
    const written = withSettings(config, this.tunables.inFile(asked));
    const key = JSON.stringify([asked, written]);
    if (key === this.inForce) return false;
    const inFile = JSON.stringify(written.settings.postgresSettings);
    if (inFile !== this.inFile || JSON.stringify(asked) !== JSON.stringify(this.wanted)) this.version += 1;
    this.wanted = asked;
    this.inFile = inFile;
    this.application = config.settings.databaseName;
    await this.files.write(written, this.version, this.blind);
    this.process?.kill('SIGHUP');
    this.inForce = key;
    return true;
  }

  // Process

  async start(ordered: ServerConfig, leads = false): Promise<void> {
    if (this.process !== null) return;
    await noServerLeft(2_000);
    await this.removeLocks();
    if (ordered.upstream === null) await this.endCatchUp(true);
    else if (await exists(join(this.data, CATCHING_UP))) {
      await this.files.writePassfile();
      this.beginCatchUp(ordered.upstream, reserveFor(0));
    }
    const config = await this.staged(ordered);
    await this.writeForStart(config, leads);
    this.upstream = config.upstream;
    // Whoever wrote there, the order decides (S5); and every node starts as a standby (S8).
    await writeFile(join(this.data, 'postgresql.auto.conf'), '');
    await rm(join(this.data, 'recovery.signal'), { force: true });
    await writeFile(join(this.data, 'standby.signal'), '');
    await syncFolder(this.data);
    this.pipes ??= await LogPipes.open({
      json: (text) => this.log.hear(text),
      stray: (text) => this.log.hearStray(text),
    });
    this.pipes.drain();
    this.log.begin();
    this.startup.forget();
    this.watch.forget();
    this.received = null;
    this.paused = false;
    this.told = false;
    this.controlAtStart = this.controlStamp();
    const child = spawn('postgres', this.files.serverArguments(), { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.setEncoding('utf8').on('data', (text: string) => this.log.hearStray(text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => this.log.hearEarly(text));
    this.process = child;
    this.ended = new Promise((resolve) => {
      child.once('error', (error) => this.gone(resolve, null, messageOf(error)));
      child.once('exit', (code, signal) =>
        this.gone(resolve, code, code === null ? `signal ${signal}` : `exit code ${code}`),
      );
    });
  }

  /** When the control file was last written, ns; null: it cannot be read. The startup process writes it as it begins. */
  private controlStamp(): bigint | null {
    return statSync(join(this.data, 'global/pg_control'), { bigint: true, throwIfNoEntry: false })?.mtimeNs ?? null;
  }

  /** The files for a start, with settings that PostgreSQL takes; see tunables.ts. */
  private async writeForStart(config: ServerConfig, leads: boolean): Promise<void> {
    this.stoppedView ??= await this.lookStopped();
    const { control } = this.stoppedView;
    if (this.stoppedFloors === null || control === null) throw new KeeperError('NO_DATA', 'there is no data to start');
    const cleanLeader = control.clean && control.checkpointLsn !== null;
    const asked = config.settings.postgresSettings;
    this.wanted = asked;
    this.application = config.settings.databaseName;
    this.version += 1;
    this.warning = null;
    this.lockedOut = null;
    this.logins.reset();
    for (const attempt of [1, 2]) {
      const { settings, blind } = this.tunables.begin(asked, this.stoppedFloors, leads && cleanLeader);
      const written = withSettings(config, settings);
      const refused = await this.files.writeForStart(written, this.version, blind);
      this.blind = blind;
      this.inFile = JSON.stringify(settings);
      this.inForce = JSON.stringify([asked, written]);
      if (refused === null || attempt === 2) return;
      this.tunables.refuses(asked, refused);
      this.warning = `PostgreSQL refuses postgresSettings, the former ones stay: ${refused}`;
    }
  }

  /** `how`: in what way the process ended, for people. */
  private gone(resolve: () => void, code: number | null, how: string): void {
    if (this.process === null) return;
    this.pipes?.drain();
    const message = this.log.reason;
    const recovered = this.controlStamp() !== this.controlAtStart;
    if (!this.told) this.tunables.failed({ code, recovered, message });
    this.blind = false;
    this.pending = null;
    this.process = null;
    this.leader = null;
    this.watch.forget();
    this.stoppedView = null;
    this.session?.destroy();
    this.canary.drop();
    this.beats.stop();
    resolve();
    if (this.told) return;
    if (message === null && code !== null) void this.awaitMessage();
    this.onCrash(message === null ? how : `${how}; ${message}`);
  }

  /** The end is reported at once; a last message that comes through the logger later is reported when it is here. */
  private async awaitMessage(): Promise<void> {
    const deadline = performance.now() + MESSAGE_LIMIT_MS;
    while (this.process === null && performance.now() < deadline) {
      await delay(PROMOTE_LOOK_MS);
      if (this.log.reason === null) continue;
      this.warning = `the last message of PostgreSQL before it ended: ${this.log.reason}`;
      this.stoppedView = null;
      return;
    }
  }

  async stop(): Promise<void> {
    const child = this.process;
    await this.endCatchUp();
    if (child === null) return;
    this.told = true;
    this.beats.stop();
    child.kill('SIGINT');
    // After the signal: a postmaster that wakes shuts down before it does anything else (S27).
    await resumeServer();
    const patience = new AbortController();
    const hurry = this.endStuckWalsenders(patience.signal);
    const limit = delay(STOP_LIMIT_MS, 'late', { signal: patience.signal }).catch(() => 'aborted');
    if ((await Promise.race([this.ended, limit])) === 'late') {
      child.kill('SIGQUIT');
      await Promise.race([this.ended, delay(5_000).then(() => child.kill('SIGKILL'))]);
      await this.ended;
    }
    patience.abort();
    await hurry;
  }

  /** A shutdown waits for every standby to have all; one that hangs is ended after a second (S18). */
  private async endStuckWalsenders(signal: AbortSignal): Promise<void> {
    const titles = async () =>
      new Map((await serverProcesses()).filter((p) => isWalsender(p.title)).map((p) => [p.pid, p.title]));
    await delay(WALSENDER_PATIENCE_MS, undefined, { signal }).catch(() => undefined);
    while (!signal.aborted) {
      const before = await titles();
      await delay(WALSENDER_LOOK_MS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      for (const [pid, title] of before) {
        if ((await commandLine(pid)) === title) signalProcess(pid, 'SIGTERM');
      }
    }
  }

  async warm(database: string): Promise<void> {
    const session = await this.logins.into(database, this.login(SQL_LIMIT_MS, ASK_LOCK_MS));
    session.destroy();
  }

  async checkpoint(): Promise<void> {
    const session = await this.home(CHECKPOINT_LIMIT_MS, 0);
    try {
      await session.query('CHECKPOINT');
    } finally {
      session.destroy();
    }
  }

  async endIdleClients(): Promise<number> {
    const session = await this.sql();
    // In this order: who gets further meanwhile is then seen by the next look.
    const waiting = await waitingConnections(PORTS.postgres);
    const titles = (await serverProcesses()).map((p) => p.title);
    const connecting = titles.filter(isConnecting).length;
    const unnamed = Math.max(0, titles.filter(isUnnamed).length - 1);
    const [row] = await session.ask<{ clients: number }>('idle clients', END_IDLE_CLIENTS);
    return waiting + unnamed + connecting + (row?.clients ?? 0);
  }

  async promote(tell: (text: string) => void, signal: AbortSignal): Promise<number> {
    if (this.catchUp !== null) await this.endCatchUp(true);
    this.upstream = null;
    this.watch.forget();
    const history = watchForHistory(join(this.data, 'pg_wal'));
    try {
      const session = this.blind ? await this.promoteBlind(signal) : await this.sql();
      if (this.blind) this.blind = false;
      else await session.query('SELECT pg_promote(false)');
      this.tunables.promoted();
      return await this.untilLed(session, history.seen, tell, signal);
    } finally {
      history.close();
    }
  }

  /** Resolves with the timeline that it leads on. `soon`: aborted when the promotion is about to be over. */
  private async untilLed(
    session: Session,
    soon: AbortSignal,
    tell: (text: string) => void,
    signal: AbortSignal,
  ): Promise<number> {
    let replay: string | null = null;
    let movedMs = performance.now();
    let toldMs = movedMs;
    for (;;) {
      const [row] = await session.ask<{ timeline: number | null; replay: string | null; behind: number | null }>(
        'led',
        LED_TIMELINE,
      );
      const nowMs = performance.now();
      if (row !== undefined && row.timeline !== null) return row.timeline;
      if (signal.aborted) throw new Error('the promotion is not waited for any more: there is another order');
      if (row !== undefined && row.replay !== replay) {
        replay = row.replay;
        movedMs = nowMs;
      }
      if (nowMs - movedMs > PROMOTE_LIMIT_MS) {
        throw new KeeperError('PROMOTION_HANGS', `not promoted: replay has stood at ${replay} for a minute`);
      }
      if (nowMs - toldMs > PROMOTE_TELL_MS) {
        toldMs = nowMs;
        const { behind } = row ?? {};
        const left = typeof behind === 'number' ? `${Math.ceil(behind / 1024 / 1024)} MB are left` : 'more is left';
        tell(`the write-ahead log that is here is replayed before the promotion: at ${replay}, ${left}`);
      }
      // A new history file tells when the promotion is about to be over; asking all the time would slow it down.
      if (soon.aborted) await delay(PROMOTE_SOON_MS);
      else await delay(PROMOTE_LOOK_MS, undefined, { signal: soon }).catch(() => undefined);
    }
  }

  /** What `pg_ctl promote` does, for a server that answers only when it is promoted. Resolves with its first session. */
  private async promoteBlind(signal: AbortSignal): Promise<Session> {
    // Before that the postmaster would remove the promotion's file, or not know its signal. The startup process, which obeys it,
    // writes the control file when it begins to recover.
    let workedMs = performance.now();
    const begins = () => this.process !== null && this.controlStamp() === this.controlAtStart && !signal.aborted;
    while (begins() && performance.now() - workedMs < PROMOTE_LIMIT_MS) await delay(STAND_LOOK_MS);
    workedMs = performance.now();
    while (this.process?.pid !== undefined && performance.now() - workedMs < PROMOTE_LIMIT_MS && !signal.aborted) {
      await writeFile(join(this.data, 'promote'), '');
      this.process.kill('SIGUSR1');
      await delay(PROMOTE_LOOK_MS);
      const session = await this.home(SQL_LIMIT_MS, ASK_LOCK_MS).catch(() => null);
      if (session !== null) {
        this.session = session;
        return session;
      }
      if (this.process?.pid !== undefined && (await this.startup.stillMs(this.process.pid)) === 0) {
        workedMs = performance.now();
      }
    }
    throw new KeeperError('PROMOTION_HANGS', 'PostgreSQL was not promoted');
  }

  async resumeReplay(): Promise<void> {
    await (await this.sql()).query('SELECT pg_wal_replay_resume() WHERE pg_is_wal_replay_paused()');
  }

  async forkLsn(timeline: number): Promise<string | null> {
    if (timeline <= 1) return null;
    const name = `${timeline.toString(16).toUpperCase().padStart(8, '0')}.history`;
    const text = await readFile(join(this.data, 'pg_wal', name), 'utf8').catch(() => '');
    const last = text
      .split('\n')
      .filter((line) => /^\d+\t/.test(line))
      .at(-1);
    return last?.split('\t')[1] ?? null;
  }

  // Synchronous commit

  startCanary(): Promise<void> {
    return this.canary.start();
  }

  canaryWaits(): Promise<boolean> {
    return this.canary.waits();
  }

  kick(): Promise<void> {
    return this.canary.kick();
  }

  syncWaiters(): Promise<number> {
    return this.canary.waiters();
  }

  // What a node keeps

  async ensureSlots(peers: string[], renew: boolean): Promise<void> {
    const idle = await ensureSlots(await this.sql(), peers, renew);
    if (idle.length > 0) this.release(idle);
  }

  /** In the background: a leader that cannot do it serves all the same, and keeps dead rows meanwhile. */
  private release(slots: readonly string[]): void {
    if (performance.now() < this.releaseAtMs) return;
    // Counted from its beginning; each of its steps has a limit.
    this.releaseAtMs = performance.now() + RELEASE_EVERY_MS;
    releaseRows(slots, () =>
      Replication.open({
        host: SOCKETS,
        user: 'postgres',
        applicationName: `${this.options.node}-slots`,
        limitMs: RELEASE_LIMIT_MS,
      }),
    ).catch((error: unknown) => {
      this.warning = `dead rows are still kept for slot ${slots.join(', ')}: ${messageOf(error).slice(0, 300)}`;
    });
  }

  async furnish(settings: NodeSettings): Promise<void> {
    await this.furnishing.furnish(settings);
  }

  async mend(): Promise<string[]> {
    const missing = await this.furnishing.missing(await this.sql());
    return missing.length === 0 ? [] : this.furnishing.repair(missing);
  }

  startHeartbeat(): void {
    this.beats.start();
  }

  stopHeartbeat(): void {
    this.beats.stop();
  }

  heartbeat(): Beat {
    return this.beats.read();
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** A promotion writes the history of its timeline some milliseconds before it takes writes. */
const HISTORY = /^[0-9A-F]{8}\.history$/;

/** Aborts `seen` when a history file comes into the folder; never where the kernel has no inotify watch left. */
function watchForHistory(folder: string): { seen: AbortSignal; close(): void } {
  const seen = new AbortController();
  try {
    const watcher = watch(folder, (_event, name) => {
      if (name !== null && HISTORY.test(name)) seen.abort();
    });
    watcher.on('error', () => undefined);
    return { seen: seen.signal, close: () => watcher.close() };
  } catch {
    return { seen: seen.signal, close: () => undefined };
  }
}
