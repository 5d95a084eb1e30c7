/**
 * HAProxy: workers with slots and sessions, the runtime API as text. A session keeps the server that it was connected to,
 * whatever the slot says later (S2); a connection attempt that is under way ends where it was begun; a restart or reload
 * starts with closed slots (S15); a frozen HAProxy carries out what it was told when it wakes.
 */
import { type Engine, Process } from './engine';
import { Channel, type Network, SimSocket } from './network';
import type { Session as Backend, Reply, Request } from './postgres';

const CLOSED = '127.0.0.1';
const CLOSED_PORT = 1;
const CONNECT_MS = 20;
const NODE_SLOTS = 9;
/** `timeout server-fin`, ms. */
const SERVER_FIN_MS = 200;
/** Of the held clients that leave so many are not noticed, by the moment that they leave in (measured: 0 to 60 %). */
const UNNOTICED = 0.3;
/** Holding ends after this, ms. */
const HOLD_MS = 30_000;
const REACH_EVERY_MS = 1_000;

interface Slot {
  name: string;
  address: string;
  port: number;
  maintenance: boolean;
}

/** A client's connection through HAProxy. */
export class ProxySession {
  /** Its place in memory: free for the next one as soon as this one has ended. */
  readonly id: string;
  readonly serial: number;
  readonly proxy: 'write' | 'read';
  readonly worker: Worker;
  readonly client: Process;
  readonly toClient: Channel;
  readonly fromClient: Channel;
  /** Address of the server that it is connected or connecting to. */
  server: string | null = null;
  /** The slot that it was sent to last. */
  slot: Slot | null = null;
  state: 'TAR' | 'QUE' | 'CON' | 'EST' | 'CLO' = 'TAR';
  backend: Backend | null = null;
  private left = false;
  onConnected: () => void = () => undefined;
  onClosed: () => void = () => undefined;
  private toServer: Channel | null = null;
  private fromServer: Channel | null = null;
  private readonly haproxy: HaproxyModel;

  constructor(haproxy: HaproxyModel, worker: Worker, proxy: 'write' | 'read', client: Process, serial: number) {
    this.haproxy = haproxy;
    this.serial = serial;
    let place = 1;
    while (worker.sessions.has(`0x${place.toString(16)}`)) place += 1;
    this.worker = worker;
    this.proxy = proxy;
    this.client = client;
    this.id = `0x${place.toString(16)}`;
    this.toClient = new Channel(haproxy.network, 'haproxy', client.host);
    this.fromClient = new Channel(haproxy.network, client.host, 'haproxy');
  }

  get closed(): boolean {
    return this.state === 'CLO';
  }

  /** The client asks; the answer comes back unless something breaks. */
  ask(request: Request, reply: (reply: Reply) => void): void {
    const { haproxy, client } = this;
    this.fromClient.send(haproxy.process, () => {
      const { backend, toServer, fromServer } = this;
      if (this.closed || backend === null || toServer === null || fromServer === null) return;
      toServer.send(backend.postgres.process, () =>
        backend.execute(request, (answer) =>
          fromServer.send(haproxy.process, () => {
            if (!this.closed) this.toClient.send(client, () => reply(answer));
          }),
        ),
      );
    });
  }

  cancel(): void {
    const { backend, toServer } = this;
    if (backend !== null) toServer?.send(backend.postgres.process, () => backend.cancel());
  }

  /** Picks a server and tries; a refusal or no answer in time is tried again with the slot's newest address. */
  dial(): void {
    if (this.closed || this.worker.dead) return;
    const { haproxy } = this;
    const { engine, network } = haproxy;
    const slot = this.worker.pick(this.proxy);
    this.slot = slot;
    const retry = () => {
      this.state = 'TAR';
      haproxy.after(CONNECT_MS, () => this.dial());
    };
    if (slot.port === CLOSED_PORT) {
      this.server = null;
      retry();
      return;
    }
    const { address } = slot;
    if (this.worker.isFull(this.proxy, address, haproxy.serverConnections)) {
      this.state = 'QUE';
      this.server = null;
      haproxy.after(CONNECT_MS, () => this.dial());
      return;
    }
    this.state = 'CON';
    this.server = address;
    const host = network.hostOf(address);
    const limitMs = engine.nowMs + CONNECT_MS;
    haproxy.after(network.latency('haproxy', host) * 2, () => {
      if (this.closed) return;
      const server = network.postgres.get(host);
      if (!network.reaches('haproxy', host)) {
        haproxy.after(Math.max(0, limitMs - engine.nowMs), retry);
        return;
      }
      // Another host has the address by now: it knows nothing of this connection.
      if (server === undefined || network.hostOf(address) !== host) {
        retry();
        return;
      }
      // The kernel accepts, also of a frozen server; the postmaster answers when it can.
      this.state = 'EST';
      if (this.left) haproxy.after(SERVER_FIN_MS, () => this.close());
      haproxy.changed();
      this.toServer = new Channel(network, 'haproxy', host);
      this.fromServer = new Channel(network, host, 'haproxy');
      const { fromServer } = this;
      this.toServer.send(server.process, () => {
        const accept = () => {
          if (server.postmasterFrozen) engine.after(20, server.process, accept);
          else server.admit('client', admitted);
        };
        const admitted = (backend: Backend | null) => {
          if (backend === null) {
            haproxy.turnedAway += 1;
            fromServer.send(haproxy.process, () => this.close());
            return;
          }
          backend.onClosed = () => fromServer.send(haproxy.process, () => this.close());
          fromServer.send(haproxy.process, () => {
            this.backend = backend;
            if (this.closed) this.hangUp();
            else this.toClient.send(this.client, () => this.onConnected());
          });
        };
        engine.after(engine.random.delay(1), server.process, accept);
      });
      const kernel = () => {
        if (server.process.dead && this.backend === null) this.close();
      };
      server.process.onDeath.push(() => fromServer.send(haproxy.process, kernel));
    });
  }

