/** What all actors share: connections without any retry, one clock, and what an error means. */
import { Client } from 'pg';
import { STACK } from '../lib/stack';

/** Longer than HAProxy holds a connection (`holdTimeout`, 30 s). */
const CONNECT_LIMIT_MS = 40_000;
const QUERY_LIMIT_MS = 40_000;
/** How long an actor may take to end what is under way when it is told to stop. */
const END_LIMIT_MS = 10_000;

/** Words of the warning with which a commit returns that was not replicated (S7). */
const NOT_REPLICATED = /synchronous replication/;

/** One line of JSON on stdout. */
export function emit(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

export interface Connection {
  client: Client;
  /** True once after a commit that came back with the warning of S7. */
  takeWarning: () => boolean;
}

/** A connection to a published port. */
export async function connect(port: number, host: string = STACK.host): Promise<Connection> {
  const client = new Client({
    host,
    port,
    user: STACK.user,
    password: STACK.password,
    database: STACK.database,
    connectionTimeoutMillis: CONNECT_LIMIT_MS,
    query_timeout: QUERY_LIMIT_MS,
  });
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

/**
 * `failed`: PostgreSQL refused the statement before it was committed (severity ERROR). Anything else that happens after it
 * was sent, a FATAL at the end of the session too, leaves it `unknown`.
 */
export function outcomeOf(error: unknown): 'failed' | 'unknown' {
  const severity = typeof error === 'object' && error !== null && 'severity' in error ? error.severity : null;
  return severity === 'ERROR' ? 'failed' : 'unknown';
}

export function wordsOf(error: unknown): string {
  const words = error instanceof Error ? error.message : String(error);
  const code = typeof error === 'object' && error !== null && 'code' in error ? ` (${String(error.code)})` : '';
  return `${words.replaceAll('\n', ' ').slice(0, 200)}${code}`;
}

/**
 * Runs loops until SIGTERM. What is under way is finished; what does not finish is told by `unfinished`.
 */
export function runUntilTold(loops: (running: () => boolean) => Promise<void>[], unfinished: () => void): void {
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
