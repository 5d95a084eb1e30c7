/** The loop of loop.py with node-postgres. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { drop, emit, lineOf } from '../rig/client';
import { epochMs } from '../rig/wait';
import type { WriteEvent } from '../rig/writer';

const AGAIN_MS = 100;
const { CLIENT: client = '', TABLE = '', CA = '' } = process.env;
const [paceMs, perConnection] = [Number(process.env.PACE_MS), Number(process.env.PER_CONNECTION)];
const ca = readFileSync(CA, 'utf8');

function report(id: string | null, outcome: WriteEvent['outcome'], startMs: number, error?: unknown): void {
  const message = error === undefined ? {} : { message: lineOf(error) };
  emit({ what: 'write', client, id, outcome, startMs, endMs: epochMs(), ...message } satisfies WriteEvent);
}

/** Host, port, role, password and database come from the environment. */
async function connect(): Promise<Client | null> {
  const startMs = epochMs();
  const connection = new Client({ ssl: { ca }, connectionTimeoutMillis: 35_000 });
  // The next statement fails; the event itself needs no answer.
  connection.on('error', () => undefined);
  try {
    await connection.connect();
    return connection;
  } catch (error) {
    report(null, 'failed', startMs, error);
    drop(connection);
    await sleep(AGAIN_MS);
    return null;
  }
}

/** False after an error: the connection has to be replaced. */
async function insert(connection: Client, id: string): Promise<boolean> {
  const startMs = epochMs();
  try {
    await connection.query({ name: 'insert', text: `INSERT INTO ${TABLE} (id) VALUES ($1)`, values: [id] });
    report(id, 'acknowledged', startMs);
    await sleep(paceMs);
    return true;
  } catch (error) {
    report(id, 'unknown', startMs, error);
    return false;
  }
}

async function loop(): Promise<never> {
  for (let number = 0; ; ) {
    const connection = await connect();
    if (connection === null) continue;
    let works = true;
    for (let written = 0; works && (perConnection === 0 || written < perConnection); written++)
      works = await insert(connection, `${client} ${number++}`);
    drop(connection);
  }
}

void loop();
