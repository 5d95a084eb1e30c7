/**
 * A restore in place: the shipped monitor with a real HAProxy and two real nodes that make backups. Durations are printed.
 * The tests build on each other.
 */
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RestoreTarget } from '../../failover/contract/backups';
import { PATHS, PORTS } from '../../failover/contract/layout';
import { docker, dockerQuietly } from '../keeper/node-containers';
import { PASSWORD, RealCluster } from './real-cluster';

const BACKUPS = 'restore-backups';
const DAY_MS = 86_400_000;

const cluster = new RealCluster({
  ...{ prefix: 'restore', subnet: '10.98.79', port: 17_479 },
  policy: { readLagGraceMs: 4_000, backup: true, backupFullEveryMs: 7 * DAY_MS, backupEveryMs: DAY_MS },
  settings: { backup: { leaseMs: 2_000, queueBytes: 1e9, keep: 7 } },
});
const [A = '', B = ''] = cluster.nodes.map(({ name }) => name);
const parts = () => cluster.monitor.parts;

/** True when a leads in this generation, b is counted, and nothing is to be done. */
const well = (generation: number) => cluster.decision?.state.generation === generation && cluster.counts(A, [B]);

const serves = (generation: number) =>
  cluster.decision?.state.generation === generation && cluster.decision.state.activity.kind === 'serving';

