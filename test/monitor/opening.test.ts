/**
 * The opening checks with a small server that speaks the part of PostgreSQL's protocol they need, and hangs on command.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { OpeningChecks } from '../../failover/monitor/nodes/opening';

const LIMIT_MS = 10_000;
/** The checks connect to nodes without a session at this interval, ms. */
const KEEP_MS = 1_000;
/** AuthenticationOk, ReadyForQuery: chapter "Message Formats" of PostgreSQL's manual. */
const WELCOME = Buffer.concat([message('R', [0, 0, 0, 0]), message('Z', [0x49])]);
const SYNC = 0x53;

function message(type: string, body: readonly number[] | Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(4 + body.length, 1);
  return Buffer.concat([head, Buffer.from(body)]);
}

/** Answer to the check: one row with the column `node`, or no row (null), as another node answers. */
function answer(value: string | null): Buffer {
  const name = Buffer.from('node\0');
  const field = Buffer.alloc(18);
  field.writeInt32BE(25, 6);
  field.writeInt16BE(-1, 10);
  const length = Buffer.alloc(4);
  length.writeInt32BE(value?.length ?? 0);
  return Buffer.concat([
    message('1', []),
    message('2', []),
    message('T', Buffer.concat([Buffer.from([0, 1]), name, field])),
    ...(value === null ? [] : [message('D', Buffer.concat([Buffer.from([0, 1]), length, Buffer.from(value)]))]),
    message('C', Buffer.from(`INSERT 0 ${value === null ? 0 : 1}\0`)),
    message('Z', [0x49]),
  ]);
}

/**
 * What the server does with its n-th connection (from 1): `answers` everything, `hangs` from the start, `welcomes` the
 * client and hangs at its query, or `deceives`: answers late, as another node.
 */
type Behaviour = (n: number) => 'answers' | 'hangs' | 'welcomes' | 'deceives';
/** Longer than a check waits before it dials a second time. */
const LATE_MS = 50;

class HalfPostgres {
  connections = 0;
  asked = 0;
  private readonly sockets: Socket[] = [];
  private readonly server: Server;

  constructor(node: string, behaviour: Behaviour) {
    this.server = createServer((socket) => {
      this.connections += 1;
      const does = behaviour(this.connections);
      let begun = false;
      this.sockets.push(socket);
      socket.on('error', () => undefined);
      socket.on('data', (bytes) => {
        if (does === 'hangs') return;
        if (!begun) setTimeout(() => socket.write(WELCOME), does === 'deceives' ? LATE_MS : 0);
        else if (bytes.includes(SYNC)) {
          this.asked += 1;
          if (does === 'answers') socket.write(answer(node));
          if (does === 'deceives') socket.write(answer(null));
        }
        begun = true;
      });
    });
  }

  open(): number {
    return this.sockets.filter((socket) => !socket.destroyed).length;
  }

  async listen(address: string, port = 0): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(port, address, resolve));
    const bound = this.server.address();
    if (typeof bound !== 'object' || bound === null) throw new Error('no address');
    return bound.port;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

const ends: (() => unknown)[] = [];
beforeEach(() => {
  // Only the interval at which the checks connect is not real: `keep` lets it pass.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
  vi.useRealTimers();
});

const keep = () => vi.advanceTimersByTime(KEEP_MS);

/** The checks of two nodes, a and b, and the checks that have passed. */
async function rig(a: Behaviour, b: Behaviour, running: (node: string) => boolean | null = () => true) {
  const servers = { a: new HalfPostgres('a', a), b: new HalfPostgres('b', b) };
  const port = await servers.a.listen('127.0.0.1');
  await servers.b.listen('127.0.0.2', port);
  ends.push(
    () => servers.a.close(),
    () => servers.b.close(),
  );
  const logged: string[] = [];
  const passed = Promise.withResolvers<string>();
  const checks = new OpeningChecks(
    {
      clusterKey: 'k'.repeat(64),
      log: { write: (_level, subject, _code, message) => logged.push(`${subject}: ${message}`) },
    },
    [
      { name: 'a', address: '127.0.0.1' },
      { name: 'b', address: '127.0.0.2' },
    ],
    {
      certified: (node, term) => passed.resolve(`${node} ${term}`),
      broken: () => undefined,
      isRunning: running,
    },
    port,
  );
  ends.push(() => checks.stop());
  return { checks, servers, logged, passed: passed.promise };
}

describe('the opening checks', () => {
  it('pass with the first answer', { timeout: LIMIT_MS }, async () => {
    const { checks, passed, servers } = await rig(
      () => 'answers',
      () => 'answers',
    );
    checks.want({ node: 'a', term: 3 });
    expect(await passed).toBe('a 3');
    expect(servers.a.connections).toBe(1);
  });

  it('do not wait for a connection attempt that hangs: a second attempt is made beside it', {
    timeout: LIMIT_MS,
  }, async () => {
    const { checks, passed, servers, logged } = await rig(
      (n) => (n === 1 ? 'hangs' : 'answers'),
      () => 'answers',
    );
    checks.start();
    checks.want({ node: 'a', term: 1 });
    await expect.poll(() => servers.a.connections, { timeout: LIMIT_MS }).toBe(1);
    keep();
    expect(await passed).toBe('a 1');
    expect(servers.a.connections).toBe(2);
    expect(logged).toEqual(['a: the monitor is connecting to a']);
  });

  it('log once why they wait, whatever the result of each connection attempt is (S14)', {
    timeout: LIMIT_MS,
  }, async () => {
    const { checks, servers, logged } = await rig(
      () => 'deceives',
      () => 'answers',
    );
    checks.want({ node: 'a', term: 1 });
    await expect.poll(() => servers.a.asked, { timeout: LIMIT_MS }).toBeGreaterThan(3);
    expect(logged).toEqual(['a: the address of a answers as another node; it is not opened']);
  });

  it('of the next leader do not wait for the check of the former leader, which hangs', {
    timeout: LIMIT_MS,
  }, async () => {
    const { checks, passed, servers } = await rig(
      () => 'welcomes',
      () => 'answers',
    );
    checks.want({ node: 'a', term: 1 });
    await expect.poll(() => servers.a.asked, { timeout: LIMIT_MS }).toBe(1);
    const beganMs = performance.now();
    checks.want({ node: 'b', term: 2 });
    expect(await passed).toBe('b 2');
    // The limit of the hanging query is five seconds: the check of b did not wait for it.
    expect(performance.now() - beganMs).toBeLessThan(4_000);
  });

  it('keep the session while nothing is known of the node since a stall, and end it when the node does not run', {
    timeout: LIMIT_MS,
  }, async () => {
    let runs: boolean | null = true;
    let looks = 0;
    const { checks, servers, passed } = await rig(
      () => 'answers',
      () => 'answers',
      (node) => {
        if (node === 'a' && runs === null) looks += 1;
        return node === 'a' ? runs : false;
      },
    );
    checks.start();
    keep();
    await expect.poll(() => servers.a.connections, { timeout: LIMIT_MS }).toBe(1);
    runs = null;
    keep();
    expect(looks).toBe(1);
    checks.want({ node: 'a', term: 1 });
    expect(await passed).toBe('a 1');
    expect(servers.a.connections).toBe(1);
    runs = false;
    keep();
    await expect.poll(() => servers.a.open(), { timeout: LIMIT_MS }).toBe(0);
  });
});
