/**
 * Real nodes: rows are written, backed up, and survive a leader that is lost with its disk; then the table is dropped.
 * Two new nodes beside them restore the second before that drop, and another one.
 */
import { execFile } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RestoreTarget } from '../../failover/contract/backups';
import { PATHS } from '../../failover/contract/layout';
import { lsnDistance } from '../../failover/contract/lsn';
import type { Target } from '../../failover/contract/messages';
import { derivedPassword } from '../../failover/contract/proof';
import { RepositoryLook } from '../../failover/contract/restore';
import { waitFor } from '../rig/wait';
import { docker, dockerQuietly, NodePair, removeNode, startNode } from './node-containers';

const SUBNET = '10.211.93';
const PORT = 17_593;
/** A full backup of the small database, and the archive of its end, take some seconds. */
const BACKUP_MS = 60_000;
/** A restore and its recovery take some seconds. */
const RESTORE_MS = 60_000;
const [FIRST, SECOND] = ['rst-c', 'rst-d'];

const pair = new NodePair({ prefix: 'rst', subnet: SUBNET, port: PORT });
const { a: A, b: B, monitor, image, host, clusterKey } = pair;
const passphrase = derivedPassword(clusterKey, 'backup');
const psql = (node: string, text: string) => docker('exec', node, 'psql', '-U', 'postgres', '-Atc', text);
const alone = (node: string): Target => ({ kind: 'lead', sync: { leader: node, k: 0, members: [] } });
const mayArchive = (node: string, term: number) => {
  monitor.archivist = { node, term };
  return monitor.until(node, (s) => s.archive?.open === true, 'has the lease', 30_000);
};
/** The leader's clock, ms. */
const now = async (node: string) =>
  Math.floor(Number(await psql(node, 'SELECT extract(epoch FROM clock_timestamp()) * 1000')));
/** Inserts numbers, each in a transaction of its own. */
const insert = (node: string, from: number, to: number) =>
  docker(
    ...['exec', node, 'sh', '-c'],
    `for n in $(seq ${from} ${to}); do echo "INSERT INTO rows VALUES ($n);"; done | psql -qU postgres`,
  );
/** Every file of a repository with its checksum. */
const sums = (volume: string) =>
  docker(
    ...['run', '--rm', '--network', 'none', '-v', `${volume}:/r:ro`, '--entrypoint', 'sh', image, '-c'],
    'find /r -type f -exec sha256sum {} + | sort',
  );

/** What the repository can bring back, as the command asks for it. */
function look(target: RestoreTarget, secret = passphrase): Promise<RepositoryLook> {
  const mount = `type=volume,source=${pair.backupVolume},target=${PATHS.restoreVolume},readonly`;
  const run = ['run', '--rm', '-i', '--network', 'none', '--cap-drop', 'ALL', '--mount', mount];
  return new Promise((resolve, reject) => {
    const args = [...run, image, 'node', '/app/keeper.mjs', 'look-at-repository'];
    const child = execFile('docker', args, (error, stdout, stderr) => {
      if (error === null) resolve(RepositoryLook.parse(JSON.parse(stdout)));
      else reject(new Error(`${error.message} ${stdout} ${stderr}`));
    });
    child.stdin?.end(JSON.stringify({ passphrase: secret, target }));
  });
}

/** Makes a new cluster's first node, which restores. */
async function restore(node: string, address: string, target: RestoreTarget): Promise<void> {
  const { stanza, timeline } = await look(target);
  const source = { stanza, passphrase, target, timeline };
  await startNode({
    ...{ name: node, image, network: pair.network, address, monitor: { host, port: PORT }, clusterKey },
    ...{ backupVolume: `${node}-backup`, restore: { source, volume: pair.backupVolume } },
  });
  await monitor.until(node, (s) => s.postgres.state === 'absent', 'first status', RESTORE_MS);
}

async function removeRestored(): Promise<void> {
  for (const node of [FIRST, SECOND]) {
    await removeNode(node);
    await dockerQuietly('volume', 'rm', `${node}-backup`);
  }
}

