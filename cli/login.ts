/** A login by the database's owner through HAProxy's write port. */
import { Client } from 'pg';
import { z } from 'zod';
import { inBackground, messageOf } from '../failover/contract/errors';
import type { LoginFact } from './doctor/facts';
import type { Target } from './target';

const LOGIN_MS = 6_000;

/** Logs in like any client, with the program's password or another one. */
export async function logIn(target: Target, other?: string): Promise<LoginFact> {
  const password = other ?? (await target.password().catch((error: unknown) => error));
  if (typeof password !== 'string') return { kind: 'no-password', message: messageOf(password) };
  const begin = performance.now();
  const client = new Client({
    host: target.host,
    port: Number(target.info.value('writePort', '5434')),
    user: target.info.value('databaseUser', 'app'),
    database: target.info.value('databaseName', 'app'),
    password,
    // It proves that clients get in, not what the certificate says: `verify-full` is the clients' own check.
    ssl: target.requiresTls && { rejectUnauthorized: false },
    connectionTimeoutMillis: LOGIN_MS,
    query_timeout: LOGIN_MS,
    application_name: 'pgfailover',
  });
  client.on('error', () => {});
  try {
    await client.connect();
    const { rows } = await client.query({
      text: `SELECT current_setting('transaction_read_only') = 'on', pg_is_in_recovery()`,
      rowMode: 'array',
    });
    const [readOnly, standby] = z.tuple([z.boolean(), z.boolean()]).parse(rows[0]);
    return { kind: 'in', readOnly: readOnly && !standby, standby, tookMs: performance.now() - begin };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    return { kind: 'failed', code, message: messageOf(error) };
  } finally {
    inBackground(() => client.end());
  }
}
