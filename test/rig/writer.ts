/** The one writer of all tests and benches: what is written, what came of it, and how long a client was kept waiting. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Credentials } from './client';
import { Program, script } from './program';
import type { Stack } from './stack';

/** One write. `id` is null when the connection could not be made, so that nothing was sent. */
export const WriteEvent = z.object({
  what: z.literal('write'),
  client: z.string(),
  id: z.string().nullable(),
  /** `warned`: returned with the warning of S7, so it is not known to be replicated. */
  outcome: z.enum(['acknowledged', 'warned', 'failed', 'unknown']),
  /** ms since the epoch. */
  startMs: z.number(),
  endMs: z.number(),
  words: z.string().optional(),
  /** The warning of S7 came before an error. */
  warned: z.boolean().optional(),
});
export type WriteEvent = z.infer<typeof WriteEvent>;

export interface ClientPlan {
  name: string;
  /** Between two writes, ms. */
  paceMs: number;
  /** Before another attempt to connect, ms. @default paceMs */
  errorPaceMs?: number;
  /** Writes before the client connects anew. @default as many as the connection lives */
  perConnection?: number;
  /** Each id is repeated by this statement until it is acknowledged. */
  repeats?: string;
}

export interface WriterPlan {
  target: Credentials & Pick<Stack, 'writePort'>;
  /** What all ids begin with. */
  prefix: string;
  clients: readonly ClientPlan[];
  /** The statement; `$1` is the id, a text. */
  insert: string;
}

/** What a client held for itself and one that connects for each write notice; `slower`: times the pace. */
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

/** The writer's process. Its ids are found in no other process. */
export class Writer {
  readonly writes: WriteEvent[] = [];
  private readonly program: Program;

  constructor(target: WriterPlan['target'], { table, clients = heldAndFresh() }: WriterOptions) {
    const { host, user, password, database, writePort } = target;
    const plan: WriterPlan = {
      ...{ target: { host, user, password, database, writePort }, prefix: `${randomUUID()}-`, clients },
      insert: `INSERT INTO ${table} (id) VALUES ($1)`,
    };
    // Not validated: hundreds come a second, from our own program.
    const take = (line: string) => this.writes.push(JSON.parse(line) as WriteEvent);
    this.program = new Program(...writerProgram(plan), take);
  }

  get acknowledged(): string[] {
    return acknowledgedOf(this.writes);
  }

  /** What was not acknowledged, a line each: `connect: ` before the words where no connection could be made. */
  get failures(): { client: string; id: string | null; endMs: number; words: string }[] {
    const failed = this.writes.filter(({ outcome }) => outcome !== 'acknowledged');
    return failed.map(({ client, id, endMs, outcome, words = outcome }) => {
      return { client, id, endMs, words: id === null ? `connect: ${words}` : words };
    });
  }

  /** Whether each of these clients was acknowledged a write that it began after `sinceMs`. */
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

/** Whether each of these clients was acknowledged a write that it began after `sinceMs`. */
export function wroteSince(writes: readonly WriteEvent[], sinceMs: number, clients: readonly string[]): boolean {
  const wrote = (client: string) =>
    writes.some((w) => w.client === client && w.outcome === 'acknowledged' && w.startMs > sinceMs);
  return clients.every(wrote);
}

/**
 * Longest time between two acknowledgements that follow each other, of one client or of all, of which the later one comes
 * after `sinceMs`, ms. With `toMs` the time until then counts too, and nothing after it.
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
