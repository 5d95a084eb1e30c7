/** The router against the real HAProxy image: two nodes that say who they are, clients that connect through the slots. */
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { renderHaproxyConfig } from '../../components/haproxy-config';
import { Haproxy } from '../../failover/monitor/haproxy';
import { ask, parseServers } from '../../failover/monitor/haproxy-socket';
import { sessionsIn } from '../lib/haproxy-sessions';
import { TIMEOUTS } from '../timeouts';

const execute = promisify(execFile);
const ROOT = join(__dirname, '../..');
const IMAGE = 'mon-test-haproxy:latest';
const NETWORK = 'mon-test-inner';
const PROXY = { name: 'mon-test-haproxy', address: '10.213.2.10' };
const A = { name: 'mon-test-a', address: '10.213.2.20' };
const B = { name: 'mon-test-b', address: '10.213.2.21' };
const CONFIG = renderHaproxyConfig({
  holdTimeoutMs: 30_000,
  serverMaxConnections: 90,
  backendHost: 'backend',
});

let sockets = '';
const log: string[] = [];
let router: Haproxy | null = null;
let ran: Promise<void> = Promise.resolve();

async function docker(...args: string[]): Promise<string> {
  return (await execute('docker', args, { env: { ...process.env, DOCKER_BUILDKIT: '0' } })).stdout.trim();
}
const quietly = (...args: string[]) => docker(...args).catch(() => '');

/** Runs apply-config in the container with a text on stdin; resolves with what it printed, throws with it when it fails. */
function applyConfig(config: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile('docker', ['exec', '-i', PROXY.name, 'apply-config'], (error, stdout, stderr) =>
      error === null ? resolve(stdout.trim()) : reject(new Error(stderr)),
    );
    child.stdin?.end(config);
  });
}