let before = '';
let droppedMs = 0;
let laterMs = 0;

beforeAll(async () => {
  await removeRestored();
  monitor.settle({ ...pair.settings, backup: { leaseMs: 2_000, queueBytes: 1e9, keep: 2 } });
  await pair.start();
  await monitor.until(B, pair.streams, 'streams');
  await monitor.done(A, 1, { kind: 'lead', sync: { leader: A, k: 1, members: [B] } });
  await mayArchive(A, 1);
  await psql(A, 'CREATE TABLE rows (n int)');
  await insert(A, 1, 100);
  monitor.job = { id: 'full', kind: 'full' };
  const done = await monitor.until(A, ({ backup }) => backup?.last?.id === 'full', 'makes a backup', BACKUP_MS);
  expect(done.backup?.last?.result).toBe('done');
  monitor.job = null;
});

afterAll(async () => {
  await removeRestored();
  await pair.remove();
});

/** Copies b anew, and returns what was asked of the leader for it, and what b said. */
async function copyAnew(): Promise<{ checkpoints: number; notes: string }> {
  const requested = async () => Number(await psql(A, 'SELECT num_requested FROM pg_stat_checkpointer'));
  const [before, said] = [await requested(), monitor.view(B).notes.length];
  const replaces = monitor.view(B).status?.dataId ?? undefined;
  await monitor.done(B, 1, { kind: 'follow', leader: A, method: 'copy', replaces }, RESTORE_MS);
  await monitor.until(B, pair.streams, 'streams', RESTORE_MS);
  const notes = monitor.view(B).notes.slice(said).join('\n');
  // A base backup begins with a checkpoint that it asks the leader for.
  return { checkpoints: (await requested()) - before, notes };
}

it('makes a replica from the backup, with every row, and the leader serves no base backup', async () => {
  const backup = { leaseMs: 2_000, queueBytes: 1e9, keep: 2, replicaFrom: 'backup' as const };
  monitor.settle({ ...pair.settings, backup });
  await insert(A, 101, 150);
  await psql(A, 'SELECT pg_switch_wal()');
  await insert(A, 151, 200);
  const fromMs = performance.now();
  const { checkpoints, notes } = await copyAnew();
  console.log(`replica from the backup: ${Math.round(performance.now() - fromMs)} ms`);
  expect(notes).toMatch(/COPY_PROGRESS restores backup \d{8}-\d{6}F/);
  expect(notes).not.toContain('cannot be used');
  expect(checkpoints).toBe(0);
  await insert(A, 201, 205);
  const lsn = await psql(A, 'SELECT pg_current_wal_flush_lsn()');
  await waitFor('b has replayed all', 20_000, async () => {
    return (await psql(B, `SELECT pg_last_wal_replay_lsn() >= '${lsn}'`)) === 't';
  });
  expect(await psql(B, 'SELECT count(*), sum(n) FROM rows')).toBe(`205|${(205 * 206) / 2}`);
});

it('makes it from the leader when the backup cannot be used, and says why', async () => {
  // pgBackRest repeats a damaged file for half a minute, and names a missing list at once.
  const folder = `${PATHS.backupVolume}/backup`;
  await docker('exec', A, 'mv', folder, `${folder}.away`);
  const { checkpoints, notes } = await copyAnew();
  await docker('exec', A, 'mv', `${folder}.away`, folder);
  expect(notes).toMatch(
    /COPY_PROGRESS the backup cannot be used, so the copy comes from rst-a: the repository has no backup/,
  );
  expect(checkpoints).toBe(1);
  monitor.settle({ ...pair.settings, backup: { leaseMs: 2_000, queueBytes: 1e9, keep: 2 } });
  await psql(A, 'DELETE FROM rows WHERE n > 100');
});

