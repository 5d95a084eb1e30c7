/**
 * Writers with unique ids through the write port: one held connection, one that connects freshly each time, three that
 * reconnect after some writes, and one that repeats each id until it is acknowledged. Prints one event a write.
 *
 *     writers.ts <run>
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { epochMs, type WriteEvent } from '../lib/events';
import { STACK } from '../lib/stack';
import { type Connection, connect, drop, emit, outcomeOf, runUntilTold, wordsOf } from './client';

const HELD_PACE_MS = 5;
const FRESH_PACE_MS = 30;
const POOL_PACE_MS = 25;
const RETRY_PACE_MS = 30;
const ERROR_PACE_MS = 20;
const POOL_CLIENTS = 3;
const POOL_WRITES = 10;

const INSERT = 'INSERT INTO chaos_writes (run, id) VALUES ($1, $2)';
// A repeated write confirms by a commit of its own, never by finding the row (S7).
const UPSERT = `INSERT INTO chaos_retried (run, id) VALUES ($1, $2)
  ON CONFLICT (run, id) DO UPDATE SET tries = chaos_retried.tries + 1`;

const [run = ''] = process.argv.slice(2);
/** Sent and not yet answered. */
const pending = new Map<string, { client: string; startMs: number }>();

function tell(event: Omit<WriteEvent, 'what'>): void {
  emit({ what: 'write', ...event } satisfies WriteEvent);
}

/** One statement; false when the connection is of no use any more. */
async function write(connection: Connection, sql: string, client: string, id: string): Promise<boolean> {
  const startMs = epochMs();
  pending.set(id, { client, startMs });
  try {
    await connection.client.query(sql, [run, id]);
    const outcome = connection.takeWarning() ? 'warned' : 'acknowledged';
    tell({ client, id, outcome, startMs, endMs: epochMs() });
    return true;
  } catch (error) {
    const outcome = outcomeOf(error);
    tell({ client, id, outcome, startMs, endMs: epochMs(), words: wordsOf(error), warned: connection.takeWarning() });
    return false;
  } finally {
    pending.delete(id);
  }
}

/** A connection, or null after telling why there is none. */
async function open(client: string): Promise<Connection | null> {
  const startMs = epochMs();
  try {
    return await connect(STACK.writePort);
  } catch (error) {
    tell({ client, id: null, outcome: 'failed', startMs, endMs: epochMs(), words: wordsOf(error) });
    await sleep(ERROR_PACE_MS);
    return null;
  }
}

/** Writes over one connection at a time, which is replaced after `perConnection` writes or an error. */
async function writer(client: string, running: () => boolean, perConnection: number, paceMs: number): Promise<void> {
  for (let n = 0; running(); ) {
    const connection = await open(client);
    if (connection === null) continue;
    for (let i = 0; i < perConnection && running(); i++) {
      if (!(await write(connection, INSERT, client, `${client}-${n++}`))) break;
      await sleep(paceMs);
    }
    drop(connection.client);
  }
}

/** Repeats each id until it is acknowledged, as a careful application does. */
async function retrier(running: () => boolean): Promise<void> {
  let connection: Connection | null = null;
  for (let n = 0; running(); n++) {
    for (let done = false; !done && running(); ) {
      connection ??= await open('retry');
      if (connection === null) continue;
      done = await write(connection, UPSERT, 'retry', `retry-${n}`);
      if (done) continue;
      drop(connection.client);
      connection = null;
    }
    await sleep(RETRY_PACE_MS);
  }
  if (connection !== null) drop(connection.client);
}

runUntilTold(
  (running) => [
    writer('held', running, Number.POSITIVE_INFINITY, HELD_PACE_MS),
    writer('fresh', running, 1, FRESH_PACE_MS),
    ...Array.from({ length: POOL_CLIENTS }, (_, i) => writer(`pool${i}`, running, POOL_WRITES, POOL_PACE_MS)),
    retrier(running),
  ],
  () => {
    for (const [id, { client, startMs }] of pending)
      tell({ client, id, outcome: 'unknown', startMs, endMs: epochMs(), words: 'the run ended first' });
  },
);
