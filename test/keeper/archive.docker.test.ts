/**
 * Two real nodes whose archive fails or hangs: a copy ends, the lead is handed over, and the old leader follows (S26).
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PATHS } from '../../failover/contract/layout';
import { lsnDistance } from '../../failover/contract/lsn';
import type { Status } from '../../failover/contract/messages';
import { ARCHIVE_SLOT, slotName } from '../../failover/contract/naming';
import { waitFor } from '../rig/wait';
import { docker, NodePair, removeNode } from './node-containers';

/** PostgreSQL waits for its archiver for as long as this runs, s. */
const HANGS_S = 300;
/** A copy of the small database takes 3 s. */
const COPIED_LIMIT_MS = 60_000;
/** The keeper shuts PostgreSQL down by force only after 25 s. */
const STOPPED_LIMIT_MS = 10_000;

const pair = new NodePair({
  ...{ prefix: 'arc', subnet: '10.211.6', port: 17_442, backupMb: 64 },
  // It fails or hangs while one of the files is there.
  postgresSettings: {
    archive_mode: 'on',
    archive_command: `test ! -e /tmp/fails && (test ! -e /tmp/hangs || sleep ${HANGS_S})`,
  },
});
const { a: A, b: B, monitor, streams } = pair;
const psqlOn = (node: string, text: string) => docker('exec', node, 'psql', '-U', 'postgres', '-Atc', text);
const psql = (text: string) => psqlOn(A, text);

/** Writes a segment that the archive has to take. */
const fill = () => psql("SELECT pg_logical_emit_message(false, 'filler', 'x'), pg_switch_wal()");

/** Copies the leader anew, and returns how long the standby's way from the order to streaming the copy took, ms. */
async function copied(): Promise<number> {
  const { dataId } = await monitor.until(B, streams, 'streams', 20_000);
  const fromMs = performance.now();
  monitor.order(B, 1, { kind: 'follow', leader: A, method: 'copy', replaces: dataId ?? '' });
  await monitor.until(B, (s) => streams(s) && s.dataId !== dataId, 'streams a copy', COPIED_LIMIT_MS);
  const tookMs = Math.round(performance.now() - fromMs);
  expect(await psql("SELECT string_agg(slot_name, ',') FROM pg_replication_slots")).toBe(slotName(B));
  await psql('INSERT INTO rows SELECT count(*) FROM rows');
  const rows = await psql('SELECT count(*) FROM rows');
  await waitFor('the copy has all rows', 10_000, async () => (await psqlOn(B, 'SELECT count(*) FROM rows')) === rows);
  return tookMs;
}

/** Returns when PostgreSQL waits for its archiver. */
async function hang(): Promise<void> {
  await docker('exec', A, 'sh', '-c', 'rm -f /tmp/fails; touch /tmp/hangs');
  await fill();
  const runs = new RegExp(`^\\s*\\d+\\s+sleep ${HANGS_S}$`, 'm');
  const archives = async () => runs.test(await docker('top', A, '-eo', 'pid,args'));
  await waitFor('the archive command runs', 20_000, archives);
}

beforeAll(async () => {
  await pair.start();
  await psql('CREATE TABLE rows (n int)');
});

afterAll(async () => {
  await pair.remove();
});

it('copies the leader while its archive fails', async () => {
  await docker('exec', A, 'touch', '/tmp/fails');
  await fill();
  await waitFor('the archive command fails', 20_000, async () => {
    return (await psql('SELECT failed_count > 0 FROM pg_stat_archiver')) === 't';
  });
  console.log(`copied while the archive fails: ${await copied()} ms`);
});

it('copies the leader while its archive hangs', async () => {
  await hang();
  console.log(`copied while the archive hangs: ${await copied()} ms`);
});