  /**
   * The client has left. Where it was held that is not always noticed: its session goes on trying, and is let in. A server
   * that hangs does not close its side: the session stays for a moment, deaf to commands.
   */
  leave(): void {
    const { haproxy } = this;
    this.fromClient.send(haproxy.process, () => {
      if (this.state !== 'EST' && haproxy.engine.random.chance(UNNOTICED)) {
        this.left = true;
        haproxy.after(HOLD_MS, () => this.close());
        return;
      }
      const host = this.server === null ? null : haproxy.network.hostOf(this.server);
      const server = host === null ? undefined : haproxy.network.postgres.get(host);
      const hangs = this.state === 'EST' && (server?.process.state === 'paused' || !this.reaches(host ?? ''));
      if (!hangs) {
        this.close();
        return;
      }
      this.left = true;
      haproxy.after(SERVER_FIN_MS, () => this.close());
    });
  }

  private reaches(host: string): boolean {
    return this.haproxy.network.reaches('haproxy', host);
  }

  /** `shutdown session` */
  shutdown(): void {
    if (!this.left) this.close();
  }

  /** Both sides are closed. What the backend is doing goes on. */
  close(): void {
    if (this.closed) return;
    this.state = 'CLO';
    this.worker.sessions.delete(this.id);
    this.hangUp();
    this.toClient.send(this.client, () => this.onClosed());
    this.haproxy.workersChanged();
  }

  private hangUp(): void {
    const { backend } = this;
    if (backend !== null) this.toServer?.send(backend.postgres.process, () => backend.postgres.closeSession(backend));
  }
}

class Worker {
  readonly pid: number;
  readonly startSeconds: number;
  dead = false;
  /** What clients who write are sent to: at most one is meant to be open. */
  readonly write = nodeSlots();
  readonly read = nodeSlots();
  /** Servers that HAProxy itself connects to once a second while they are not in maintenance. */
  readonly reach = nodeSlots();
  /** Refuses at once; used while no slot is open. */
  private readonly hold: Slot = { name: 'hold', address: CLOSED, port: CLOSED_PORT, maintenance: false };
  readonly unreached = new Set<string>();
  readonly sessions = new Map<string, ProxySession>();
  checkedAtMs = 0;
  private turn = 0;

  constructor(pid: number, startSeconds: number) {
    this.pid = pid;
    this.startSeconds = startSeconds;
  }

  /** A server gets no more than `maxconn` connections of a backend; the next ones queue (S24). */
  isFull(proxy: 'write' | 'read', address: string, most: number): boolean {
    if (this.sessions.size < most) return false;
    let count = 0;
    for (const s of this.sessions.values()) if (s.proxy === proxy && s.server === address) count += 1;
    return count >= most;
  }

  pick(proxy: 'write' | 'read'): Slot {
    const open = this[proxy].filter((n) => !n.maintenance);
    return open[this.turn++ % Math.max(1, open.length)] ?? this.hold;
  }

  /** Addresses of the slots that clients who write are let in by. */
  routes(): string[] {
    return this.write.filter((n) => !n.maintenance && n.port !== CLOSED_PORT).map((n) => n.address);
  }
}

function nodeSlots(): Slot[] {
  return Array.from({ length: NODE_SLOTS }, (_, i) => ({
    name: `node${i + 1}`,
    address: CLOSED,
    port: CLOSED_PORT,
    maintenance: true,
  }));
}

