/**
 * A client that writes through the published port without pause, as a process of its own: one connection, a new id each
 * time, no retry of an id (an error leaves it unknown), a new connection after an error. Prints one line for each
 * acknowledged id and the moment (ms): `<id> <ms>`. Ends at SIGTERM.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { connect } from './database';
import { STACK } from './stack';

/** Between two inserts, ms. */
const PAUSE_MS = 10;
/** After an error, ms: a refused connection must not become a busy loop. */
const ERROR_PAUSE_MS = 20;

let stopping = false;
process.on('SIGTERM', () => {
  stopping = true;
});

async function main(table: string): Promise<void> {
  let client: Client | null = null;
  for (let id = 1; !stopping; id++) {
    try {
      client ??= await connect(STACK.writePort);
      await client.query(`INSERT INTO ${table} (id) VALUES ($1)`, [id]);
      process.stdout.write(`${id} ${Date.now()}\n`);
      await sleep(PAUSE_MS);
    } catch {
      await client?.end().catch(() => {});
      client = null;
      await sleep(ERROR_PAUSE_MS);
    }
  }
  await client?.end();
}

void main(process.argv[2] ?? 'e2e_writes').then(() => process.exit(0));