it('hands the lead over without waiting for the archiver, and follows', async () => {
  await hang();
  monitor.order(A, 1, { kind: 'stop' });
  const stopped = await monitor.until(A, (s) => s.postgres.state === 'stopped', 'stopped', STOPPED_LIMIT_MS);
  expect(stopped.postgres).toMatchObject({ cleanShutdown: true });
  const shutdown = stopped.postgres.lsn;
  if (shutdown === null) throw new Error('the stopped leader has no position');
  const has = ({ postgres: { lsn } }: Status) => lsn !== null && lsnDistance(shutdown, lsn) > 0;
  await monitor.until(B, has, 'has the shutdown record', 10_000);
  await monitor.done(B, 2, { kind: 'lead', sync: { leader: B, k: 0, members: [] } });
  monitor.order(A, 2, { kind: 'follow', leader: B, method: 'stream' });
  await monitor.until(A, (s) => s.done && s.postgres.streamingFrom === B, 'follows', 30_000);
});

// From here on PostgreSQL has no archive, and the keeper hands write-ahead log to the backups' repository.

const ARCHIVE_MS = 30_000;
const LEASE_MS = 2_000;
/** What a broken archive may add to a hand-over. */
const BEYOND_MS = 300;
const STOP_BEYOND_MS = 2_000;
/** A hand-over waits for nothing of the archive. PostgreSQL's own shutdown takes the most of it. */
const HANDED_OVER_MS = 1_000;

async function inRepository(node: string, pattern: string): Promise<string[]> {
  return (await docker('exec', node, 'find', PATHS.backupVolume, '-name', pattern)).split('\n').filter(Boolean);
}
/** The names of the WAL files in the repository, without pgBackRest's checksum. */
async function pushed(node = B): Promise<string[]> {
  const paths = await inRepository(node, '0*-*');
  return paths.flatMap((path) => /\/([0-9A-F]{24})-[0-9a-f]{40}(\.zst)?$/.exec(path)?.[1] ?? []);
}
/** Writes a file of write-ahead log on this node, and returns its name. */
async function fillOn(node: string): Promise<string> {
  const statement = "SELECT pg_walfile_name(pg_logical_emit_message(false, 'filler', 'x'))";
  const name = await psqlOn(node, statement);
  await psqlOn(node, 'SELECT pg_switch_wal()');
  return name;
}
const arrives = (name: string, node = B) =>
  waitFor(`${name} arrives`, ARCHIVE_MS, async () => (await pushed(node)).includes(name));
const mayArchive = (node: string, term: number) => {
  monitor.archivist = { node, term };
  return monitor.until(node, (s) => s.archive?.open === true, 'has the lease', 20_000);
};
/** Returns when the node has answered pings for so long, ms. */
async function answersFor(node: string, ms: number): Promise<void> {
  const from = monitor.view(node).answered ?? 0;
  await waitFor(`${node} answers`, 10_000, () => (monitor.view(node).answered ?? 0) > from + ms / 100);
}
/** Tells a node to stop, and returns how long that took, ms. */
async function stops(node: string, term: number): Promise<number> {
  const fromMs = performance.now();
  monitor.order(node, term, { kind: 'stop' });
  await monitor.until(node, (s) => s.postgres.state === 'stopped', 'stopped', STOPPED_LIMIT_MS);
  return Math.round(performance.now() - fromMs);
}
const pushes = async (node: string) => /^\s*\d+\s+pgbackrest /m.test(await docker('top', node, '-eo', 'pid,args'));

