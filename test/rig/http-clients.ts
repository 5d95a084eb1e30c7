/**
 * Many HTTP clients as a process of their own: an open loop of registrations, logins and looks at oneself, in turn, at a
 * steady rate. Nothing is ever sent a second time. A request's latency counts from the moment at which it was due, so a
 * stall shows in every request that was due in it, whether or not it could be sent.
 *
 *     tsx test/rig/http-clients.ts <base URL> <requests a second> <seconds> <run>
 *
 * Names are `<run>_User<number>`. Prints `begin <ms since the epoch>` when the clients' own users are there and the load
 * begins, then one JSON line (`Answer`) for each request. Ends when all are answered; SIGTERM ends the load before its time.
 */

import { randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../failover/contract/errors';
import { epochMs } from './wait';

/** Every second one keeps its connections, the others make one for each request. */
const CLIENTS = 50;
/** Users that are there before the load, for the first logins. */
const USERS = 12;
/** Longer than the backend's own limit (10 s) and HAProxy's (`holdTimeout`): what takes longer has failed. */
const ANSWER_LIMIT_MS = 60_000;
const PASSWORD = 'correct horse battery';
const KINDS = ['register', 'login', 'me'] as const;
type Kind = (typeof KINDS)[number];

/** One request and how it ended. `problem` is null when the answer was the right one. */
export interface Answer {
  kind: Kind;
  /** When it was due, ms since the epoch. */
  dueMs: number;
  latencyMs: number;
  /** Status; 0 when there was no answer. */
  status: number;
  problem: string | null;
  /** The registered user, of an acknowledged registration. */
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
  const text = body === null ? '' : JSON.stringify(body);
  const headers = {
    ...(body === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  return new Promise((resolve, reject) => {
    const sentMs = performance.now();
    const signal = AbortSignal.timeout(ANSWER_LIMIT_MS);
    const sent = request(`${base}${path}`, { method, headers, agent: agents[client % CLIENTS], signal }, (response) => {
      let words = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        words += part;
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: parsed(words) }));
    });
    sent.on('error', (error) => {
      const age = Math.round(performance.now() - sentMs);
      reject(new Error(`${error.message} after ${age} ms on a ${sent.reusedSocket ? 'kept' : 'new'} connection`));
    });
    sent.end(text);
  });
}

function parsed(words: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(words);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return { unreadable: words.slice(0, 200) };
  }
}

type Outcome = Pick<Answer, 'status' | 'problem' | 'user'>;

const wrong = ({ status, body }: Reply): Outcome => ({ status, problem: `${status} ${JSON.stringify(body)}` });

/** Mixed case: the table holds names in lower case. */
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
  if (user === undefined) throw new Error('nobody is there');
  return user;
}

async function ask(kind: Kind, client: number, index: number): Promise<Outcome> {
  if (kind === 'register') return register(client, `User${index}`);
  // Someone who just registered: the login reads what the registration wrote.
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

/** @throws Error when one of the clients' own users is refused. */
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
