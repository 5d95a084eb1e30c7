/**
 * The command `check-settings`: PostgreSQL itself checks settings that are given as a JSON object on standard input.
 * PostgreSQL reads them from the same configuration file as on a node, and then starts an empty database with them. So
 * a missing library or too little memory is reported before any node is changed. Exit code 0: PostgreSQL accepts the
 * settings; 1: it refuses them, with PostgreSQL's own message.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
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
const CONNECT_LIMIT_MS = 500;
const CLIENT_LIMIT_MS = 5_000;
const LOOK_MS = 50;

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
  const args = ['-D', data, '-c', `config_file=${file}`, '-c', `unix_socket_directories=${folder}`];
  const files = ['hba_file', 'ident_file'].flatMap((name) => ['-c', `${name}=${join(data, name)}`]);
  const unread = await refusal([...args, ...files], READ_LIMIT_MS);
  if (unread !== null) return unread;
  const initdb = ['--username=postgres', '--auth=trust', '--no-sync', '--wal-segsize=1', '--no-instructions'];
  await run('initdb', ['-D', data, ...initdb], { limitMs: INITDB_LIMIT_MS });
  // No keeper reads the log here, so it goes to standard error.
  const log = ['-c', 'logging_collector=off', '-c', 'log_destination=stderr'];
  return start([...args, ...log, '-c', 'listen_addresses='], folder);
}

/** Null: the server answers. Otherwise PostgreSQL's message. */
async function start(args: string[], sockets: string): Promise<string | null> {
  const child = spawn('postgres', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const heard: string[] = [];
  child.stderr.setEncoding('utf8').on('data', (piece: string) => heard.push(piece));
  const ended = new Promise<'ended'>((resolve) => {
    child.once('error', () => resolve('ended'));
    child.once('close', () => resolve('ended'));
  });
  const deadline = performance.now() + START_LIMIT_MS;
  try {
    while (performance.now() < deadline) {
      if ((await Promise.race([ended, delay(LOOK_MS)])) === 'ended') return plainWords(heard.join(''));
      if ((await login(sockets, CONNECT_LIMIT_MS)) !== null) continue;
      // The failover's own sessions load no libraries at their start. Only one that begins as those of clients do
      // notices a missing library of `session_preload_libraries`.
      const refused = await login(sockets, CLIENT_LIMIT_MS, null);
      return refused === null ? null : `no client can log in: ${refused}`;
    }
    return `it does not start within ${START_LIMIT_MS / 1_000} s; ${plainWords(heard.join(''))}`;
  } finally {
    child.kill('SIGQUIT');
    await Promise.race([ended, delay(STOP_LIMIT_MS).then(() => child.kill('SIGKILL'))]);
  }
}

/** Opens a session and ends it. Resolves with null, or with the message of the error. */
async function login(host: string, limitMs: number, rights?: null): Promise<string | null> {
  const options = { host, user: 'postgres', database: 'postgres', applicationName: 'check', limitMs, rights };
  try {
    (await Session.open(options)).destroy();
    return null;
  } catch (error) {
    return messageOf(error);
  }
}
