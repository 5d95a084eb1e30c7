/** Clients of the write and the read port, and the answers that they got. */
import { Process } from './engine';
import type { ProxySession } from './haproxy-model';
import type { Operation } from './history';
import type { Machine } from './machine';
import type { Reply, Request } from './postgres';

const STATEMENT_LIMIT_MS = 2_500;
const CONNECT_LIMIT_MS = 4_000;

/** One client, which uses one connection at a time. */
export class Client {
  readonly process: Process;
  private session: ProxySession | null = null;
  private left = 0;

  constructor(
    private readonly world: Machine,
    private readonly name: string,
    private readonly proxy: 'write' | 'read',
  ) {
    this.process = new Process(world.engine, name, 'client');
  }

  start(): void {
    this.world.engine.after(this.world.random.between(0, 50), this.process, () => {
      this.live().catch((error: unknown) => this.world.fail(`client ${this.name}: ${String(error)}`));
    });
  }

  private async live(): Promise<void> {
    const { world, process } = this;
    const { engine, random } = world;
    while (!world.clientsEnd) {
      const stays = world.readersStay && this.proxy === 'read';
      if (this.session === null || (this.left <= 0 && !stays)) {
        this.session?.leave();
        this.session = await connect(world, this.proxy, process, CONNECT_LIMIT_MS);
        this.left = random.integer(1, 25);
      }
      if (this.session === null) {
        await engine.sleep(random.between(20, 200), process);
        continue;
      }
      this.left -= 1;
      if (world.holds > 0 && random.chance(world.holds)) await this.disturb(this.session);
      else await this.operate(this.session);
      await engine.sleep(random.chance(0.1) ? random.between(50, 300) : random.between(1, world.thinkMs), process);
    }
    this.session?.leave();
  }

  private async operate(session: ProxySession): Promise<void> {
    const { world } = this;
    const { random } = world;
    const dice = this.proxy === 'read' ? 1 : random.unit();
    const kind = dice < 0.5 ? 'row' : dice < 0.7 ? 'register' : 'read';
    const operation: Operation = {
      kind,
      client: this.name,
      startMs: world.engine.nowMs,
      endMs: null,
      node: session.server,
      outcome: 'open',
      row: kind === 'row' ? world.nextRow() : 0,
      value: kind === 'register' ? world.nextRow() : 0,
      version: 0,
      rows: [],
      count: 0,
      standby: false,
    };
    const request: Request =
      kind === 'row' ? { kind, row: operation.row } : kind === 'register' ? { kind, value: operation.value } : { kind };
    const cancel = kind !== 'read' && random.chance(world.cancels);
    const answer = ask(session, request, STATEMENT_LIMIT_MS);
    if (cancel) world.engine.after(random.between(5, 60), this.process, () => session.cancel());
    const reply = await answer;
    operation.endMs = world.engine.nowMs;
    if (reply?.ok !== true) {
      operation.outcome = reply === null && kind !== 'read' ? 'unknown' : 'failed';
      this.leave();
    } else if (reply.kind === 'read') {
      operation.outcome = 'ok';
      const { rows, count, version, value, recovery } = reply;
      Object.assign(operation, { rows, count, version, value, standby: recovery });
    } else if (reply.kind === 'committed') {
      operation.outcome = reply.warned ? 'unknown' : 'ok';
      operation.version = reply.version;
    }
    world.history.ended(operation, this.proxy);
  }

  /** A reader stays in a statement for a while; a writer changes a table (S16). */
  private async disturb(session: ProxySession): Promise<void> {
    const { engine, random } = this.world;
    const ms = random.between(50, 4_000);
    await ask(session, this.proxy === 'read' ? { kind: 'hold', ms } : { kind: 'alter' }, STATEMENT_LIMIT_MS);
    if (this.proxy === 'read') await engine.sleep(random.between(0, ms), this.process);
    this.leave();
  }

  private leave(): void {
    this.session?.leave();
    this.session = null;
  }
}

/** Connects to a port. Null: the connection was refused, ended before it was complete, or was not made in time. */
export function connect(
  world: Machine,
  port: 'write' | 'read',
  client: Process,
  limitMs: number,
): Promise<ProxySession | null> {
  return new Promise((resolve) => {
    const limit = world.engine.after(limitMs, client, () => {
      done = true;
      held?.leave();
      resolve(null);
    });
    let done = false;
    let held: ProxySession | null = null;
    const end = (session: ProxySession | null) => {
      if (done) return;
      done = true;
      limit.cancelled = true;
      resolve(session);
    };
    world.haproxy.connect(port, client, (session) => {
      if (session === null || session.closed) {
        end(null);
        return;
      }
      held = session;
      if (done) session.leave();
      session.onConnected = () => end(session);
      session.onClosed = () => end(null);
      if (session.backend !== null) end(session);
    });
  });
}

/** Sends a request. Null: there was no answer in time, or the connection broke. */
export function ask(session: ProxySession, request: Request, limitMs: number): Promise<Reply | null> {
  const { client } = session;
  return new Promise((resolve) => {
    const limit = client.engine.after(limitMs, client, () => resolve(null));
    const end = (reply: Reply | null) => {
      limit.cancelled = true;
      resolve(reply);
    };
    session.onClosed = () => end(null);
    session.ask(request, end);
  });
}
