/**
 * The command `check-settings`: PostgreSQL itself checks settings that are given as a JSON object on standard input.
 * PostgreSQL reads them from the same configuration file as on a node, and then starts an empty database with them. So
 * a missing library or too little memory is reported before any node is changed. Exit code 0: PostgreSQL accepts the
 * settings; 1: it refuses them, with PostgreSQL's own message.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { messageOf } from '../../contract/errors';
import { renderPostgresqlConf } from './config-files';
import { refusal } from './configuration';
import { run } from './processes';
import { plainWords } from './server-log';
import { Session } from './session';

const READ_LIMIT_MS = 10_000;
const INITDB_LIMIT_MS = 120_000;
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 5_000;
const CLIENT_LIMIT_MS = 5_000;
const MB = 1024 ** 2;
/** The most of a node's memory that all processes share, mostly `shared_buffers`. The rest is for the processes. */
const SHARED_PART = 0.75;

/** Runs the command. Resolves with its exit code. */
export async function checkSettings(memoryLimitBytes: number | null, say: (line: string) => void): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'check-settings-'));
  try {
    const postgresSettings = z.record(z.string(), z.string()).parse(JSON.parse(await text(process.stdin)));
    const words = await trouble(folder, postgresSettings, memoryLimitBytes);
    const names = Object.keys(postgresSettings).sort().join(', ');
    say(words === null ? `PostgreSQL takes ${names}` : `PostgreSQL refuses postgresSettings: ${words}`);
    return words === null ? 0 : 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function trouble(
  folder: string,
  postgresSettings: Record<string, string>,
  memoryLimitBytes: number | null,
): Promise<string | null> {
  const data = join(folder, 'data');
  const file = join(folder, 'postgresql.conf');
  await mkdir(data);
  await writeFile(file, renderPostgresqlConf('check', { postgresSettings }, memoryLimitBytes));
  await writeFile(join(folder, 'failover.conf'), '');
  const args = ['-c', `config_file=${file}`, '-c', `unix_socket_directories=${folder}`];
  const files = ['hba_file', 'ident_file'].flatMap((name) => ['-c', `${name}=${join(data, name)}`]);
  const unread = await refusal(['-D', data, ...args, ...files], READ_LIMIT_MS);
  if (unread !== null) return unread;
  const initdb = ['--username=postgres', '--auth=trust', '--no-sync', '--wal-segsize=1', '--no-instructions'];
  await run('initdb', ['-D', data, ...initdb], { limitMs: INITDB_LIMIT_MS });
  // No keeper reads the log here, so it goes to standard error.
  const log = ['-c', 'logging_collector=off', '-c', 'log_destination=stderr'];
  // PostgreSQL computes the size without taking the memory. When it cannot, the start tells why.
  const size = ['-D', data, ...args, ...files, ...log, '-C', 'shared_memory_size'];
  const sharedMb = Number(await run('postgres', size, { limitMs: READ_LIMIT_MS }).catch(() => 0));
  const memoryMb = Math.floor((memoryLimitBytes ?? totalmem()) / MB);
  if (sharedMb > SHARED_PART * memoryMb) {
    return `PostgreSQL would share ${sharedMb} MB of memory between its processes (shared_buffers, max_connections and so on), and a node has ${memoryMb} MB, of which it may share ${SHARED_PART * 100} %`;
  }
  return start(data, [...args, ...log, '-c', 'listen_addresses='], folder);
}

/** Starts the server and ends it. Null: a client can log in. Otherwise PostgreSQL's message. */
async function start(data: string, args: string[], sockets: string): Promise<string | null> {
  const log = join(sockets, 'log');
  const server = ['-D', data, '-l', log, '-t', `${START_LIMIT_MS / 1_000}`, '-o', args.join(' ')];
  try {
    await run('pg_ctl', ['start', ...server], { limitMs: 2 * START_LIMIT_MS });
    // The failover's own sessions load no libraries at their start. Only one that begins as those of clients do notices
    // a missing library of `session_preload_libraries`.
    const client = { user: 'postgres', database: 'postgres', applicationName: 'check', rights: null };
    const refused = await Session.open({ host: sockets, limitMs: CLIENT_LIMIT_MS, ...client }).then(
      (session) => session.destroy(),
      messageOf,
    );
    return refused === undefined ? null : `no client can log in: ${refused}`;
  } catch (error) {
    const isLate = messageOf(error).includes('did not start in time');
    const words = plainWords(await readFile(log, 'utf8'));
    return isLate ? `it does not start within ${START_LIMIT_MS / 1_000} s; ${words}` : words;
  } finally {
    await run('pg_ctl', ['stop', '-D', data, '--mode=immediate'], { limitMs: STOP_LIMIT_MS }).catch(() => undefined);
  }
}
