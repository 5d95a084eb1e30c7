/**
 * The pooler with real containers: what its clients see of a killed leader, of planned switchovers, of a dead monitor
 * and of its own death, and the known holes of PgBouncer that its configuration keeps out.
 */
import { X509Certificate } from 'node:crypto';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PAUSE_LEASE_MS, RENEW_EVERY_MS } from '../../failover/contract/pooler';
import { shownBy } from '../../failover/pooler/shown';
import { docker } from '../keeper/node-containers';
import { PASSWORD } from '../monitor/real-cluster';
import { waitFor } from '../rig/wait';
import { PooledCluster } from './pooled-cluster';

const LIMIT_MS = 30_000;
/** PostgreSQL manual, "Message Formats", SSLRequest. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
/** How long a second login that must not succeed is watched, ms. */
const SECOND_LOGIN_MS = 2_000;
const cluster = new PooledCluster({ prefix: 'pool-test', subnet: '10.213.40', port: 17_440 });
const figures: Record<string, unknown> = {};

/** Runs one statement after the other over one pooled connection, and notes how long each took. */
class Loop {
  readonly tookMs: number[] = [];
  readonly errors: string[] = [];
  private ended = false;
  private readonly ran: Promise<void>;

  constructor(private readonly client: Client) {
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
    await this.client.end();
  }

  get longestMs(): number {
    return Math.round(Math.max(...this.tookMs));
  }
}

/** What the pooler answers to these bytes, until `wanted` is in it, the connection ends, or the limit has passed. */
function answerTo(bytes: Buffer, wanted: string, limitMs = LIMIT_MS): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(cluster.at);
    let answer = '';
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(done, limitMs);
    socket.on('data', (part) => {
      answer += part.toString('latin1');
      if (answer.includes(wanted)) done();
    });
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

/** What psql, in a container on the stack's network, gets through the pooler. */
function psql(options: string, sql = 'SELECT 1'): Promise<string> {
  const login = `host=${cluster.at.host} port=${cluster.at.port} user=app dbname=app password=${PASSWORD}`;
  return docker('exec', cluster.standby, 'psql', '-XAtqw', `${login} connect_timeout=5 ${options}`, '-c', sql);
}

/**
 * The files `/tmp/ca.pem` and `/tmp/other.pem` for {@link psql}: the stack's authority, and one that is not the
 * stack's.
 */
async function giveAuthorities(): Promise<void> {
  const [own, other] = [await cluster.nextLeaf(), await cluster.nextLeaf('o'.repeat(48))];
  for (const [name, { authority = '' }] of [['ca', own] as const, ['other', other] as const])
    for (const node of cluster.nodes)
      await docker('exec', node.name, 'sh', '-c', `printf %s '${authority}' > /tmp/${name}.pem`);
}
const VERIFIED = 'sslmode=verify-full sslrootcert=/tmp/ca.pem';

/** Hands out a new certificate, and waits until new clients of the pooler see it. */
async function renew(): Promise<void> {
  const leaf = await cluster.nextLeaf();
  cluster.renew(leaf);
  const { fingerprint256 } = new X509Certificate(leaf.certificate);
  const isShown = async () => (await shownBy(cluster.at.port, cluster.at.host)) === fingerprint256;
  await waitFor('the new certificate', LIMIT_MS, isShown, 20);
}

/** Asks the pooler to cancel the client's statement, over TLS or plain (manual, "Message Formats", CancelRequest). */
function cancel(client: Client, isEncrypted: boolean): Promise<unknown> {
  const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
  const request = Buffer.alloc(16);
  [16, 80_877_102].forEach((word, i) => {
    request.writeInt32BE(word, 4 * i);
  });
  [processID, secretKey].forEach((word, i) => {
    request.writeInt32BE(word, 8 + 4 * i);
  });
  return new Promise((resolve, reject) => {
    const socket = connect(cluster.at, () => socket.write(isEncrypted ? SSL_REQUEST : request));
    socket.on('error', reject).on('close', resolve).resume();
    if (isEncrypted)
      socket.once('data', () => {
        const secure = connectTls({ socket, rejectUnauthorized: false }, () => secure.write(request));
        secure.on('error', reject).resume();
      });
  });
}

