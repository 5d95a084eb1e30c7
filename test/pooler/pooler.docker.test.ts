/**
 * The pooler with real containers: what its clients see of a killed leader, of planned switchovers, of a dead monitor and
 * of its own death, and the known holes of PgBouncer that its configuration keeps out.
 */
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PAUSE_LEASE_MS } from '../../failover/contract/pooler';
import { docker } from '../keeper/node-containers';
import { waitFor } from '../rig/wait';
import { PASSWORD, PooledCluster } from './pooled-cluster';

const LIMIT_MS = 30_000;
const cluster = new PooledCluster({ prefix: 'pool-test', subnet: '10.213.40', port: 17_440 });
const figures: Record<string, unknown> = {};

/** Runs one statement after the other over one pooled connection, and notes how long each took. */
class Loop {
  readonly tookMs: number[] = [];
  readonly errors: string[] = [];
  private ended = false;
  private readonly ran: Promise<void>;

  constructor(client: Client) {
    this.ran = this.run(client);
  }

  private async run(client: Client): Promise<void> {
    for (let n = 0; !this.ended; n++) {
      const fromMs = performance.now();
      await client
        .query({ name: 'add', text: 'INSERT INTO numbers VALUES ($1)', values: [n] })
        .catch((error: unknown) => this.errors.push(String(error)));
      this.tookMs.push(performance.now() - fromMs);
      if (this.errors.length > 0) return;
    }
  }

  async end(): Promise<void> {
    this.ended = true;
    await this.ran;
  }

  get longestMs(): number {
    return Math.round(Math.max(...this.tookMs));
  }
}

/** The first bytes that the pooler answers to these, before `limitMs` or its end. */
function answerTo(bytes: Buffer, limitMs = 2_000): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = connect(cluster.at);
    const parts: Buffer[] = [];
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(Buffer.concat(parts));
    };
    const timer = setTimeout(done, limitMs);
    socket.on('data', (part) => parts.push(part));
    socket.on('error', () => undefined).on('close', done);
    socket.write(bytes);
  });
}

/** A startup message of protocol 3.0 (manual, "Message Formats"). */
function startup(parameters: Readonly<Record<string, string>>): Buffer {
  const words = Object.entries(parameters).flat();
  const body = Buffer.from(`${words.join('\0')}\0\0`);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(body.length + 8, 0);
  head.writeUInt32BE(196_608, 4);
  return Buffer.concat([head, body]);
}

/** Waits until a new client of the pooler is served. */
function isServed(): Promise<Client> {
  return waitFor('a served client', LIMIT_MS, () => cluster.client(), 20);
}

