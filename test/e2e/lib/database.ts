/** The published database ports as a client sees them. */
import { Client } from 'pg';
import { TIMEOUTS } from '../../timeouts';
import { STACK } from './stack';

/** A connection through the published port, without any retry. */
export async function connect(port: number): Promise<Client> {
  const client = new Client({
    host: STACK.host,
    port,
    user: STACK.user,
    password: STACK.password,
    database: STACK.database,
    connectionTimeoutMillis: TIMEOUTS.connect,
    query_timeout: TIMEOUTS.query,
  });
  // A connection that breaks while idle must not end the test run; the next query tells.
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** One query on a connection of its own; returns the first column. */
export async function query(port: number, sql: string, values: unknown[] = []): Promise<string[]> {
  const client = await connect(port);
  try {
    const { rows } = await client.query<string[]>({ text: sql, values, rowMode: 'array' });
    return rows.map((row) => String(row[0]));
  } finally {
    await client.end();
  }
}
