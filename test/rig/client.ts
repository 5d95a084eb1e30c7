/** SQL clients without any retry: connections, what an error means, and a program's loops until SIGTERM. */
import { Client } from 'pg';
import { messageOf } from '../../failover/contract/errors';
import type { Stack } from './stack';

/** Longer than HAProxy holds a connection (`holdTimeout`, 30 s). */
const CONNECT_LIMIT_MS = 40_000;
const QUERY_LIMIT_MS = 40_000;
/** How long a program may take to end what is under way when it is told to stop. */
const END_LIMIT_MS = 10_000;

/** Words of the warning with which a commit returns that was not replicated (S7). */
const NOT_REPLICATED = /synchronous replication/;

export type Credentials = Pick<Stack, 'host' | 'user' | 'password' | 'database'>;

export interface Connection {
  client: Client;
  /** True once after a commit that came back with the warning of S7. */
  takeWarning: () => boolean;
}

/** A connection to a published port. */
export async function connect({ host, user, password, database }: Credentials, port: number): Promise<Connection> {
  const limits = { connectionTimeoutMillis: CONNECT_LIMIT_MS, query_timeout: QUERY_LIMIT_MS };
  const client = new Client({ host, port, user, password, database, ...limits });
  // A connection that breaks while idle is told by the next query.
  client.on('error', () => undefined);
  let warned = false;
  client.on('notice', (notice) => {
    if (NOT_REPLICATED.test(notice.message ?? '')) warned = true;
  });
  try {
    await client.connect();
  } catch (error) {
    drop(client);
    throw error;
  }
  const takeWarning = () => {
    const was = warned;
    warned = false;
    return was;
  };
  return { client, takeWarning };
}

/** Ends a connection without a word: `end()` can wait for a server that hangs. */
export function drop(client: Client): void {
  client.connection.stream.destroy();
}

/** One query on a connection of its own, through the write port unless another one is named. */
export async function rowsOf<T extends object>(
  stack: Stack,
  sql: string,
  values: unknown[] = [],
  port = stack.writePort,
): Promise<T[]> {
  const { client } = await connect(stack, port);
  return client
    .query<T>(sql, values)
    .then(({ rows }) => rows)
    .finally(() => client.end());
}

/** As {@link rowsOf}: the first column, as text. */
export async function columnOf(stack: Stack, sql: string, values: unknown[] = [], port?: number): Promise<string[]> {
  return (await rowsOf(stack, sql, values, port)).map((row) => String(Object.values(row)[0]));
}

/**
 * `failed`: PostgreSQL refused the statement before it was committed (severity ERROR). Anything else that happens after it
 * was sent, a FATAL at the end of the session too, leaves it `unknown`.
 */
export function outcomeOf(error: unknown): 'failed' | 'unknown' {
  const severity = typeof error === 'object' && error !== null && 'severity' in error ? error.severity : null;
  return severity === 'ERROR' ? 'failed' : 'unknown';
}

/** An error in one short line. */
export function lineOf(error: unknown): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? ` (${String(error.code)})` : '';
  return `${messageOf(error).replaceAll('\n', ' ').slice(0, 200)}${code}`;
}

/** One line of JSON on stdout. */
export function emit(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

/** Runs loops until SIGTERM. What is under way is finished; what does not finish is told by `unfinished`. */
export function runUntilTold(loops: (running: () => boolean) => Promise<void>[], unfinished = () => {}): void {
  let running = true;
  process.once('SIGTERM', () => {
    running = false;
    setTimeout(() => {
      unfinished();
      process.stdout.write('', () => process.exit(0));
    }, END_LIMIT_MS).unref();
  });
  void Promise.all(loops(() => running)).then(() => process.stdout.write('', () => process.exit(0)));
}