/** One statement of a client through HAProxy's write port. */
async function write(text: string): Promise<string> {
  const client = new Client({
    ...{ host: cluster.haproxy.address, port: PORTS.haproxyWrite, query_timeout: 30_000 },
    ...{ user: 'app', password: PASSWORD, database: 'app' },
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
  const request = parts().backups.restore(target);
  if ('refusal' in request) throw new Error(request.refusal);
  // A new leader archives when it has led for a second.
  await cluster.until('a restore may begin', () => parts().requests.dryRun(request).done);
  const { done, message } = await parts().requests.ask(request);
  if (!done) throw new Error(message);
}

const folders = (node: string) => docker('exec', node, 'ls', PATHS.nodeVolume);
const timelines = () => docker('exec', A, 'sh', '-c', `find ${PATHS.backupVolume}/archive -name '*.history' | sort`);

/** Waits until b streams again, and prints how long clients waited. */
async function restored(generation: number, what: string): Promise<void> {
  const fromMs = performance.now();
  await cluster.until(`${what}: the leader serves`, () => serves(generation));
  const servesMs = performance.now() - fromMs;
  await cluster.until(`${what}: the standby is copied and counted`, () => well(generation));
  const wellMs = performance.now() - fromMs;
  console.log(`${what}: serves after ${Math.round(servesMs)} ms, standby counted after ${Math.round(wellMs)} ms`);
}

const isRoot = process.getuid?.() === 0;
let beforeDrop: RestoreTarget = { kind: 'latest' };

// HAProxy's sockets belong to its own group; without root this test cannot open them.
describe.skipIf(!isRoot)('a restore in place', () => {
  beforeAll(async () => {
    await cluster.create();
    await dockerQuietly('volume', 'rm', BACKUPS);
    await cluster.startHaproxy();
    await cluster.startMonitor();
    await cluster.startNodes({ backupVolume: BACKUPS });
    await cluster.until('a healthy cluster', () => well(1));
    await cluster.sql(A, 'CREATE TABLE rows AS SELECT generate_series(1, 1000) AS n; GRANT ALL ON rows TO app');
    await cluster.until('the archive takes files', () => parts().backups.summary()?.archive.open === true);
    expect(parts().backups.backup('full', false)).toMatchObject({ done: true });
    await cluster.until('a backup', () => parts().backups.summary()?.lastFull != null);
    // The times of a backup are whole seconds.
    const stop = Date.parse(parts().backups.summary()?.lastFull?.at ?? '');
    await cluster.until('a second after the backup', () => Date.now() > stop + 1_100);
    await write('INSERT INTO rows SELECT generate_series(1001, 1500)');
    beforeDrop = { kind: 'time', atMs: Date.now() };
    await new Promise((resolve) => setTimeout(resolve, 50));
    await cluster.sql(A, 'DROP TABLE rows');
  });

  afterAll(async () => {
    await cluster.remove();
    await dockerQuietly('volume', 'rm', BACKUPS);
  });

  it('refuses what the backups cannot give, and serves as before when the repository fails', async () => {
    await expect(restore({ kind: 'time', atMs: 1 })).rejects.toThrow(/is before the first backup/);
    await expect(restore({ kind: 'backup', label: '20200101-000000F' })).rejects.toThrow(/there is no backup/);
    const missing = { kind: 'backup' as const, label: '20200101-000000F' };
    const asked = { kind: 'restore' as const, target: missing, timeline: 2, sizeBytes: 1e7, keepsOld: true };
    const { term } = cluster.decision?.state ?? { term: 0 };
    expect(await parts().requests.ask(asked)).toMatchObject({ done: true });
    expect(await parts().requests.ask({ kind: 'switchover', to: null })).toMatchObject({
      ...{ done: false, message: 'a restore in place is under way' },
    });
    await cluster.until('the former data serve again', () => well(1) && cluster.decision?.state.term === term + 1);
    // It ends when the route is read back.
    await cluster.until('the request has ended', () => cluster.decision?.state.request?.ended !== undefined);
    expect(cluster.decision?.state.request?.ended).toMatchObject({ done: false });
    expect(cluster.decision?.state.request?.ended?.message).toContain('20200101-000000F');
    expect(await folders(A)).not.toMatch(/data\.(restored|before|new)/);
  });

  it('brings a dropped table back as of the moment before, and the standby follows the restored leader', async () => {
    await restore(beforeDrop);
    await restored(2, 'restore');
    expect(await write('SELECT count(*) AS value FROM rows')).toBe('1500');
    expect(await cluster.sql(B, 'SELECT count(*) FROM rows')).toBe('1500');
    expect(await folders(A)).toMatch(/data\.before-restore-\d{8}T\d{6}Z/);
    expect(cluster.decision?.reason).toContain('the data from before are kept on restore-a');
    expect(parts().backups.summary()?.next?.kind).toBe('full');
  });

  it('goes back to the data from before when a person undoes it', async () => {
    await write('INSERT INTO rows VALUES (9999)');
    expect(await parts().requests.ask({ kind: 'undo' })).toMatchObject({ done: true });
    await restored(3, 'undo');
    expect(await write(`SELECT to_regclass('rows') AS value`)).toBe('null');
    expect(await cluster.sql(B, `SELECT to_regclass('rows') IS NULL`)).toBe('t');
    expect(await folders(A)).not.toMatch(/data\.before/);
  });

  it('restores once more, across a restart of the monitor in the middle, and forgets the old data when asked to', async () => {
    await restore(beforeDrop);
    await cluster.until('the data are being made', () => {
      const { activity } = cluster.decision?.state ?? {};
      return activity?.kind === 'restore' && activity.stage === 'make';
    });
    await cluster.stopMonitor();
    await cluster.startMonitor();
    await restored(4, 'second restore, with a restart of the monitor');
    expect(await write('SELECT count(*) AS value FROM rows')).toBe('1500');
    expect(await cluster.sql(B, 'SELECT count(*) FROM rows')).toBe('1500');
    expect(await parts().requests.ask({ kind: 'confirm' })).toMatchObject({ done: true });
    await cluster.until('the old data are gone', async () => !/data\.before/.test(await folders(A)));
    await cluster.until('they are forgotten', () => cluster.decision?.state.restored === undefined);
    // Every history has a number of its own.
    const files = (await timelines()).split('\n').map((path) => path.split('/').at(-1));
    console.log(`histories in the repository: ${files.join(', ')}`);
    expect(new Set(files).size).toBe(files.length);
    expect(cluster.log.filter((line) => line.includes('checksum'))).toEqual([]);
  });
});