describe('a client of the pooler', () => {
  beforeAll(async () => {
    await cluster.start();
    const client = await cluster.client();
    await client.query('CREATE TABLE numbers (n int)');
    await client.end();
  });

  afterAll(async () => {
    console.log(`pooler: ${JSON.stringify(figures)}`);
    await cluster.remove();
  });

  it('sees no error in planned switchovers: its statements wait', async () => {
    const client = await cluster.client();
    const loop = new Loop(client);
    for (let i = 0; i < 2; i++) {
      await cluster.switchover();
      await cluster.isWell();
    }
    await loop.end();
    await client.end();
    figures['longest statement in a switchover, ms'] = loop.longestMs;
    expect(loop.errors).toEqual([]);
    expect(loop.tookMs.length).toBeGreaterThan(100);
    expect(cluster.log.filter((line) => line.includes('POOLER_LATE'))).toEqual([]);
  });

  it('does not notice a killed leader while it is idle', async () => {
    const [idle, other] = [await cluster.client(), await cluster.client()];
    const pid = async () => (await idle.query<{ n: string }>('SELECT count(*) AS n FROM numbers')).rows[0]?.n;
    const before = await pid();
    const leader = cluster.leader ?? '';
    await docker('kill', leader);
    const fromMs = performance.now();
    expect(await pid()).toBe(before);
    figures['first statement after a kill, ms'] = Math.round(performance.now() - fromMs);
    await other.query('INSERT INTO numbers VALUES (1)');
    expect(cluster.leader).not.toBe(leader);
    await Promise.all([idle.end(), other.end()]);
    await docker('start', leader);
    await cluster.isWell();
  });

  it('with a long transaction delays a switchover for a second at most, and others wait', async () => {
    const [long, other] = [await cluster.client(), await cluster.client()];
    await long.query('BEGIN');
    await long.query('SELECT 1');
    const ended = long.query('SELECT pg_sleep(60)').catch((error: unknown) => String(error));
    const fromMs = performance.now();
    const switched = cluster.switchover();
    await waitFor('the pause', LIMIT_MS, () => cluster.view?.pause === 'pausing', 5);
    const waited = other.query('SELECT 1 AS one');
    await switched;
    figures['switchover with a long transaction, ms'] = Math.round(performance.now() - fromMs);
    expect((await waited).rows).toEqual([{ one: 1 }]);
    expect(await ended).toMatch(/terminat|crashed|closed/i);
    expect(cluster.log.filter((line) => line.includes('POOLER_LATE'))).toHaveLength(1);
    await other.end();
    await cluster.isWell();
  });

  it('goes on by itself when the monitor dies in a pause', async () => {
    const client = await cluster.client();
    const long = await cluster.client();
    await long.query('BEGIN');
    await long.query('SELECT 1');
    // The transaction keeps the switchover in its first second, so that the monitor ends in the pause.
    const switched = cluster.switchover().catch(() => 'ended');
    await waitFor('the pause', LIMIT_MS, () => cluster.view?.pause === 'pausing', 5);
    const fromMs = performance.now();
    await cluster.stopMonitor();
    void switched;
    await client.query('SELECT 1');
    const tookMs = performance.now() - fromMs;
    figures['pause without a monitor, ms'] = Math.round(tookMs);
    expect(tookMs).toBeGreaterThan(PAUSE_LEASE_MS - 2_000);
    await Promise.all([
      client.end(),
      long
        .query('COMMIT')
        .catch(() => undefined)
        .then(() => long.end()),
    ]);
    await cluster.startMonitor();
    await cluster.isWell();
  });

  it('gets a new connection a moment after PgBouncer or its supervisor died', async () => {
    for (const name of ['pgbouncer', 'node']) {
      const client = await cluster.client();
      const gone = new Promise((resolve) => client.once('end', resolve));
      const fromMs = performance.now();
      await docker(
        'exec',
        cluster.pooler,
        'sh',
        '-c',
        `kill -9 $(grep -l '^Name:.${name}' /proc/[0-9]*/status | cut -d/ -f3)`,
      );
      await gone;
      await (await isServed()).end();
      figures[`after the death of ${name}, ms`] = Math.round(performance.now() - fromMs);
    }
    await cluster.isWell();
  });

  it('meets none of PgBouncer’s holes that Debian’s package mends', async () => {
    const changes = await docker(
      'exec',
      cluster.pooler,
      'sh',
      '-c',
      'zcat /usr/share/doc/pgbouncer/changelog.Debian.gz',
    );
    for (const hole of ['CVE-2026-6664', 'CVE-2026-6665', 'CVE-2026-6666', 'CVE-2026-6667'])
      expect(changes).toContain(hole);
  });

  it('cannot log in as another user, nor into the console (CVE-2026-107350)', async () => {
    const login = (user: string, database: string) => {
      const client = new Client({ ...cluster.at, user, database, password: PASSWORD });
      client.on('error', () => undefined);
      return client.connect().then(
        () => client.end().then(() => 'let in'),
        (error: unknown) => String(error),
      );
    };
    expect(await login('postgres', 'app')).toMatch(/authentication failed|no such user/i);
    expect(await login('app', 'pgbouncer')).toMatch(/not allowed|authentication failed|no such/i);
    expect(await login('pgbouncer', 'pgbouncer')).toMatch(/not allowed|authentication failed|no such/i);
    expect(await login('app', 'postgres')).toMatch(/no such database/i);
    const users = await docker('exec', cluster.pooler, 'sh', '-c', 'cat /run/pooler/*.users');
    expect(users.match(/^"/gm)).toHaveLength(1);
    // A second startup message during the login to a database that does not exist, as another user.
    const twice = Buffer.concat([
      startup({ user: 'app', database: 'none' }),
      startup({ user: 'postgres', database: 'app' }),
    ]);
    expect((await answerTo(twice)).includes('R\0\0\0\x08\0\0\0\0')).toBe(false);
  });

  it('cannot make PgBouncer spin by its options or a packet’s length (CVE-2026-107349, -107348)', async () => {
    await answerTo(startup({ user: 'app', database: 'app', options: '-c=' }), 500);
    await answerTo(startup({ user: 'app', database: 'app', options: '-c =x --=y' }), 500);
    const huge = Buffer.concat([startup({ user: 'app', database: 'app' }), Buffer.from([0x70, 0x80, 0, 0, 1])]);
    await answerTo(huge, 500);
    const client = await cluster.client();
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await client.end();
    // One process all the time: it was not killed for its silence either.
    await delay(1_500);
    expect(cluster.view?.pools[0]?.role).toBe('app');
  });
});
