/**
 * Clients that write through the published write port, as a process of their own. Nothing is sent a second time, but by a
 * client that repeats. Prints one event a write (`WriteEvent`), one line of JSON each. Ends at SIGTERM.
 *
 *     writer-program.ts <plan: WriterPlan as JSON>
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Connection, connect, drop, emit, lineOf, outcomeOf, runUntilTold } from './client';
import { epochMs } from './wait';
import type { ClientPlan, WriteEvent, WriterPlan } from './writer';

const { target, prefix, clients, insert } = JSON.parse(process.argv[2] ?? '') as WriterPlan;
/** Sent and not yet answered. */
const pending = new Map<string, { client: string; startMs: number }>();

function tell(event: Omit<WriteEvent, 'what' | 'endMs'>): void {
  emit({ what: 'write', ...event, endMs: epochMs() } satisfies WriteEvent);
}

/** One statement; false when the connection is of no use any more. */
async function write(connection: Connection, { name: client, repeats }: ClientPlan, id: string): Promise<boolean> {
  const startMs = epochMs();
  pending.set(id, { client, startMs });
  try {
    await connection.client.query(repeats ?? insert, [id]);
    tell({ client, id, outcome: connection.takeWarning() ? 'warned' : 'acknowledged', startMs });
    return true;
  } catch (error) {
    tell({ client, id, outcome: outcomeOf(error), startMs, words: lineOf(error), warned: connection.takeWarning() });
    return false;
  } finally {
    pending.delete(id);
  }
}

/** A connection, or null after telling why there is none. */
async function open({ name: client, paceMs, errorPaceMs = paceMs }: ClientPlan): Promise<Connection | null> {
  const startMs = epochMs();
  try {
    return await connect(target, target.writePort);
  } catch (error) {
    tell({ client, id: null, outcome: 'failed', startMs, words: lineOf(error) });
    // A client that is refused at once must not take the machine from those that bring the way in back.
    await sleep(errorPaceMs);
    return null;
  }
}

/** Writes over one connection at a time, which is replaced after `perConnection` writes or an error. */
async function writer(plan: ClientPlan, running: () => boolean): Promise<void> {
  let [n, written] = [0, 0];
  let connection: Connection | null = null;
  while (running()) {
    connection ??= await open(plan);
    if (connection === null) continue;
    const done = await write(connection, plan, `${prefix}${plan.name}-${n}`);
    // A careful application repeats a write until it is acknowledged.
    if (done || plan.repeats === undefined) n += 1;
    written += 1;
    if (done) await sleep(plan.paceMs);
    if (done && written < (plan.perConnection ?? Number.POSITIVE_INFINITY)) continue;
    drop(connection.client);
    [connection, written] = [null, 0];
  }
  if (connection !== null) drop(connection.client);
}

runUntilTold(
  (running) => clients.map((plan) => writer(plan, running)),
  () => {
    for (const [id, { client, startMs }] of pending)
      tell({ client, id, outcome: 'unknown', startMs, words: 'the run ended first' });
  },
);