it('hands nothing to the repository before the monitor says so, and then all, without an archive of PostgreSQL', async () => {
  monitor.settle({ ...pair.settings, postgresSettings: {}, backup: { leaseMs: LEASE_MS, queueBytes: 1e9 } });
  await stops(A, 2);
  console.log(`stopped without archiving: ${await stops(B, 2)} ms`);
  await monitor.done(B, 3, { kind: 'lead', sync: { leader: B, k: 0, members: [] } });
  monitor.order(A, 3, { kind: 'follow', leader: B, method: 'stream' });
  await monitor.until(A, (s) => s.done && s.postgres.streamingFrom === B, 'streams', 30_000);
  expect(await psqlOn(B, 'SHOW archive_mode')).toBe('off');
  const before = await fillOn(B);
  await answersFor(B, LEASE_MS);
  expect(await pushed()).toEqual([]);
  await mayArchive(B, 3);
  await arrives(before);
  await arrives(await fillOn(B));
  expect((await inRepository(B, '*.history')).map((path) => path.slice(-16)).sort()).toEqual([
    '00000002.history',
    '00000003.history',
    '00000004.history',
  ]);
  const archivedTo = () => monitor.view(B).status?.archive?.archivedTo ?? '0/0';
  for (const node of [A, B]) {
    await waitFor(`${node} keeps what is not archived, and no more`, 30_000, async () => {
      const text = `SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = '${ARCHIVE_SLOT}'`;
      return (await psqlOn(node, text)) === archivedTo();
    });
  }
  const config = await docker('exec', B, 'cat', `${PATHS.archiveRun}/pgbackrest.conf`);
  expect(await docker('exec', B, 'stat', '-c', '%a', `${PATHS.archiveRun}/pgbackrest.conf`)).toBe('600');
  expect(await docker('logs', B)).not.toContain(/cipher-pass=(\S+)/.exec(config)?.[1] ?? 'cipher');
});

it('hands on nothing of a standby, nor of a leader whose lease was taken', async () => {
  monitor.archivist = { node: A, term: 3 };
  await monitor.until(B, (s) => s.archive === undefined, 'archives no more', 10_000);
  const name = await fillOn(B);
  await answersFor(A, LEASE_MS);
  expect(monitor.view(A).status?.archive).toBeUndefined();
  expect(await pushed()).not.toContain(name);
  await mayArchive(B, 3);
  await arrives(name);
});

it('hands on nothing of a leader that was paused for longer than its lease, although old pings reach it', async () => {
  await docker('pause', B);
  const view = monitor.view(B);
  const [answered, fromMs] = [view.answered ?? 0, performance.now()];
  // These pings wait in its socket, and say that it may archive.
  await waitFor('the lease is over', 10_000, async () => performance.now() - fromMs > LEASE_MS);
  monitor.archivist = null;
  await docker('unpause', B);
  const name = await fillOn(B);
  await waitFor('it has read them', 10_000, async () => (view.answered ?? 0) > answered + LEASE_MS / 100);
  await answersFor(B, LEASE_MS);
  expect(await pushed()).not.toContain(name);
  await mayArchive(B, 3);
  await arrives(name);
});

/** What breaks the repository, and what mends it. */
const BROKEN: Readonly<Record<string, readonly [breaks: string, mends: string]>> = {
  // Opening a pipe that no process writes to waits.
  hangs: [
    'for f in archive.info archive.info.copy; do mv $f $f.aside && mkfifo $f; done',
    'for f in archive.info archive.info.copy; do mv $f.aside $f; done',
  ],
  refuses: ['chmod 500 *-1/*', 'chmod 700 *-1/*'],
  'is full': ['dd if=/dev/zero of=filler bs=64k 2>/dev/null || true', 'rm filler'],
};
const inStanza = (node: string, text: string) =>
  docker('exec', node, 'sh', '-c', `cd ${PATHS.backupVolume}/archive/c*; ${text}`);

/** B leads again after it was stopped, and A follows it. */
async function leadsAgain(term: number): Promise<void> {
  await monitor.done(B, term, { kind: 'lead', sync: { leader: B, k: 0, members: [] } });
  monitor.order(A, term, { kind: 'follow', leader: B, method: 'stream' });
  await monitor.until(A, (s) => s.done && s.postgres.streamingFrom === B, 'streams', 30_000);
  await mayArchive(B, term);
  await arrives(await fillOn(B));
}

/**
 * As a person or a host does it: the monitor moves the lead away as soon as the node says that it stops. Returns ms.
 */
