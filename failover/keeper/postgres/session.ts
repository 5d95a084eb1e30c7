/** One SQL session. Settings of a role, a database or the stack do not apply in it (session-settings.ts). */
import type { QueryConfig, QueryResultRow } from 'pg';
import { type SessionRights, sessionOptions } from '../../contract/session-settings';
import { TimedClient, type TimedOptions } from './timed-client';

export interface SessionOptions extends TimedOptions {
  database: string;
  /** @default 'superuser' */
  rights?: SessionRights;
  /** Settings that are added to those of every session or replace them. */
  settings?: Readonly<Record<string, string>>;
  /** SQL to run once after connecting. */
  setup?: string;
}

export class Session extends TimedClient {
  /** The database of the session. */
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

  /** Returns the rows of a statement. Throws if it takes longer than `limitMs`. */
  async query<Row extends QueryResultRow>(sql: string, values: unknown[] = [], limitMs = this.limitMs): Promise<Row[]> {
    return this.rows({ text: sql, values }, limitMs);
  }

  /**
   * Returns the rows of a statement that is repeated under one name. PostgreSQL parses and plans it once per session
   * (manual, "PREPARE"); planning is most of the cost of a look.
   */
  async ask<Row extends QueryResultRow>(name: string, text: string, values: unknown[] = []): Promise<Row[]> {
    return this.rows({ name, text, values }, this.limitMs);
  }

  /** Like {@link ask}, for a statement with one row. Throws when there is none. */
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

/** Runs some work with a session, and ends the session afterwards, also after an error. */
export async function within<T>(opened: Promise<Session>, work: (session: Session) => Promise<T>): Promise<T> {
  const session = await opened;
  try {
    return await work(session);
  } finally {
    session.destroy();
  }
}

/** A name as a quoted SQL identifier. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A text as a quoted SQL literal, for statements that take no parameter. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
