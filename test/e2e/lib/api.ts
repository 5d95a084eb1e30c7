/** The backend as its clients see it, through HAProxy's published port. */
import { ClusterStatus } from '../../../failover/contract/api';
import { TIMEOUTS } from '../../timeouts';
import { STACK } from './stack';

const BASE = `http://${STACK.host}:${STACK.backendPort}`;
const PASSWORD = 'a long enough password 1';

async function post(path: string, body: unknown): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${BASE}${path}`, {
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

export async function clusterView(): Promise<ClusterStatus> {
  const url = `http://${STACK.host}:${STACK.monitorPort}/api/v1/cluster`;
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUTS.query) });
  return ClusterStatus.parse(await response.json());
}