export class HaproxyModel {
  readonly engine: Engine;
  readonly network: Network;
  process: Process;
  workers: Worker[] = [];
  /** `maxconn` of each server (S24). */
  serverConnections = 80;
  /** Connections that PostgreSQL refused, or ended before they were accepted. */
  turnedAway = 0;
  /** A session that is ended while it connects stays for good, and its client hears nothing (PEERS, trap 1). */
  leaked: (words: string) => void = () => undefined;
  /** Called when somebody has got a connection to a socket of the runtime API, and has not spoken yet. */
  onDial: (socket: string, who: Process) => void = () => undefined;
  /** Called whenever a route or a session has changed. */
  changed: () => void = () => undefined;
  private pid = 100;
  private sessions = 0;

  constructor(engine: Engine, network: Network) {
    this.engine = engine;
    this.network = network;
    network.hosts.set('10.0.0.10', 'haproxy');
    this.process = new Process(engine, 'haproxy', 'haproxy');
    this.process.kill();
    this.start();
  }

  after(ms: number, run: () => void): void {
    this.engine.after(ms, this.process, run);
  }

  get current(): Worker | null {
    return this.workers.at(-1) ?? null;
  }

  start(): void {
    if (!this.process.dead) return;
    this.process = new Process(this.engine, 'haproxy', 'haproxy');
    this.network.down.delete('haproxy');
    this.workers = [];
    this.addWorker();
    for (const name of ['admin.sock', 'master.sock']) {
      this.network.unix.set(name, (socket) => this.serve(name, socket));
    }
  }

  private addWorker(): void {
    this.workers.push(new Worker(++this.pid, Math.floor(this.engine.nowMs / 1000)));
  }

  /** `docker kill haproxy` */
  kill(): void {
    this.network.unix.clear();
    for (const worker of this.workers) {
      worker.dead = true;
      for (const session of [...worker.sessions.values()]) session.close();
    }
    this.workers = [];
    this.process.kill();
    this.changed();
  }

  /** A new worker with closed slots; old ones finish their sessions. */
  reload(): void {
    if (this.process.state !== 'running') return;
    this.addWorker();
    this.workersChanged();
  }

  workersChanged(): void {
    this.workers = this.workers.filter((w) => w === this.workers.at(-1) || w.sessions.size > 0);
    this.changed();
  }

  /** A client dials the published port. Null: nobody listens. */
  connect(proxy: 'write' | 'read', client: Process, opened: (session: ProxySession | null) => void): void {
    const { engine, network } = this;
    engine.after(network.latency(client.host, 'haproxy'), client, () => {
      const { process } = this;
      if (process.dead) {
        opened(null);
        return;
      }
      engine.after(0.1, process, () => {
        const worker = this.current;
        if (worker === null) return;
        const session = new ProxySession(this, worker, proxy, client, ++this.sessions);
        worker.sessions.set(session.id, session);
        session.toClient.send(client, () => opened(session));
        session.dial();
      });
    });
  }

  // Runtime API