/** How often the monitor's log has this code. */
const said = (code: string): number => cluster.log.filter((line) => line.includes(` ${code} `)).length;

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
    const loop = new Loop(await cluster.client());
    for (let i = 0; i < 2; i++) {
      await cluster.switchover();
      await cluster.isWell();
    }
    await loop.end();
    figures['longest statement in a switchover, ms'] = loop.longestMs;
    expect(loop.errors).toEqual([]);
    expect(loop.tookMs.length).toBeGreaterThan(20);
    expect(said('POOLER_LATE')).toBe(0);
  });

  it('of the backends has their session settings on every connection, and no other client has', async () => {
    const shown = async (database: string) => {
      const client = await cluster.client(database);
      const names = `SELECT current_database() AS name, current_setting('search_path') AS path`;
      return (await client.query(names).finally(() => client.end())).rows;
    };
    expect(await shown('backends')).toEqual([{ name: 'app', path: 'public' }]);
    expect(await shown('app')).toEqual([{ name: 'app', path: '"$user", public' }]);
  });

  it('sees no error when HAProxy is stopped and started: its statements wait', async () => {
    const loop = new Loop(await cluster.client());
    await waitFor('statements', LIMIT_MS, () => loop.tookMs.length > 20);
    await cluster.restartHaproxy();
    const before = loop.tookMs.length;
    await waitFor('statements again', LIMIT_MS, () => loop.errors.length > 0 || loop.tookMs.length > before + 20);
    await loop.end();
    figures['longest statement while HAProxy restarts, ms'] = loop.longestMs;
    expect(loop.errors).toEqual([]);
    await cluster.isWell();
  });

  it('does not notice a killed leader while it is idle', async () => {
    const idle = await cluster.client();
    const rows = async () => (await idle.query<{ n: string }>('SELECT count(*) AS n FROM numbers')).rows[0]?.n;
    const before = await rows();
    const leader = cluster.leader ?? '';
    await docker('kill', leader);
    const fromMs = performance.now();
    expect(await rows().finally(() => docker('start', leader))).toBe(before);
    figures['first statement after a kill, ms'] = Math.round(performance.now() - fromMs);
    await idle.query('INSERT INTO numbers VALUES (1)');
    await idle.end();
    expect(cluster.leader).not.toBe(leader);
    await cluster.isWell();
  });

  it('waits while another one’s long transaction ends in a switchover, which it delays for a second at most', async () => {
    const [long, other] = [await cluster.client(), await cluster.client()];
    await long.query('BEGIN');
    const ended = long.query('SELECT pg_sleep(600)').catch((error: unknown) => String(error));
    const switched = cluster.switchover();
    await waitFor('the pause', LIMIT_MS, () => cluster.view?.pause === 'pausing', 5);
    expect((await other.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await switched;
    expect(await ended).toMatch(/terminat|crashed|closed/i);
    expect(said('POOLER_LATE')).toBeGreaterThan(0);
    await other.end();
    await cluster.isWell();
  });

  it('goes on by itself when the monitor dies in a pause', async () => {
    const [long, client] = [await cluster.client(), await cluster.client()];
    // This transaction keeps the switchover in its first second, so that the monitor ends in the pause.
    await long.query('BEGIN');
    await long.query('SELECT 1');
    // A monitor that has ended gives no answer.
    void cluster.switchover().catch(() => undefined);
    await waitFor('the pause', LIMIT_MS, () => cluster.view?.pause === 'pausing', 5);
    const fromMs = performance.now();
    await cluster.stopMonitor();
    await client.query('SELECT 1');
    const tookMs = performance.now() - fromMs;
    figures['pause without a monitor, ms'] = Math.round(tookMs);
    expect(tookMs).toBeGreaterThan(PAUSE_LEASE_MS - RENEW_EVERY_MS - 1_000);
    await Promise.all([client.end(), long.end()]);
    await cluster.startMonitor();
    await cluster.isWell();
  });

  it('gets a new connection a moment after PgBouncer or its supervisor died', async () => {
    // Node calls its own process MainThread.
    for (const name of ['pgbouncer', 'MainThread']) {
      const client = await cluster.client();
      const gone = new Promise((resolve) => client.once('end', resolve));
      const fromMs = performance.now();
      const kill = `kill -9 $(grep -l '^Name:.${name}' /proc/[0-9]*/status | cut -d/ -f3)`;
      await docker('exec', cluster.pooler, 'sh', '-c', kill);
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
    const letIn = 'R\0\0\0\x08\0\0\0\0';
    expect(await answerTo(twice, letIn, SECOND_LOGIN_MS)).not.toContain(letIn);
  });

  it('cannot make PgBouncer spin by its options or a packet’s length (CVE-2026-107349, -107348)', async () => {
    const restarts = async () => (await docker('logs', cluster.pooler)).match(/is started again/g)?.length ?? 0;
    const before = await restarts();
    for (const options of ['-c=', '-c =x --=y', '-c extra_float_digits=1 -c='])
      expect(await answerTo(startup({ user: 'app', database: 'app', options }), 'SCRAM')).toContain('SCRAM');
    for (const length of [0x7f_ff_ff_ff, 0x80_00_00_01, 0xff_ff_ff_ff]) {
      const head = Buffer.alloc(5, 'p');
      head.writeUInt32BE(length, 1);
      const huge = Buffer.concat([startup({ user: 'app', database: 'app' }), head]);
      expect(await answerTo(huge, 'bad packet header')).toContain('bad packet header');
    }
    const client = await cluster.client();
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await client.end();
    // It is the same process as before, so it was not killed for its silence either.
    expect(await restarts()).toBe(before);
  });

  it('may use TLS and check the certificate, or use none, with `tls: on`', async () => {
    await giveAuthorities();
    expect(await psql(VERIFIED)).toBe('1');
    expect(await psql('sslmode=disable')).toBe('1');
    await expect(psql('sslmode=verify-full sslrootcert=/tmp/other.pem')).rejects.toThrow(/certificate verify failed/);
  });

  it('has to use TLS with `tls: require`, and so does the pooler', async () => {
    await cluster.encrypt('require');
    await waitFor('a served client', LIMIT_MS, async () => (await psql(VERIFIED)) === '1');
    await expect(psql('sslmode=disable')).rejects.toThrow(/SSL required/);
    await expect(psql('sslmode=verify-full sslrootcert=/tmp/other.pem')).rejects.toThrow(/certificate verify failed/);
    expect(await psql(VERIFIED, 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')).toBe('t');
    await cluster.isWell();
  });

  it('sees no error when the certificate is renewed, and a new client sees the new one', async () => {
    const ssl = { ca: (await cluster.nextLeaf()).authority };
    const loop = new Loop(await cluster.client('app', ssl));
    for (let i = 0; i < 2; i++) {
      const before = loop.tookMs.length;
      await renew();
      expect(await psql(VERIFIED)).toBe('1');
      await waitFor('statements', LIMIT_MS, () => loop.errors.length > 0 || loop.tookMs.length > before + 20);
    }
    await loop.end();
    figures['longest statement in a renewal, ms'] = loop.longestMs;
    expect(loop.errors).toEqual([]);
  });

  it('cancels its statement, over TLS or without it', async () => {
    for (const isEncrypted of [true, false]) {
      const client = await cluster.client('app', { ca: (await cluster.nextLeaf()).authority });
      const fromMs = performance.now();
      const ended = client.query('SELECT pg_sleep(60)').catch((error: unknown) => String(error));
      const isRunning = async () =>
        (await psql(VERIFIED, "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'")) === '1';
      await waitFor('the statement', LIMIT_MS, isRunning);
      await cancel(client, isEncrypted);
      expect(await ended).toMatch(/canceling statement due to user request/);
      figures[`cancelled ${isEncrypted ? 'over TLS' : 'plain'}, ms`] = Math.round(performance.now() - fromMs);
      await client.end();
    }
  });

  it('is served with the certificate of before when the pooler starts while the monitor is away', async () => {
    await cluster.stopMonitor();
    await docker('restart', cluster.pooler);
    await waitFor('a served client', LIMIT_MS, async () => (await psql(VERIFIED)) === '1');
    await cluster.startMonitor();
    await cluster.isWell();
  });

  it('meets a new pooler without a monitor: served without TLS with `on`, not at all with `require`', async () => {
    const isVerified = () => waitFor('a served client', LIMIT_MS, async () => (await psql(VERIFIED)) === '1');
    await cluster.stopMonitor();
    await cluster.encrypt('on');
    await waitFor('a client without TLS', LIMIT_MS, async () => (await psql('sslmode=disable')) === '1');
    await expect(psql(VERIFIED)).rejects.toThrow(/does not support SSL/);
    await cluster.startMonitor();
    await isVerified();
    await cluster.stopMonitor();
    await cluster.encrypt('require');
    const isWaiting = async () => (await docker('logs', cluster.pooler)).includes('no client is served until then');
    await waitFor('the wait for a certificate', LIMIT_MS, isWaiting);
    await expect(psql('sslmode=prefer')).rejects.toThrow(/Connection refused/);
    await cluster.startMonitor();
    await isVerified();
    await cluster.isWell();
  });

  it('is not served by a PostgreSQL whose certificate another authority has signed', async () => {
    // The nodes keep theirs.
    cluster.hand(await cluster.nextLeaf('o'.repeat(48)));
    const other = 'sslmode=verify-full sslrootcert=/tmp/other.pem';
    await waitFor('the other certificate', LIMIT_MS, async () => (await psql(other)) === '1');
    // What runs stays. A new connection to PostgreSQL is checked.
    const ends = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'`;
    await docker('exec', cluster.leader ?? '', 'psql', '-U', 'postgres', '-XAtqc', ends);
    const waiting = psql(other);
    await waitFor('the refusal', LIMIT_MS, async () => /certificate verif/i.test(await docker('logs', cluster.pooler)));
    await renew();
    expect(await waiting).toBe('1');
  });
});
