/**
 * A model of HAProxy: workers with slots, queues and sessions, and the runtime API as text.
 * - A session keeps the server to which it was connected, even if its slot gets another address later (S2).
 * - A connection attempt that is under way ends at the server where it began.
 * - After a restart or reload all slots are closed (S15).
 * - When a frozen HAProxy wakes, it executes the commands that it got meanwhile.
 * - While no slot has a free place, sessions wait in the queue. The first of them gets the place in `hold`, which leads
 *   back into HAProxy and waits there as another session.
 * - The time for an answer depends on its length.
 */
import { NODES_MAX } from '../failover/contract/limits';
import { type Engine, Process } from './engine';
import { Channel } from './links';
import { type Network, SimSocket } from './network';
import type { Session as Backend, Reply, Request } from './postgres';

const CLOSED = '127.0.0.1';
const CLOSED_PORT = 1;
/** `timeout connect`, ms. */
const CONNECT_MS = 20;
const HOLD = 'hold';
/** `timeout server-fin`, ms. */
const SERVER_FIN_MS = 200;
/**
 * Part of the clients that leave between two attempts without being noticed. It depends on the moment (measured: 0 to
 * 60 %).
 */
const UNNOTICED = 0.3;
/** Longest time until a session notices that it was taken from the queue, ms. */
const WOKEN_MS = 0.3;
/** Time per byte of an answer, ms (measured: 4.8 MB of sessions in 104 to 186 ms). */
const BYTE_MS = 3.5e-5;
/** Size of the pieces in which HAProxy sends an answer, bytes. */
const PIECE = 16_384;
/** Longest time for which a session is held, ms. */
const HOLD_MS = 30_000;
const REACH_EVERY_MS = 1_000;
/** Time that one session adds to an answer that lists all sessions, ms (4,000 of them: 104 to 186 ms). */
const SESSION_MS = 0.036;

interface Slot {
  name: string;
  address: string;
  port: number;
  maintenance: boolean;
  /** Largest number of sessions; null: as configured. */
  limit: number | null;
  /** Increases with every session that the slot gets. */
  turn: number;
  /** Number of sessions that the slot has got. */
  total: number;
}

type Port = 'write' | 'read';

/** A client's connection through HAProxy. */
export class ProxySession {
  /** The session's address in memory. The next session may get it as soon as this one has ended. */
  readonly id: string;
  readonly toClient: Channel;
  readonly fromClient: Channel;
  /** The slot to which the session was sent last. */
  slot: Slot | null = null;
  /** The slot in which a place is reserved for the session, perhaps before the session knows. */
  place: Slot | null = null;
  state: 'TAR' | 'QUE' | 'CON' | 'EST' | 'CLO' = 'TAR';
  /** The second session, to which `hold` has led this one; null while this session has no place in `hold`. */
  private inner: ProxySession | null = null;
  private ownServer: string | null = null;
  private ownBackend: Backend | null = null;
  private left = false;
  private queuedMs = 0;
  /** The session that has the place in `hold` and has led to this one. */
  private outer: ProxySession | null = null;
  onConnected: () => void = () => undefined;
  onClosed: () => void = () => undefined;
  private toServer: Channel | null = null;
  private fromServer: Channel | null = null;

  constructor(
    private readonly haproxy: HaproxyModel,
    readonly worker: Worker,
    readonly proxy: Port,
    readonly client: Process,
  ) {
    let place = 1;
    while (worker.sessions.has(`0x${place.toString(16)}`)) place += 1;
    this.id = `0x${place.toString(16)}`;
    this.toClient = new Channel(haproxy.network, 'haproxy', client.host);
    this.fromClient = new Channel(haproxy.network, client.host, 'haproxy');
  }

  get closed(): boolean {
    return this.state === 'CLO';
  }

  /** Address of the server to which the session is connected or connecting. */
  get server(): string | null {
    return this.inner?.server ?? this.ownServer;
  }

  get backend(): Backend | null {
    return this.inner?.backend ?? this.ownBackend;
  }

