/** Starts the HTTP clients (http-clients.ts), collects the answers that they got, and compares these with the table. */
import { randomUUID } from 'node:crypto';
import { rowsOf } from './client';
import type { Answer } from './http-clients';
import { Program, script } from './program';
import type { Stack } from './stack';

/** Beginning of the clients' first line; the moment at which the load began follows. */
const BEGIN = 'begin ';

export interface LoadOptions {
  /** Requests a second; one third each are registrations, logins and `GET /users/me`. */
  rate: number;
  seconds: number;
}

/** The clients' process. */
export class HttpLoad {
  readonly answers: Answer[] = [];
  /** Resolves with the moment at which the load began, ms since the epoch; rejects when the process ends before. */
  readonly begun: Promise<number>;
  /** Resolves when every request was answered; rejects when the process failed. */
  readonly ended: Promise<void>;
  /** Beginning of the names of all users of this load, in lower case. */
  private readonly run = `h${randomUUID().slice(0, 8)}`;
  private readonly program: Program;

  constructor(
    private readonly stack: Stack,
    { rate, seconds }: LoadOptions,
  ) {
    const args = [stack.api, String(rate), String(seconds), this.run];
    this.program = new Program(...script('test/rig/http-clients.ts', args), (line) => {
      if (!line.startsWith(BEGIN)) this.answers.push(JSON.parse(line) as Answer);
    });
    this.begun = this.program.firstLine.then((line) => Number(line.slice(BEGIN.length)));
    // A caller that awaits the promise gets the failure. Without this line an unawaited failure would end the test.
    this.begun.catch(() => undefined);
    this.ended = this.program.ended.then((code) => {
      if (code !== 0) throw new Error(`the clients ended with ${code}`);
    });
    this.ended.catch(() => undefined);
  }

  /** Ends the load early; running requests are still answered. */
  async stop(): Promise<void> {
    this.program.child.kill('SIGTERM');
    await this.ended;
  }

  /** Compares the answers so far with the table. */
  async verdict(): Promise<Verdict> {
    return judge(this.answers, await rowsOf<Row>(this.stack, ROWS_OF_RUN, [this.run]));
  }
}

/** Selects the rows of all users of one load. */
const ROWS_OF_RUN = `SELECT id::int AS id, username, email FROM users WHERE starts_with(username, $1 || '_user')`;
export interface Row {
  id: number;
  username: string;
  email: string;
}

export interface Verdict {
  requests: number;
  acknowledged: number;
  /** Requests that got no answer or a wrong one, with the error or the answer. */
  failed: string[];
  /** Acknowledged registrations whose row is missing or different. */
  lost: string[];
  /** Registrations that were carried out twice: two rows, one id for two users, or 409 although it was sent once. */
  duplicated: string[];
  /** Users in the table whose registration was not acknowledged. There may be as many as registrations that failed. */
  unacknowledged: string[];
}

/** Compares each acknowledged registration with the rows of the table. Pure. */
export function judge(answers: readonly Answer[], rows: readonly Row[]): Verdict {
  const users = answers.flatMap(({ user }) => (user ? [user] : []));
  const key = ({ id, username, email }: Row) => `${id} ${username} ${email}`;
  const there = new Set(rows.map(key));
  const acknowledged = new Set(users.map(({ username }) => username));
  const byName = Map.groupBy(rows, ({ email }) => email);
  const ids = Map.groupBy(users, ({ id }) => id);
  return {
    requests: answers.length,
    acknowledged: users.length,
    failed: answers.flatMap(({ kind, problem }) => (problem === null ? [] : [`${kind}: ${problem}`])),
    lost: users.filter((user) => !there.has(key(user))).map(({ username }) => username),
    duplicated: [
      ...[...byName].flatMap(([email, same]) => (same.length > 1 ? [`${email} is there ${same.length} times`] : [])),
      ...[...ids].flatMap(([id, same]) => (same.length > 1 ? [`id ${id} was given to ${same.length} users`] : [])),
      ...answers.filter(({ kind, status }) => kind === 'register' && status === 409).map(({ problem }) => `${problem}`),
    ],
    unacknowledged: rows.filter(({ username }) => !acknowledged.has(username)).map(({ username }) => username),
  };
}

export interface Latency {
  p50: number;
  p99: number;
  max: number;
}

/** Latency of all requests of the list, ms. */
export function latencyOf(answers: readonly Answer[]): Latency {
  const sorted = answers.map(({ latencyMs }) => latencyMs).sort((a, b) => a - b);
  const at = (part: number) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
