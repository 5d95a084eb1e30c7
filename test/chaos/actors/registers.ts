/**
 * Clients that read, write and compare-and-set a few registers on the write port. Each prints what it asked, what it
 * got, and when: a history whose linearizability is checked afterwards. Every written value is new.
 *
 *     registers.ts <run>
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Connection, connect, drop, emit, outcomeOf, runUntilSigterm } from '../../rig/client';
import { epochMs } from '../../rig/wait';
import type { RegisterEvent } from '../lib/events';
import { STACK } from '../lib/stack';

const CLIENTS = 4;
const KEYS = 3;
const PACE_MS = 12;
const ERROR_PACE_MS = 50;

const READ = 'SELECT value FROM chaos_registers WHERE run = $1 AND key = $2';
const WRITE = `INSERT INTO chaos_registers (run, key, value) VALUES ($1, $2, $3)
  ON CONFLICT (run, key) DO UPDATE SET value = excluded.value`;
const CAS = 'UPDATE chaos_registers SET value = $3 WHERE run = $1 AND key = $2 AND value = $4';

type Operation = Pick<RegisterEvent, 'client' | 'key' | 'kind' | 'expected' | 'value'>;

const [run = ''] = process.argv.slice(2);
const pending = new Map<number, { operation: Operation; startMs: number }>();
let lastValue = 0;

function tell(operation: Operation, outcome: RegisterEvent['outcome'], startMs: number, endMs: number): void {
  emit({ what: 'register', ...operation, outcome, startMs, endMs } satisfies RegisterEvent);
}

/** The next operation of a client: half reads; a compare-and-set expects what the client saw last. */
function next(client: number, turn: number, lastSeen: Map<number, number>): Operation {
  const key = (turn * 7 + client) % KEYS;
  const expected = lastSeen.get(key) ?? null;
  if (turn % 2 === 0) return { client, key, kind: 'read', expected: null, value: null };
  if (turn % 4 === 1 || expected === null) return { client, key, kind: 'write', expected: null, value: ++lastValue };
  return { client, key, kind: 'cas', expected, value: ++lastValue };
}

async function perform(connection: Connection, operation: Operation): Promise<RegisterEvent['outcome']> {
  const { client } = connection;
  const { key, value, expected } = operation;
  if (operation.kind === 'read') {
    const { rows } = await client.query<{ value: number }>(READ, [run, key]);
    operation.value = rows[0]?.value ?? null;
    return 'ok';
  }
  if (operation.kind === 'write') await client.query(WRITE, [run, key, value]);
  const changed = operation.kind === 'write' || (await client.query(CAS, [run, key, value, expected])).rowCount === 1;
  if (connection.takeWarning()) return 'unknown';
  return changed ? 'ok' : 'refused';
}

async function client(id: number, running: () => boolean): Promise<void> {
  const lastSeen = new Map<number, number>();
  let connection: Connection | null = null;
  for (let turn = id; running(); turn++) {
    try {
      connection ??= await connect(STACK, STACK.writePort);
    } catch {
      // Nothing was sent: no part of the history.
      await sleep(ERROR_PACE_MS);
      continue;
    }
    const operation = next(id, turn, lastSeen);
    const startMs = epochMs();
    pending.set(id, { operation, startMs });
    try {
      const outcome = await perform(connection, operation);
      tell(operation, outcome, startMs, epochMs());
      if (outcome === 'ok' && operation.value !== null) lastSeen.set(operation.key, operation.value);
    } catch (error) {
      tell(operation, outcomeOf(error), startMs, epochMs());
      drop(connection.client);
      connection = null;
    }
    pending.delete(id);
    await sleep(PACE_MS);
  }
  if (connection !== null) drop(connection.client);
}

runUntilSigterm(
  (running) => Array.from({ length: CLIENTS }, (_, id) => client(id, running)),
  () => {
    for (const { operation, startMs } of pending.values()) tell(operation, 'unknown', startMs, epochMs());
  },
);
