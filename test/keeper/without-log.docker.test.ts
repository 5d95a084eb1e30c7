/**
 * What the keeper learns without a word of PostgreSQL's log, on a real pair: replay that is paused for want of
 * parameters (S23), a leader that has to be promoted unseen, a promotion that has to replay first, data that lacks its
 * log, and why PostgreSQL ended.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Status } from '../../failover/contract/messages';
import { alone, docker, NodePair, psql, shell, streamsFrom } from './node-containers';

const pair = new NodePair({ prefix: 'wol', subnet: '10.211.97', port: 17_490 });
const { a: A, b: B, monitor } = pair;
const DATA = '/var/lib/postgresql/data';
const settle = (postgresSettings: Record<string, string>) => monitor.settle({ ...pair.settings, postgresSettings });
const noted = (node: string, from: number, text: string) =>
  monitor
    .view(node)
    .notes.slice(from)
    .some((n) => n.includes(text));
const count = (node: string) => monitor.view(node).notes.length;
const told = (node: string, from: number, text: string, limitMs = 20_000) =>
  monitor.wait(
    () => noted(node, from, text),
    `${node} tells ${text}`,
    limitMs,
    () => monitor.view(node).notes.slice(from).join('\n'),
  );
/** Process id of PostgreSQL's startup process. */
const startup = (node: string) =>
  shell(
    node,
    `for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline | grep -q '^postgres: ${node}: startup' && echo \${p#/proc/}; done; true`,
  );
const kill = (node: string) => shell(node, `kill -9 $(head -1 ${DATA}/postmaster.pid)`);

let term = 1;
/** The leader is stopped and leads again, so that it takes settings that need a restart. */
async function leadAgain(node: string): Promise<Status> {
  await monitor.done(node, term, { kind: 'stop' });
  term += 1;
  return monitor.done(node, term, { kind: 'lead', sync: alone(node) });
}

async function follow(node: string, leader: string): Promise<void> {
  monitor.order(node, term, { kind: 'follow', leader, method: 'stream' });
  await monitor.until(node, streamsFrom(leader), 'streams', 30_000);
}

beforeAll(async () => {
  await pair.start();
  await follow(B, A);
});

afterAll(() => pair.remove());

describe('a standby whose replay is paused', () => {
  it('by a person is left alone', async () => {
    const before = count(B);
    await psql(B, 'SELECT pg_wal_replay_pause()');
    await psql(A, "SELECT pg_logical_emit_message(false, 'x', 'y'), pg_switch_wal()");
    const n = monitor.view(B).status?.n ?? 0;
    await monitor.until(B, (s) => s.n > n + 10, 'goes on telling', 20_000);
    expect(monitor.view(B).notes.slice(before)).toEqual([]);
    await psql(B, 'SELECT pg_wal_replay_resume()');
  });

  it('because its leader has more of something is restarted (S23)', async () => {
    const before = count(B);
    settle({ max_connections: '300' });
    await leadAgain(A);
    expect(await psql(A, 'SHOW max_connections')).toBe('300');
    await follow(B, A);
    await told(B, before, 'its leader has more of something (S23)');
    // The keeper tells it before it stops the server, which still streams then.
    const shown = () => psql(B, 'SHOW max_connections').catch(() => 'none');
    await expect.poll(shown, { timeout: 30_000 }).toBe('300');
    await monitor.until(B, streamsFrom(A), 'streams again', 30_000);
  });
});

describe('a leader whose settings are lowered', () => {
  it('starts unseen, is promoted, and has them (S23)', async () => {
    settle({ max_connections: '200' });
    const led = await leadAgain(A);
    expect(led.postgres.state).toBe('primary');
    expect(await psql(A, 'SHOW max_connections')).toBe('200');
    await follow(B, A);
  });
});

describe('a server that does not start with its settings', () => {
  it('starts with the former ones, by its exit code alone', async () => {
    settle({ max_connections: '200', shared_buffers: '64GB' });
    await monitor.done(B, term, { kind: 'stop' });
    await follow(B, A);
    const refused = await monitor.until(B, (s) => s.settings?.refused != null, 'says so', 20_000);
    expect(refused.settings?.refused).toContain('shared_buffers = 64GB: FATAL (postmaster): could not map anonymous');
    settle({ max_connections: '200' });
    await monitor.until(B, (s) => streamsFrom(A)(s) && s.settings?.restart === 'none', 'has them', 20_000);
  });
});

