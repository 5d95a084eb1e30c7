/**
 * Brings a restored folder up to its target: a PostgreSQL of its own, which only this process reaches, replays what it
 * gets by `restore_command`, is promoted at the target and shuts down. What is left is the data of an ordinary cluster
 * on a timeline of its own.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { RestoreTarget } from '../../contract/backups';
import { printLsn } from '../../contract/lsn';
import { KEEPER_ROLE } from '../../contract/naming';
import { KeeperError } from '../ports';
import { readControlFile, readHistory } from './look';
import { run, signalProcess } from './processes';
import { zoned } from './restore';
import { Session } from './session';

/** Replay may take hours, ms. */
const RECOVER_LIMIT_MS = 24 * 3_600_000;
const LOOK_MS = 100;
const SQL_LIMIT_MS = 30_000;
/** Limit of the shutdown, whose checkpoint writes all that was replayed, ms. */
const STOP_LIMIT_MS = 600_000;
/** Limit of an immediate shutdown, ms. */
const QUIT_LIMIT_MS = 10_000;
const LOG_MAX = 64 * 1024;
/** Line of `postmaster.pid` with the postmaster's state, from 0 (pidfile.h, LOCK_FILE_LINE_PM_STATUS). */
const STATUS_LINE = 7;

export interface RecoverJob {
  /** A folder that `restoreData` has filled. */
  data: string;
  target: RestoreTarget;
  /** Folder for settings and socket. It is made anew, and removed at the end. Its path has at most 80 characters. */
  scratch: string;
  signal: AbortSignal;
  /** Called with the name of each file of write-ahead log that is replayed. */
  tell?(file: string): void;
  /** Called while the recovered server still runs, with a session of a superuser in `postgres`. */
  inspect?(session: Session): Promise<void>;
}

/** How far a restored folder goes. */
export interface Recovered {
  /**
   * Time of the last commit that it has, ms; null: none was replayed. The leader's heartbeat commits ten times a
   * second.
   */
  lastCommitMs: number | null;
  /** Where the old history ends. */
  lsn: string;
  /** The timeline of the old history that was replayed last. */
  timeline: number;
  /** The timeline on which the folder goes on. */
  newTimeline: number;
}

/**
 * Resolves when the folder is at its target and its server has shut down.
 * @throws KeeperError RESTORE_IMPOSSIBLE when the target lies beyond the end of the archive, with the last second there
 * is; TOOL_FAILED with PostgreSQL's own message.
 */
export async function recover(job: RecoverJob): Promise<Recovered> {
  const { data, scratch, signal, tell } = job;
  const settings = await writeSettings(data, scratch);
  let log = '';
  const onError = (text: string) => {
    log = (log + text).slice(-LOG_MAX);
    const file = [...text.matchAll(/restored log file "([^"]+)"/g)].at(-1)?.[1];
    if (file !== undefined) tell?.(file);
  };
  const server = new Server(data, settings, onError);
  const abort = () => server.quit();
  signal.addEventListener('abort', abort, { once: true });
  try {
    await server.ready(signal);
    const recovered = await look(job);
    await server.stop();
    return recovered;
  } catch (error) {
    signal.throwIfAborted();
    throw failureOf(log, job.target) ?? error;
  } finally {
    signal.removeEventListener('abort', abort);
    await server.kill();
    await rm(scratch, { recursive: true, force: true });
  }
}

/** The server that recovers. */
class Server {
  private readonly killed = new AbortController();
  private readonly process: Promise<unknown>;
  private isOver = false;

  constructor(
    private readonly data: string,
    settings: string,
    onError: (text: string) => void,
  ) {
    const options = { limitMs: RECOVER_LIMIT_MS, signal: this.killed.signal, onError };
    this.process = run('postgres', ['-D', data, '-c', `config_file=${settings}`], options).finally(() => {
      this.isOver = true;
    });
    // The end is awaited later. Without a handler now, Node would end at a failure that comes before.
    this.process.catch(() => undefined);
  }

  /** Resolves when it accepts sessions. Throws when it ended before. */
  async ready(signal: AbortSignal): Promise<void> {
    while (!(await this.status()).startsWith('ready')) {
      if (this.isOver) await this.process;
      if (this.isOver) throw new Error('PostgreSQL ended before its target');
      await delay(LOOK_MS);
      signal.throwIfAborted();
    }
  }

