/**
 * A restore in place: the shipped monitor with a real HAProxy and two real nodes that make backups. Durations are printed.
 * The tests build on each other.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RestoreTarget } from '../../failover/contract/backups';
import { budgetFor } from '../../failover/contract/budget';
import { PATHS, PORTS } from '../../failover/contract/layout';
import type { Decision } from '../../failover/core/state/cluster';
import { createMonitor } from '../../failover/monitor/monitor';
import { renderHaproxyConfig } from '../../stack/haproxy-config';
import { buildImage, docker, dockerQuietly, removeNode, startNode } from '../keeper/node-containers';
import { applyConfig } from '../rig/apply-config';

const NETWORK = 'restore-inner';
const [POSTGRES, HAPROXY] = ['restore-postgres:test', 'restore-haproxy:test'];
const [PROXY, BACKUPS] = ['restore-proxy', 'restore-backups'];
const HOST = '10.98.79.1';
const PROXY_ADDRESS = '10.98.79.10';
const PORT = 17_479;
const KEY = 'i'.repeat(48);
const [A, B] = ['restore-a', 'restore-b'] as const;
const NODES = [A, B].map((name, i) => ({ name, address: `10.98.79.2${i}` }));
/** Limit for what usually takes some seconds, on a busy machine, ms. */
const LIMIT_MS = 60_000;
const DAY_MS = 86_400_000;

/** What the monitor has stored, so that another start of it goes on. */
const disk = { incarnation: 0, state: null as string | null };
const log: string[] = [];
let decision: Decision | null = null;
let sockets = '';
let monitor: ReturnType<typeof createMonitor>;
let ran: Promise<void> = Promise.resolve();

async function startMonitor(): Promise<void> {
  disk.incarnation += 1;
  monitor = createMonitor({
    nodes: NODES,
    policy: {
      ...{ hangTimeoutMs: 2_000, syncMode: 'synchronous', onNoReplica: 'continue', syncCount: 1 },
      ...{ maxLagBytes: 16 * 1024 ** 2, readLagGraceMs: 4_000, reportReplicas: 0, readFallback: true },
      ...{ startGraceMs: 10_000, switchback: false, switchbackAfterMs: 30_000, switchbackLimitMs: 600_000 },
      ...{ backup: true, backupFullEveryMs: 7 * DAY_MS, backupEveryMs: DAY_MS },
    },
    clusterKey: KEY,
    settings: {
      ...{ haproxyAddress: PROXY_ADDRESS, monitorAddress: HOST, subnet: '10.98.79.0/24', postgresSettings: {} },
      ...{ databaseName: 'app', databaseUser: 'app', databasePassword: 'secret' },
      backup: { leaseMs: 2_000, queueBytes: 1e9, keep: 7 },
    },
    listen: { address: HOST, port: PORT },
    sockets,
    store: {
      ...{ incarnation: disk.incarnation, loaded: disk.state },
      save: async (text) => {
        disk.state = text;
      },
      raiseAbove: async (n) => {
        disk.incarnation = n + 1;
        return disk.incarnation;
      },
    },
    clock: { nowMs: () => performance.now() },
    log: { write: (level, subject, code, message) => log.push(`${level} ${subject} ${code} ${message}`) },
    onDecision: (made) => {
      decision = made;
    },
  });
  await monitor.parts.keepers.listen();
  ran = monitor.run();
}

async function stopMonitor(): Promise<void> {
  monitor.stop();
  await monitor.parts.keepers.close();
  await ran;
}

