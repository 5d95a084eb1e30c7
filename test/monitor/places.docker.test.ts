/** The way in with the real HAProxy and two real PostgreSQL servers: places, PostgreSQL's refusal, cancel requests. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { budgetOf } from '../../failover/contract/budget';
import { Haproxy } from '../../failover/monitor/router/haproxy';
import { parseLoads } from '../../failover/monitor/router/haproxy-socket';
import { renderHaproxyConfig } from '../../stack/haproxy-config';
import { buildImage, docker, dockerQuietly } from '../keeper/node-containers';
import { RealHaproxy } from '../rig/real-haproxy';
import { waitFor } from '../rig/wait';

const proxy = new RealHaproxy('places-test', '10.213.7');
const IMAGE = 'places-test-postgres:test';
const A = { name: 'places-test-a', address: '10.213.7.20' };
const B = { name: 'places-test-b', address: '10.213.7.21' };
const PORT = { write: 5432, read: 5433, writePublished: 5436 };
/** Few, so that a test can take them all. */
const BUDGET = budgetOf(60);
const PASSWORD = 'places';
const LIMIT_MS = 60_000;
/** What a person takes for "at once", on a busy machine. */
const AT_ONCE_MS = 1_500;
const HOLD_MS = 120_000;
const CANCEL = [0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e];

/** A plain server with the shipped settings that keep connections free (S24). */
const SERVE = `
  set -e
  bin=/usr/lib/postgresql/17/bin
  echo ${PASSWORD} > /tmp/password
  $bin/initdb -D /tmp/data -U postgres --auth-local=trust --auth-host=scram-sha-256 --pwfile=/tmp/password > /dev/null
  echo 'host all all all scram-sha-256' >> /tmp/data/pg_hba.conf
  exec $bin/postgres -D /tmp/data -k /tmp -c listen_addresses='*' -c max_connections=${BUDGET.maxConnections} \
    -c superuser_reserved_connections=5 -c reserved_connections=10 -c fsync=off`;

let router: Haproxy | null = null;
let ran: Promise<void> = Promise.resolve();
const clients: Client[] = [];

const psql = (node: string, sql: string) =>
  docker('exec', node, '/usr/lib/postgresql/17/bin/psql', '-XAtq', '-h', '/tmp', '-U', 'postgres', '-c', sql);

/** What a server has logged. */
function logOf(node: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('docker', ['logs', node], (error, stdout, stderr) =>
      error === null ? resolve(stdout + stderr) : reject(error),
    );
  });
}

async function loadOn(backend: 'write' | 'read', server: string) {
  const loads = parseLoads(await proxy.admin('show stat -1 6 -1'));
  return loads.find((load) => load.backend === backend && load.server === server);
}

/** A session of an ordinary role. Rejects as the client does. */
async function session(port: number = PORT.write): Promise<Client> {
  const client = new Client({ host: proxy.address, port, user: 'app', password: PASSWORD, database: 'postgres' });
  client.on('error', () => undefined);
  clients.push(client);
  await client.connect();
  return client;
}

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => 'none',
    (error: { code?: string; message: string }) => error.code ?? error.message,
  );
}

/** The key by which PostgreSQL knows a session (manual 53.2.8). */
const keyOf = (client: Client) => client as unknown as { processID: number; secretKey: number };

/** Sends bytes on a connection of its own. Resolves with how long it was open, ms. */
async function send(port: number, bytes: Buffer, limitMs = LIMIT_MS): Promise<number> {
  const fromMs = performance.now();
  const socket = connect({ host: proxy.address, port });
  socket.on('error', () => undefined);
  socket.resume();
  socket.setTimeout(limitMs, () => socket.destroy());
  socket.write(bytes);
  await once(socket, 'close');
  return performance.now() - fromMs;
}

function cancelOf(client: Client): Buffer {
  const { processID, secretKey } = keyOf(client);
  const packet = Buffer.alloc(16);
  packet.set(CANCEL);
  packet.writeInt32BE(processID, 8);
  packet.writeInt32BE(secretKey, 12);
  return packet;
}