  /** The client sends a request. The answer comes back unless a connection breaks. */
  ask(request: Request, reply: (reply: Reply) => void): void {
    if (this.inner !== null) {
      this.inner.ask(request, reply);
      return;
    }
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
    if (this.inner !== null) {
      this.inner.cancel();
      return;
    }
    const { backend, toServer } = this;
    if (backend !== null) toServer?.send(backend.postgres.process, () => backend.cancel());
  }

  /** Takes a free place, or waits in the queue. */
  dial(): void {
    if (this.closed || this.worker.dead) return;
    const slot = this.worker.withPlace(this.proxy);
    if (slot !== null) this.take(slot, 0);
    // A slot that opens before this session is in the queue does not get it.
    else this.haproxy.after(this.haproxy.engine.random.between(0, 0.05), () => this.wait());
  }

  private wait(): void {
    if (this.closed) return;
    this.state = 'QUE';
    this.slot = null;
    const { haproxy, worker } = this;
    const queue = worker.queues[this.proxy];
    queue.push(this);
    const sinceMs = haproxy.engine.nowMs;
    this.queuedMs = sinceMs;
    haproxy.after(HOLD_MS, () => {
      if (this.queuedMs === sinceMs && queue.includes(this)) this.close();
    });
  }

  /** Reserves the place now. The session notices it on its next turn. */
  take(slot: Slot, delayMs: number): void {
    this.place = slot;
    slot.turn = this.haproxy.nextTurn();
    slot.total += 1;
    if (delayMs === 0) this.tryOn(slot);
    else this.haproxy.after(delayMs, () => this.tryOn(slot));
  }

  private release(): void {
    if (this.place === null) return;
    this.place = null;
    this.worker.dequeue(this.proxy);
  }

