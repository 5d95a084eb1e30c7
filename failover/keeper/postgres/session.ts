/** One SQL session. No setting of a role, a database or the stack holds in it (session-settings.ts). */
import type { QueryConfig, QueryResultRow } from 'pg';
import { type SessionRights, sessionOptions } from '../../contract/session-settings';
import { TimedClient, type TimedOptions } from './timed-client';

export interface SessionOptions extends TimedOptions {
  database: string;
  /** @default 'superuser' */
  rights?: SessionRights;
  /** Settings beside those of every session, or in place of them. */
  settings?: Readonly<Record<string, string>>;
  /** Run once after connecting. */
  setup?: string;
}

export class Session extends TimedClient {
  /** The database that it is in. */
  readonly database: string;

  private constructor(options: SessionOptions) {
    const { database, rights = 'superuser', settings } = options;
    super(options, { database, options: sessionOptions(rights, settings) });
    this.database = database;
  }

  /** Connects, or throws within the limit. */
  static open(options: SessionOptions): Promise<Session> {
    const { setup } = options;
    const session = new Session(options);
    return session.begin(setup === undefined ? undefined : () => session.query(setup));
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

  /** The one row of such a statement. Throws when there is none. */
  async askOne<Row extends QueryResultRow>(name: string, text: string, values: unknown[] = []): Promise<Row> {
    const [row] = await this.ask<Row>(name, text, values);
    if (row === undefined) throw new Error('PostgreSQL gave no row');
    return row;
  }

  private async rows<Row extends QueryResultRow>(query: QueryConfig, limitMs: number): Promise<Row[]> {
    this.mustLive();
    return (await this.limited(this.client.query<Row>(query), limitMs)).rows;
  }
}

/** Gives a session to some work, and ends it however that ends. */
export async function within<T>(opened: Promise<Session>, work: (session: Session) => Promise<T>): Promise<T> {
  const session = await opened;
  try {
    return await work(session);
  } finally {
    session.destroy();
  }
}

/** A name in double quotes for SQL. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A text in single quotes for SQL, where no parameter can be used. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
