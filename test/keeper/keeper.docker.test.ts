/**
 * Two real nodes under a scripted monitor: from nothing to a leader and a standby, the leader's death, the return of
 * the old one by rewind, a clean hand-over. Times are printed, not asserted, except for generous bounds.
 */
import { connect } from 'node:net';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { MONITOR_ROLE } from '../../failover/contract/naming';
import { derivedPassword } from '../../failover/contract/proof';
import { TIMEOUTS } from '../timeouts';
import { alone, both, docker, NodePair, psql, shell, streamsFrom } from './node-containers';

/** `holdTimeout` of a stack whose config says nothing. */
const HOLD_TIMEOUT_MS = 30_000;
/** The database owner's. The nodes get its verifier alone. */
const PASSWORD = "it's 12345";
const pair = new NodePair({
  ...{ prefix: 'kpr', subnet: '10.212.0', port: 17_400, postgresSettings: { work_mem: '8MB' } },
  settings: {
    ...{ databaseName: 'blink_db', databaseUser: 'blink_user', databasePassword: undefined },
    databaseVerifier:
      'SCRAM-SHA-256$4096:AQEBAQEBAQEBAQEBAQEBAQ==$hn5cGzYRisBm3ujfuWXm+NxYD9xt7bA5yp8b8UJqmJI=:ZPQbqcr6IUmcfocQjT5Y9oht+t5K9Y92Fx5kkcEyL9A=',
  },
});
const { a: A, b: B, address: ADDRESS, monitor } = pair;

/** Old names of time zones, each renamed or merged by IANA. Windows, JDBC clients and people still send them. */
const OLD_ZONES = [
  ...[
    'Asia/Saigon',
    'Asia/Calcutta',
    'Asia/Katmandu',
    'Asia/Rangoon',
    'Asia/Dacca',
    'Asia/Macao',
    'Asia/Ujung_Pandang',
  ],
  ...['Europe/Kiev', 'Africa/Asmera', 'Atlantic/Faeroe', 'Pacific/Truk', 'Pacific/Enderbury', 'Australia/ACT'],
  ...['America/Buenos_Aires', 'America/Godthab', 'America/Indianapolis', 'US/Eastern', 'US/Pacific', 'Canada/Atlantic'],
  ...['Brazil/East', 'Singapore', 'Hongkong', 'Japan', 'PRC', 'ROK', 'GB', 'NZ', 'UCT', 'Zulu'],
];
/** Signals that neither stop a container nor mean anything to a keeper. */
const OTHER_SIGNALS = ['USR1', 'WINCH', 'PIPE', 'HUP', 'USR2', 'ALRM'];
/** Port of Node's debugger, as /proc/net/tcp writes it. */
const DEBUGGER = ':240D ';

const times: Record<string, number> = {};

