/**
 * The opening checks (S9, S14): a session at the node's address answers with the node's name, the node is not in
 * recovery, and one ordinary synchronous commit succeeds. The sessions with all nodes are opened beforehand, because a
 * login with SCRAM takes about 15 ms.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { inBackground, messageOf } from '../../contract/errors';
import { PORTS } from '../../contract/layout';
import { MONITOR_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { INSUFFICIENT_PRIVILEGE, type SessionRights, sessionOptions } from '../../contract/session-settings';
import type { DeclaredNode } from '../../core/state/cluster';
import type { Certificate } from '../../core/state/observation';
import type { Events, MonitorPorts, Opening } from '../ports';

/** Limit of one connect, ms. It takes four round trips, and each may take a second where packets come late. */
const CONNECT_LIMIT_MS = 5_000;
/**
 * Maximum number of connects to one node at a time. Every {@link KEEP_MS} another one is added while none has
 * succeeded.
 */
const DIALS_MAX = 5;
/** Limit of the commit, ms. It waits for a standby, so a slow network delays it twice. */
const QUERY_LIMIT_MS = 5_000;
/** While the node is in recovery it is asked again after this time, ms. */
const POLL_MS = 4;
const RETRY_MS = 20;
const KEEP_MS = 1_000;

/** Returns no row when another node answers; then nothing is written there. */
const COMMIT = `INSERT INTO failover.canary (term, node) SELECT $1, $2 WHERE current_setting('cluster_name') = $2
  ON CONFLICT (node) DO UPDATE SET term = excluded.term, at = pg_catalog.now() RETURNING node`;
/** SQLSTATE read_only_sql_transaction: the node is in recovery. */
const READ_ONLY = '25006';

type Check = Pick<Certificate, 'node' | 'term'>;

/**
 * The session with one node, and the connects that are under way for it. The first connect that succeeds becomes the
 * session.
 */
interface Line {
  readonly node: DeclaredNode;
  session: pg.Client | null;
  dials: Set<Promise<void>>;
}

