/**
 * Readers on both ports, each over a held connection: they look at the newest rows of the run and print the ids that
 * they see for the first time.
 *
 *     readers.ts <run>
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Connection, connect, drop, emit, runUntilSigterm } from '../../rig/client';
import { epochMs } from '../../rig/wait';
import type { ReadEvent } from '../lib/events';
import { STACK } from '../lib/stack';

const PACE_MS = 30;
const ERROR_PACE_MS = 50;
/** More than all writers together write within one pace. */
const ROWS = 200;
const NEWEST = `SELECT id FROM chaos_writes WHERE run = $1 ORDER BY n DESC LIMIT ${ROWS}`;

const [run = ''] = process.argv.slice(2);

async function reader(port: 'write' | 'read', running: () => boolean): Promise<void> {
  const seen = new Set<string>();
  let connection: Connection | null = null;
  while (running()) {
    try {
      connection ??= await connect(STACK, port === 'write' ? STACK.writePort : STACK.readPort);
      const { rows } = await connection.client.query<{ id: string }>(NEWEST, [run]);
      const ids = rows.map((row) => row.id).filter((id) => !seen.has(id));
      for (const id of ids) seen.add(id);
      if (ids.length > 0) emit({ what: 'read', port, endMs: epochMs(), ids } satisfies ReadEvent);
      await sleep(PACE_MS);
    } catch {
      if (connection !== null) drop(connection.client);
      connection = null;
      await sleep(ERROR_PACE_MS);
    }
  }
  if (connection !== null) drop(connection.client);
}

runUntilSigterm((running) => [reader('write', running), reader('read', running)]);