it('archives all rows, also those of a leader that was lost with its disk', async () => {
  await insert(A, 101, 200);
  await removeNode(A);
  await monitor.done(B, 2, alone(B));
  await insert(B, 201, 300);
  await mayArchive(B, 2);
  droppedMs = await now(B);
  await psql(B, 'DROP TABLE rows');
  await psql(B, 'CREATE TABLE later (n int)');
  laterMs = await now(B);
  await psql(B, 'DROP TABLE later');
  const lsn = await psql(B, 'SELECT pg_current_wal_lsn()');
  await psql(B, 'SELECT pg_switch_wal()');
  const isThere = (to: string | null | undefined) => to != null && lsnDistance(lsn, to) >= 0;
  await monitor.until(B, ({ archive }) => isThere(archive?.archivedTo), 'has archived it', BACKUP_MS);
  // From here on it archives nothing, so that the repository stays as it is.
  monitor.archivist = null;
  await monitor.until(B, ({ archive }) => archive === undefined || !archive.open, 'archives no more');
  before = await sums(pair.backupVolume);
});

it('says from the repository alone what can be brought back', async () => {
  const { stanza, backups, timelines, timeline, archivedMs } = await look({ kind: 'time', atMs: droppedMs });
  expect(stanza).toMatch(/^c\d+$/);
  expect(backups.map(({ type }) => type)).toEqual(['full']);
  expect(timelines.map((one) => one.timeline)).toEqual(expect.arrayContaining([2, 3]));
  expect(timeline).toBe(3);
  expect(archivedMs).toBeGreaterThanOrEqual(laterMs - 1_000);
  await expect(look({ kind: 'latest' }, 'wrong')).rejects.toThrow('the passphrase is another one');
});

it('restores the second before the drop into a new cluster beside, with every row', async () => {
  const fromMs = performance.now();
  await restore(FIRST, `${SUBNET}.30`, { kind: 'time', atMs: droppedMs });
  await monitor.done(FIRST, 1, { kind: 'bootstrap' }, RESTORE_MS);
  await monitor.done(FIRST, 1, alone(FIRST), RESTORE_MS);
  console.log(`restored and leading: ${Math.round(performance.now() - fromMs)} ms`);
  expect(await psql(FIRST, 'SELECT count(*), sum(n) FROM rows')).toBe(`300|${(300 * 301) / 2}`);
  expect(await psql(FIRST, "SELECT to_regclass('later')")).toBe('');
  expect(monitor.view(FIRST).notes.join('\n')).toMatch(/RESTORE_DONE .*of timeline 3 \(last commit /);
  const restored = JSON.parse(await docker('exec', FIRST, 'cat', `${PATHS.backupVolume}/restored.json`));
  const lastMs = Date.parse(restored.lastCommit);
  // The heartbeat commits ten times a second.
  expect([lastMs < droppedMs, lastMs > droppedMs - 2_000]).toEqual([true, true]);
});

it('restores another second right after it', async () => {
  await restore(SECOND, `${SUBNET}.31`, { kind: 'time', atMs: laterMs });
  await monitor.done(SECOND, 1, { kind: 'bootstrap' }, RESTORE_MS);
  await monitor.done(SECOND, 1, alone(SECOND), RESTORE_MS);
  expect(await psql(SECOND, "SELECT to_regclass('later'), to_regclass('rows')")).toBe('later|');
});

it('leaves the repository of the running cluster as it is, and has one of its own', async () => {
  await mayArchive(FIRST, 1);
  await psql(FIRST, 'SELECT pg_switch_wal()');
  await monitor.until(FIRST, ({ archive }) => archive?.waiting === 0 && archive.archivedTo !== null, 'archives');
  expect(await docker('exec', FIRST, 'ls', `${PATHS.backupVolume}/archive`)).toMatch(/^c\d+$/);
  expect(await sums(pair.backupVolume)).toBe(before);
});

it('never restores a second time, although its data is gone', async () => {
  await docker('rm', '-f', '-v', SECOND);
  await docker('volume', 'rm', `${SECOND}-data`);
  await restore(SECOND, `${SUBNET}.31`, { kind: 'latest' });
  monitor.order(SECOND, 1, { kind: 'bootstrap' });
  const { failure } = await monitor.until(SECOND, (s) => s.failure?.code === 'DATA_EXISTS', 'refuses');
  expect(failure?.message).toContain('restored it before');
});