export class OpeningChecks implements Opening {
  private readonly lines: ReadonlyMap<string, Line>;
  private wanted: Check | null = null;
  /** The checks that are under way: the wanted one, and perhaps a former one that has not ended yet. */
  private readonly running = new Set<string>();
  /**
   * Reasons to wait that were logged for this check. Each is logged once, because two alternating reasons would fill
   * the log.
   */
  private readonly logged = new Set<string>();
  private ended = false;
  private timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly ports: Pick<MonitorPorts, 'clusterKey' | 'log'>,
    nodes: readonly DeclaredNode[],
    /** Says whether a PostgreSQL runs: only then it is connected to. While that is unknown, the sessions stay. */
    private readonly loop: Pick<Events, 'certified' | 'broken' | 'isRunning'>,
    private readonly port: number = PORTS.postgres,
  ) {
    this.lines = new Map(nodes.map((node) => [node.name, { node, session: null, dials: new Set() }]));
  }

  /** Keeps the sessions open until {@link stop}. */
  start(): void {
    this.timer = setInterval(() => this.keep(), KEEP_MS);
  }

  stop(): void {
    this.wanted = null;
    this.ended = true;
    if (this.timer !== null) clearInterval(this.timer);
    for (const line of this.lines.values()) this.drop(line);
  }

  want(check: Check | null): void {
    if (check !== null && !this.isWanted(check)) this.logged.clear();
    this.wanted = check;
    if (check !== null && !this.running.has(keyOf(check))) inBackground(() => this.check(check));
  }

  private isWanted(check: Check): boolean {
    return this.wanted !== null && keyOf(this.wanted) === keyOf(check);
  }

  private keep(): void {
    for (const [node, line] of this.lines) {
      const wanted = this.wanted?.node === node;
      const runs = wanted || this.loop.isRunning(node);
      if (runs === false) this.drop(line);
      else if (runs === true && line.session === null) {
        this.dial(line);
        if (wanted) this.logOnce(node, `the monitor is connecting to ${node}`);
      }
    }
  }

  /** Tries until the check is passed or is no longer wanted. */
  private async check(check: Check): Promise<void> {
    this.running.add(keyOf(check));
    while (this.isWanted(check)) {
      try {
        const passed = await this.once(check);
        if (!this.isWanted(check)) break;
        if (passed) {
          this.wanted = null;
          this.loop.certified(check.node, check.term);
        } else await delay(POLL_MS);
      } catch (error) {
        if (!this.isWanted(check)) break;
        this.logOnce(check.node, messageOf(error));
        await delay(RETRY_MS);
      }
    }
    // This runs in the same turn of the event loop as the last condition, so a new request for this check starts a new
    // run.
    this.running.delete(keyOf(check));
  }

  /**
   * Makes the check once. False while there is no session yet or the node is in recovery. Throws when the node cannot
   * be asked or another node answers.
   */
  private async once({ node, term }: Check): Promise<boolean> {
    const line = this.lines.get(node);
    if (line === undefined) throw new Error(`${node} is not declared`);
    const client = await this.session(line);
    if (client === null) return false;
    try {
      const { rows } = await client.query<{ node: string }>(COMMIT, [term, node]);
      if (rows.length === 1) return true;
      throw new Error(`the address of ${node} answers as another node; it is not opened`);
    } catch (error) {
      if (error instanceof pg.DatabaseError && error.code === READ_ONLY) return false;
      if (line.session === client) this.drop(line);
      throw error;
    }
  }

  private logOnce(node: string, message: string): void {
    if (this.logged.has(message)) return;
    this.logged.add(message);
    this.ports.log.write('INFO', node, 'CHECK_WAITS', message);
  }

  /**
   * The session with the node; null when there is none within {@link RETRY_MS}. Throws the error of a failed connect.
   */
  private async session(line: Line): Promise<pg.Client | null> {
    if (line.session === null) {
      if (line.dials.size === 0) this.dial(line);
      await Promise.race([...line.dials, delay(RETRY_MS)]);
    }
    return line.session;
  }

  private dial(line: Line): void {
    if (line.dials.size >= DIALS_MAX) return;
    const dial = this.connect(line).finally(() => line.dials.delete(dial));
    line.dials.add(dial);
    // The caller that waits for this connect gets its error. Other connects may still succeed.
    inBackground(() => dial);
  }

  private async connect(line: Line, rights: SessionRights = 'granted'): Promise<void> {
    const client = new pg.Client({
      host: line.node.address,
      port: this.port,
      user: MONITOR_ROLE,
      password: derivedPassword(this.ports.clusterKey, 'monitor'),
      database: 'postgres',
      application_name: 'failover-monitor',
      // Overrides any setting of the role or the database, so that the check's commit waits for the standbys (S9).
      options: sessionOptions(rights, { synchronous_commit: 'on' }),
      connectionTimeoutMillis: CONNECT_LIMIT_MS,
      query_timeout: QUERY_LIMIT_MS,
      keepAlive: true,
    });
    const forget = () => {
      if (line.session !== client) return;
      line.session = null;
      this.loop.broken(line.node.name);
    };
    client.on('error', forget);
    client.on('end', forget);
    try {
      await client.connect();
    } catch (error) {
      destroy(client);
      const isRefused = error instanceof pg.DatabaseError && error.code === INSUFFICIENT_PRIVILEGE;
      if (rights === 'plain' || !isRefused) throw error;
      // A node whose roles were created by an older keeper has not granted all settings.
      return this.connect(line, 'plain');
    }
    if (line.session === null && !this.ended) line.session = client;
    else destroy(client);
  }

  private drop(line: Line): void {
    const { session } = line;
    line.session = null;
    if (session !== null) destroy(session);
  }
}

function keyOf({ node, term }: Check): string {
  return `${node} ${term}`;
}

/** Ends a connection without waiting for the other side, which may hang (node-postgres could wait forever there). */
function destroy(client: pg.Client): void {
  client.on('error', () => undefined);
  inBackground(() => client.end());
  client.connection.stream.destroy();
}