async function until(what: string, condition: () => boolean | Promise<boolean>, limitMs: number = TIMEOUTS.docker) {
  const deadline = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`never: ${what}\n${log.join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A client: who answered it, and whether its connection still stands. */
class Client {
  greeting: string | null = null;
  ended = false;
  readonly socket: Socket;

  constructor(port: number) {
    this.socket = connect(port, PROXY.address);
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
  const made = new Haproxy({
    sockets,
    port: 5432,
    addresses,
    clock: { nowMs: () => performance.now() },
    log: { write: (level, subject, code, message) => log.push(`${level} ${subject} ${code} ${message}`) },
    onChange: () => undefined,
    stalls: () => 0,
  });
  router = made;
  ran = made.run();
  return made;
}

/** The router as a monitor starts it, with the write slot open on A. */
async function openedOnA(): Promise<Haproxy> {
  const made = start();
  await until('HAProxy is seen', () => made.view().reachable);
  made.write(null, A.address);
  await until('it is proven clean', () => made.view().closed && made.view().clean);
  made.write(A.address, A.address);
  await until('the slot is open on A', () => made.view().slot === A.address);
  return made;
}

async function nobodyIsLeft(): Promise<boolean> {
  const sessions = sessionsIn(await ask(join(sockets, 'admin.sock'), 'show sess', 1_000));
  return sessions.every((s) => s.backend !== 'write');
}

const isRoot = process.getuid?.() === 0;

// HAProxy's sockets belong to its own group; without root this test cannot open them.
describe.skipIf(!isRoot)('the router with a real HAProxy', () => {
  beforeAll(async () => {
    for (const name of [PROXY.name, A.name, B.name]) await quietly('rm', '-f', name);
    await quietly('network', 'rm', NETWORK);
    await docker('build', '-q', '-t', IMAGE, join(ROOT, 'images/haproxy'));
    await docker('network', 'create', '--subnet', '10.213.2.0/24', NETWORK);
    sockets = mkdtempSync(join(tmpdir(), 'haproxy-sockets-'));
    chmodSync(sockets, 0o777);
    const run = ['run', '-d', '--init', '--network', NETWORK];
    for (const node of [A, B]) {
      await docker(
        ...run,
        '--name',
        node.name,
        '--ip',
        node.address,
        IMAGE,
        'socat',
        'TCP-LISTEN:5432,fork,reuseaddr',
        `SYSTEM:echo ${node.name}; cat`,
      );
    }
    await docker(...run, '--name', PROXY.name, '--ip', PROXY.address, '-v', `${sockets}:/run/haproxy`, IMAGE);
    expect(await applyConfig(CONFIG)).toContain('not running yet');
  });

  afterEach(async () => {
    for (const c of clients.splice(0)) c.socket.destroy();
    router?.stop();
    await ran;
  });

  afterAll(async () => {
    for (const name of [PROXY.name, A.name, B.name]) await quietly('rm', '-f', '-v', name);
    await quietly('network', 'rm', NETWORK);
    await quietly('rmi', IMAGE);
    rmSync(sockets, { recursive: true, force: true });
  });

  it('refuses a wrong configuration with the words of HAProxy and keeps the former one', async () => {
    await expect(applyConfig(`${CONFIG}\nfrontend broken\n  bind nonsense\n`)).rejects.toThrow(
      /refuses the configuration[\s\S]*nonsense/,
    );
    await expect(applyConfig('')).rejects.toThrow(/empty/);
    expect(await docker('exec', PROXY.name, 'haproxy-health').catch(() => 'unhealthy')).not.toBe('unhealthy');
  });

  it('is not reloaded for the configuration that it started with', async () => {
    const workers = () => docker('exec', PROXY.name, 'pidof', 'haproxy');
    const before = await workers();
    expect(await applyConfig(CONFIG)).toBe('in place already');
    expect(await workers()).toBe(before);
  });

  it('has statistics and metrics without a password', async () => {
    const stats = await fetch(`http://${PROXY.address}:5000/stats`);
    expect(await stats.text()).toContain('node9');
    const metrics = await fetch(`http://${PROXY.address}:5000/metrics`);
    expect(await metrics.text()).toContain('haproxy_process');
  });

  it('holds new connections while the slot is closed, and lets them through when it opens', async () => {
    const made = start();
    await until('HAProxy is seen', () => made.view().reachable);
    expect(made.view().slot).toBeNull();
    const waiting = Array.from({ length: 20 }, () => client());
    made.write(null, A.address);
    await until('it is proven clean', () => made.view().closed && made.view().clean);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(waiting.every((c) => c.greeting === null && !c.ended)).toBe(true);
    const from = performance.now();
    made.write(A.address, A.address);
    await until('everybody is answered', () => waiting.every((c) => c.greeting === A.name));
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

  it('holds without ending a session, and releases (S19)', async () => {
    const made = await openedOnA();
    const session = client();
    await until('it is on A', () => session.greeting === A.name);
    made.write(null, A.address);
    await until('it is closed and clean', () => made.view().closed && made.view().clean);
    const held = client();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect([session.ended, held.greeting]).toEqual([false, null]);
    made.write(A.address, A.address);
    await until('the held one goes through', () => held.greeting === A.name);
    expect(session.ended).toBe(false);
  });

  it('stays closed after a reload until it is opened again, and ends what an old worker still leads to the old leader (S2, S15)', async () => {
    const made = await openedOnA();
    const session = client();
    await until('it is on A', () => session.greeting === A.name);
    const before = made.view().epoch;
    expect(await applyConfig(`${CONFIG}# changed\n`)).toBe('reloaded');
    await until('the new worker is seen', () => made.view().reachable && made.view().epoch !== before);
    await until('it is closed', () => made.view().closed);
    expect(session.ended).toBe(false);
    made.write(null, B.address);
    await until('the old session is ended', () => session.ended);
    await until('all workers are proven clean', () => made.view().clean && made.view().closed);
  });

  it('is back, closed, in the same container when its processes crash', async () => {
    const made = await openedOnA();
    const session = client();
    await until('it is on A', () => session.greeting === A.name);
    const before = made.view().epoch;
    const startedAt = () => docker('inspect', '-f', '{{.State.StartedAt}}', PROXY.name);
    const started = await startedAt();
    const from = performance.now();
    await docker('exec', PROXY.name, 'sh', '-c', 'kill -KILL $(pidof haproxy)');
    await until('the old session is gone', () => session.ended);
    await until('HAProxy is back', () => made.view().reachable && made.view().epoch !== before && made.view().closed);
    console.log(`killed → back: ${Math.round(performance.now() - from)} ms`);
    expect(await startedAt()).toBe(started);
    made.write(A.address, A.address);
    const c = client();
    await until('it is open again when told to', () => c.greeting === A.name);
  });

  it('is not opened by itself after a restart (S15)', async () => {
    const made = await openedOnA();
    await docker('restart', '-t', '1', PROXY.name);
    await until('HAProxy is back', () => made.view().reachable && made.view().closed);
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(made.view()).toMatchObject({ slot: null, closed: true });
    made.write(A.address, A.address);
    const c = client();
    await until('it is open again when told to', () => c.greeting === A.name);
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
    expect(made.readView()).toEqual([A.address]);
    made.read([]);
    await until('nobody serves reads', () => late.ended && made.readView().length === 0);
  });

  it('closes the read slot of a node that is declared no more, which a former monitor had opened (S13)', async () => {
    const former = await openedOnA();
    former.read([A.address, B.address]);
    await until('both serve reads', () => former.readView().length === 2);
    former.stop();
    await ran;
    const made = start([A.address]);
    made.read([A.address]);
    await until('only A serves reads', () => made.readView().join() === A.address);
  });

  it('tells which nodes HAProxy itself does not reach, whatever clients do (DESIGN §9)', async () => {
    const made = await openedOnA();
    const unreached = () => Object.keys(made.view().unreached ?? {});
    await until('both are asked', async () => {
      const answer = await ask(join(sockets, 'admin.sock'), 'show servers state reach', 1_000);
      return parseServers(answer).filter((s) => !s.maintenance && s.port === 5432).length === 2;
    });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(unreached()).toEqual([]);
    const from = performance.now();
    await docker('network', 'disconnect', NETWORK, A.name);
    await until('A is not reached', () => unreached().length > 0);
    console.log(`cut off → HAProxy's connect fails: ${Math.round(performance.now() - from)} ms`);
    expect(unreached()).toEqual([A.address]);
    const since = made.view().unreached?.[A.address];
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(made.view().unreached).toEqual({ [A.address]: since });
    await docker('network', 'connect', '--ip', A.address, NETWORK, A.name);
    await until('A is reached again', () => unreached().length === 0);
  });

  it('leaves no session behind after many changes under reconnecting clients (PEERS trap 1)', async () => {
    const made = await openedOnA();
    let going = true;
    // Clients that stay until they are ended and are back at once, as pools are.
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
      made.write(null, next);
      await until('closed and clean', () => made.view().closed && made.view().clean);
      made.write(next, next);
      await until('open', () => made.view().slot === next);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    going = false;
    await Promise.all(load);
    await until('no session is left', nobodyIsLeft);
  });

  it('hits nobody else when sessions end by themselves while they are being ended (PEERS trap 1)', async () => {
    const made = await openedOnA();
    let going = true;
    let open: string | null = A.name;
    const hit: string[] = [];
    // Clients that leave at any moment, also when sessions are being ended, and are back at once: with the next session's memory.
    const restless = async () => {
      while (going) {
        const c = new Client(5432);
        await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 180));
        if (c.ended && c.greeting !== null && c.greeting === open)
          hit.push(`a session on ${open} was ended, which is open`);
        c.socket.destroy();
      }
    };
    const load = Array.from({ length: 60 }, restless);
    for (let i = 0; i < 25; i++) {
      const next = i % 2 === 0 ? B : A;
      open = null;
      made.write(null, next.address);
      await until('closed and clean', () => made.view().closed && made.view().clean);
      made.write(next.address, next.address);
      await until('open', () => made.view().slot === next.address);
      open = next.name;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    going = false;
    await Promise.all(load);
    await until('no session is left', nobodyIsLeft);
    expect(hit).toEqual([]);
  });
});
