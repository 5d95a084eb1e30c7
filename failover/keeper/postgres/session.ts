/** Connections to PostgreSQL with a deadline for every step. */
import { Client, type ClientConfig, type Connection, DatabaseError, type QueryConfig, type QueryResultRow } from 'pg';
import { type SessionRights, sessionOptions } from '../../contract/session-settings';

export interface TimedOptions {
  /** Address of the server, or the folder of its local socket. */
  host: string;
  port?: number;
  user: string;
  password?: string;
  applicationName: string;
  /** Limit for connecting and for each statement or command, ms. */
  limitMs: number;
}

/**
 * One connection. node-postgres can wait for ever on a dead server. So at a deadline the socket is destroyed, and the
 * connection can no longer be used.
 */
export class TimedClient {
  protected readonly client: Client;
  protected dead = false;
  private readonly limitMs: number;
  /** Resolves when the last statement so far has ended. */
  private idle: Promise<unknown> = Promise.resolve();

  protected constructor(options: TimedOptions, config: ClientConfig & { replication?: string }) {
    const { host, port = 5432, user, password, applicationName, limitMs } = options;
    this.limitMs = limitMs;
    this.client = new Client({ host, port, user, password, application_name: applicationName, ssl: false, ...config });
    this.client.on('error', () => this.destroy());
    this.client.on('end', () => {
      this.dead = true;
    });
  }

  /** The part of node-postgres' client that its types do not declare. */
  protected get connection(): Connection {
    return (this.client as unknown as { connection: Connection }).connection;
  }

  get usable(): boolean {
    return !this.dead;
  }

  /** Ends the connection at once. A statement that is running fails. */
  destroy(): void {
    this.dead = true;
    this.connection.stream.destroy();
  }

  /** The end of a `using` declaration. */
  [Symbol.dispose](): void {
    this.destroy();
  }

  /** Connects, or throws within the limit. */
  protected async begin(): Promise<this> {
    try {
      await this.limited(this.client.connect());
      return this;
    } catch (error) {
      this.destroy();
      throw error;
    }
  }

  protected mustLive(): void {
    if (this.dead) throw new Error('the session has ended');
  }

  /**
   * Returns the rows of a statement or command. Statements of several callers run one after the other, which
   * node-postgres leaves to its user. Throws at the limit, which includes the wait for the earlier ones.
   */
  protected async rows<Row extends QueryResultRow>(query: string | QueryConfig, limitMs?: number): Promise<Row[]> {
    this.mustLive();
    const answer = this.idle.then(() => {
      this.mustLive();
      return this.client.query<Row>(query);
    });
    this.idle = answer.catch(() => undefined);
    return (await this.limited(answer, limitMs)).rows;
  }

  /** Like {@link rows}, for a statement or command with one row. Throws when there is none. */
  protected async row<Row extends QueryResultRow>(query: string | QueryConfig): Promise<Row> {
    const [row] = await this.rows<Row>(query);
    if (row === undefined) throw new Error('PostgreSQL gave no row');
    return row;
  }

  protected limited<T>(work: Promise<T>, limitMs = this.limitMs): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.destroy();
        reject(new Error(`no answer from PostgreSQL within ${limitMs} ms`));
      }, limitMs);
    });
    return Promise.race([work, limit]).finally(() => clearTimeout(timer));
  }
}

export interface SessionOptions extends TimedOptions {
  database: string;
  /** Null: the session begins as those of clients do. @default 'superuser' */
  rights?: SessionRights | null;
  /** Settings that are added to those of every session or replace them. */
  settings?: Readonly<Record<string, string>>;
}

/** One SQL session. Settings of a role, a database or the stack do not apply in it (session-settings.ts). */
export class Session extends TimedClient {
  readonly database: string;
  readonly rights: SessionRights | null;

  private constructor(options: SessionOptions) {
    const { database, rights = 'superuser', settings } = options;
    super(options, { database, options: rights === null ? undefined : sessionOptions(rights, settings) });
    this.database = database;
    this.rights = rights;
  }

  /** Connects, or throws within the limit. */
  static open(options: SessionOptions): Promise<Session> {
    return new Session(options).begin();
  }

  /** Returns the rows of a statement. Throws if it takes longer than `limitMs`. */
  query<Row extends QueryResultRow>(sql: string, values: unknown[] = [], limitMs?: number): Promise<Row[]> {
    return this.rows({ text: sql, values }, limitMs);
  }

  /**
   * Returns the rows of a statement that is repeated under one name. PostgreSQL parses and plans it once per session
   * (manual, "PREPARE"); planning is most of the cost of a look.
   */
  ask<Row extends QueryResultRow>(name: string, text: string, values: unknown[] = []): Promise<Row[]> {
    return this.rows({ name, text, values });
  }

  /** Like {@link ask}, for a statement with one row. Throws when there is none. */
  askOne<Row extends QueryResultRow>(name: string, text: string, values: unknown[] = []): Promise<Row> {
    return this.row({ name, text, values });
  }
}

/** Runs some work with a session, and ends the session afterwards, also after an error. */
export async function within<T>(opened: Promise<Session>, work: (session: Session) => Promise<T>): Promise<T> {
  using session = await opened;
  return await work(session);
}

/** SQLSTATE of an error that PostgreSQL sent; null for any other error, for example a broken connection. */
export function sqlState(error: unknown): string | null {
  return error instanceof DatabaseError ? (error.code ?? null) : null;
}

/** A name as a quoted SQL identifier; a text as a quoted SQL literal, for statements that take no parameter. */
export { escapeIdentifier as identifier, escapeLiteral as literal } from 'pg';