  private serve(name: string, near: SimSocket): void {
    const { process, engine } = this;
    const far = new SimSocket(this.network, process);
    near.join(far);
    let text = '';
    far.on('half-open', () => undefined);
    far.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
    });
    far.on('end', () => {
      engine.after(engine.random.delay(0.4), process, () => {
        const line = text.trim();
        if (line !== '') far.write(this.answer(name, line));
        far.end();
      });
    });
    this.onDial(name, near.owner);
    engine.after(0, near.owner, () => near.emit('connect'));
  }

  private answer(name: string, line: string): string {
    if (name === 'admin.sock') {
      const worker = this.current;
      return worker === null ? '' : this.commands(worker, line.split(';'));
    }
    const parts = line.split(';').map((c) => c.trim());
    if (parts[0] === 'show proc') return this.showProcesses();
    const pid = /^@!(\d+) /.exec(parts[0] ?? '')?.[1];
    const worker = this.workers.find((w) => String(w.pid) === pid);
    return worker === undefined
      ? ''
      : this.commands(
          worker,
          parts.map((c) => c.replace(/^@!\d+ /, '')),
        );
  }

  /** HAProxy's own connects; nobody sees them but by asking, so they are made when somebody does. */
  private checkReach(worker: Worker): void {
    const { network, engine } = this;
    if (engine.nowMs - worker.checkedAtMs < REACH_EVERY_MS) return;
    worker.checkedAtMs = engine.nowMs;
    worker.unreached.clear();
    for (const slot of worker.reach.filter((s) => !s.maintenance)) {
      const host = network.hostOf(slot.address);
      const answers = network.reaches('haproxy', host) && network.postgres.has(host);
      if (!answers) worker.unreached.add(slot.address);
    }
  }

  private showProcesses(): string {
    const row = (w: Worker) => `${w.pid}          worker          1               0d00h00m01s     3.0.11\n`;
    const old = this.workers.slice(0, -1).map(row).join('');
    const current = this.current;
    return `#<PID>          <type>          <reloads>       <uptime>        <version>\n1               master          0               0d00h00m01s     3.0.11\n# workers\n${current === null ? '' : row(current)}# old workers\n${old}# programs\n\n`;
  }

  private commands(worker: Worker, commands: readonly string[]): string {
    return commands.map((c) => this.command(worker, c.trim())).join('\n');
  }

  private shutdown(session: ProxySession): void {
    if (session.state !== 'EST') this.leaked(`session ${session.id} was ended while it was ${session.state}`);
    session.shutdown();
  }

  private command(worker: Worker, command: string): string {
    // An old worker only finishes its sessions.
    if (command.startsWith('set server') && worker !== this.current) return '\n';
    const address = /^set server (write|read|reach)\/(\S+) addr (\S+) port (\d+)$/.exec(command);
    if (address !== null) {
      const slot = slotNamed(worker, address[1], address[2]);
      if (slot === undefined) return 'No such server.\n';
      // The answer comes before a task of HAProxy's own has taken the new address.
      this.after(this.engine.random.between(0, 2), () => {
        slot.address = address[3] ?? CLOSED;
        slot.port = Number(address[4]);
        this.changed();
      });
      return '\n';
    }
    const state = /^set server (write|read|reach)\/(\S+) state (ready|maint)$/.exec(command);
    if (state !== null) {
      const slot = slotNamed(worker, state[1], state[2]);
      if (slot === undefined) return 'No such server.\n';
      slot.maintenance = state[3] === 'maint';
      this.changed();
      return '\n';
    }
    const end = /^shutdown session (\S+)$/.exec(command);
    if (end !== null) {
      const session = worker.sessions.get(end[1] ?? '');
      if (session !== undefined) this.shutdown(session);
      return '\n';
    }
    const empty = /^shutdown sessions server (write|read)\/(\S+)$/.exec(command);
    if (empty !== null) {
      const slot = slotNamed(worker, empty[1], empty[2]);
      if (slot === undefined) return 'No such server.\n';
      for (const session of [...worker.sessions.values()])
        if (session.slot === slot && (session.state === 'CON' || session.state === 'EST')) this.shutdown(session);
      return '\n';
    }
    if (command === 'show info') return `Name: HAProxy\nPid: ${worker.pid}\nStart_time_sec: ${worker.startSeconds}\n`;
    if (command === 'show servers state') {
      this.checkReach(worker);
      return showServers(worker);
    }
    const one = /^show sess (0x[0-9a-f]+)$/.exec(command);
    if (one !== null) {
      const session = worker.sessions.get(one[1] ?? '');
      return session === undefined ? '\n' : showSession(session);
    }
    if (command === 'show sess all') return [...worker.sessions.values()].map(showSession).join('');
    throw new Error(`the model of HAProxy does not know "${command}"`);
  }
}

function slotNamed(worker: Worker, backend: string | undefined, name: string | undefined): Slot | undefined {
  const slots = backend === 'write' ? worker.write : backend === 'read' ? worker.read : worker.reach;
  return slots.find((slot) => slot.name === name);
}

function showServers(worker: Worker): string {
  const row = (backend: number, name: string, id: number, slot: Slot) =>
    `${backend} ${name} ${id} ${slot.name} ${slot.address} ${isDown(slot) ? 0 : 2} ${slot.maintenance ? 1 : 0} ${slot.port}\n`;
  const isDown = (slot: Slot) => worker.reach.includes(slot) && worker.unreached.has(slot.address);
  const rows = [
    ...worker.write.map((n, i) => row(3, 'write', i + 1, n)),
    ...worker.read.map((n, i) => row(4, 'read', i + 1, n)),
    ...worker.reach.map((n, i) => row(5, 'reach', i + 1, n)),
  ];
  return `1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port\n${rows.join('')}\n`;
}

function showSession(session: ProxySession): string {
  const address = session.server === null ? '' : ` addr=${session.server}:5432`;
  return `${session.id}: [24/Nov/2026:12:00:00.000000] id=${session.serial} proto=tcpv4 source=10.0.1.5:40000\n  flags=0x0\n  frontend=${session.proxy} (id=2 mode=tcp), listener=? (id=1)\n  backend=${session.proxy} (id=3 mode=tcp)\n  server=${session.slot?.name ?? '<NONE>'} (id=1)${address}\n  scb=0x7f flags=0x0 ioto=1d state=${session.state} endp=CONN\n`;
}
