/**
 * `postgresSettings` on real Docker, with the commands that a person types and a writer that never pauses: reloaded, rolled
 * out node by node, taken back, refused. No container but the monitor's is replaced. The tests build on each other.
 */
import { loadavg } from 'node:os';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type WriterKind, WriterProcess } from '../rig/writer-process';
import { runOk } from '../../scripts/lib/exec';
import { OwnStack } from '../rig/stack';
import { TIMEOUTS } from '../timeouts';
import { giveBaseBack, keepBase } from './lib/stack';

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

let writer: WriterProcess | undefined;
let containers: string[] = [];

async function docker(...args: string[]): Promise<string> {
  return (await runOk('docker', args, { deadlineMs: TIMEOUTS.docker })).stdout.trim();
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
  const pauses = (['held', 'fresh'] as const).map((kind) => `${kind} ${Math.round(longestPause(kind, beginMs))} ms`);
  const failed = (writer?.failures ?? []).filter((e) => e.atMs >= beginMs).map((e) => `${e.kind}: ${e.words}`);
  console.log(
    `${name}: up took ${endMs - beginMs} ms; longest pause ${pauses.join(', ')}; errors: ${failed.join(' | ') || 'none'}; load ${loadavg()[0]?.toFixed(1)}`,
  );
}

function longestPause(kind: WriterKind, sinceMs: number): number {
  const moments = (writer?.acks ?? []).filter((a) => a.kind === kind).map((a) => a.atMs);
  return Math.max(0, ...moments.slice(1).map((atMs, i) => (atMs > sinceMs ? atMs - (moments[i] ?? atMs) : 0)));
}

beforeAll(async () => {
  await stack.up(console.log);
  await keepBase();
  await query(`CREATE TABLE ${TABLE} (id uuid PRIMARY KEY)`);
  containers = await containerIds(KEPT);
  writer = new WriterProcess({ ...DATABASE, writePort: WRITE_PORT }, { table: TABLE, password: DATABASE.password });
}, TIMEOUTS.firstUp);

afterAll(async () => {
  await writer?.stop();
  await stack.down(console.log);
  await giveBaseBack();
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
    await expect(apply('refused', { session_preload_libraries: 'nothing' })).rejects.toThrow(
      /no client can log in: could not access file "nothing"/,
    );
    await expect(apply('refused', { track_activities: 'off' })).rejects.toThrow(
      /postgresSettings.track_activities: "off" is refused/,
    );
    await expect(apply('refused', { fsync: 'off' })).rejects.toThrow(/postgresSettings.fsync: "off" is refused/);
    expect(await containerIds(['failover-monitor'])).toEqual(monitor);
    expect(await inside('SHOW work_mem')).toEqual(['8MB', '8MB']);
  });

  test('replaced no other container, refused no connection, and lost no acknowledged row', async () => {
    await writer?.stop();
    const { acks = [], failures = [] } = writer ?? {};
    expect(await containerIds(KEPT)).toEqual(containers);
    expect(failures.filter((f) => f.words.startsWith('connect:'))).toEqual([]);
    const there = new Set(await query(`SELECT id FROM ${TABLE}`));
    expect(acks.filter((a) => !there.has(a.id))).toEqual([]);
    expect(acks.length).toBeGreaterThan(1_000);
  });
});
