/**
 * One connection to PostgreSQL with a deadline for every step. node-postgres can wait for ever on a dead server. So at
 * a deadline the socket is destroyed, and the connection can no longer be used.
 */
import { Client, type ClientConfig, DatabaseError } from 'pg';

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

export class TimedClient {
  protected readonly client: Client;
  protected readonly limitMs: number;
  protected dead = false;

  protected constructor(options: TimedOptions, config: ClientConfig & { replication?: string }) {
    const { host, port = 5432, user, password, applicationName, limitMs } = options;
    this.limitMs = limitMs;
    this.client = new Client({ host, port, user, password, application_name: applicationName, ssl: false, ...config });
    this.client.on('error', () => this.destroy());
    this.client.on('end', () => {
      this.dead = true;
    });
  }

  get usable(): boolean {
    return !this.dead;
  }

  /** Ends the connection at once. A statement that is running fails. */
  destroy(): void {
    this.dead = true;
    const { connection } = this.client as unknown as { connection?: { stream?: { destroy(): void } } };
    connection?.stream?.destroy();
  }

  /** Connects and runs `setup`, or throws within the limit. */
  protected async begin(setup?: () => Promise<unknown>): Promise<this> {
    try {
      await this.limited(this.client.connect(), this.limitMs);
      await setup?.();
      return this;
    } catch (error) {
      this.destroy();
      throw error;
    }
  }

  protected mustLive(): void {
    if (this.dead) throw new Error('the session has ended');
  }

  protected limited<T>(work: Promise<T>, limitMs: number): Promise<T> {
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

/** SQLSTATE of an error that PostgreSQL sent; null for any other error, for example a broken connection. */
export function sqlState(error: unknown): string | null {
  return error instanceof DatabaseError ? (error.code ?? null) : null;
}
