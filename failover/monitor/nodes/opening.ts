/**
 * The opening checks (S9, S14): a connection to the node's address answers with its name, it is not in recovery, and one
 * ordinary synchronous commit succeeds on it. A connection to every node is opened beforehand, because SCRAM costs 15 ms.
 */
import pg from 'pg';
import { inBackground, messageOf } from '../../contract/errors';
import { PORTS } from '../../contract/layout';
import { MONITOR_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { INSUFFICIENT_PRIVILEGE, type SessionRights, sessionOptions } from '../../contract/session-settings';
import type { DeclaredNode } from '../../core/state/cluster';
import type { Log, Opening } from '../ports';

/** A dial takes four round trips, each of which may be a second where packets come late. */
const CONNECT_LIMIT_MS = 5_000;
/** A dial that has not succeeded gets another one beside it with every look ({@link KEEP_MS}), so many at most. */
const DIALS_MAX = 5;
/** The commit waits for a standby; a slow network takes its time twice. */
const QUERY_LIMIT_MS = 5_000;
/** While the node is still in recovery it is asked again after this, ms. */
const POLL_MS = 4;
const RETRY_MS = 20;
const KEEP_MS = 1_000;

/** No row: the answer comes from another node, and nothing is written there. */
const COMMIT = `INSERT INTO failover.canary (term, node) SELECT $1, $2 WHERE current_setting('cluster_name') = $2
  ON CONFLICT (node) DO UPDATE SET term = excluded.term, at = pg_catalog.now() RETURNING node`;
/** read_only_sql_transaction: the node is in recovery. */
const READ_ONLY = '25006';

export interface OpeningOptions {
  nodes: readonly DeclaredNode[];
  clusterKey: string;
  log: Log;
  onCertified: (node: string, term: number) => void;
  /** A session that stood has ended, and not by this side: its PostgreSQL may be gone. */
  onBroken: (node: string) => void;
  /** Told whether a node answers on SQL, so that only those that run are dialled. Null: nothing is known, all stays as it is. */
  isRunning: (node: string) => boolean | null;
  /** @default 5432 */
  port?: number;
}

interface Check {
  node: string;
  term: number;
}

/** One node's session and the dials for one; the first that succeeds is kept. */
interface Line {
  readonly node: DeclaredNode;
  session: pg.Client | null;
  dials: Set<Promise<void>>;
}

export class OpeningChecks implements Opening {
  private readonly options: OpeningOptions;
  private readonly lines: ReadonlyMap<string, Line>;
  private wanted: Check | null = null;
  /** The checks that are under way: the wanted one, and a former one until its answer or its limit, beside it. */
  private readonly running = new Set<string>();
  /** Each reason to wait is told once for a check: two that take turns every few ms would fill the log. */
  private readonly told = new Set<string>();
  private ended = false;
  private timer: NodeJS.Timeout | null = null;

  constructor(options: OpeningOptions) {
    this.options = options;
    this.lines = new Map(options.nodes.map((node) => [node.name, { node, session: null, dials: new Set() }]));
  }

  /** Keeps the connections open until {@link stop}. */
  start(): void {
    this.timer = setInterval(() => this.keep(), KEEP_MS);
  }

  stop(): void {
    this.wanted = null;
    this.ended = true;
    if (this.timer !== null) clearInterval(this.timer);
    for (const node of this.lines.keys()) this.drop(node);
  }

  want(check: Check | null): void {
    if (check !== null && !this.isWanted(check)) this.told.clear();
    this.wanted = check;
    if (check !== null && !this.running.has(keyOf(check))) inBackground(() => this.check(check));
  }

  private isWanted(check: Check): boolean {
    return this.wanted !== null && keyOf(this.wanted) === keyOf(check);
  }

  private keep(): void {
    for (const [node, line] of this.lines) {
      const wanted = this.wanted?.node === node;
      const runs = wanted || this.options.isRunning(node);
      if (runs === false) this.drop(node);
      else if (runs === true && line.session === null) {
        this.dial(line);
        if (wanted) this.tell(node, `${node} is being dialled`);
      }
    }
  }

  /** Tries until the check is passed or no longer wanted. */
  private async check(check: Check): Promise<void> {
    this.running.add(keyOf(check));
    while (this.isWanted(check)) await this.try(check);
    // In the same turn as the look above: who wants it again begins anew.
    this.running.delete(keyOf(check));
  }

  private async try(check: Check): Promise<void> {
    try {
      const passed = await this.once(check);
      if (!this.isWanted(check)) return;
      if (!passed) return await sleep(POLL_MS);
      this.wanted = null;
      this.options.onCertified(check.node, check.term);
    } catch (error) {
      if (!this.isWanted(check)) return;
      this.tell(check.node, messageOf(error));
      await sleep(RETRY_MS);
    }
  }

  /** False while the node is still being dialled or in recovery. Throws when it cannot be asked or is somebody else. */
  private async once({ node, term }: Check): Promise<boolean> {
    const client = await this.session(node);
    if (client === null) return false;
    try {
      const { rows } = await client.query<{ node: string }>(COMMIT, [term, node]);
      if (rows.length === 1) return true;
    } catch (error) {
      if (error instanceof pg.DatabaseError && error.code === READ_ONLY) return false;
      this.drop(node, client);
      throw error;
    }
    this.drop(node, client);
    throw new Error(`the address of ${node} answers as another node; it is not opened`);
  }

  private tell(node: string, words: string): void {
    if (this.told.has(words)) return;
    this.told.add(words);
    this.options.log.write('INFO', node, 'CHECK_WAITS', words);
  }

  /** The node's session, null when there is none within {@link RETRY_MS}. Throws what a dial fails with. */
  private async session(node: string): Promise<pg.Client | null> {
    const line = this.lines.get(node);
    if (line === undefined) throw new Error(`${node} is not declared`);
    if (line.session === null) {
      if (line.dials.size === 0) this.dial(line);
      await Promise.race([...line.dials, sleep(RETRY_MS)]);
    }
    return line.session;
  }

  private dial(line: Line): void {
    if (line.dials.size >= DIALS_MAX) return;
    const dial = this.connect(line).finally(() => line.dials.delete(dial));
    line.dials.add(dial);
    // Who waits for it is told; the other dials may still succeed.
    inBackground(() => dial);
  }

  private async connect(line: Line): Promise<void> {
    try {
      await this.connectWith(line, 'granted');
    } catch (error) {
      if (!(error instanceof pg.DatabaseError) || error.code !== INSUFFICIENT_PRIVILEGE) throw error;
      // A node whose roles an older keeper made has not granted it all.
      await this.connectWith(line, 'plain');
    }
  }

  private async connectWith(line: Line, rights: SessionRights): Promise<void> {
    const client = new pg.Client({
      host: line.node.address,
      port: this.options.port ?? PORTS.postgres,
      user: MONITOR_ROLE,
      password: derivedPassword(this.options.clusterKey, 'monitor'),
      database: 'postgres',
      application_name: 'failover-monitor',
      // Whatever is set for the role or the database, the check's commit waits for the standbys (S9).
      options: sessionOptions(rights, { synchronous_commit: 'on' }),
      connectionTimeoutMillis: CONNECT_LIMIT_MS,
      query_timeout: QUERY_LIMIT_MS,
      keepAlive: true,
    });
    const forget = () => {
      if (line.session !== client) return;
      line.session = null;
      this.options.onBroken(line.node.name);
    };
    client.on('error', forget);
    client.on('end', forget);
    try {
      await client.connect();
    } catch (error) {
      destroy(client);
      throw error;
    }
    if (line.session === null && !this.ended) line.session = client;
    else destroy(client);
  }

  /** Ends the node's session; only this one where it is given. */
  private drop(node: string, client?: pg.Client): void {
    const line = this.lines.get(node);
    const session = line?.session ?? null;
    if (line === undefined || session === null || (client !== undefined && client !== session)) return;
    line.session = null;
    destroy(session);
  }
}

function keyOf({ node, term }: Check): string {
  return `${node} ${term}`;
}

/** Ends a connection without waiting for the other side, which may hang (node-postgres can wait for ever there). */
function destroy(client: pg.Client): void {
  client.on('error', () => undefined);
  inBackground(() => client.end());
  client.connection.stream.destroy();
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