async function sql(node: string, text: string, user = 'blink_user', database = 'blink_db'): Promise<unknown[]> {
  const password = user === 'blink_user' ? PASSWORD : derivedPassword(pair.clusterKey, 'monitor');
  const client = new Client({ host: ADDRESS[node], port: 5432, user, password, database, query_timeout: 5_000 });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

/** A standby applies what it received a moment later. */
async function countOf(node: string, users: number): Promise<void> {
  expect(await sql(node, 'SELECT count(*)::int AS n FROM users')).toEqual([{ n: users }]);
}

async function timed<T>(what: string, work: Promise<T>): Promise<T> {
  const from = performance.now();
  const result = await work;
  times[what] = Math.round(performance.now() - from);
  return result;
}

beforeAll(() => pair.prepare());

afterAll(async () => {
  console.log(`times, ms: ${JSON.stringify(times)}`);
  await pair.remove();
});

describe('two nodes under a scripted monitor', () => {
  it('starts nothing before an order arrives, makes a cluster only when told, and leads it', async () => {
    await pair.startNodes([A, B]);
    const first = await monitor.until(A, () => true, 'first status');
    expect(first.postgres.state).toBe('absent');
    await monitor.until(B, (s) => s.postgres.state === 'absent', 'first status');
    const made = await timed('bootstrap', monitor.done(A, 1, { kind: 'bootstrap' }));
    expect(made.postgres.state).toBe('stopped');
    expect(made.dataId).toMatch(/^\d+:[0-9a-f-]{36}$/);
    const led = await timed('start and first lead', monitor.done(A, 1, { kind: 'lead', sync: alone(A) }));
    expect(led.lead).toMatchObject({ term: 1, timeline: 2 });
    expect(led.lead?.syncInForce).toEqual(alone(A));
    expect(led.promotingTerm).toBeNull();
    await sql(A, `INSERT INTO users (username, email) VALUES ('one', 'one@example.com')`);
    expect(await psql(A, 'SELECT 1')).toBe('1');
    await expect(docker('exec', B, 'keeper-health')).rejects.toThrow();
    await vi.waitFor(() => docker('exec', A, 'keeper-health'), { timeout: TIMEOUTS.docker, interval: 100 });
  });

  it('runs with the configuration that the templates promise', async () => {
    const shown = await psql(
      A,
      `SELECT name || '=' || setting FROM pg_settings WHERE name IN ('restart_after_crash', 'work_mem', 'cluster_name',
       'wal_retrieve_retry_interval', 'data_checksums', 'max_standby_streaming_delay', 'shared_buffers') ORDER BY 1`,
    );
    expect(shown.split('\n')).toEqual([
      `cluster_name=${A}`,
      'data_checksums=on',
      'max_standby_streaming_delay=100',
      'restart_after_crash=off',
      'shared_buffers=16384',
      'wal_retrieve_retry_interval=20',
      'work_mem=8192',
    ]);
    const errors = await psql(
      A,
      'SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL UNION ALL SELECT error FROM pg_file_settings WHERE error IS NOT NULL',
    );
    expect(errors).toBe('');
  });

  it('takes the old names of time zones at login', async () => {
    const logIn = `for zone in ${OLD_ZONES.join(' ')}; do PGTZ=$zone psql -U postgres -AtXc 'SHOW timezone' 2>&1; done`;
    expect((await shell(A, logIn)).split('\n')).toEqual(OLD_ZONES);
  });

  it('goes on after signals that do not stop it, with every session, and opens no debugger', async () => {
    const startedAt = () => docker('inspect', '-f', '{{.State.StartedAt}}', A);
    const session = new Client({ host: ADDRESS[A], user: 'blink_user', password: PASSWORD, database: 'blink_db' });
    session.on('error', () => undefined);
    await session.connect();
    try {
      const pid = async () => (await session.query('SELECT pg_backend_pid() AS pid')).rows;
      const before = [await startedAt(), await pid()];
      for (const signal of OTHER_SIGNALS) await docker('kill', '-s', signal, A);
      await vi.waitFor(async () => {
        const log = await docker('logs', A);
        for (const signal of ['HUP', 'USR2', 'ALRM']) expect(log).toContain(`SIG${signal} is ignored`);
      }, 5_000);
      expect([await startedAt(), await pid()]).toEqual(before);
      expect(await docker('exec', A, 'cat', '/proc/net/tcp')).not.toContain(DEBUGGER);
      await sql(A, 'SELECT 1');
    } finally {
      await session.end();
    }
  });

  it('ends a connection that says nothing, long before those who wait for its place are closed (S24)', async () => {
    const fromMs = performance.now();
    const socket = connect(5432, ADDRESS[A] ?? '');
    socket.on('error', () => undefined);
    await new Promise((resolve) => socket.once('close', resolve));
    const tookMs = performance.now() - fromMs;
    console.log(`a connection that says nothing: ended after ${Math.round(tookMs)} ms`);
    expect(tookMs).toBeGreaterThan(9_000);
    expect(tookMs).toBeLessThan(HOLD_TIMEOUT_MS / 2);
  });

  it('copies a new standby, streams, and counts it only when proven', async () => {
    const joined = await timed('join by copy', monitor.done(B, 1, { kind: 'follow', leader: A, method: 'copy' }));
    expect(joined.postgres.streamingFrom).toBe(A);
    const counted = await timed('sync in force from empty', monitor.done(A, 1, { kind: 'lead', sync: both(A, B) }));
    expect(counted.lead?.syncInForce).toEqual(both(A, B));
    expect(counted.lead?.standbys).toMatchObject([{ name: B, state: 'streaming', syncState: 'quorum' }]);
    await sql(A, `INSERT INTO users (username, email) VALUES ('two', 'two@example.com')`);
    await sql(
      A,
      `INSERT INTO failover.canary (term, node) VALUES (1, '${A}') ON CONFLICT (node) DO UPDATE SET term = 1`,
      MONITOR_ROLE,
      'postgres',
    );
  });

  it('refuses an order that is older than one it accepted', async () => {
    const before = monitor.view(B).status?.accepted;
    monitor.order(B, 0, { kind: 'stop' });
    await monitor.wait(() => monitor.view(B).notes.some((n) => n.startsWith('ORDER_REFUSED')), 'refusal', 5_000);
    expect(monitor.view(B).status?.accepted).toEqual(before);
    expect(monitor.view(B).status?.postgres.state).toBe('standby');
  });

  it('promotes the standby when the leader is killed', async () => {
    const from = performance.now();
    const killed = docker('kill', A).catch(() => '');
    await monitor.wait(() => !monitor.view(A).connected, 'break', 10_000);
    times['docker kill called → connection break'] = Math.round(monitor.view(A).brokenAtMs - from);
    const ordered = performance.now();
    const seq = monitor.order(B, 2, { kind: 'lead', sync: alone(B) });
    await monitor.until(B, (s) => s.accepted?.seq === seq && s.postgres.state === 'primary', 'writable', 10_000);
    times['lead order → writable'] = Math.round(performance.now() - ordered);
    const led = await monitor.until(B, (s) => s.accepted?.seq === seq && s.done, 'lead done', 10_000);
    times['lead order → done'] = Math.round(performance.now() - ordered);
    expect(led.lead).toMatchObject({ term: 2, timeline: 3, syncInForce: alone(B) });
    expect(led.lead?.forkLsn).toMatch(/\//);
    await sql(B, `INSERT INTO users (username, email) VALUES ('three', 'three@example.com')`);
    await killed;
  });

  it('brings the old leader back by rewind', async () => {
    await docker('start', A);
    const back = await monitor.until(A, (s) => s.accepted !== null, 'back', 15_000);
    expect(back.postgres.state).toBe('stopped');
    expect(back.postgres.cleanShutdown).toBe(false);
    const before = back.dataId;
    const joined = await timed('join by rewind', monitor.done(A, 2, { kind: 'follow', leader: B, method: 'rewind' }));
    expect(joined.postgres.streamingFrom).toBe(B);
    expect(joined.rewinding).toBe(false);
    expect(joined.dataId).toBe(before);
    expect(monitor.view(A).notes.some((n) => n.startsWith('COPY_'))).toBe(false);
    expect(joined.postgres.timeline).toBe(3);
    await timed('sync in force from alone', monitor.done(B, 2, { kind: 'lead', sync: both(B, A) }));
    await sql(B, `INSERT INTO users (username, email) VALUES ('four', 'four@example.com')`);
    await vi.waitFor(() => countOf(A, 4), 10_000);
  });

  it('releases waiting writers when its standby is gone', async () => {
    await docker('pause', A);
    expect(monitor.view(A).status?.postgres.timeline).toBe(3);
    const waits = sql(B, `INSERT INTO users (username, email) VALUES ('five', 'five@example.com')`);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await timed('shrink to alone', monitor.done(B, 2, { kind: 'lead', sync: alone(B) }));
    await timed('waiter released', waits);
    await docker('unpause', A);
    await monitor.until(A, streamsFrom(B), 'streams again', 20_000);
    await monitor.done(B, 2, { kind: 'lead', sync: both(B, A) });
  });

  it('hands over on docker stop, and the stopped one rejoins by streaming', async () => {
    const from = performance.now();
    const stopped = docker('stop', B);
    await monitor.until(B, (s) => s.stopping, 'announces its stop', 10_000);
    times['docker stop called → announced'] = Math.round(performance.now() - from);
    const ordered = performance.now();
    monitor.order(B, 2, { kind: 'stop' });
    const down = await monitor.until(B, (s) => s.postgres.state === 'stopped', 'is down', 10_000);
    times['stop order → down'] = Math.round(performance.now() - ordered);
    expect(down.postgres.cleanShutdown).toBe(true);
    expect(down.postgres.lsn).not.toBeNull();
    await timed('lead after hand-over', monitor.done(A, 3, { kind: 'lead', sync: alone(A) }));
    await sql(A, `INSERT INTO users (username, email) VALUES ('six', 'six@example.com')`);
    await stopped;
    times['docker stop'] = Math.round(performance.now() - from);
    const told = monitor.view(B).notes.length;
    await docker('start', B);
    await monitor.until(B, (s) => s.postgres.state === 'stopped', 'back', 15_000);
    await timed('join by stream', monitor.done(B, 3, { kind: 'follow', leader: A, method: 'stream' }));
    await vi.waitFor(() => countOf(B, 6), 10_000);
    expect(
      monitor
        .view(B)
        .notes.slice(told)
        .filter((n) => n.startsWith('COPY')),
    ).toEqual([]);
  });

  it('shuts down in time although its standby hangs (S18)', async () => {
    await docker('pause', B);
    await sql(A, `INSERT INTO users (username, email) VALUES ('seven', 'seven@example.com')`);
    const down = await timed('stop with a hung standby', monitor.done(A, 3, { kind: 'stop' }, 10_000));
    expect(down.postgres.cleanShutdown).toBe(true);
    await docker('unpause', B);
    await monitor.done(A, 4, { kind: 'lead', sync: alone(A) });
    await monitor.done(B, 4, { kind: 'follow', leader: A, method: 'stream' });
  });

  it('shows by the heartbeat’s age that a stopped postmaster takes no new sessions (S27)', async () => {
    const pid = await docker('exec', A, 'head', '-1', '/var/lib/postgresql/data/postmaster.pid');
    await shell(A, `kill -STOP ${pid}`);
    await timed(
      'stopped postmaster → heartbeat 1 s old',
      monitor.until(A, (s) => (s.lead?.heartbeatAgeMs ?? 0) > 1_000, 'old heartbeat', 10_000),
    );
    await shell(A, `kill -CONT ${pid}`);
    await monitor.until(A, (s) => s.lead !== null && s.lead.heartbeatAgeMs < 500, 'heartbeat again', 20_000);
  });

  it('starts without settings that PostgreSQL refuses, and says which', async () => {
    monitor.settle({ ...pair.settings, postgresSettings: { work_mem: 'much' } });
    await monitor.done(B, 4, { kind: 'stop' });
    await monitor.done(B, 4, { kind: 'follow', leader: A, method: 'stream' });
    await monitor.wait(() => monitor.view(B).notes.some((n) => n.includes('work_mem')), 'says so', 5_000);
    monitor.settle(pair.settings);
  });

  it('stops following when it promises, and reports a position', async () => {
    const frozen = await timed('freeze', monitor.done(B, 5, { kind: 'freeze' }));
    expect(frozen.postgres.streamingFrom).toBeNull();
    expect(frozen.postgres.lsn).toMatch(/\//);
    const back = await timed(
      'follow after freeze',
      monitor.done(B, 5, { kind: 'follow', leader: A, method: 'stream' }),
    );
    expect(back.postgres.streamingFrom).toBe(A);
  });

  it('reports a crash at once and does not restart a leader without a new order', async () => {
    await shell(A, 'kill -9 $(head -1 /var/lib/postgresql/data/postmaster.pid)');
    const crashed = await monitor.until(A, (s) => s.postgres.state === 'stopped', 'crash is seen', 5_000);
    expect(crashed.postgres.crashes).toBe(1);
    expect(monitor.view(B).status?.postgres.timeline).toBe(5);
    const failed = await monitor.until(
      A,
      (s) => s.failure?.code === 'POSTGRES_CRASHED' || s.failure !== null,
      'says so',
      5_000,
    );
    expect(failed.postgres.state).toBe('stopped');
    const led = await timed('lead again', monitor.done(A, 6, { kind: 'lead', sync: alone(A) }));
    expect(led.lead?.timeline).toBe(6);
  });
});
