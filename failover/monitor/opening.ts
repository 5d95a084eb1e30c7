/**
 * The opening checks (S9, S14): a connection to the node's address answers with its name, it is not in recovery, and one
 * ordinary synchronous commit succeeds on it. A connection to every node is opened beforehand, because SCRAM costs 15 ms.
 */
import pg from 'pg';
import { PORTS } from '../config';
import type { DeclaredNode } from '../core/types';
import { derivedPassword, MONITOR_ROLE } from '../protocol';
import type { Log, Opening } from './ports';

const CONNECT_LIMIT_MS = 1_000;
const QUERY_LIMIT_MS = 2_000;
/** While the node is still in recovery it is asked again after this, ms. */
const POLL_MS = 4;
const RETRY_MS = 20;
const KEEP_MS = 1_000;

/** No row: the answer comes from another node, and nothing is written there. */
const COMMIT = `INSERT INTO failover.canary (term, node) SELECT $1, $2 WHERE current_setting('cluster_name') = $2
  ON CONFLICT (node) DO UPDATE SET term = excluded.term, at = now() RETURNING node`;
/** read_only_sql_transaction: the node is in recovery. */
const READ_ONLY = '25006';

export interface OpeningOptions {
  nodes: readonly DeclaredNode[];
  clusterKey: string;
  log: Log;
  onCertified: (node: string, term: number) => void;
  /** A session that stood has ended, and not by this side: its PostgreSQL may be gone. */
  onBroken: (node: string) => void;
  /** Told whether a node answers on SQL, so that only those that run are dialled. */
  isRunning: (node: string) => boolean;
  /** @default 5432 */
  port?: number;
}

interface Check {
  node: string;
  term: number;
}

export class OpeningChecks implements Opening {
  private readonly options: OpeningOptions;
  private readonly clients = new Map<string, pg.Client>();
  private readonly dialling = new Set<string>();
  private wanted: Check | null = null;
  private running = false;
  private told = '';
  private timer: NodeJS.Timeout | null = null;

  constructor(options: OpeningOptions) {
    this.options = options;
  }

  /** Keeps the connections open until {@link stop}. */
  start(): void {
    this.timer = setInterval(() => this.keep(), KEEP_MS);
  }

  stop(): void {
    this.wanted = null;
    if (this.timer !== null) clearInterval(this.timer);
    for (const node of [...this.clients.keys()]) this.drop(node);
  }

  want(check: Check | null): void {
    this.wanted = check;
    if (check !== null && !this.running) {
      this.running = true;
      const done = () => {
        this.running = false;
      };
      this.check().then(done, done);
    }
  }

  private keep(): void {
    for (const { name } of this.options.nodes) {
      if (!this.options.isRunning(name)) this.drop(name);
      else if (!this.clients.has(name)) this.client(name).catch(() => undefined);
    }
  }

  /** Tries until the check is passed or no longer wanted. */
  private async check(): Promise<void> {
    while (this.wanted !== null) {
      const { node, term } = this.wanted;
      try {
        const passed = await this.once(node, term);
        if (passed) {
          this.told = '';
          this.wanted = null;
          this.options.onCertified(node, term);
          return;
        }
        await sleep(POLL_MS);
      } catch (error) {
        this.drop(node);
        this.tell(node, error instanceof Error ? error.message : String(error));
        await sleep(RETRY_MS);
      }
    }
  }

  /** False while the node is in recovery. Throws when it cannot be asked or is somebody else. */
  private async once(node: string, term: number): Promise<boolean> {
    const client = await this.client(node);
    try {
      const { rows } = await client.query<{ node: string }>(COMMIT, [term, node]);
      if (rows.length === 1) return true;
    } catch (error) {
      if (error instanceof pg.DatabaseError && error.code === READ_ONLY) return false;
      throw error;
    }
    throw new Error(`the address of ${node} answers as another node; it is not opened`);
  }

  private tell(node: string, words: string): void {
    if (words === this.told) return;
    this.told = words;
    this.options.log.write('INFO', node, 'CHECK_WAITS', words);
  }

  private async client(node: string): Promise<pg.Client> {
    const there = this.clients.get(node);
    if (there !== undefined) return there;
    if (this.dialling.has(node)) throw new Error(`${node} is being dialled`);
    const declared = this.options.nodes.find((n) => n.name === node);
    if (declared === undefined) throw new Error(`${node} is not declared`);
    const client = new pg.Client({
      host: declared.address,
      port: this.options.port ?? PORTS.postgres,
      user: MONITOR_ROLE,
      password: derivedPassword(this.options.clusterKey, 'monitor'),
      database: 'postgres',
      application_name: 'failover-monitor',
      connectionTimeoutMillis: CONNECT_LIMIT_MS,
      query_timeout: QUERY_LIMIT_MS,
      keepAlive: true,
    });
    client.on('error', () => this.forget(node, client));
    client.on('end', () => this.forget(node, client));
    this.dialling.add(node);
    try {
      await client.connect();
      this.clients.set(node, client);
      return client;
    } catch (error) {
      destroy(client);
      throw error;
    } finally {
      this.dialling.delete(node);
    }
  }

  private forget(node: string, client: pg.Client): void {
    if (this.clients.get(node) !== client) return;
    this.clients.delete(node);
    this.options.onBroken(node);
  }

  private drop(node: string): void {
    const client = this.clients.get(node);
    this.clients.delete(node);
    if (client !== undefined) destroy(client);
  }
}

/** Ends a connection without waiting for the other side, which may hang (node-postgres can wait for ever there). */
function destroy(client: pg.Client): void {
  client.on('error', () => undefined);
  client.end().catch(() => undefined);
  client.connection.stream.destroy();
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