  private async lockFile(): Promise<string[]> {
    return (await readFile(join(this.data, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
  }

  /** The postmaster's state in its lock file, where pg_ctl reads it, too. */
  private async status(): Promise<string> {
    return (await this.lockFile())[STATUS_LINE] ?? '';
  }

  private async signal(signal: NodeJS.Signals): Promise<void> {
    const pid = Number((await this.lockFile())[0]);
    if (!this.isOver && Number.isInteger(pid) && pid > 0) signalProcess(pid, signal);
  }

  /** A fast shutdown (manual, "Shutting Down the Server"). */
  async stop(): Promise<void> {
    await this.signal('SIGINT');
    await this.within(STOP_LIMIT_MS);
    if (!this.isOver) throw new KeeperError('TOOL_FAILED', 'the restored PostgreSQL did not shut down');
    await this.process;
  }

  /** An immediate shutdown, which ends the server's own processes, too. */
  quit(): void {
    void this.signal('SIGQUIT');
  }

  /** Resolves when every process of this server has ended. */
  async kill(): Promise<void> {
    if (this.isOver) return;
    this.quit();
    await this.within(QUIT_LIMIT_MS);
    this.killed.abort();
    await this.process.catch(() => undefined);
  }

  private async within(limitMs: number): Promise<void> {
    const late = new AbortController();
    const limit = delay(limitMs, undefined, { signal: late.signal }).catch(() => undefined);
    await Promise.race([this.process.catch(() => undefined), limit]);
    late.abort();
  }
}

/** Writes the settings of this server, which no client uses. Returns the path of postgresql.conf. */
async function writeSettings(data: string, scratch: string): Promise<string> {
  const { floors } = await readControlFile(data);
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch, { recursive: true, mode: 0o700 });
  const file = (name: string) => join(scratch, name);
  const lines = [
    "listen_addresses = ''",
    `unix_socket_directories = '${scratch}'`,
    `hba_file = '${file('pg_hba.conf')}'`,
    `ident_file = '${file('pg_ident.conf')}'`,
    // With hot_standby on, replay stops unless max_connections and its like are as large as the leader's.
    'hot_standby = off',
    'archive_mode = off',
    'autovacuum = off',
    'allow_in_place_tablespaces = on',
    'shared_buffers = 64MB',
    ...Object.entries(floors).map(([name, value]) => `${name} = ${value}`),
    "timezone = 'UTC'",
    "log_timezone = 'UTC'",
    "lc_messages = 'C'",
    'log_checkpoints = off',
    '',
  ];
  await writeFile(file('postgresql.conf'), lines.join('\n'), { mode: 0o600 });
  await writeFile(file('pg_hba.conf'), 'local all all peer map=own\n', { mode: 0o600 });
  const roles = ['postgres', KEEPER_ROLE].map((role) => `own ${userInfo().username} ${role}\n`);
  await writeFile(file('pg_ident.conf'), roles.join(''), { mode: 0o600 });
  return file('postgresql.conf');
}

async function open(scratch: string): Promise<Session> {
  const options = { host: scratch, applicationName: 'restore', database: 'postgres', limitMs: SQL_LIMIT_MS };
  try {
    return await Session.open({ ...options, user: 'postgres' });
  } catch {
    return await Session.open({ ...options, user: KEEPER_ROLE });
  }
}

const REACHED = `SELECT (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000)::float8 AS "atMs",
  ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS timeline`;

async function look({ data, scratch, inspect }: RecoverJob): Promise<Recovered> {
  using session = await open(scratch);
  type Row = { atMs: number | null; timeline: number };
  const { atMs, timeline } = await session.askOne<Row>('reached', REACHED);
  const before = (await readHistory(data, timeline)).at(-2);
  const end = before?.end ?? 0n;
  await inspect?.(session);
  return {
    lastCommitMs: atMs === null ? null : Math.floor(atMs),
    lsn: printLsn(end),
    timeline: before?.timeline ?? timeline,
    newTimeline: timeline,
  };
}

/** What PostgreSQL's log says about a recovery that failed; null: nothing that is known. */
export function failureOf(log: string, target: RestoreTarget): KeeperError | null {
  if (/recovery ended before configured recovery target was reached/.test(log)) {
    const last = /last completed transaction was at log time (\S+ \S+)/.exec(log)?.[1];
    const what = target.kind === 'time' ? zoned(target.atMs) : 'the target';
    const reach = last === undefined ? 'it has no commit after its backup' : `the last second there is, is ${last}`;
    return new KeeperError('RESTORE_IMPOSSIBLE', `${what} lies beyond the end of the archive: ${reach}`);
  }
  const fatal = log.split('\n').findLast((line) => /(FATAL|PANIC): /.test(line));
  const get = log.split('\n').findLast((line) => /ERROR: \[\d{3}\]/.test(line));
  const words = [fatal, get].filter((line) => line !== undefined).join('; ');
  return words === '' ? null : new KeeperError('TOOL_FAILED', `the recovery failed: ${words.slice(0, 1_000)}`);
}
