/** The SQL writer of all tests of real stacks: its writes, their outcomes, and how long clients had to wait. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Credentials } from './client';
import { Program, script } from './program';
import type { Stack } from './stack';

/** One write. `id` is null when the client could not connect, so nothing was sent. */
export const WriteEvent = z.object({
  what: z.literal('write'),
  client: z.string(),
  id: z.string().nullable(),
  /** `warned`: the commit returned with the warning of S7, so it may not be replicated. */
  outcome: z.enum(['acknowledged', 'warned', 'failed', 'unknown']),
  /** When the write (or the connect) began and ended, ms since the epoch. */
  startMs: z.number(),
  endMs: z.number(),
  /** The error of a write that was not acknowledged. */
  message: z.string().optional(),
  /** True when the warning of S7 came before an error. */
  warned: z.boolean().optional(),
});
export type WriteEvent = z.infer<typeof WriteEvent>;

export interface ClientPlan {
  name: string;
  /** Wait between two writes, ms. */
  paceMs: number;
  /** Wait before another attempt to connect, ms. @default paceMs */
  errorPaceMs?: number;
  /** Writes before the client connects again. @default it keeps the connection until an error */
  perConnection?: number;
  /** Statement by which the client sends each id again until it is acknowledged; without it nothing is repeated. */
  repeats?: string;
}

export interface WriterPlan {
  target: Credentials & Pick<Stack, 'writePort'>;
  /** Beginning of all ids. */
  prefix: string;
  clients: readonly ClientPlan[];
  /** The INSERT statement; `$1` is the id, a text. */
  insert: string;
}

/** Two clients: `held` keeps its connection, `fresh` connects for each write. `slower` multiplies the waits. */
export function heldAndFresh(slower = 1): ClientPlan[] {
  return [
    { name: 'held', paceMs: 2 * slower },
    { name: 'fresh', paceMs: 10 * slower, perConnection: 1 },
  ];
}

/** Command and arguments of the writer's process. */
export const writerProgram = (plan: WriterPlan) => script('test/rig/writer-program.ts', [JSON.stringify(plan)]);

export interface WriterOptions {
  /** A table with the column `id text`. */
  table: string;
  clients?: readonly ClientPlan[];
}

/** The writer's process. No two of them use the same id. */
export class Writer {
  readonly writes: WriteEvent[] = [];
  private readonly program: Program;

  constructor(target: WriterPlan['target'], { table, clients = heldAndFresh() }: WriterOptions) {
    const { host, user, password, database, writePort, tls } = target;
    const plan: WriterPlan = {
      ...{ target: { host, user, password, database, writePort, tls }, prefix: `${randomUUID()}-`, clients },
      insert: `INSERT INTO ${table} (id) VALUES ($1)`,
    };
    // Events are not validated: hundreds come each second, and they come from our own program.
    const take = (line: string) => this.writes.push(JSON.parse(line) as WriteEvent);
    this.program = new Program(...writerProgram(plan), take);
  }

  get acknowledged(): string[] {
    return acknowledgedOf(this.writes);
  }

  /** Writes that were not acknowledged. The message begins with `connect: ` when the client could not connect. */
  get failures(): { client: string; id: string | null; endMs: number; message: string }[] {
    const failed = this.writes.filter(({ outcome }) => outcome !== 'acknowledged');
    return failed.map(({ client, id, endMs, outcome, message = outcome }) => {
      return { client, id, endMs, message: id === null ? `connect: ${message}` : message };
    });
  }

  /** True when each of these clients has an acknowledged write that began after `sinceMs`. */
  wroteSince(sinceMs: number, clients: readonly string[] = ['held', 'fresh']): boolean {
    return wroteSince(this.writes, sinceMs, clients);
  }

  stop(): Promise<void> {
    return this.program.stop();
  }
}

export function acknowledgedOf(writes: readonly WriteEvent[]): string[] {
  return writes.flatMap(({ outcome, id }) => (outcome === 'acknowledged' && id !== null ? [id] : []));
}

/** True when each of these clients has an acknowledged write that began after `sinceMs`. */
export function wroteSince(writes: readonly WriteEvent[], sinceMs: number, clients: readonly string[]): boolean {
  const wrote = (client: string) =>
    writes.some((w) => w.client === client && w.outcome === 'acknowledged' && w.startMs > sinceMs);
  return clients.every(wrote);
}

/**
 * Longest time between two successive acknowledgements, of one client or of all clients, ms. The later one must come
 * after `sinceMs`. With `toMs` the time from the last acknowledgement to `toMs` counts, too, and nothing after `toMs`.
 */
export function longestPauseMs(
  writes: readonly WriteEvent[],
  sinceMs: number,
  client?: string,
  toMs = Number.POSITIVE_INFINITY,
): number {
  const moments = writes
    .filter((w) => w.outcome === 'acknowledged' && (client === undefined || w.client === client) && w.endMs < toMs)
    .map((w) => w.endMs)
    .sort((a, b) => a - b);
  if (Number.isFinite(toMs)) moments.push(toMs);
  const pauses = moments.slice(1).map((atMs, i) => (atMs > sinceMs ? atMs - (moments[i] ?? atMs) : 0));
  return Math.round(pauses.reduce((a, b) => Math.max(a, b), 0));
}
