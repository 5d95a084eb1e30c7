/**
 * Clients that write through the published write port, as a process of their own. A client sends no write a second
 * time, unless its plan has `repeats`. Prints one line of JSON for each write (`WriteEvent`). Ends at SIGTERM.
 *
 *     writer-program.ts <plan: WriterPlan as JSON>
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Connection, connect, drop, emit, lineOf, outcomeOf, runUntilSigterm } from './client';
import { epochMs } from './wait';
import type { ClientPlan, WriteEvent, WriterPlan } from './writer';

const { target, prefix, clients, insert } = JSON.parse(process.argv[2] ?? '') as WriterPlan;
/** Writes that were sent and are not answered yet, by id. */
const pending = new Map<string, { client: string; startMs: number }>();

function report(event: Omit<WriteEvent, 'what' | 'endMs'>): void {
  emit({ what: 'write', ...event, endMs: epochMs() } satisfies WriteEvent);
}

/** Sends one statement and reports its outcome. False after an error: the connection has to be replaced. */
async function write(connection: Connection, { name: client, repeats }: ClientPlan, id: string): Promise<boolean> {
  const startMs = epochMs();
  pending.set(id, { client, startMs });
  try {
    await connection.client.query(repeats ?? insert, [id]);
    report({ client, id, outcome: connection.takeWarning() ? 'warned' : 'acknowledged', startMs });
    return true;
  } catch (error) {
    report({
      client,
      id,
      outcome: outcomeOf(error),
      startMs,
      message: lineOf(error),
      warned: connection.takeWarning(),
    });
    return false;
  } finally {
    pending.delete(id);
  }
}

/** Opens a connection. When that fails, reports it, waits and returns null. */
async function open({ name: client, paceMs, errorPaceMs = paceMs }: ClientPlan): Promise<Connection | null> {
  const startMs = epochMs();
  try {
    return await connect(target, target.writePort);
  } catch (error) {
    report({ client, id: null, outcome: 'failed', startMs, message: lineOf(error) });
    // A client that is refused at once must not use the processor time that the failover needs.
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
    // With `repeats` the same id is sent again until it is acknowledged.
    if (done || plan.repeats === undefined) n += 1;
    written += 1;
    if (done) await sleep(plan.paceMs);
    if (done && written < (plan.perConnection ?? Number.POSITIVE_INFINITY)) continue;
    drop(connection.client);
    [connection, written] = [null, 0];
  }
  if (connection !== null) drop(connection.client);
}

runUntilSigterm(
  (running) => clients.map((plan) => writer(plan, running)),
  () => {
    for (const [id, { client, startMs }] of pending)
      report({ client, id, outcome: 'unknown', startMs, message: 'the run ended first' });
  },
);
