/**
 * Many HTTP clients as a process of their own. They send registrations, logins and `GET /users/me` in turn, at a steady
 * rate, and send no request a second time. A request's latency counts from the moment at which it was due. So an outage
 * shows in every request that was due during the outage, also when the client could not send it in time.
 *
 *     tsx test/rig/http-clients.ts <base URL> <requests a second> <seconds> <run>
 *
 * Names are `<run>_User<number>`. Prints `begin <ms since the epoch>` when the first users are registered and the load
 * begins, then one JSON line (`Answer`) for each request. Ends when all requests are answered; after SIGTERM it sends
 * no further request.
 */

import { randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../failover/contract/errors';
import { epochMs } from './wait';

/** Number of clients. Every second one keeps its connection; the others make a new one for each request. */
const CLIENTS = 50;
/** Users that are registered before the load, for the first logins. */
const USERS = 12;
/** Longer than the backend's limit (10 s) and HAProxy's (`holdTimeout`). A request that takes longer has failed. */
const ANSWER_LIMIT_MS = 60_000;
const PASSWORD = 'correct horse battery';
const KINDS = ['register', 'login', 'me'] as const;
type Kind = (typeof KINDS)[number];

/** One request and how it ended. `problem` is null when the answer was the right one. */
export interface Answer {
  kind: Kind;
  /** When the request was due, ms since the epoch. */
  dueMs: number;
  latencyMs: number;
  /** HTTP status; 0 when there was no answer. */
  status: number;
  problem: string | null;
  /** The new user, if the request is a registration that was acknowledged. */
  user?: { id: number; username: string; email: string };
}

interface User {
  username: string;
  token: string | null;
}

interface Reply {
  status: number;
  body: Record<string, unknown>;
}

const agents = Array.from({ length: CLIENTS }, (_, i) => new Agent({ keepAlive: i % 2 === 0 }));
const users: User[] = [];
let base = '';
let run = '';

function send(client: number, method: string, path: string, body: object | null, token?: string): Promise<Reply> {
  const json = body === null ? '' : JSON.stringify(body);
  const headers = {
    ...(body === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) }),
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  return new Promise((resolve, reject) => {
    const sentMs = performance.now();
    const signal = AbortSignal.timeout(ANSWER_LIMIT_MS);
    const sent = request(`${base}${path}`, { method, headers, agent: agents[client % CLIENTS], signal }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: parsed(text) }));
    });
    sent.on('error', (error) => {
      const age = Math.round(performance.now() - sentMs);
      reject(new Error(`${error.message} after ${age} ms on a ${sent.reusedSocket ? 'kept' : 'new'} connection`));
    });
    sent.end(json);
  });
}

function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return { unreadable: text.slice(0, 200) };
  }
}

type Outcome = Pick<Answer, 'status' | 'problem' | 'user'>;

const wrong = ({ status, body }: Reply): Outcome => ({ status, problem: `${status} ${JSON.stringify(body)}` });

/** Registers a user. The name and address have mixed case, because the table keeps them in lower case. */
async function register(client: number, index: string): Promise<Outcome> {
  const username = `${run}_${index}`;
  const email = `${username}@Example.com`;
  const reply = await send(client, 'POST', '/register', { username, email, password: PASSWORD });
  const { id, username: kept } = reply.body;
  if (reply.status !== 201 || typeof id !== 'number' || kept !== username.toLowerCase()) return wrong(reply);
  users.push({ username, token: null });
  return { status: 201, problem: null, user: { id, username: kept, email: email.toLowerCase() } };
}

async function logIn(client: number, user: User): Promise<Outcome> {
  const reply = await send(client, 'POST', '/login', { username: user.username, password: PASSWORD });
  if (reply.status !== 200 || typeof reply.body.access_token !== 'string') return wrong(reply);
  user.token = reply.body.access_token;
  return { status: 200, problem: null };
}

async function me(client: number, user: User): Promise<Outcome> {
  const reply = await send(client, 'GET', '/users/me', null, user.token ?? '');
  const isRight = reply.status === 200 && reply.body.username === user.username.toLowerCase();
  return isRight ? { status: 200, problem: null } : wrong(reply);
}

function pick(among: readonly User[]): User {
  const user = among[Math.floor(Math.random() * among.length)];
  if (user === undefined) throw new Error('there is no user to log in with');
  return user;
}

async function ask(kind: Kind, client: number, index: number): Promise<Outcome> {
  if (kind === 'register') return register(client, `User${index}`);
  // A user who just registered, so the login reads what the registration wrote.
  if (kind === 'login') return logIn(client, pick(users.slice(-USERS)));
  return me(client, pick(users.filter((user) => user.token !== null)));
}

async function timed(kind: Kind, client: number, index: number, dueMs: number): Promise<void> {
  const outcome = await ask(kind, client, index).catch((error: unknown): Outcome => {
    return { status: 0, problem: messageOf(error) };
  });
  const answer: Answer = { kind, dueMs, latencyMs: epochMs() - dueMs, ...outcome };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

/** Registers the first users and logs them in. @throws Error when one of them is refused. */
async function prepare(): Promise<void> {
  for (let i = 0; i < USERS; i++) {
    const { problem } = await register(i, `Own${i}`);
    if (problem !== null) throw new Error(`register: ${problem}`);
    const refused = (await logIn(i, pick(users.slice(-1)))).problem;
    if (refused !== null) throw new Error(`login: ${refused}`);
  }
}

async function main([url = '', rate = '', seconds = '', name = randomUUID().slice(0, 8)]: string[]): Promise<void> {
  base = url;
  run = name;
  let stopping = false;
  process.on('SIGTERM', () => {
    stopping = true;
  });
  await prepare();
  const gapMs = 1_000 / Number(rate);
  const count = Math.round(Number(rate) * Number(seconds));
  const beginMs = epochMs();
  process.stdout.write(`begin ${beginMs}\n`);
  const asked: Promise<void>[] = [];
  for (let i = 0; i < count && !stopping; i++) {
    const dueMs = beginMs + i * gapMs;
    if (dueMs > epochMs()) await sleep(dueMs - epochMs());
    asked.push(timed(KINDS[i % KINDS.length] ?? 'me', i, i, dueMs));
  }
  await Promise.all(asked);
  for (const agent of agents) agent.destroy();
}

if (require.main === module) {
  main(process.argv.slice(2)).then(
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`clients: ${messageOf(error)}\n`);
      process.exit(1);
    },
  );
}
