/**
 * Clients of replication, and the gate through which they reach a node. The shipped code decides when the gate is open
 * (client-replication.ts), what a client is called (gate/startup.ts) and what a consumer waits for (consumers.ts). The
 * clients know no leader: they try every node, as if HAProxy led them to a wrong one.
 */
import type { ClientGate } from '../failover/keeper/ports';
import { readFirst } from '../failover/keeper/postgres/gate/startup';
import { Process } from './engine';
import type { PostgresServer, Receiving, Sender } from './postgres';
import type { DataDir, WalRecord } from './wal';

/** Time until a client tries again, ms. */
const RETRY_MS = 20;
const PROTOCOL_3 = 0x30000;

/** The settings of `replicationPort` in a simulated stack. */
export const REPLICATION = { leaseMs: 2_000 };
/** A stack with `replicationPort` has them, so that its clients may use logical slots. */
export const LOGICAL_SETTINGS = { wal_level: 'logical' };

/** What a client needs of a node. */
export interface GatedNode {
  readonly name: string;
  readonly gate: SimGate | null;
  readonly postgres: PostgresServer | null;
}

/** The gate of one node's keeper. */
export class SimGate implements ClientGate {
  private isOpen = false;
  private readonly sessions = new Map<Sender, PostgresServer>();

  constructor(private readonly process: Process) {}

  readonly bootMs = () => this.process.engine.nowMs;

  open(): void {
    this.isOpen = true;
  }

  shut(): void {
    this.isOpen = false;
    for (const [sender, server] of this.sessions) server.endSender(sender);
    this.sessions.clear();
  }

  /** A new connection gets through. */
  get admits(): boolean {
    return this.isOpen && this.process.state === 'running';
  }

  entered(sender: Sender, server: PostgresServer): void {
    this.sessions.set(sender, server);
  }

  left(sender: Sender): void {
    this.sessions.delete(sender);
  }
}

/** What clients of replication need of the world. */
export interface ReplicationWorld {
  readonly engine: Process['engine'];
  readonly network: PostgresServer['network'];
  readonly nodes: readonly GatedNode[];
  fail(words: string): void;
}

/** One client, which streams from any node that lets it in. */
abstract class ReplicationClient implements Receiving {
  readonly disk = { slowness: 1 };
  readonly process: Process;
  private session: { sender: Sender; server: PostgresServer; gate: SimGate } | null = null;

  constructor(
    protected readonly world: ReplicationWorld,
    /** `application_name` that the client asks for. */
    private readonly asks: string,
    private readonly isLogical: boolean,
  ) {
    this.process = new Process(world.engine, `client of replication as ${asks}`, 'client');
    this.tryAgain();
  }

  /** Where it goes on. */
  protected abstract beginAt(data: DataDir): number;
  /** It has got these records of a server with this data. */
  protected abstract got(from: number, records: readonly WalRecord[], data: DataDir): void;

  private tryAgain(): void {
    const { random } = this.world.engine;
    this.world.engine.after(random.between(RETRY_MS / 2, RETRY_MS), this.process, () => {
      this.connect();
      this.tryAgain();
    });
  }

  private connect(): void {
    if (this.session !== null) return;
    const { world, process } = this;
    const open = world.nodes.filter(({ gate, postgres }) => {
      return gate?.admits === true && postgres !== null && world.network.reaches(process.host, postgres.process.host);
    });
    if (open.length === 0) return;
    const { gate, postgres } = world.engine.random.pick(open);
    if (gate === null || postgres === null || postgres.process.state !== 'running') return;
    const name = nameAt(this.asks);
    const sender = postgres.serve(this, name, 'a_clients_slot', this.beginAt(postgres.data), this.isLogical);
    if (sender === null) return;
    this.session = { sender, server: postgres, gate };
    gate.entered(sender, postgres);
  }

  receive(sender: Sender, from: number, records: readonly WalRecord[]): void {
    const { session } = this;
    if (session?.sender !== sender) return;
    this.got(from, records, session.server.data);
    this.answer(from + records.length);
  }

  /** As `pg_receivewal --synchronous`: it says at once that all is on its disk. */
  private answer(upTo: number): void {
    const { session } = this;
    if (session === null) return;
    const { sender, server } = session;
    sender.up.send(server.process, () => server.heard(sender, upTo, upTo));
  }

  keptAlive(sender: Sender): void {
    if (this.session?.sender === sender) this.answer(sender.sent);
  }

  lost(sender: Sender): void {
    if (this.session?.sender !== sender) return;
    this.session.gate.left(sender);
    this.session = null;
  }
}

/** The name that a session gets whose client asks for this one. */
function nameAt(asked: string): string {
  const body = Buffer.from(`user\0backup\0replication\0true\0application_name\0${asked}\0\0`, 'latin1');
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + body.length, 0);
  head.writeUInt32BE(PROTOCOL_3, 4);
  const first = readFirst(Buffer.concat([head, body]));
  if (first.kind !== 'session') throw new Error(`the gate takes no session: ${first.kind}`);
  return first.startup.name;
}

/**
 * `pg_receivewal --synchronous`, which calls itself like a standby. It keeps what it gets by timeline and position, and
 * must never get two histories with the same numbers (S3).
 */
export class WalReceiver extends ReplicationClient {
  private readonly kept = new Map<string, number>();

  constructor(world: ReplicationWorld, asks: string) {
    super(world, asks, false);
  }

  /** A little before the newest timeline. */
  protected beginAt({ history, wal }: DataDir): number {
    return Math.max(0, Math.min((history.at(-1)?.start ?? 0) - 5, wal.length));
  }

  protected got(from: number, records: readonly WalRecord[], { history }: DataDir): void {
    records.forEach(({ id }, i) => {
      const position = from + i;
      const timeline = history.findLast(({ start }) => start <= position)?.timeline ?? 1;
      const key = `${position} of timeline ${timeline}`;
      const had = this.kept.get(key);
      if (had !== undefined && had !== id) {
        this.world.fail(`TWO STREAMS: a client of replication got record ${key} as ${had} and as ${id}`);
      }
      this.kept.set(key, id);
    });
  }
}

/** A consumer of a logical slot that each new leader has. It must get each change once, and none that the cluster lost. */
export class Consumer extends ReplicationClient {
  private begunAt: number | null = null;
  private readonly ids: number[] = [];

  constructor(world: ReplicationWorld) {
    super(world, 'subscriber', true);
  }

  protected beginAt({ flushed }: DataDir): number {
    this.begunAt ??= flushed;
    return this.begunAt + this.ids.length;
  }

  protected got(_from: number, records: readonly WalRecord[]): void {
    for (const { id } of records) this.ids.push(id);
  }

  /** Why what it has is not the leader's history; null: it is, and nothing is missing. */
  difference({ wal }: DataDir): string | null {
    const { begunAt, ids } = this;
    if (begunAt === null) return 'it never began';
    const i = wal.slice(begunAt).findIndex((record, at) => record.id !== ids[at]);
    if (i >= 0)
      return `position ${begunAt + i} is record ${wal[begunAt + i]?.id}, and it has ${ids[i] ?? 'nothing yet'}`;
    const more = begunAt + ids.length - wal.length;
    return more > 0 ? `it has ${more} changes more than the cluster` : null;
  }
}
