/**
 * `postgresSettings` on real Docker, with the commands that a person types and a writer that never pauses: reloaded, rolled
 * out node by node, taken back, refused. No container but the monitor's is replaced. The tests build on each other.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runOk } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';
import { OwnStack } from '../lib/own-stack';
import { TIMEOUTS } from '../timeouts';

const WRITE_PORT = 19434;
const DATABASE = {
  host: '127.0.0.1',
  port: WRITE_PORT,
  user: 'writer',
  password: 'settings-12345',
  database: 'settings',
};
const TABLE = 'settings_writes';
const NODES = ['postgres-primary', 'postgres-replica-1'] as const;
const KEPT = [...NODES, 'haproxy'];

const stack = new OwnStack({
  name: 'settings',
  config: {
    replicas: 1,
    backend: 'false',
    switchback: 'false',
    subnet: '10.98.50.0/24',
    writePort: WRITE_PORT,
    readPort: 19435,
    statsPort: 19000,
    backendPort: 19080,
    monitorPort: 19088,
    databaseName: DATABASE.database,
    databaseUser: DATABASE.user,
    databasePassword: DATABASE.password,
  },
});

interface Heard {
  kind: string;
  atMs: number;
  words: string;
}
const acknowledged: Heard[] = [];
const errors: Heard[] = [];
let writer: ChildProcess | undefined;
let containers: string[] = [];

async function docker(...args: string[]): Promise<string> {
  return (await runOk('docker', args, { deadlineMs: TIMEOUTS.docker })).stdout.trim();
}

/** One held and one fresh connection that insert, in a process of their own. */
function startWriter(): void {
  const { host, user, database, password } = DATABASE;
  const args = ['--import', 'tsx', join(PATHS.root, 'bench', 'writer.ts'), host, String(WRITE_PORT), user, database];
  const env = { ...process.env, PGPASSWORD: password };
  const child = spawn(process.execPath, [...args, TABLE], {
    cwd: PATHS.root,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [what, kind = '', at, ...words] = line.split(' ');
    const heard = { kind, atMs: Number(at), words: words.join(' ') };
    if (what === 'ack') acknowledged.push(heard);
    else errors.push(heard);
  });
  writer = child;
}

async function query(sql: string): Promise<string[]> {
  const client = new Client({ ...DATABASE, connectionTimeoutMillis: TIMEOUTS.connect, query_timeout: TIMEOUTS.query });
  await client.connect();
  try {
    const { rows } = await client.query<string[]>({ text: sql, rowMode: 'array' });
    return rows.map(([value]) => String(value));
  } finally {
    await client.end();
  }
}

/** What each node itself says, asked over its local socket. */
function inside(sql: string): Promise<string[]> {
  return Promise.all(NODES.map((n) => docker('exec', `${stack.prefix}${n}`, 'psql', '-U', 'postgres', '-AtqXc', sql)));
}

function containerIds(names: readonly string[]): Promise<string[]> {
  return Promise.all(names.map((n) => docker('inspect', '--format', '{{.Id}}', `${stack.prefix}${n}`)));
}

/** `npm run up` with these settings; the longest pause of each of the writer's connections meanwhile. */
async function apply(name: string, settings: Record<string, string | number>): Promise<void> {
  const beginMs = Date.now();
  stack.configure({ postgresSettings: settings });
  const said: string[] = [];
  const say = (line: string) => {
    said.push(line);
    console.log(line);
  };
  await stack.up(say).catch((error: unknown) => {
    throw new Error(said.join('\n'), { cause: error });
  });
  const endMs = Date.now();
  const pauses = ['held', 'fresh'].map((kind) => `${kind} ${Math.round(longestPause(kind, beginMs))} ms`);
  const failed = errors.filter((e) => e.atMs >= beginMs).map((e) => `${e.kind}: ${e.words}`);
  console.log(
    `${name}: up took ${endMs - beginMs} ms; longest pause ${pauses.join(', ')}; errors: ${failed.join(' | ') || 'none'}; load ${loadavg()[0]?.toFixed(1)}`,
  );
}

function longestPause(kind: string, sinceMs: number): number {
  const moments = acknowledged.filter((a) => a.kind === kind).map((a) => a.atMs);
  return Math.max(0, ...moments.slice(1).map((atMs, i) => (atMs > sinceMs ? atMs - (moments[i] ?? atMs) : 0)));
}

beforeAll(async () => {
  await stack.up(console.log);
  await query(`CREATE TABLE ${TABLE} (id uuid PRIMARY KEY)`);
  containers = await containerIds(KEPT);
  startWriter();
}, TIMEOUTS.firstUp);

afterAll(async () => {
  writer?.kill('SIGTERM');
  await stack.down(console.log);
}, TIMEOUTS.pulumi);

describe('postgresSettings', () => {
  test('are reloaded where that is enough: no PostgreSQL is restarted', { timeout: TIMEOUTS.pulumi }, async () => {
    const started = await inside('SELECT pg_postmaster_start_time()');
    await apply('reload (work_mem)', { work_mem: '8MB' });
    expect(await inside('SHOW work_mem')).toEqual(['8MB', '8MB']);
    expect(await inside('SELECT pg_postmaster_start_time()')).toEqual(started);
  });

  test('are rolled out by a restart of the standby and a switchover', { timeout: TIMEOUTS.pulumi }, async () => {
    await apply('restart (max_connections 200 → 250)', { work_mem: '8MB', max_connections: 250 });
    expect(await inside('SHOW max_connections')).toEqual(['250', '250']);
    expect(await inside('SELECT pg_is_in_recovery()')).toEqual(['t', 'f']);
  });

  test('are lowered by the leader first, which stays the leader (S23)', { timeout: TIMEOUTS.pulumi }, async () => {
    await apply('restart in place (max_connections 250 → 200)', { work_mem: '8MB' });
    expect(await inside('SHOW max_connections')).toEqual(['200', '200']);
    expect(await inside('SELECT pg_is_in_recovery()')).toEqual(['t', 'f']);
  });

  test('that PostgreSQL refuses are told in its words, and nothing changes', { timeout: TIMEOUTS.pulumi }, async () => {
    const monitor = await containerIds(['failover-monitor']);
    await expect(apply('refused', { work_mem: 'lots' })).rejects.toThrow(
      /invalid value for parameter "work_mem": "lots"/,
    );
    await expect(apply('refused', { shared_preload_libraries: 'nothing' })).rejects.toThrow(
      /could not access file "nothing"/,
    );
    await expect(apply('refused', { fsync: 'off' })).rejects.toThrow(/postgresSettings.fsync: "off" is refused/);
    expect(await containerIds(['failover-monitor'])).toEqual(monitor);
    expect(await inside('SHOW work_mem')).toEqual(['8MB', '8MB']);
  });

  test('replaced no other container, refused no connection, and lost no acknowledged row', async () => {
    const ended = new Promise((resolve) => writer?.once('close', resolve));
    writer?.kill('SIGTERM');
    await ended;
    expect(await containerIds(KEPT)).toEqual(containers);
    expect(errors.filter((e) => e.words.startsWith('connect:'))).toEqual([]);
    const there = new Set(await query(`SELECT id FROM ${TABLE}`));
    expect(acknowledged.filter((a) => !there.has(a.words))).toEqual([]);
    expect(acknowledged.length).toBeGreaterThan(1_000);
  });
});
