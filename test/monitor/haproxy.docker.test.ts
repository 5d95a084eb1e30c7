/** The router with the real HAProxy image. Two nodes answer with their names; clients connect through the slots. */

import { type ChildProcess, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, type PeerCertificate, type TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { budgetFor } from '../../failover/contract/budget';
import { authorityOf } from '../../failover/contract/certificates';
import { PORTS } from '../../failover/contract/layout';
import { ApiCertificate } from '../../failover/monitor/router/api-certificate';
import { Haproxy } from '../../failover/monitor/router/haproxy';
import { parseEpoch, parseLoads, parseServers } from '../../failover/monitor/router/haproxy-socket';
import { renderHaproxyConfig } from '../../stack/haproxy-config';
import { docker, dockerQuietly } from '../keeper/node-containers';
import { sessionsIn } from '../rig/haproxy-sessions';
import { RealHaproxy } from '../rig/real-haproxy';
import { epochMs } from '../rig/wait';
import { TIMEOUTS } from '../timeouts';
import { FakeNode } from './fake-node';

const proxy = new RealHaproxy('mon-test', '10.213.2');
const A = { name: 'mon-test-a', address: '10.213.2.20' };
const B = { name: 'mon-test-b', address: '10.213.2.21' };
const API = { name: 'mon-test-api', address: '10.213.2.22' };
/** A node that serves thousands of clients, as a process of this machine. Its address is the bridge's own. */
const MANY = { name: 'many', address: '10.213.2.1' };
const BUDGET = budgetFor({});
const configWith = (holdTimeoutMs: number) =>
  renderHaproxyConfig({ holdTimeoutMs, budget: BUDGET, backendHost: 'backend' });
const CONFIG = configWith(30_000);
/** Number of clients that one port has to hold at the same time. */
const HELD = 4_000;
/** Limit from the leader's death to the first answer to a held client, ms. */
const FIRST_ANSWER_MS = 500;
/** Longest wait of a new client for an answer of the leader's container (images/haproxy/alive.lua), ms. */
const ALIVE_LIMIT_MS = 100;
/** Limit for the share of a core that HAProxy may take to hold clients. */
const HOLDING_SHARE = 0.05;
/** Limit for "refused at once" on a busy machine, ms. */
const REFUSED_MS = 2_000;

const log: string[] = [];
let router: Haproxy | null = null;
let ran: Promise<void> = Promise.resolve();

async function until(what: string, condition: () => boolean | Promise<boolean>, limitMs: number = TIMEOUTS.docker) {
  const deadline = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`never: ${what}\n${log.join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A client: the name of the node that answered it, and whether its connection has ended. */
class Client {
  greeting: string | null = null;
  ended = false;
  readonly socket: Socket;

  constructor(port: number) {
    this.socket = connect(port, proxy.address);
    this.socket.on('data', (chunk) => {
      this.greeting ??= chunk.toString().split('\n')[0] ?? null;
    });
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.ended = true;
    });
    this.socket.write('hello\n');
  }
}
const clients: Client[] = [];
function client(port = 5432): Client {
  const made = new Client(port);
  clients.push(made);
  return made;
}

function start(addresses = [A.address, B.address]): Haproxy {
  const made = new Haproxy(
    {
      sockets: proxy.sockets,
      clock: { nowMs: () => performance.now() },
      log: { write: (level, subject, code, message) => log.push(`${level} ${subject} ${code} ${message}`) },
    },
    addresses.map((address) => ({ name: address, address })),
    { wake: () => undefined, stalls: () => 0 },
  );
  router = made;
  ran = made.run();
  return made;
}

/** Closes the write port, and waits for the proof that no session is left, except on `keep`. */
async function close(made: Haproxy, keep: string): Promise<void> {
  made.write(null, keep);
  await until('it is closed and clean', () => made.view().closed && made.view().clean);
}

async function open(made: Haproxy, address: string): Promise<void> {
  made.write(address, address);
  await until(`the slot is open on ${address}`, () => made.view().slot === address);
}

/** The router as a monitor starts it, with the write slot open on a node. */
async function openedOn(address: string, addresses: string[]): Promise<Haproxy> {
  const made = start(addresses);
  await until('HAProxy is seen', () => made.view().reachable);
  await close(made, address);
  await open(made, address);
  return made;
}
const openedOnA = () => openedOn(A.address, [A.address, B.address]);

async function noSessionIsLeft(): Promise<boolean> {
  const sessions = sessionsIn(await proxy.admin('show sess'));
  return sessions.every((s) => s.backend !== 'write');
}

interface ClientsEvent {
  what: 'listening' | 'connected' | 'first' | 'over';
  atMs: number;
  connected: number;
  answered: number;
  closed: number;
  /** For each client that was closed without an answer: time from its connect to its close, ms. */
  livesMs: number[];
}

const processes: ChildProcess[] = [];
/** A process of held-clients.ts and its output. */
class Clients {
  /** Local port of the next client. The kernel chooses higher ports when a program names none. */
  private static nextPort = 6_000;
  private readonly events: ClientsEvent[] = [];

  constructor(mode: 'dial' | 'serve', host: string, port: number, last: string | number) {
    const script = join(__dirname, 'held-clients.ts');
    const args = [mode, host, port, last, Clients.nextPort].map(String);
    if (mode === 'dial') Clients.nextPort += Number(last);
    const child = spawn(process.execPath, ['--import', 'tsx', script, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let rest = '';
    child.stdout.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.events.push(JSON.parse(line) as ClientsEvent);
    });
    processes.push(child);
  }

  /** Waits for an event of this kind, and returns the newest that fits. */
  async next(what: ClientsEvent['what'], holds: (event: ClientsEvent) => boolean = () => true): Promise<ClientsEvent> {
    let found: ClientsEvent | undefined;
    await until(`the clients report "${what}"`, () => {
      found = this.events.findLast((e) => e.what === what);
      return found !== undefined && holds(found);
    });
    if (found === undefined) throw new Error(`no ${what}`);
    return found;
  }
}

async function queued(backend: 'write' | 'read'): Promise<number> {
  const loads = parseLoads(await proxy.admin('show stat -1 6 -1'));
  return loads.find((l) => l.backend === backend && l.server === 'BACKEND')?.queued ?? 0;
}

/** Resolves when so many clients are connected to a port and held there. */
async function heldOn(port: 'write' | 'read', count: number): Promise<Clients> {
  const made = new Clients('dial', proxy.address, port === 'write' ? 5432 : 5433, count);
  await until(`${count} are held`, async () => (await queued(port)) === count);
  return made;
}

/** Process id of the running worker inside the container. */
async function worker(): Promise<string> {
  const epoch = parseEpoch(await proxy.admin('show info'));
  return epoch?.split('@')[0] ?? '';
}

type NodeUse = (node: FakeNode, made: Haproxy) => Promise<void>;

/**
 * Runs `use` with a node that is a process here, and that each thread of HAProxy asks: the leader, or the standby of B.
 */
async function withNode(use: NodeUse, leader = MANY.address): Promise<void> {
  const node = new FakeNode(MANY.address);
  await node.listen();
  try {
    const made = await openedOn(leader, [MANY.address, B.address]);
    if (leader !== MANY.address) made.read([MANY.address]);
    await isAsked(node);
    await use(node, made);
  } finally {
    node.close();
  }
}

/** Resolves when each thread of HAProxy asks the node. */
async function isAsked(node: FakeNode): Promise<void> {
  const info = await proxy.admin('show info');
  const threads = Number(/^Nbthread: (\d+)$/m.exec(info)?.[1]);
  await until('each thread of HAProxy asks the node', () => node.asking.size >= threads);
}

/** Uptime of the running worker, whole seconds. */
async function uptimeSeconds(): Promise<number> {
  const info = await proxy.admin('show info');
  return Number(/^Uptime_sec: (\d+)$/m.exec(info)?.[1] ?? 0);
}

/** Share of a core that a worker takes, measured for `seconds`. */
async function shareOf(pid: string, seconds: number): Promise<number> {
  const ticks = async () => {
    const fields = (await docker('exec', proxy.name, 'cat', `/proc/${pid}/stat`)).split(' ');
    return Number(fields[13]) + Number(fields[14]);
  };
  const [before, fromMs] = [await ticks(), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  return (((await ticks()) - before) * 10) / (performance.now() - fromMs);
}

const isRoot = process.getuid?.() === 0;

// HAProxy's sockets belong to its own group; without root this test cannot open them.
describe.skipIf(!isRoot)('the router with a real HAProxy', () => {
  beforeAll(async () => {
    await proxy.createNetwork([A.name, B.name, API.name]);
    await proxy.start();
    for (const node of [A, B]) await proxy.serve(node);
    expect(await proxy.apply(CONFIG)).toContain('not running yet');
  });

  afterEach(async () => {
    for (const c of clients.splice(0)) c.socket.destroy();
    for (const child of processes.splice(0)) child.kill('SIGKILL');
    router?.stop();
    await ran;
  });

  afterAll(() => proxy.remove());

  it('refuses a wrong configuration with HAProxy’s message and keeps the former one', async () => {
    await expect(proxy.apply(`${CONFIG}\nfrontend broken\n  bind nonsense\n`)).rejects.toThrow(
      /refuses the configuration[\s\S]*nonsense/,
    );
    await expect(proxy.apply('')).rejects.toThrow(/empty/);
    expect(await docker('exec', proxy.name, 'haproxy-health').catch(() => 'unhealthy')).not.toBe('unhealthy');
  });

  it('is not reloaded for the configuration that it started with', async () => {
    const workers = () => docker('exec', proxy.name, 'pidof', 'haproxy');
    const before = await workers();
    expect(await proxy.apply(CONFIG)).toBe('in place already');
    expect(await workers()).toBe(before);
  });

  it('has statistics and metrics without a password', async () => {
    const stats = await fetch(`http://${proxy.address}:5000/stats`);
    expect(await stats.text()).toContain('node9');
    const metrics = await fetch(`http://${proxy.address}:5000/metrics`);
    expect(await metrics.text()).toContain('haproxy_process');
  });

  it('holds new connections while the slot is closed, and lets them through when it opens', async () => {
    const made = start();
    await until('HAProxy is seen', () => made.view().reachable);
    expect(made.view().slot).toBeNull();
    const waiting = Array.from({ length: 20 }, () => client());
    await close(made, A.address);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(waiting.every((c) => c.greeting === null && !c.ended)).toBe(true);
    const from = performance.now();
    made.write(A.address, A.address);
    await until('all held clients are answered', () => waiting.every((c) => c.greeting === A.name));
    console.log(`20 held clients: slot moved → all answered: ${Math.round(performance.now() - from)} ms`);
  });

  it('ends the sessions of the old leader, proves that none is left, and moves on (S2)', async () => {
    const made = await openedOnA();
    const old = Array.from({ length: 10 }, () => client());
    await until('they are on A', () => old.every((c) => c.greeting === A.name));
    const from = performance.now();
    made.write(null, B.address);
    await until('it is closed', () => made.view().closed);
    const held = client();
    await until('it is closed and clean', () => made.view().closed && made.view().clean);
    const cleanMs = performance.now() - from;
    expect(old.every((c) => c.ended)).toBe(true);
    made.write(B.address, B.address);
    await until('the held one is on B', () => held.greeting === B.name);
    console.log(
      `closed and proven clean: ${Math.round(cleanMs)} ms, held client answered: ${Math.round(performance.now() - from)} ms`,
    );
  });

  it('holds new connections without ending a session, and lets them through again (S19)', async () => {
    const made = await openedOnA();
    const session = client();
    await until('it is on A', () => session.greeting === A.name);
    await close(made, A.address);
    const held = client();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect([session.ended, held.greeting]).toEqual([false, null]);
    made.write(A.address, A.address);
    await until('the held one goes through', () => held.greeting === A.name);
    expect(session.ended).toBe(false);
  });

  it('stays closed after a reload until it is opened again, and ends sessions on the old leader in the old worker, too (S2, S15)', async () => {
    const made = await openedOnA();
    const session = client();
    await until('it is on A', () => session.greeting === A.name);
    const before = made.view().epoch;
    expect(await proxy.apply(`${CONFIG}# changed\n`)).toBe('reloaded');
    await until('the new worker is seen', () => made.view().reachable && made.view().epoch !== before);
    await until('it is closed', () => made.view().closed);
    expect(session.ended).toBe(false);
    made.write(null, B.address);
    await until('the old session is ended', () => session.ended);
    await until('all workers are proven clean', () => made.view().clean && made.view().closed);
  });

  it('starts again with closed slots, in the same container, when its processes crash', async () => {
    const made = await openedOnA();
    const session = client();
    await until('it is on A', () => session.greeting === A.name);
    const before = made.view().epoch;
    const startedAt = () => docker('inspect', '-f', '{{.State.StartedAt}}', proxy.name);
    const started = await startedAt();
    // The entrypoint restarts HAProxy only if it ran for two seconds. On a fast machine the tests before take less
    // time.
    await until('HAProxy has run for two seconds', async () => (await uptimeSeconds()) > 2);
    const from = performance.now();
    await docker('exec', proxy.name, 'sh', '-c', 'kill -KILL $(pidof haproxy)');
    await until('the old session has ended', () => session.ended);
    await until('HAProxy is back', () => made.view().reachable && made.view().epoch !== before && made.view().closed);
    console.log(`killed → back: ${Math.round(performance.now() - from)} ms`);
    expect(await startedAt()).toBe(started);
    made.write(A.address, A.address);
    const c = client();
    await until('it is open again once the monitor opens it', () => c.greeting === A.name);
  });

  it('is not opened by itself after a restart (S15)', async () => {
    const made = await openedOnA();
    await docker('restart', '-t', '1', proxy.name);
    await until('HAProxy is back', () => made.view().reachable && made.view().closed);
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(made.view()).toMatchObject({ slot: null, closed: true });
    made.write(A.address, A.address);
    const c = client();
    await until('it is open again once the monitor opens it', () => c.greeting === A.name);
  });

  it.each([
    ['a client', PORTS.haproxyWrite, MANY.address],
    ['the pooler', PORTS.haproxyPooled, MANY.address],
    ['a reader', PORTS.haproxyRead, B.address],
  ])('keeps %s, which connects again at once, from a node that is being killed', async (_, port, leader) => {
    await withNode(async (node, made) => {
      const before = client(port);
      await until('the session is answered', () => before.greeting === MANY.name);
      // The kernel has sent SIGKILL to all processes of the container. A session is the first that ends.
      node.kill();
      await until('the session has ended', () => before.ended);
      const again = client(port);
      await node.end();
      if (leader === MANY.address) {
        await close(made, B.address);
        await open(made, B.address);
      } else made.read([B.address]);
      await until('the client is on the other node, or has met an error', () => again.greeting !== null || again.ended);
      expect([again.greeting, node.metDying]).toEqual([B.name, 0]);
    }, leader);
  });

  it('lets a client go on when the leader’s container has not answered in time, and asks again once it answers', async () => {
    await withNode(async (leader) => {
      leader.silent = true;
      const fromMs = performance.now();
      const held = client();
      await until('the client is answered', () => held.greeting === MANY.name);
      const tookMs = performance.now() - fromMs;
      expect(tookMs).toBeGreaterThanOrEqual(ALIVE_LIMIT_MS - 10);
      console.log(`a silent container delays a client by ${Math.round(tookMs)} ms`);
      leader.speak();
      const answered = leader.answered;
      const next = client();
      await until('the next one is answered', () => next.greeting === MANY.name);
      expect(leader.answered).toBeGreaterThan(answered);
    });
  });

  it('asks nothing while clients connect again and again, so that it costs them nothing', async () => {
    await withNode(async (leader) => {
      // Two full seconds with more connects than are asked for, on each thread.
      const untilMs = performance.now() + 3_200;
      while (performance.now() < untilMs) {
        const some = Array.from({ length: 25 }, () => client());
        await until('they are answered', () => some.every(({ greeting }) => greeting === MANY.name));
        for (const { socket } of some) socket.destroy();
      }
      leader.silent = true;
      const fromMs = performance.now();
      const next = client();
      await until('the next one is answered', () => next.greeting === MANY.name);
      expect(performance.now() - fromMs).toBeLessThan(ALIVE_LIMIT_MS - 10);
    });
  });

  it('asks no more in a worker that a reload has replaced, so that it ends', async () => {
    await withNode(async () => {
      const old = await worker();
      expect(await proxy.apply(`${CONFIG}# changed again\n`)).toBe('reloaded');
      const workers = async () => (await docker('exec', proxy.name, 'pidof', 'haproxy')).split(' ');
      await until('the former worker has ended', async () => !(await workers()).includes(old));
    }).finally(() => proxy.apply(CONFIG));
  });

  it('listens on the published ports as soon as it starts, also with the configuration of an earlier release', async () => {
    await proxy.apply(CONFIG.replaceAll(/^ +bind :543[6-9]\n/gm, ''));
    await docker('restart', '-t', '1', proxy.name);
    const made = await openedOnA();
    const published = client(PORTS.haproxyWritePublished);
    await until('a client of the published port is answered', () => published.greeting === A.name || published.ended);
    expect(published.ended).toBe(false);
    expect(await proxy.apply(CONFIG)).toBe('in place already');
    expect(made.view().slot).toBe(A.address);
  });

  it('opens and closes read slots, and ends the sessions of a node that leaves (S13)', async () => {
    const made = await openedOnA();
    const early = client(5433);
    made.read([B.address]);
    await until('the early one is on B', () => early.greeting === B.name);
    made.read([A.address]);
    await until('it is ended', () => early.ended);
    const late = client(5433);
    await until('the next one is on A', () => late.greeting === A.name);
    expect(made.view().read).toEqual([A.address]);
    made.read([]);
    await until('no node serves reads', () => late.ended && made.view().read?.length === 0);
  });

  it('proves that no read session is left on the former leader either, and does not end read sessions on other nodes (S2)', async () => {
    const made = await openedOnA();
    made.read([A.address, B.address]);
    await until('both serve reads', () => made.view().read?.length === 2);
    const readers = Array.from({ length: 4 }, () => client(5433));
    await until('they are answered', () => readers.every((c) => c.greeting !== null));
    const onA = readers.filter((c) => c.greeting === A.name);
    const onB = readers.filter((c) => c.greeting === B.name);
    expect([onA.length, onB.length]).toEqual([2, 2]);
    made.read([B.address]);
    await close(made, B.address);
    expect(onA.every((c) => c.ended)).toBe(true);
    expect(onB.every((c) => !c.ended)).toBe(true);
  });

  it('closes a read slot that an earlier monitor opened for a node which is no longer declared (S13)', async () => {
    const former = await openedOnA();
    former.read([A.address, B.address]);
    await until('both serve reads', () => former.view().read?.length === 2);
    former.stop();
    await ran;
    const made = start([A.address]);
    made.read([A.address]);
    await until('only A serves reads', () => made.view().read?.join() === A.address);
  });

  it('reports which nodes HAProxy itself does not reach, whatever clients do', async () => {
    const made = await openedOnA();
    const unreached = () => Object.keys(made.view().unreached ?? {});
    await until('both are asked', async () => {
      const answer = await proxy.admin('show servers state reach');
      return parseServers(answer).filter((s) => !s.maintenance && s.port === 5432).length === 2;
    });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(unreached()).toEqual([]);
    const from = performance.now();
    await docker('network', 'disconnect', proxy.network, A.name);
    await until('A is not reached', () => unreached().length > 0);
    console.log(`cut off → HAProxy's connect fails: ${Math.round(performance.now() - from)} ms`);
    expect(unreached()).toEqual([A.address]);
    const since = made.view().unreached?.[A.address];
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(made.view().unreached).toEqual({ [A.address]: since });
    await docker('network', 'connect', '--ip', A.address, proxy.network, A.name);
    await until('A is reached again', () => unreached().length === 0);
  });

  it('leaves no session behind after many changes under reconnecting clients (decision 17)', async () => {
    const made = await openedOnA();
    let going = true;
    // Each client stays until its session is ended and connects again at once, as a connection pool does.
    const reconnecting = async () => {
      while (going) {
        const c = new Client(5432);
        await until('its end', () => c.ended || !going);
        c.socket.destroy();
      }
    };
    const load = Array.from({ length: 8 }, reconnecting);
    for (let i = 0; i < 20; i++) {
      const next = i % 2 === 0 ? B.address : A.address;
      await close(made, next);
      await open(made, next);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    going = false;
    await Promise.all(load);
    await until('no session is left', noSessionIsLeft);
  });

  it('ends no session on the open slot when sessions of the closed slot end by themselves at the same time (decision 17)', async () => {
    const made = await openedOnA();
    let going = true;
    let onOpen: string | null = A.name;
    const hit: string[] = [];
    // Clients leave at any moment, also while sessions are being ended, and connect again at once. A new session then
    // gets the memory address of the one that ended, by which HAProxy names sessions.
    const restless = async () => {
      while (going) {
        const c = new Client(5432);
        await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 180));
        if (c.ended && c.greeting !== null && c.greeting === onOpen)
          hit.push(`a session on ${onOpen} was ended, which is open`);
        c.socket.destroy();
      }
    };
    const load = Array.from({ length: 60 }, restless);
    for (let i = 0; i < 25; i++) {
      const next = i % 2 === 0 ? B : A;
      onOpen = null;
      await close(made, next.address);
      await open(made, next.address);
      onOpen = next.name;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    going = false;
    await Promise.all(load);
    await until('no session is left', noSessionIsLeft);
    expect(hit).toEqual([]);
  });

  it('lets 4,000 held clients of the write port in as soon as the next leader is open (S2, S19)', async () => {
    await new Clients('serve', MANY.address, 5432, MANY.name).next('listening');
    const made = await openedOn(A.address, [A.address, MANY.address]);
    // The loop always sets a wish for both ports. The router looks every 4 ms until both ports are as wished.
    made.read([]);
    const old = client();
    await until('a session is on A', () => old.greeting === A.name);
    made.write(null, A.address);
    await until('closed', () => made.view().closed);
    const held = await heldOn('write', HELD);
    await until('clean', () => made.view().clean);
    const share = await shareOf(await worker(), 3);
    // The leader dies, and its session ends by itself. The held clients must not delay the proof that the slot is
    // clean.
    const fromMs = epochMs();
    old.socket.destroy();
    await close(made, MANY.address);
    const cleanMs = epochMs() - fromMs;
    made.write(MANY.address, MANY.address);
    const first = await held.next('first');
    const over = await held.next('over');
    console.log(
      `4,000 held on the write port: ${(share * 100).toFixed(1)} % of a core; died → clean ${Math.round(cleanMs)} ms, → first answer ${Math.round(first.atMs - fromMs)} ms, → last ${Math.round(over.atMs - fromMs)} ms`,
    );
    expect(over).toMatchObject({ answered: HELD, closed: 0 });
    expect(share).toBeLessThan(HOLDING_SHARE);
    expect(first.atMs - fromMs).toBeLessThan(FIRST_ANSWER_MS);
  });

  it('ends established sessions of the old leader under 4,000 held clients, too (S2)', async () => {
    await new Clients('serve', MANY.address, 5432, MANY.name).next('listening');
    const made = await openedOn(A.address, [A.address, MANY.address]);
    const old = Array.from({ length: 20 }, () => client());
    await until('they are on A', () => old.every((c) => c.greeting === A.name));
    made.write(null, A.address);
    await until('closed', () => made.view().closed);
    const held = await heldOn('write', HELD);
    expect(old.some((c) => c.ended)).toBe(false);
    const fromMs = epochMs();
    await close(made, MANY.address);
    const cleanMs = epochMs() - fromMs;
    expect(old.every((c) => c.ended)).toBe(true);
    made.write(MANY.address, MANY.address);
    const first = await held.next('first');
    expect(await held.next('over')).toMatchObject({ answered: HELD, closed: 0 });
    console.log(
      `20 sessions ended under 4,000 held: clean ${Math.round(cleanMs)} ms, first answer ${Math.round(first.atMs - fromMs)} ms`,
    );
    expect(first.atMs - fromMs).toBeLessThan(FIRST_ANSWER_MS);
  });

  it('holds 4,000 clients on the read port, and both ports go on working (S13)', async () => {
    await new Clients('serve', MANY.address, 5432, MANY.name).next('listening');
    const made = await openedOn(A.address, [A.address, MANY.address]);
    made.read([]);
    const held = await heldOn('read', HELD);
    const share = await shareOf(await worker(), 3);
    const writer = client();
    await until('a session is on A', () => writer.greeting === A.name);
    const fromMs = epochMs();
    await close(made, MANY.address);
    const cleanMs = epochMs() - fromMs;
    expect(writer.ended).toBe(true);
    made.write(MANY.address, MANY.address);
    made.read([MANY.address]);
    const first = await held.next('first');
    const over = await held.next('over');
    console.log(
      `4,000 held on the read port: ${(share * 100).toFixed(1)} % of a core; write port clean ${Math.round(cleanMs)} ms, first read answered ${Math.round(first.atMs - fromMs)} ms, last ${Math.round(over.atMs - fromMs)} ms`,
    );
    expect(over).toMatchObject({ answered: HELD, closed: 0 });
    expect(share).toBeLessThan(HOLDING_SHARE);
    expect(first.atMs - fromMs).toBeLessThan(FIRST_ANSWER_MS);
  });

  it.each(['write', 'read'] as const)(
    'refuses a client of the %s port at once when all places are taken',
    async (port) => {
      const made = start();
      made.read([]);
      await close(made, A.address);
      const tooMany = 200;
      const dialled = new Clients('dial', proxy.address, port === 'write' ? 5432 : 5433, BUDGET.port + tooMany);
      await until('all places are taken', async () => (await queued(port)) === BUDGET.port);
      const late = client(port === 'write' ? 5432 : 5433);
      const fromMs = performance.now();
      await until('the next one is refused', () => late.ended);
      expect(performance.now() - fromMs).toBeLessThan(REFUSED_MS);
      await dialled.next('connected', (e) => e.connected === BUDGET.port && e.closed === tooMany);
      expect(await queued(port)).toBe(BUDGET.port);
      expect(made.view().reachable).toBe(true);
    },
  );

  it('closes held clients after holdTimeout; a worker that only finishes old sessions holds them as cheaply', async () => {
    const holdTimeoutMs = 15_000;
    expect(await proxy.apply(configWith(holdTimeoutMs))).toBe('reloaded');
    try {
      const made = start();
      made.read([]);
      await close(made, A.address);
      const held = await heldOn('write', HELD);
      const old = await worker();
      expect(await proxy.apply(`${configWith(holdTimeoutMs)}# changed\n`)).toBe('reloaded');
      // Once the router has seen the new worker, it looks rarely again.
      await until('the new worker is closed and clean', async () => {
        const now = await worker();
        return made.view().epoch?.split('@')[0] === now && now !== old && made.view().closed && made.view().clean;
      });
      const share = await shareOf(old, 3);
      const { answered, closed, livesMs } = await held.next('over');
      expect([answered, closed]).toEqual([0, HELD]);
      // The client that had the place in `hold` may have moved to the new worker, where it waits as long once more. So
      // the longest time is left out.
      const sorted = livesMs.sort((x, y) => x - y);
      const [shortest = 0, last = 0] = [sorted[0], sorted[sorted.length - 2]];
      console.log(
        `an old worker that holds 4,000: ${(share * 100).toFixed(1)} % of a core; closed after ${Math.round(shortest)} to ${Math.round(last)} ms, holdTimeout ${holdTimeoutMs} ms`,
      );
      expect(share).toBeLessThan(HOLDING_SHARE);
      expect(shortest).toBeGreaterThan(holdTimeoutMs - 100);
      expect(last).toBeLessThan(holdTimeoutMs + 2_000);
    } finally {
      await proxy.apply(CONFIG);
    }
  });

  it('shows the monitor’s certificate on the backends’ port, and a new one without ending a session', async () => {
    // Reads the request up to its empty line, then answers.
    const script = [
      '#!/bin/sh',
      'while read -r line && [ "$line" != "$(printf "\\r")" ]; do :; done',
      'printf "HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok"',
    ];
    const serve =
      'printf "%s" "$0" > /tmp/answer; chmod 755 /tmp/answer; exec socat TCP-LISTEN:8000,fork,reuseaddr EXEC:/tmp/answer';
    await proxy.run(API, '--network-alias', 'backend', proxy.image, 'sh', '-c', serve, script.join('\n'));
    const made = await openedOnA();
    const authority = await authorityOf('s'.repeat(48));
    const ca = authority.certificate();
    const issue = (more: string[]) => authority.issue({ names: [proxy.address, ...more], atMs: Date.now() });
    const [first, second] = [issue([]), issue(['renewed'])];
    const api = new ApiCertificate(proxy.sockets, { write: (...line) => log.push(line.join(' ')) }, '/run/haproxy');
    const show = async (pair: typeof first) => {
      api.want(pair);
      await api.look();
    };
    try {
      // While the monitor is away, HAProxy starts with a certificate that no client trusts.
      const https = renderHaproxyConfig({ holdTimeoutMs: 30_000, budget: BUDGET, backendHost: 'backend', https: true });
      expect(await proxy.apply(https)).toBe('reloaded');
      expect((await talk(null)).certificate.subject.CN).toBe('not the certificate yet');
      await until('the slot is open on A', () => {
        if (made.view().closed) made.write(A.address, A.address);
        return made.view().slot === A.address;
      });
      const session = client();
      await until('the session is answered', () => session.greeting !== null);

      await until('it is counted', () => made.clientPlaces()?.used === 1);
      expect(made.clientPlaces()).toEqual({ used: 1, of: BUDGET.clients, waiting: 0 });

      await show(first);
      expect(await talk(ca)).toMatchObject({
        status: 'HTTP/1.1 200 OK',
        certificate: { serialNumber: serialOf(first) },
      });
      const open = await dialTls(ca);
      await show(second);
      expect((await talk(ca)).certificate.serialNumber).toBe(serialOf(second));
      // The connection from before answers as the first one does; PostgreSQL's clients notice nothing.
      expect(await request(open)).toBe('HTTP/1.1 200 OK');
      expect(session.ended).toBe(false);
      expect(log.filter((line) => line.includes('CERTIFICATE_REFUSED'))).toEqual([]);

      // A new worker reads the file, also without a monitor.
      expect(await proxy.apply(`${https}# changed\n`)).toBe('reloaded');
      expect((await talk(ca)).certificate.serialNumber).toBe(serialOf(second));
      await show({ certificate: first.certificate, key: second.key });
      expect(log.filter((line) => line.includes('CERTIFICATE_REFUSED'))).toHaveLength(1);
      expect(log.join()).not.toContain('PRIVATE KEY');
    } finally {
      await proxy.apply(CONFIG);
      await dockerQuietly('rm', '-f', API.name);
    }
  });
});

/** @param ca null: whatever is shown is taken. */
function dialTls(ca: string | null): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const trust = ca === null ? { rejectUnauthorized: false } : { ca };
    const socket = connectTls({ host: proxy.address, port: 8000, ...trust });
    socket.once('secureConnect', () => resolve(socket)).once('error', reject);
    socket.setTimeout(10_000, () => socket.destroy(new Error('no answer')));
  });
}

/** Sends a request and resolves with the first line of its answer. */
function request(socket: TLSSocket): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject).once('end', () => reject(new Error('closed without an answer')));
    socket.once('data', (chunk: Buffer) => {
      socket.destroy();
      resolve(chunk.toString().split('\r\n')[0] ?? '');
    });
    socket.write('GET / HTTP/1.1\r\nHost: api\r\n\r\n');
  });
}

async function talk(ca: string | null): Promise<{ status: string; certificate: PeerCertificate }> {
  const socket = await dialTls(ca);
  const certificate = socket.getPeerCertificate();
  return { status: await request(socket), certificate };
}

function serialOf({ certificate }: { certificate: string }): string {
  return new X509Certificate(certificate).serialNumber;
}
