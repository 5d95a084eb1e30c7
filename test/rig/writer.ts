/**
 * A client as a process of its own: one held and one fresh connection insert through the published port, as fast as
 * the pace below allows. One line for each acknowledgement (`ack held 1764… <id>`) or error (`error fresh 1764… words`);
 * moments are ms since the epoch; words of a connection that could not be made begin with `connect:`. Statements are not repeated; after an error the held client connects anew, as any pool does.
 *
 *     PGPASSWORD=… tsx test/rig/writer.ts <host> <port> <user> <database> <table> [slower: times the pace]
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';

const HELD_PACE_MS = 2;
const FRESH_PACE_MS = 10;
const CONNECT_LIMIT_MS = 30_000;

const [host = '', port = '', user = '', database = '', table = '', slower = '1'] = process.argv.slice(2);
let running = true;

function nowMs(): string {
  return (performance.timeOrigin + performance.now()).toFixed(1);
}

async function connect(): Promise<Client> {
  const client = new Client({ host, port: Number(port), user, database, connectionTimeoutMillis: CONNECT_LIMIT_MS });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return client;
  } catch (error) {
    throw new Error(`connect: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function insert(client: Client, kind: string): Promise<void> {
  const id = randomUUID();
  await client.query(`INSERT INTO ${table} (id) VALUES ($1)`, [id]);
  process.stdout.write(`ack ${kind} ${nowMs()} ${id}\n`);
}

function failed(kind: string, error: unknown): void {
  const words = error instanceof Error ? error.message : String(error);
  process.stdout.write(`error ${kind} ${nowMs()} ${words.replaceAll('\n', ' ')}\n`);
}

async function held(): Promise<void> {
  let client: Client | null = null;
  while (running) {
    try {
      client ??= await connect();
      await insert(client, 'held');
      await sleep(HELD_PACE_MS * Number(slower));
    } catch (error) {
      failed('held', error);
      client?.end().catch(() => undefined);
      client = null;
      // Whoever is refused at once must not take the machine from those who bring the way in back.
      await sleep(HELD_PACE_MS * Number(slower));
    }
  }
  await client?.end();
}

async function fresh(): Promise<void> {
  while (running) {
    try {
      const client = await connect();
      await insert(client, 'fresh').finally(() => client.end().catch(() => undefined));
    } catch (error) {
      failed('fresh', error);
    }
    await sleep(FRESH_PACE_MS * Number(slower));
  }
}

process.on('SIGTERM', () => {
  running = false;
});
void Promise.all([held(), fresh()]).then(() => process.exit(0));