  /** After a refusal, or without an answer in time, the session tries again, with any slot that is open then. */
  private tryOn(slot: Slot): void {
    if (this.closed || this.worker.dead) return;
    this.slot = slot;
    const { haproxy } = this;
    const { engine, network } = haproxy;
    const retry = () => {
      if (this.closed) return;
      this.state = 'TAR';
      this.slot = null;
      this.ownServer = null;
      this.release();
      haproxy.after(CONNECT_MS, () => this.dial());
    };
    if (slot.name === HOLD) {
      this.state = 'EST';
      this.goIn();
      return;
    }
    if (slot.port === CLOSED_PORT) {
      retry();
      return;
    }
    const { address } = slot;
    this.state = 'CON';
    this.ownServer = address;
    const host = network.hostOf(address);
    const limitMs = engine.nowMs + CONNECT_MS;
    haproxy.after(network.latency('haproxy', host) * 2, () => {
      if (this.closed) return;
      const server = network.postgres.get(host);
      if (!network.reaches('haproxy', host)) {
        haproxy.after(Math.max(0, limitMs - engine.nowMs), retry);
        return;
      }
      // The address belongs to another host by now, which does not know this connection.
      if (server === undefined || network.hostOf(address) !== host) {
        retry();
        return;
      }
      // The kernel accepts the connection, also for a frozen server. The postmaster answers when it can.
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
            this.ownBackend = backend;
            if (this.closed) this.hangUp();
            else this.toClient.send(this.client, () => this.onConnected());
          });
        };
        engine.after(engine.random.delay(1), server.process, accept);
      });
      const kernel = () => {
        if (server.process.dead && this.ownBackend === null) this.close();
      };
      server.process.onDeath.add(() => fromServer.send(haproxy.process, kernel));
    });
  }

  /**
   * `hold` leads to a listener of the running worker. That is another worker when this one only finishes its sessions.
   */
  private goIn(): void {
    const { haproxy } = this;
    const inner = haproxy.goIn(this.proxy, this.client);
    if (inner === null) {
      this.close();
      return;
    }
    this.inner = inner;
    inner.outer = this;
    inner.onConnected = () => this.onConnected();
    haproxy.after(0.1, () => inner.dial());
  }

  /**
   * The client has left. HAProxy notices this in the queue, but not always between two attempts: then the session keeps
   * trying, and is let in. A server that hangs does not close its side, so the session stays for a moment and ignores
   * commands.
   */
  leave(): void {
    if (this.inner !== null) {
      this.inner.leave();
      return;
    }
    const { haproxy } = this;
    this.fromClient.send(haproxy.process, () => {
      const between = this.state === 'TAR' || this.state === 'CON';
      if (between && haproxy.engine.random.chance(UNNOTICED)) {
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

  /** Both sides are closed. The backend finishes its work. */
  close(): void {
    if (this.closed) return;
    this.state = 'CLO';
    this.worker.sessions.delete(this.id);
    this.worker.unqueue(this);
    this.hangUp();
    const { inner, outer, haproxy } = this;
    if (inner !== null) haproxy.after(0.1, () => inner.close());
    if (outer !== null) haproxy.after(0.1, () => outer.close());
    else this.toClient.send(this.client, () => this.onClosed());
    this.release();
    haproxy.workersChanged();
  }

  private hangUp(): void {
    const backend = this.ownBackend;
    if (backend !== null) this.toServer?.send(backend.postgres.process, () => backend.postgres.closeSession(backend));
  }
}

class Worker {
  dead = false;
  /** The slots for clients that write. At most one of them should be open. */
  readonly write = nodeSlots();
  readonly read = nodeSlots();
  /** Servers to which HAProxy itself connects once a second while they are not in maintenance. */
  readonly reach = nodeSlots();
  /** Slots for one session each, while no other slot is open. */
  readonly hold = { write: holdSlot(15_432), read: holdSlot(15_433) };
  readonly queues: Record<Port, ProxySession[]> = { write: [], read: [] };
  readonly unreached = new Set<string>();
  readonly sessions = new Map<string, ProxySession>();
  checkedAtMs = 0;

  constructor(
    private readonly haproxy: HaproxyModel,
    readonly pid: number,
    readonly startSeconds: number,
  ) {}

  /** Number of sessions that have a place in a slot. */
  taken(slot: Slot): number {
    let count = 0;
    for (const s of this.sessions.values()) if (s.place === slot) count += 1;
    return count;
  }

  /** A slot gets no more sessions than its limit. Further sessions wait in the queue (S24). */
  limitOf(slot: Slot): number {
    return slot.limit ?? this.haproxy.serverConnections;
  }

  /**
   * The open slot with the fewest sessions; equal slots take turns. If no slot is open, `hold`. Null: there is no free
   * place.
   */
  withPlace(proxy: Port): Slot | null {
    const open = this[proxy].filter((slot) => !slot.maintenance);
    const found = (open.length > 0 ? open : [this.hold[proxy]])
      .map((slot) => ({ slot, taken: this.taken(slot) }))
      .filter(({ slot, taken }) => taken < this.limitOf(slot))
      .sort((x, y) => x.taken - y.taken || x.slot.turn - y.slot.turn);
    return found[0]?.slot ?? null;
  }

  /** Gives the free places to the waiting sessions, the oldest first. */
  dequeue(proxy: Port): void {
    if (this.dead) return;
    const queue = this.queues[proxy];
    for (let slot = this.withPlace(proxy); slot !== null && queue.length > 0; slot = this.withPlace(proxy)) {
      queue.shift()?.take(slot, this.haproxy.engine.random.between(0.01, WOKEN_MS));
    }
  }

  unqueue(session: ProxySession): void {
    const queue = this.queues[session.proxy];
    const at = queue.indexOf(session);
    if (at >= 0) queue.splice(at, 1);
  }

  /** Addresses of the open slots for clients that write. */
  routes(): string[] {
    return this.write.filter((n) => !n.maintenance && n.port !== CLOSED_PORT).map((n) => n.address);
  }
}

function nodeSlots(): Slot[] {
  return Array.from({ length: NODES_MAX }, (_, i) => ({
    name: `node${i + 1}`,
    address: CLOSED,
    port: CLOSED_PORT,
    maintenance: true,
    limit: null,
    turn: 0,
    total: 0,
  }));
}

function holdSlot(port: number): Slot {
  return { name: HOLD, address: CLOSED, port, maintenance: false, limit: 1, turn: 0, total: 0 };
}

export class HaproxyModel {
  process: Process;
  workers: Worker[] = [];
  /** `maxconn` of each server (S24). */
  serverConnections = 80;
  /** Number of connections that PostgreSQL refused, or ended before it accepted them. */
  turnedAway = 0;
  /** Number of held clients beyond those in the model. An answer lists their sessions, too. */
  crowd = 0;
  /**
   * Called when HAProxy ends a session that is not connected yet. Such a session stays for good, and its client gets no
   * answer (docs/decisions/0017-a-slot-for-every-node.md).
   */
  leaked: (message: string) => void = () => undefined;
  /** Called when a process has connected to a socket of the runtime API and has not sent anything yet. */
  onDial: (socket: string, who: Process) => void = () => undefined;
  /** Called whenever a route or a session has changed. */
  changed: () => void = () => undefined;
  private pid = 100;
  private turn = 0;

  constructor(
    readonly engine: Engine,
    readonly network: Network,
  ) {
    network.hosts.set('10.0.0.10', 'haproxy');
    this.process = new Process(engine, 'haproxy', 'haproxy');
    this.process.kill();
    this.start();
  }

  after(ms: number, run: () => void): void {
    this.engine.after(ms, this.process, run);
  }

  nextTurn(): number {
    return ++this.turn;
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
    this.workers.push(new Worker(this, ++this.pid, Math.floor(this.engine.nowMs / 1000)));
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

  /** Starts a new worker with closed slots. Old workers finish their sessions. */
  reload(): void {
    if (this.process.state !== 'running') return;
    this.addWorker();
    this.workersChanged();
  }

  workersChanged(): void {
    this.workers = this.workers.filter((w) => w === this.workers.at(-1) || w.sessions.size > 0);
    this.changed();
  }

  /** A client connects to the published port. Null: no worker listens. */
  connect(proxy: Port, client: Process, opened: (session: ProxySession | null) => void): void {
    const { engine, network } = this;
    engine.after(network.latency(client.host, 'haproxy'), client, () => {
      const { process } = this;
      if (process.dead) {
        opened(null);
        return;
      }
      engine.after(0.1, process, () => {
        const session = this.goIn(proxy, client);
        if (session === null) return;
        session.toClient.send(client, () => opened(session));
        session.dial();
      });
    });
  }

  /** Creates a session of the running worker; null: no worker runs. */
  goIn(proxy: Port, client: Process): ProxySession | null {
    const worker = this.current;
    if (worker === null || worker.dead) return null;
    const session = new ProxySession(this, worker, proxy, client);
    worker.sessions.set(session.id, session);
    return session;
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
      const line = text.trim();
      const crowdMs = line.includes('show sess') ? this.crowd * SESSION_MS : 0;
      engine.after(engine.random.delay(0.4) + crowdMs, process, () => {
        const answer = line === '' ? '' : this.answer(name, line);
        const send = (from: number) => {
          const piece = answer.slice(from, from + PIECE);
          engine.after(timedLength(piece) * BYTE_MS, process, () => {
            if (piece !== '') far.write(piece);
            if (from + PIECE >= answer.length) far.end();
            else send(from + PIECE);
          });
        };
        send(0);
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

  /** HAProxy's own connection attempts. Only a query shows their results, so they are made when there is a query. */
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

  private lookAtQueue(worker: Worker, backend: string | undefined): void {
    if (backend === 'write' || backend === 'read') worker.dequeue(backend);
  }

  private shutdown(session: ProxySession): void {
    if (session.state !== 'EST') this.leaked(`session ${session.id} was ended while it was ${session.state}`);
    else session.shutdown();
  }

  private command(worker: Worker, command: string): string {
    // An old worker only finishes its sessions.
    if (command.startsWith('set ') && worker !== this.current) return 'Proxy is disabled.\n';
    const address = /^set server (write|read|reach)\/(\S+) addr (\S+) port (\d+)$/.exec(command);
    if (address !== null) {
      const slot = slotNamed(worker, address[1], address[2]);
      if (slot === undefined) return 'No such server.\n';
      // The answer comes before HAProxy's own task has applied the new address.
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
      this.lookAtQueue(worker, state[1]);
      this.changed();
      return '\n';
    }
    const limit = /^set maxconn server (write|read)\/(\S+) (\d+)$/.exec(command);
    if (limit !== null) {
      const slot = slotNamed(worker, limit[1], limit[2]);
      if (slot === undefined) return 'No such server.\n';
      slot.limit = Number(limit[3]);
      this.lookAtQueue(worker, limit[1]);
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
      for (const session of [...worker.sessions.values()]) if (session.place === slot) this.shutdown(session);
      return '\n';
    }
    if (command === 'show info') return `Name: HAProxy\nPid: ${worker.pid}\nStart_time_sec: ${worker.startSeconds}\n`;
    if (command === 'show servers state') {
      this.checkReach(worker);
      return showServers(worker);
    }
    const loads = /^show stat (-1|\d+) 6 -1$/.exec(command);
    if (loads !== null) return showLoads(worker, Number(loads[1]));
    if (command === 'show sess') return [...worker.sessions.values()].map(showSession).join('');
    throw new Error(`the model of HAProxy does not know "${command}"`);
  }
}

/** Length without the column `stot`: HAProxy sends a hundred columns, and it does not matter which the model shows. */
function timedLength(piece: string): number {
  return piece.replaceAll(/^((?:write|read),(?:[^,\n]*,){4})\d+,/gm, '$1').replaceAll(',stot,', ',').length;
}

function slotNamed(worker: Worker, backend: string | undefined, name: string | undefined): Slot | undefined {
  const slots = backend === 'write' ? worker.write : backend === 'read' ? worker.read : worker.reach;
  return slots.find((slot) => slot.name === name);
}

const BACKEND_IDS = { write: 3, read: 4 };

function showServers(worker: Worker): string {
  const row = (backend: number, name: string, id: number, slot: Slot) =>
    `${backend} ${name} ${id} ${slot.name} ${slot.address} ${isDown(slot) ? 0 : 2} ${slot.maintenance ? 1 : 0} ${slot.port}\n`;
  const isDown = (slot: Slot) => worker.reach.includes(slot) && worker.unreached.has(slot.address);
  const rows = [
    ...[...worker.write, worker.hold.write].map((n, i) => row(BACKEND_IDS.write, 'write', i + 1, n)),
    ...[...worker.read, worker.hold.read].map((n, i) => row(BACKEND_IDS.read, 'read', i + 1, n)),
    ...worker.reach.map((n, i) => row(5, 'reach', i + 1, n)),
  ];
  return `1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port\n${rows.join('')}\n`;
}

function showLoads(worker: Worker, id: number): string {
  const all = [...worker.sessions.values()];
  const rows = (['write', 'read'] as const)
    .filter((proxy) => id === -1 || id === BACKEND_IDS[proxy])
    .flatMap((proxy) => {
      const here = all.filter((s) => s.proxy === proxy);
      const on = (slot: Slot) => here.filter((s) => s.slot === slot && (s.state === 'CON' || s.state === 'EST')).length;
      return [
        ...[...worker[proxy], worker.hold[proxy]].map(
          (n) => `${proxy},${n.name},0,${on(n)},${worker.limitOf(n)},${n.total},2\n`,
        ),
        `${proxy},BACKEND,${worker.queues[proxy].length},${here.length},1000,0,1\n`,
      ];
    });
  return `# pxname,svname,qcur,scur,slim,stot,type\n${rows.join('')}\n`;
}

/** HAProxy's numbers of the states of the server's side. */
const STATES = { QUE: 2, TAR: 3, CON: 5, EST: 8, CLO: 10 };

function showSession(session: ProxySession): string {
  const { id, proxy, slot, state } = session;
  return `${id}: proto=tcpv4 src=10.0.1.5:40000 fe=${proxy} be=${proxy} srv=${slot?.name ?? '<none>'} ts=00 age=1s scf=[8,0h,fd=1,rex=,wex=] scb=[${STATES[state]},1h,fd=2,rex=,wex=] exp= rc=0 c_exp=\n`;
}
