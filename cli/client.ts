/**
 * Client of the monitor's HTTP API. Each call has a deadline, and the answers are checked by the schemas that the
 * monitor itself uses.
 */
import { z } from 'zod';
import { Answer, ApiError, BackupsAnswer, ClusterStatus, type Command, Events } from '../failover/contract/api';
import { oneLine } from '../failover/contract/log-line';
import { EXIT, Failed } from './exit';
import { type Ask, fetchTrusting, type Trust } from './trusting';

const READ_MS = 5_000;
/** A switchover waits for the old leader's sessions, a promotion for the catch-up. */
const COMMAND_MS = 120_000;
/** Largest number of events in one answer; the monitor returns no more. */
export const EVENTS_MAX = 1_000;

/**
 * Fields that a newer monitor added are ignored; `v1` promises that no field is removed. Each text is made a single
 * line that cannot control the terminal, because messages of PostgreSQL and keepers may contain text from a client.
 */
export class Client {
  private readonly url: string;
  private readonly token: () => Promise<string>;
  private readonly readMs: number;
  private readonly trust: () => Promise<Trust>;

  constructor(options: {
    url: string;
    token: () => Promise<string>;
    trust?: () => Promise<Trust>;
    readMs?: number;
  }) {
    this.url = options.url;
    this.token = options.token;
    this.trust = options.trust ?? (async () => ({ authorities: [], isPublic: true }));
    this.readMs = options.readMs ?? READ_MS;
  }

  cluster(): Promise<ClusterStatus> {
    return this.read('cluster', ClusterStatus);
  }

  /** @throws Failed also when the stack has no backups. */
  async backups(): Promise<BackupsAnswer> {
    const response = await this.fetch('/api/v1/backups', this.readMs);
    if (response.status === 404) throw new Failed(EXIT.failed, `${await errorOf(response)}.`);
    if (response.status !== 200) throw await this.unexpected(response);
    return parsed(BackupsAnswer, await bodyOf(response), this.url);
  }

  /** Events after the event with this id, oldest first, at most {@link EVENTS_MAX}. */
  async events(after: number, limit: number): Promise<z.infer<typeof Events>['events']> {
    return (await this.read(`events?after=${after}&limit=${limit}`, Events)).events;
  }

  /**
   * Sends a command, or with `dryRun` asks what the command would do.
   * @throws Failed when the token is wrong or the monitor is unreachable. A refusal is not an error but an answer.
   */
  async command(name: Command, body: Record<string, unknown>, options: { dryRun: boolean }): Promise<Answer> {
    const token = await this.token();
    const response = await this.fetch(`/api/v1/${name}`, COMMAND_MS, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ ...body, dryRun: options.dryRun }),
    });
    if (response.status === 401)
      throw new Failed(EXIT.token, `The monitor at ${this.url} refuses this token. Is it the token of another stack?`);
    if (response.status === 400) throw new Failed(EXIT.usage, await errorOf(response));
    if (response.status !== 200 && response.status !== 409) throw await this.unexpected(response);
    return parsed(Answer, await bodyOf(response), this.url);
  }

  private async read<T>(path: string, schema: z.ZodType<T>): Promise<T> {
    const response = await this.fetch(`/api/v1/${path}`, this.readMs);
    if (response.status !== 200) throw await this.unexpected(response);
    return parsed(schema, await bodyOf(response), this.url);
  }

  private async unexpected(response: Response): Promise<Failed> {
    return new Failed(
      EXIT.unreachable,
      `The monitor at ${this.url} answers ${response.status}: ${await errorOf(response)}`,
    );
  }

  private async fetch(path: string, limitMs: number, init: Omit<Ask, 'limitMs'> = {}): Promise<Response> {
    try {
      return await fetchTrusting(`${this.url}${path}`, { ...init, limitMs }, this.trust);
    } catch (error) {
      if (error instanceof Failed) throw error;
      throw new Failed(EXIT.unreachable, `The monitor at ${this.url} does not answer (${reasonOf(error)}).`);
    }
  }
}

/** Returns the cause of an error, because `fetch failed` alone does not help a person. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (cause instanceof AggregateError && cause.errors.length > 0) return reasonOf(cause.errors[0]);
  return cause instanceof Error ? cause.message : error.name === 'TimeoutError' ? 'no answer in time' : error.message;
}

async function bodyOf(response: Response): Promise<unknown> {
  try {
    return readable(await response.json());
  } catch {
    return null;
  }
}

/** The same value with every text changed by {@link oneLine}. */
function readable(value: unknown): unknown {
  if (typeof value === 'string') return oneLine(value);
  if (Array.isArray(value)) return value.map(readable);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [oneLine(key), readable(one)]));
}

async function errorOf(response: Response): Promise<string> {
  const body = ApiError.safeParse(await bodyOf(response));
  return body.success ? body.data.error : oneLine(response.statusText);
}

function parsed<T>(schema: z.ZodType<T>, value: unknown, url: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new Failed(
    EXIT.unreachable,
    `The server at ${url} is not a monitor of this release: ${z.prettifyError(result.error)}`,
  );
}