async function cancelled(client: Client, port: number): Promise<{ code: string; afterMs: number; closedMs: number }> {
  const sleeping = codeOf(client.query('SELECT pg_sleep(30)'));
  const { processID } = keyOf(client);
  const runs = async (node: string) =>
    (await psql(node, `SELECT count(*) FROM pg_stat_activity WHERE pid = ${processID} AND query ~ 'pg_sleep'`)) === '1';
  await waitFor('the query to run', LIMIT_MS, async () => (await runs(A.name)) || (await runs(B.name)), 5);
  const fromMs = performance.now();
  const closedMs = await send(port, cancelOf(client));
  const code = await sleeping;
  return { code, afterMs: performance.now() - fromMs, closedMs };
}

describe.skipIf(process.getuid?.() !== 0)('the way in', () => {
  beforeAll(async () => {
    await proxy.createNetwork([A.name, B.name]);
    await buildImage(IMAGE);
    for (const node of [A, B]) await proxy.run(node, '--entrypoint', 'sh', IMAGE, '-c', SERVE);
    await proxy.start();
    await proxy.apply(renderHaproxyConfig({ holdTimeoutMs: HOLD_MS, budget: BUDGET, backendHost: null }));
    for (const { name } of [A, B]) {
      await waitFor(`${name} to serve`, LIMIT_MS, () => psql(name, 'SELECT 1'), 50);
      await psql(name, `CREATE ROLE app LOGIN PASSWORD '${PASSWORD}'`);
    }
    router = new Haproxy(
      {
        sockets: proxy.sockets,
        clock: { nowMs: () => performance.now() },
        log: { write: () => undefined },
      },
      [A, B],
      { wake: () => undefined, stalls: () => 0 },
      BUDGET,
    );
    ran = router.run();
    await open();
  });

  async function open(): Promise<void> {
    router?.write(A.address, A.address);
    router?.read([A.address, B.address]);
    const isOpen = () => router?.view().slot === A.address && router.view().read?.length === 2;
    await waitFor('the ports to be open', LIMIT_MS, () => Promise.resolve(isOpen()), 5);
  }

  afterEach(async () => {
    for (const client of clients.splice(0)) await client.end().catch(() => undefined);
    await open();
    const empty = async () =>
      (await psql(A.name, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")) === '0';
    await waitFor('the end of the sessions', LIMIT_MS, empty, 20);
  });

  afterAll(async () => {
    router?.stop();
    await ran;
    await proxy.remove();
    await dockerQuietly('rmi', IMAGE);
  });

  async function takeAll(): Promise<void> {
    await Promise.all(Array.from({ length: BUDGET.clients }, () => session()));
  }

  it('gives clients all that max_connections has for them, and the next ones hear PostgreSQL’s own error (S24)', async () => {
    // The failover has sessions of its own on each node.
    const own = Array.from({ length: 6 }, () => {
      const client = new Client({ host: A.address, user: 'postgres', password: PASSWORD, database: 'postgres' });
      clients.push(client);
      return client.connect();
    });
    await Promise.all([...own, takeAll()]);
    const fromMs = performance.now();
    const codes = await Promise.all(Array.from({ length: 30 }, () => codeOf(session())));
    const tookMs = performance.now() - fromMs;
    const refused = codes.filter((code) => code === '53300').length;
    console.log(`30 clients too many: ${refused} were refused, the last after ${Math.round(tookMs)} ms`);
    expect([...new Set(codes)].sort()).toEqual(codes.includes('none') ? ['53300', 'none'] : ['53300']);
    // PostgreSQL has a few places more while the failover does not use all of its own.
    expect(refused).toBeGreaterThan(15);
    expect(tookMs).toBeLessThan(HOLD_MS / 2);
  });

  it('leaves a connection for keeper and monitor while clients storm a full leader (S24)', async () => {
    await psql(A.name, `CREATE ROLE watch LOGIN PASSWORD '${PASSWORD}' IN ROLE pg_use_reserved_connections`);
    await takeAll();
    let going = true;
    const storm = Array.from({ length: 60 }, async () => {
      while (going) await codeOf(session().then((client) => client.end()));
    });
    await waitFor('clients to wait', LIMIT_MS, async () => ((await loadOn('write', 'BACKEND'))?.queued ?? 0) > 10, 10);
    const endMs = performance.now() + 4_000;
    while (performance.now() < endMs) {
      const watch = new Client({ host: A.address, user: 'watch', password: PASSWORD, database: 'postgres' });
      expect(await codeOf(watch.connect())).toBe('none');
      await watch.end();
      expect(await psql(A.name, 'SELECT 1')).toBe('1');
    }
    going = false;
    await Promise.all(storm);
  });

  it('cancels on the write port at once while all places are taken', async () => {
    await takeAll();
    const [client] = clients;
    if (client === undefined) throw new Error('no session');
    const waiting = codeOf(session());
    const seen = await cancelled(client, PORT.write);
    console.log(
      `cancel on the write port: done after ${seen.afterMs.toFixed(1)} ms, closed after ${seen.closedMs.toFixed(1)} ms`,
    );
    expect(seen.code).toBe('57014');
    expect(seen.afterMs).toBeLessThan(AT_ONCE_MS);
    await waiting;
  });

  it('cancels on the read port, whichever node has the session', async () => {
    const all = await Promise.all(Array.from({ length: 6 }, () => session(PORT.read)));
    const nodes = new Set<unknown>();
    for (const client of all) {
      nodes.add((await client.query('SELECT inet_server_addr()')).rows[0]?.inet_server_addr);
      const seen = await cancelled(client, PORT.read);
      expect(seen.code).toBe('57014');
      expect(seen.afterMs).toBeLessThan(AT_ONCE_MS);
    }
    expect(nodes.size).toBe(2);
  });

  it('does not let a cancel request wait while no leader is open, nor a node that hangs hold it for long', async () => {
    const client = await session();
    router?.write(null, A.address);
    await waitFor('the slot to close', LIMIT_MS, () => Promise.resolve(router?.view().closed === true), 5);
    expect((await cancelled(client, PORT.write)).code).toBe('57014');
    await docker('pause', B.name);
    try {
      const seen = await cancelled(client, PORT.write);
      expect(seen.code).toBe('57014');
      expect(seen.closedMs).toBeLessThan(2 * AT_ONCE_MS);
    } finally {
      await docker('unpause', B.name);
    }
    expect((await loadOn('write', 'BACKEND'))?.queued).toBe(0);
  });

  it('passes on nothing but whole cancel requests, and closes those that are too many', async () => {
    // PostgreSQL logs each request with a key that it does not know.
    const passedOn = async () => (await logOf(B.name)).match(/in cancel request did not match/g)?.length ?? 0;
    const before = await passedOn();
    const short = Buffer.from(CANCEL);
    expect(await send(PORT.write, short)).toBeLessThan(4_000 + AT_ONCE_MS);
    expect(await passedOn()).toBe(before);
    const packets = Array.from({ length: 400 }, () => Buffer.concat([short, Buffer.alloc(8)]));
    const fromMs = performance.now();
    await Promise.all(packets.map((packet) => send(PORT.write, packet)));
    console.log(`400 cancel requests at once: ${Math.round(performance.now() - fromMs)} ms`);
    expect(await passedOn()).toBeGreaterThan(before);
    expect(await passedOn()).toBeLessThan(before + packets.length);
    expect((await (await session()).query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('lets in a client that is slow with its first bytes, and one that sends them one by one', async () => {
    const startup = Buffer.from('\0\0\0\0\0\x03\0\0user\0app\0database\0postgres\0\0', 'latin1');
    startup.writeInt32BE(startup.length, 0);
    for (const pauseMs of [0, 5]) {
      const socket = connect({ host: proxy.address, port: PORT.write });
      if (pauseMs === 0) {
        await new Promise((resolve) => setTimeout(resolve, 4_000));
        socket.write(startup);
      } else {
        for (const byte of startup) {
          socket.write(Buffer.from([byte]));
          await new Promise((resolve) => setTimeout(resolve, pauseMs));
        }
      }
      const [answer] = (await once(socket, 'data')) as [Buffer];
      expect(answer.toString('latin1', 0, 1)).toBe('R');
      socket.destroy();
    }
  });

  it('lets in clients of the configured networks alone on the published port', async () => {
    const config = (clientNetworks: string[]) =>
      renderHaproxyConfig({ holdTimeoutMs: HOLD_MS, budget: BUDGET, backendHost: null, clientNetworks });
    await proxy.apply(config(['192.0.2.0/24']));
    await waitFor('the new worker to be closed', LIMIT_MS, () => Promise.resolve(router?.view().closed === true), 5);
    await open();
    expect(await codeOf(session(PORT.writePublished))).not.toBe('none');
    expect(await codeOf(session())).toBe('none');
    await proxy.apply(config(['192.0.2.0/24', '10.213.7.1/32']));
    await waitFor('the new worker to be closed', LIMIT_MS, () => Promise.resolve(router?.view().closed === true), 5);
    await open();
    expect(await codeOf(session(PORT.writePublished))).toBe('none');
  });
});
