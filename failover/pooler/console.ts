/**
 * PgBouncer's admin console over its Unix socket (PgBouncer's manual, "Admin console"). It takes simple queries only. A
 * process of the same user of the operating system needs no password there.
 */
import { Client } from 'pg';
import { PATHS } from '../contract/layout';

/** Limit for the connection and for each answer but that to PAUSE, ms. */
const ANSWER_LIMIT_MS = 3_000;

type Row = Record<string, string>;

/** One connection to the console. It is made at the first command, and again after it has broken. */
export class Console {
  private client: Promise<Client> | null = null;

  constructor(private readonly port: number) {}

  /**
   * Sends one command and resolves with its rows. @throws Error when PgBouncer refuses it, does not answer in time, or
   * is not there. After each error the next command begins with a new connection.
   */
  async ask(command: string, limitMs: number = ANSWER_LIMIT_MS): Promise<Row[]> {
    const client = await this.connected();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`PgBouncer gave no answer to ${command} within ${limitMs} ms`)),
        limitMs,
      );
    });
    try {
      const { rows } = await Promise.race([client.query<Row>(command), late]);
      return rows;
    } catch (error) {
      this.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the connection. A command under way fails. */
  close(): void {
    const { client } = this;
    this.client = null;
    client?.then((c) => c.end()).catch(() => undefined);
  }

  private connected(): Promise<Client> {
    this.client ??= this.connect();
    return this.client;
  }

  private async connect(): Promise<Client> {
    const client = new Client({
      ...{ host: PATHS.poolerRun, port: this.port, user: 'pgbouncer', database: 'pgbouncer' },
      connectionTimeoutMillis: ANSWER_LIMIT_MS,
    });
    client.on('error', () => this.close());
    try {
      await client.connect();
    } catch (error) {
      this.client = null;
      throw error;
    }
    return client;
  }
}
