/** SQL clients that never retry: connections, the meaning of an error, and loops that run until SIGTERM. */
import { createSecureContext } from 'node:tls';
import { Client } from 'pg';
import { messageOf } from '../../failover/contract/errors';
import type { Stack } from './stack';

/** Longer than HAProxy holds a connection (`holdTimeout`, 30 s). */
const CONNECT_LIMIT_MS = 40_000;
const QUERY_LIMIT_MS = 40_000;
/** Time in which a program may finish its running statements after SIGTERM, ms. */
const END_LIMIT_MS = 10_000;

/** Part of the warning that PostgreSQL sends when a commit returns without being replicated (S7). */
const NOT_REPLICATED = /synchronous replication/;

/** One for the process: to make it takes Node.js longer than a handshake. */
const TLS_CONTEXT = createSecureContext();

/** `tls`: the client encrypts, and does not check the certificate. */
export type Credentials = Pick<Stack, 'host' | 'user' | 'password' | 'database' | 'tls'>;

export interface Connection {
  client: Client;
  /** True if a commit returned with the warning of S7 since the last call. */
  takeWarning: () => boolean;
}

/** A connection to a published port. */
export async function connect({ host, user, password, database, tls }: Credentials, port: number): Promise<Connection> {
  const limits = { connectionTimeoutMillis: CONNECT_LIMIT_MS, query_timeout: QUERY_LIMIT_MS };
  const ssl = tls === true && { rejectUnauthorized: false, secureContext: TLS_CONTEXT };
  const client = new Client({ host, port, user, password, database, ssl, ...limits });
  // When an idle connection breaks, the next query fails; the event itself needs no answer.
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

/** Closes the socket at once: `end()` would wait for an answer, and a server that hangs gives none. */
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
 * Outcome of a statement that ended with an error. `failed`: PostgreSQL refused it before the commit (severity ERROR).
 * `unknown`: everything else, also a FATAL that ends the session, because the commit may have succeeded before.
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

/** Prints an event as one line of JSON on stdout. */
export function emit(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

/**
 * Runs loops until SIGTERM, then ends the process when they have finished. After {@link END_LIMIT_MS} it ends in any
 * case; `unfinished` can report before.
 */
export function runUntilSigterm(loops: (running: () => boolean) => Promise<void>[], unfinished = () => {}): void {
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