async function isStopped(term: number): Promise<number> {
  const fromMs = performance.now();
  const container = docker('stop', B);
  await monitor.until(B, (s) => s.stopping, 'says that it stops', STOPPED_LIMIT_MS);
  monitor.order(B, term, { kind: 'stop' });
  await container;
  const tookMs = Math.round(performance.now() - fromMs);
  await docker('start', B);
  await monitor.until(B, (s) => s.postgres.state === 'stopped', 'is back', 20_000);
  return tookMs;
}

const middle = (all: readonly number[]) => [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)] ?? Number.NaN;
let term = 3;

it.each<[string, string[], number, (term: number) => Promise<number>]>([
  ['a switchover', ['hangs', 'refuses', 'is full'], BEYOND_MS, (at) => stops(B, at)],
  // The engine's own work takes different times.
  ['docker stop', ['hangs'], STOP_BEYOND_MS, isStopped],
])('%s does not wait for a repository that %j', async (what, ways, beyondMs, handsOver) => {
  const [healthy, broken]: [number[], number[]] = [[], []];
  for (const how of ways) {
    const [breaks, mends] = BROKEN[how] ?? ['', ''];
    healthy.push(await handsOver(term));
    await leadsAgain(++term);
    await inStanza(B, breaks);
    await fillOn(B);
    if (how === 'hangs') await waitFor('pgBackRest hangs', 20_000, () => pushes(B));
    else await monitor.until(B, (s) => s.archive?.problem !== undefined, `says that the archive ${how}`, 20_000);
    broken.push(await handsOver(term));
    expect(await pushes(B)).toBe(false);
    await inStanza(B, mends);
    await leadsAgain(++term);
  }
  console.log(`${what}: healthy ${healthy.join(', ')} ms; ${ways.join(', ')}: ${broken.join(', ')} ms`);
  expect(middle(broken) - middle(healthy)).toBeLessThan(beyondMs);
  expect(monitor.view(B).status?.archive?.gaps).toBeUndefined();
});

it('hands the lead over at once while the repository hangs, and the next leader hands on the rest', async () => {
  const info = (await inRepository(B, 'archive.info')).join();
  await docker('exec', B, 'sh', '-c', `mv ${info} ${info}.aside && mkfifo ${info}`);
  await docker('exec', B, 'sh', '-c', `mv ${info}.copy ${info}.copy.aside && mkfifo ${info}.copy`);
  const name = await fillOn(B);
  await waitFor('pgBackRest hangs', 20_000, () => pushes(B));
  const tookMs = await stops(B, term);
  console.log(`stopped while the repository hangs: ${tookMs} ms, ${monitor.view(B).notes.at(-1)}`);
  expect(tookMs).toBeLessThan(HANDED_OVER_MS);
  expect(await pushes(B)).toBe(false);
  const shutdown = monitor.view(B).status?.postgres.lsn ?? null;
  if (shutdown === null) throw new Error('the stopped leader has no position');
  await monitor.until(A, ({ postgres: { lsn } }) => lsn !== null && lsnDistance(shutdown, lsn) > 0, 'level', 10_000);
  // The old leader is gone with its disk. The repository hangs on: the promotion does not ask it.
  await removeNode(B);
  term += 1;
  await monitor.done(A, term, { kind: 'lead', sync: { leader: A, k: 0, members: [] } }, STOPPED_LIMIT_MS);
  await docker('exec', A, 'sh', '-c', `mv ${info}.aside ${info}; mv ${info}.copy.aside ${info}.copy`);
  const { archive } = await mayArchive(A, term);
  await arrives(name, A);
  await arrives(await fillOn(A), A);
  const files = (await pushed(A)).sort();
  const numbers = files.map(
    (file) => Number.parseInt(file.slice(8, 16), 16) * 4_096 + Number.parseInt(file.slice(16), 16),
  );
  expect(numbers.filter((number, at) => at > 0 && number - (numbers[at - 1] ?? 0) > 1)).toEqual([]);
  expect(archive?.gaps).toBeUndefined();
  const timeline = (await psqlOn(A, 'SELECT pg_walfile_name(pg_current_wal_lsn())')).slice(0, 8);
  expect(await inRepository(A, `${timeline}.history`)).toHaveLength(1);
});
