/** Who uses the stack while it is changed: SQL writers, one session that stays open, and a look at the cluster. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { epochMs, type Stack, view } from '../rig/cluster';
import { type WriterKind, WriterProcess } from '../rig/writer-process';
import type { ClusterStatus } from '../../failover/contract/api';

export const TABLE = 'change_writes';
/** 20 ms between two statements of the held, 100 ms of the fresh connection: two backends work on the same machine. */
const SLOWER = 10;
const SAMPLE_MS = 200;
const QUERY_LIMIT_MS = 60_000;
const REFUSED = 'password authentication failed';

/** A writer with one password. */
export class Writer extends WriterProcess {
  constructor(stack: Stack, password: string) {
    super(stack, { table: TABLE, slower: SLOWER, password });
  }

  /** Failures other than a refused password: of connections that were not made, and of statements. */
  get broken(): { connects: string[]; statements: string[] } {
    const words = this.failures.filter((f) => !f.words.includes(REFUSED)).map((f) => `${f.kind}: ${f.words}`);
    const isConnect = (line: string) => line.includes(': connect: ');
    return { connects: words.filter(isConnect), statements: words.filter((line) => !isConnect(line)) };
  }

  get refused(): number {
    return this.failures.filter((f) => f.words.includes(REFUSED)).length;
  }
}

/** Longest time without an acknowledgement of that kind within the span, by any of the writers, ms. */
export function longestPause(writers: readonly Writer[], kind: WriterKind, fromMs: number, toMs: number): number {
  const moments = writers
    .flatMap(({ acks }) => acks.filter((ack) => ack.kind === kind).map(({ atMs }) => atMs))
    .filter((atMs) => atMs > fromMs && atMs < toMs)
    .sort((a, b) => a - b);
  const all = [fromMs, ...moments, toMs];
  return Math.round(Math.max(...all.slice(1).map((atMs, i) => atMs - (all[i] ?? atMs))));
}

export interface Sample {
  atMs: number;
  pid: number;
  /** `synchronous_standby_names` and slots of the node that the session is on. */
  names: string;
  slots: string[];
}

/** One session that is opened before the change and used until its end. */
export class Session {
  readonly samples: Sample[] = [];
  failure: string | null = null;
  private running = true;
  private readonly client: Client;
  private readonly done: Promise<void>;

  private constructor(client: Client) {
    this.client = client;
    this.done = this.work();
  }

  static async open({ host, writePort: port, user, database }: Stack): Promise<Session> {
    const client = new Client({ host, port, user, database, query_timeout: QUERY_LIMIT_MS });
    client.on('error', () => undefined);
    await client.connect();
    return new Session(client);
  }

  private async work(): Promise<void> {
    const sql = `SELECT pg_backend_pid() AS pid, current_setting('synchronous_standby_names') AS names,
                        array(SELECT slot_name::text FROM pg_replication_slots) AS slots`;
    while (this.running && this.failure === null) {
      try {
        const { rows } = await this.client.query<Omit<Sample, 'atMs'>>(sql);
        this.samples.push(...rows.map((row) => ({ atMs: epochMs(), ...row })));
      } catch (error) {
        this.failure = error instanceof Error ? error.message : String(error);
      }
      await sleep(SAMPLE_MS);
    }
  }

  async close(): Promise<void> {
    this.running = false;
    await this.done;
    this.client.end().catch(() => undefined);
  }
}

/** The monitor's view, again and again; nothing while the monitor is away. */
export class Watch {
  readonly views: { atMs: number; view: ClusterStatus }[] = [];
  private running = true;
  private readonly done: Promise<void>;

  constructor(stack: Stack) {
    this.done = this.work(stack);
  }

  private async work(stack: Stack): Promise<void> {
    while (this.running) {
      const now = await view(stack).catch(() => null);
      if (now) this.views.push({ atMs: epochMs(), view: now });
      await sleep(SAMPLE_MS);
    }
  }

  async stop(): Promise<void> {
    this.running = false;
    await this.done;
  }
}
