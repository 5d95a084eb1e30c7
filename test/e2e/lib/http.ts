/** HTTP clients that send nothing twice, for as long as something happens, and what came of it. */
import { randomUUID } from 'node:crypto';
import { HttpLoad, judge, latencyOf, ROWS_OF_RUN, type Row } from '../../rig/http-load';
import { connect } from './database';
import { STACK } from './stack';

/** Requests a second: what two cores carry while a fault is tried, and while `pulumi up` copies databases. */
export const RATE = { fault: 10, change: 3 } as const;
const LIMIT_SECONDS = 300;

/** @throws Error that tells what went wrong, when a request failed or a registration was lost or duplicated. */
export async function underHttpLoad(what: string, rate: number, happens: () => Promise<void>): Promise<void> {
  const run = `h${randomUUID().slice(0, 8)}`;
  const api = `http://${STACK.host}:${STACK.backendPort}`;
  const load = new HttpLoad({ api, rate, seconds: LIMIT_SECONDS, run });
  try {
    await load.begun;
    await happens();
  } finally {
    await load.stop();
  }
  const client = await connect(STACK.writePort);
  const { rows } = await client.query<Row>(ROWS_OF_RUN, [run]).finally(() => client.end());
  const verdict = judge(load.answers, rows);
  const { max } = latencyOf(load.answers);
  console.log(`${what}: ${verdict.requests} HTTP requests, ${verdict.failed.length} failed, slowest ${max} ms`);
  const wrong = [verdict.failed, verdict.lost, verdict.duplicated, verdict.unacknowledged].flat();
  if (wrong.length > 0) throw new Error(`${what}: ${JSON.stringify(verdict, null, 1)}`);
  if (verdict.acknowledged < rate) throw new Error(`${what}: only ${verdict.acknowledged} registrations were made`);
}
