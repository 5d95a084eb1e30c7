/**
 * The network that shipped code sees: TCP and Unix sockets, and the PostgreSQL that runs on each host. The kernel closes
 * a killed process's connections; a paused process's kernel still accepts new ones.
 */
import { EventEmitter } from 'node:events';
import type { Engine, Process } from './engine';
import { Channel, Links } from './links';
import type { PostgresServer } from './postgres';

/** The network of the simulation with this engine. */
const networks = new WeakMap<Engine, Network>();

export function networkOf({ engine }: Process): Network {
  const network = networks.get(engine);
  if (network === undefined) throw new Error('the simulation has no network');
  return network;
}

export class Network extends Links {
  /** If several servers listen at one address, the newest one is reached. A process that ends removes its own. */
  private readonly listeners = new Map<string, SimServer[]>();
  /** Handlers of Unix sockets by the file's name. */
  readonly unix = new Map<string, (socket: SimSocket) => void>();
  /** The PostgreSQL that runs on a host. */
  readonly postgres = new Map<string, PostgresServer>();
  /** Handlers of TCP ports that do not belong to shipped code (PostgreSQL). */
  readonly raw = new Map<string, { process: () => Process | null; accept: (socket: SimSocket) => void }>();

  constructor(engine: Engine) {
    super(engine);
    networks.set(engine, this);
  }

  listen(host: string, port: number, server: SimServer): void {
    const key = `${host}:${port}`;
    this.listeners.set(key, [...(this.listeners.get(key) ?? []), server]);
  }

  unlisten(server: SimServer): void {
    for (const [key, servers] of this.listeners) {
      const others = servers.filter((s) => s !== server);
      this.listeners.set(key, others);
    }
  }

  connect(process: Process, target: { host: string; port: number }): SimSocket {
    const host = this.hostOf(target.host);
    const socket = new SimSocket(this, process);
    const tripMs = this.latency(process.host, host) * 2;
    // A SYN that does not arrive gets no answer. The caller has its own limit.
    this.engine.after(tripMs, process, () => {
      if (socket.destroyed || !this.reaches(process.host, host)) return;
      const raw = this.raw.get(`${host}:${target.port}`);
      const server = this.listeners.get(`${host}:${target.port}`)?.at(-1);
      const owner = raw?.process() ?? server?.process ?? null;
      if (owner === null || owner.dead) {
        socket.fail('ECONNREFUSED');
        return;
      }
      const far = new SimSocket(this, owner);
      socket.join(far);
      this.engine.after(0, owner, () => (raw !== undefined ? raw.accept(far) : server?.accept(far)));
      socket.emit('connect');
    });
    return socket;
  }

  /** A Unix socket in a shared volume. */
  connectUnix(process: Process, path: string): SimSocket {
    const name = path.slice(path.lastIndexOf('/') + 1);
    const socket = new SimSocket(this, process);
    this.engine.after(0.05, process, () => {
      if (socket.destroyed) return;
      const handler = this.unix.get(name);
      if (handler === undefined) socket.fail('ECONNREFUSED');
      else handler(socket);
    });
    return socket;
  }
}

export class SimSocket extends EventEmitter {
  destroyed = false;
  readonly writableLength = 0;
  // The simulation ignores these settings.
  readonly setEncoding = (): this => this;
  readonly setNoDelay = (): this => this;
  readonly setTimeout = (): this => this;
  private peer: SimSocket | null = null;
  private out: Channel | null = null;
  private finSent = false;
  private hasEnded = false;
  private readonly onDeath = () => this.kernelCloses();

  constructor(
    private readonly network: Network,
    readonly owner: Process,
  ) {
    super();
    owner.onDeath.add(this.onDeath);
  }

  join(far: SimSocket): void {
    this.peer = far;
    far.peer = this;
    this.out = new Channel(this.network, this.owner.host, far.owner.host);
    far.out = new Channel(this.network, far.owner.host, this.owner.host);
  }

  write(data: string | Buffer): boolean {
    const { peer, out } = this;
    if (this.destroyed || this.finSent || peer === null || out === null) return false;
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    const deliver = () => peer.receive(bytes);
    out.send(peer.owner, deliver);
    const { engine, doubled, doubledAfterMs } = this.network;
    if (doubled > 0 && engine.random.chance(doubled) && bytes.includes('"type":"order"')) {
      engine.after(engine.random.between(doubledAfterMs, 2_500), peer.owner, deliver);
    }
    return true;
  }

  end(last?: string | (() => void), done?: () => void): this {
    if (typeof last === 'string') this.write(last);
    const after = typeof last === 'function' ? last : done;
    const { peer, out } = this;
    if (!this.finSent && !this.destroyed && peer !== null && out !== null) {
      this.finSent = true;
      out.send(peer.owner, () => peer.ended());
    }
    if (after !== undefined) this.network.engine.after(0.1, this.owner, after);
    return this;
  }

  destroy(): this {
    if (this.destroyed) return this;
    this.close();
    this.network.engine.after(0, this.owner, () => this.emit('close'));
    this.tellPeer();
    return this;
  }

  fail(code: string): void {
    if (this.destroyed) return;
    this.close();
    this.emit('error', Object.assign(new Error(code), { code }));
    this.emit('close');
  }

  private close(): void {
    this.destroyed = true;
    this.owner.onDeath.delete(this.onDeath);
  }

  private receive(bytes: Buffer): void {
    if (!this.destroyed) this.emit('data', bytes);
  }

  /** The other side sends nothing more. */
  private ended(): void {
    if (this.destroyed) return;
    this.endOnce();
    if (this.listenerCount('half-open') > 0) return;
    this.destroy();
  }

  /** Emits the end only once, because a connection may be half-closed before it is closed. */
  private endOnce(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.emit('end');
  }

  private kernelCloses(): void {
    if (this.destroyed) return;
    this.close();
    this.tellPeer();
  }

  private tellPeer(): void {
    const { peer, out } = this;
    if (peer === null || out === null) return;
    out.send(peer.owner, () => {
      if (peer.destroyed) return;
      peer.close();
      peer.endOnce();
      peer.emit('close');
    });
  }
}

export class SimServer extends EventEmitter {
  constructor(
    private readonly network: Network,
    readonly process: Process,
    readonly handler: (socket: SimSocket) => void,
  ) {
    super();
    process.onDeath.add(() => network.unlisten(this));
  }

  listen(port: number, _address: string, listening: () => void): this {
    this.network.listen(this.process.host, port, this);
    this.network.engine.after(0, this.process, listening);
    return this;
  }

  accept(socket: SimSocket): void {
    this.handler(socket);
  }

  close(done?: () => void): this {
    this.network.unlisten(this);
    if (done !== undefined) this.network.engine.after(0, this.process, done);
    return this;
  }
}