async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = LIMIT_MS): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > deadline)
      throw new Error(`never: ${what}\n${decision?.reason}\n${log.slice(-40).join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** True when a leads in this generation, b is counted, and nothing is to be done. */
function well(generation: number): boolean {
  if (decision?.code !== 'STEADY' || decision.state.leader !== A || decision.state.generation !== generation)
    return false;
  return decision.state.joint.length === 1 && decision.state.joint[0]?.members.join() === B;
}

const serves = (generation: number) =>
  decision?.state.generation === generation && decision.state.activity.kind === 'serving';

const sql = (node: string, text: string) => docker('exec', node, 'psql', '-U', 'postgres', '-d', 'app', '-Atc', text);

/** One statement of a client through HAProxy's write port. */
async function write(text: string): Promise<string> {
  const client = new Client({
    ...{ host: PROXY_ADDRESS, port: PORTS.haproxyWrite, query_timeout: 30_000 },
    ...{ user: 'app', password: 'secret', database: 'app' },
  });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const { rows } = await client.query<{ value: unknown }>(text);
    return String(rows[0]?.value);
  } finally {
    await client.end();
  }
}

/** Begins a restore in place; throws the sentence of a refusal. */
async function restore(target: RestoreTarget): Promise<void> {
  const request = monitor.parts.backups.restore(target);
  if ('refusal' in request) throw new Error(request.refusal);
  // A new leader archives when it has led for a second.
  await until('a restore may begin', () => monitor.parts.requests.dryRun(request).done);
  const { done, message } = await monitor.parts.requests.ask(request);
  if (!done) throw new Error(message);
}

const folders = (node: string) => docker('exec', node, 'ls', PATHS.nodeVolume);
const timelines = () => docker('exec', A, 'sh', '-c', `find ${PATHS.backupVolume}/archive -name '*.history' | sort`);

/** Waits until b streams again, and prints how long clients waited. */
async function restored(generation: number, what: string): Promise<void> {
  const fromMs = performance.now();
  await until(`${what}: the leader serves`, () => serves(generation));
  const servesMs = performance.now() - fromMs;
  await until(`${what}: the standby is copied and counted`, () => well(generation));
  const wellMs = performance.now() - fromMs;
  console.log(`${what}: serves after ${Math.round(servesMs)} ms, standby counted after ${Math.round(wellMs)} ms`);
}

const isRoot = process.getuid?.() === 0;
let beforeDrop: RestoreTarget = { kind: 'latest' };

// HAProxy's sockets belong to its own group; without root this test cannot open them.
describe.skipIf(!isRoot)('a restore in place', () => {
  beforeAll(async () => {
    await dockerQuietly('rm', '-f', '-v', PROXY);
    for (const { name } of NODES) await removeNode(name);
    await dockerQuietly('volume', 'rm', BACKUPS);
    await dockerQuietly('network', 'rm', NETWORK);
    await docker('network', 'create', '--subnet', '10.98.79.0/24', '--gateway', HOST, NETWORK);
    await buildImage(POSTGRES);
    await docker('build', '-q', '-t', HAPROXY, join(__dirname, '../../images/haproxy'));
    sockets = mkdtempSync(join(tmpdir(), 'restore-sockets-'));
    chmodSync(sockets, 0o777);
    const run = ['run', '-d', '--init', '--network', NETWORK, '--ip', PROXY_ADDRESS, '--name', PROXY];
    await docker(...run, '-v', `${sockets}:/run/haproxy`, HAPROXY);
    const config = renderHaproxyConfig({ holdTimeoutMs: 30_000, budget: budgetFor({}), backendHost: null });
    await applyConfig(PROXY, config);
    await startMonitor();
    const base = { image: POSTGRES, network: NETWORK, monitor: { host: HOST, port: PORT }, clusterKey: KEY };
    await Promise.all(NODES.map((n) => startNode({ ...base, ...n, backupVolume: BACKUPS })));
    await until('a healthy cluster', () => well(1), 120_000);
    await sql(A, 'CREATE TABLE rows AS SELECT generate_series(1, 1000) AS n; GRANT ALL ON rows TO app');
    await until('the archive takes files', () => monitor.parts.backups.summary()?.archive.open === true);
    expect(monitor.parts.backups.backup('full', false)).toMatchObject({ done: true });
    await until('a backup', () => monitor.parts.backups.summary()?.lastFull != null);
    // The times of a backup are whole seconds.
    const stop = Date.parse(monitor.parts.backups.summary()?.lastFull?.at ?? '');
    await until('a second after the backup', () => Date.now() > stop + 1_100);
    await write('INSERT INTO rows SELECT generate_series(1001, 1500)');
    beforeDrop = { kind: 'time', atMs: Date.now() };
    await new Promise((resolve) => setTimeout(resolve, 50));
    await sql(A, 'DROP TABLE rows');
  });

  afterAll(async () => {
    await stopMonitor();
    await dockerQuietly('rm', '-f', '-v', PROXY);
    for (const { name } of NODES) await removeNode(name);
    await dockerQuietly('volume', 'rm', BACKUPS);
    await dockerQuietly('network', 'rm', NETWORK);
    for (const image of [POSTGRES, HAPROXY]) await dockerQuietly('rmi', image);
    rmSync(sockets, { recursive: true, force: true });
  });

  it('refuses what the backups cannot give, and serves as before when the repository fails', async () => {
    await expect(restore({ kind: 'time', atMs: 1 })).rejects.toThrow(/is before the first backup/);
    await expect(restore({ kind: 'backup', label: '20200101-000000F' })).rejects.toThrow(/there is no backup/);
    const missing = { kind: 'backup' as const, label: '20200101-000000F' };
    const asked = { kind: 'restore' as const, target: missing, timeline: 2, sizeBytes: 1e7, keepsOld: true };
    const { term } = decision?.state ?? { term: 0 };
    expect(await monitor.parts.requests.ask(asked)).toMatchObject({ done: true });
    expect(await monitor.parts.requests.ask({ kind: 'switchover', to: null })).toMatchObject({
      ...{ done: false, message: 'a restore in place is under way' },
    });
    await until('the former data serve again', () => well(1) && decision?.state.term === term + 1);
    // It ends when the route is read back.
    await until('the request has ended', () => decision?.state.request?.ended !== undefined);
    expect(decision?.state.request?.ended).toMatchObject({ done: false });
    expect(decision?.state.request?.ended?.message).toContain('20200101-000000F');
    expect(await folders(A)).not.toMatch(/data\.(restored|before|new)/);
  });

  it('brings a dropped table back as of the moment before, and the standby follows the restored leader', async () => {
    await restore(beforeDrop);
    await restored(2, 'restore');
    expect(await write('SELECT count(*) AS value FROM rows')).toBe('1500');
    expect(await sql(B, 'SELECT count(*) FROM rows')).toBe('1500');
    expect(await folders(A)).toMatch(/data\.before-restore-\d{8}T\d{6}Z/);
    expect(decision?.reason).toContain('the data from before are kept on restore-a');
    expect(monitor.parts.backups.summary()?.next?.kind).toBe('full');
  });

  it('goes back to the data from before when a person undoes it', async () => {
    await write('INSERT INTO rows VALUES (9999)');
    expect(await monitor.parts.requests.ask({ kind: 'undo' })).toMatchObject({ done: true });
    await restored(3, 'undo');
    expect(await write(`SELECT to_regclass('rows') AS value`)).toBe('null');
    expect(await sql(B, `SELECT to_regclass('rows') IS NULL`)).toBe('t');
    expect(await folders(A)).not.toMatch(/data\.before/);
  });

  it('restores once more, across a restart of the monitor in the middle, and forgets the old data when asked to', async () => {
    await restore(beforeDrop);
    await until('the data are being made', () => {
      const { activity } = decision?.state ?? {};
      return activity?.kind === 'restore' && activity.stage === 'make';
    });
    await stopMonitor();
    await startMonitor();
    await restored(4, 'second restore, with a restart of the monitor');
    expect(await write('SELECT count(*) AS value FROM rows')).toBe('1500');
    expect(await sql(B, 'SELECT count(*) FROM rows')).toBe('1500');
    expect(await monitor.parts.requests.ask({ kind: 'confirm' })).toMatchObject({ done: true });
    await until('the old data are gone', async () => !/data\.before/.test(await folders(A)));
    await until('they are forgotten', () => decision?.state.restored === undefined);
    // Every history has a number of its own.
    const files = (await timelines()).split('\n').map((path) => path.split('/').at(-1));
    console.log(`histories in the repository: ${files.join(', ')}`);
    expect(new Set(files).size).toBe(files.length);
    expect(log.filter((line) => line.includes('checksum'))).toEqual([]);
  });
});