describe('why PostgreSQL ended', () => {
  it('is the signal, where one killed it', async () => {
    const before = count(B);
    await kill(B);
    await told(B, before, 'POSTGRES_CRASHED PostgreSQL ended without having been told to: signal SIGKILL');
    await monitor.until(B, streamsFrom(A), 'streams again', 30_000);
  });

  it('is the PANIC, where it gave up', async () => {
    const before = count(A);
    await shell(A, `chmod 500 ${DATA}/pg_wal`);
    const write = "SELECT pg_switch_wal(), pg_logical_emit_message(true, 'x', repeat('y', 100000))";
    for (let i = 0; i < 50 && !noted(A, before, 'POSTGRES_CRASHED'); i++) await psql(A, write).catch(() => undefined);
    await told(A, before, 'POSTGRES_CRASHED PostgreSQL ended without having been told to: exit code 1; PANIC (');
    expect(noted(A, before, 'Permission denied')).toBe(true);
    await shell(A, `chmod 700 ${DATA}/pg_wal`);
    term += 1;
    await monitor.done(A, term, { kind: 'lead', sync: alone(A) });
    await follow(B, A);
  });

  it('is the FATAL of a start that fails, before and after its log begins', async () => {
    for (const file of ['PG_VERSION', 'global/pg_filenode.map']) {
      await monitor.done(B, term, { kind: 'stop' });
      await shell(B, `chmod 000 ${DATA}/${file}`);
      const before = count(B);
      monitor.order(B, term, { kind: 'follow', leader: A, method: 'stream' });
      await told(B, before, 'Permission denied');
      await shell(B, `chmod 600 ${DATA}/${file}`);
      await monitor.until(B, streamsFrom(A), 'streams again', 60_000);
    }
  });
});

describe('data that lacks its log', () => {
  it('is told by its startup process, which has nothing left to apply', async () => {
    await psql(A, 'CREATE TABLE IF NOT EXISTS filler (t text)');
    await psql(A, 'CHECKPOINT');
    await psql(A, "INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, 20000)");
    const lsn = await psql(A, 'SELECT pg_current_wal_flush_lsn()');
    await expect.poll(() => psql(B, `SELECT pg_last_wal_replay_lsn() >= '${lsn}'`), { timeout: 20_000 }).toBe('t');
    // A restart point at that checkpoint; what is written to the disk needs the log up to here to be consistent.
    await psql(B, 'CHECKPOINT');
    const redo = await psql(B, 'SELECT redo_wal_file FROM pg_control_checkpoint()');
    await docker('kill', B);
    await monitor.wait(() => !monitor.view(B).connected, 'break', 10_000);
    const image = ['--entrypoint', 'sh', '-v', `${B}-data:/var/lib/postgresql`, pair.image];
    await docker(
      ...['run', '--rm', '--name', 'wol-cut', ...image, '-c'],
      `cd ${DATA}/pg_wal && for f in 0*; do [ "$f" \\> "${redo}" ] && rm -f "$f"; done; true`,
    );
    const before = count(B);
    await docker('start', B);
    await monitor.until(B, (s) => s.accepted !== null, 'back', 20_000);
    monitor.order(B, term, { kind: 'follow', leader: A, method: 'rewind' });
    await told(B, before, 'REWIND_FAILED', 30_000);
    expect(noted(B, before, 'without WAL that it needs')).toBe(true);
    monitor.order(B, term, { kind: 'follow', leader: A, method: 'copy' });
    await monitor.until(B, streamsFrom(A), 'streams again', 60_000);
  });
});

describe('a promotion', () => {
  it('that has to replay first tells how far it is, and is not given up for that', async () => {
    const pid = await startup(B);
    expect(pid).toMatch(/^\d+$/);
    await shell(B, `kill -STOP ${pid}`);
    await psql(A, "INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, 20000)");
    await psql(B, 'SELECT pg_last_wal_receive_lsn()');
    await monitor.done(A, term, { kind: 'stop' }, 20_000);
    const before = count(B);
    term += 1;
    const seq = monitor.order(B, term, { kind: 'lead', sync: alone(B) });
    await told(B, before, 'PROMOTION_REPLAYS', 20_000);
    expect(monitor.view(B).notes.slice(before).join('\n')).toMatch(/at [0-9A-F]+\/[0-9A-F]+, \d+ MB are left/);
    await shell(B, `kill -CONT ${pid}`);
    await monitor.until(B, (s) => s.accepted?.seq === seq && s.done, 'leads', 20_000);
    expect(await psql(B, 'SELECT count(*) FROM filler')).toBe('40000');
  });
});
