/**
 * The backend as its clients see it, through HAProxy's published port: one client, and many that send nothing twice.
 */
import { HttpLoad, latencyOf } from '../../rig/http-load';
import { TIMEOUTS } from '../../timeouts';
import { STACK } from './stack';

const PASSWORD = 'a long enough password 1';
/** Requests a second: what two cores carry while a fault is tried, and while `pulumi up` copies databases. */
export const RATE = { fault: 10, change: 3 } as const;
const LIMIT_SECONDS = 300;

async function post(path: string, body: unknown): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${STACK.api}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(TIMEOUTS.query),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

/** Registers a user and logs in as them; throws with the answer when either is refused. No retry. */
export async function registerAndLogIn(username: string): Promise<void> {
  const registered = await post('/register', { username, email: `${username}@example.com`, password: PASSWORD });
  if (registered.status !== 201) throw new Error(`register: ${registered.status} ${JSON.stringify(registered.body)}`);
  await logIn(username);
}

/** Logs in as a user that was registered earlier. */
export async function logIn(username: string): Promise<void> {
  const answer = await post('/login', { username, password: PASSWORD });
  if (answer.status !== 200 || typeof answer.body.access_token !== 'string')
    throw new Error(`login: ${answer.status} ${JSON.stringify(answer.body)}`);
}

/** @throws Error that tells what went wrong, when a request failed or a registration was lost or duplicated. */
export async function underHttpLoad(what: string, rate: number, happens: () => Promise<void>): Promise<void> {
  const load = new HttpLoad(STACK, { rate, seconds: LIMIT_SECONDS });
  try {
    await load.begun;
    await happens();
  } finally {
    await load.stop();
  }
  const verdict = await load.verdict();
  const { max } = latencyOf(load.answers);
  console.log(`${what}: ${verdict.requests} HTTP requests, ${verdict.failed.length} failed, slowest ${max} ms`);
  const wrong = [verdict.failed, verdict.lost, verdict.duplicated, verdict.unacknowledged].flat();
  if (wrong.length > 0) throw new Error(`${what}: ${JSON.stringify(verdict, null, 1)}`);
  if (verdict.acknowledged < rate) throw new Error(`${what}: only ${verdict.acknowledged} registrations were made`);
}
