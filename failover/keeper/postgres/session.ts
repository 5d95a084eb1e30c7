/**
 * One SQL session with a deadline for everything. node-postgres can wait for ever on a dead server, so at the deadline
 * the socket is destroyed and the session is of no more use. No setting of a role, a database or the stack holds in it
 * (session-settings.ts).
 */
import { Client, DatabaseError, type QueryConfig, type QueryResultRow } from 'pg';
import { type SessionRights, sessionOptions } from '../../contract/session-settings';

export interface SessionOptions {
  host: string;
  port?: number;
  user: string;
  password?: string;
  database: string;
  applicationName: string;
  /** Limit for connecting and for each statement, ms. */
  limitMs: number;
  /** @default 'superuser' */
  rights?: SessionRights;
  /** Settings beside those of every session, or in place of them. */
  settings?: Readonly<Record<string, string>>;
  /** Run once after connecting. */
  setup?: string;
}

export class Session {
  /** The database that it is in. */
  readonly database: string;
  private readonly client: Client;
  private readonly limitMs: number;
  private dead = false;

  private constructor(options: SessionOptions) {
    this.limitMs = options.limitMs;
    this.database = options.database;
    this.client = new Client({
      host: options.host,
      port: options.port ?? 5432,
      user: options.user,
      password: options.password,
      database: options.database,
      application_name: options.applicationName,
      options: sessionOptions(options.rights ?? 'superuser', options.settings),
      ssl: false,
    });
    this.client.on('error', () => this.destroy());
    this.client.on('end', () => {
      this.dead = true;
    });
  }

  /** Connects, or throws within the limit. */
  static async open(options: SessionOptions): Promise<Session> {
    const session = new Session(options);
    try {
      await session.limited(session.client.connect(), options.limitMs);
      if (options.setup !== undefined) await session.query(options.setup);
      return session;
    } catch (error) {
      session.destroy();
      throw error;
    }
  }

  get usable(): boolean {
    return !this.dead;
  }

  /** Rows of a statement; throws within `limitMs`. */
  async query<Row extends QueryResultRow>(sql: string, values: unknown[] = [], limitMs = this.limitMs): Promise<Row[]> {
    return this.rows({ text: sql, values }, limitMs);
  }

  /**
   * Rows of a statement that is asked again and again under one name: PostgreSQL parses and plans it once a session
   * (manual, "PREPARE"). Planning is most of the cost of a look.
   */
  async ask<Row extends QueryResultRow>(name: string, text: string, values: unknown[] = []): Promise<Row[]> {
    return this.rows({ name, text, values }, this.limitMs);
  }

  private async rows<Row extends QueryResultRow>(query: QueryConfig, limitMs: number): Promise<Row[]> {
    if (this.dead) throw new Error('the session has ended');
    return (await this.limited(this.client.query<Row>(query), limitMs)).rows;
  }

  /** Ends the session at once; whatever is under way fails. */
  destroy(): void {
    this.dead = true;
    const { connection } = this.client as unknown as { connection?: { stream?: { destroy(): void } } };
    connection?.stream?.destroy();
  }

  private limited<T>(work: Promise<T>, limitMs: number): Promise<T> {
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

/** SQLSTATE of an error that PostgreSQL answered with; null for any other error. */
export function sqlState(error: unknown): string | null {
  return error instanceof DatabaseError ? (error.code ?? null) : null;
}

/** A name in double quotes for SQL. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A text in single quotes for SQL, where no parameter can be used. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
