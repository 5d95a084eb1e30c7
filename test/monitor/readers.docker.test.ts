/**
 * Reports on the read port: the shipped monitor with a real HAProxy and three real nodes, of which the last one is a
 * report replica. Clients come through HAProxy. Durations are printed. The tests build on each other.
 */
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PORTS } from '../../failover/contract/layout';
import { docker } from '../keeper/node-containers';
import { PASSWORD, RealCluster } from './real-cluster';

const GRACE_MS = 4_000;
/** How long a report has to survive a change of its table. A counted standby cancels it after 100 ms. */
const SURVIVES_MS = 10_500;

const cluster = new RealCluster({
  ...{ prefix: 'readers', subnet: '10.98.77', port: 17_477, nodes: ['a', 'b', 'c'] },
  policy: { readLagGraceMs: GRACE_MS, reportReplicas: 1, replication: true },
  settings: { replication: { leaseMs: 2_000 } },
});
const [A = '', B = '', C = ''] = cluster.nodes.map(({ name }) => name);
const clients: Client[] = [];
const nameOf = (address: string) => cluster.nodes.find((node) => node.address === address)?.name ?? address;

/** Names of the nodes that HAProxy leads new readers to. */
const readers = () => (cluster.monitor.parts.router.view().read ?? []).map(nameOf);

/** The node that HAProxy leads a client of replication to; null: none lets it in. */
async function replicates(): Promise<string | null> {
  const login = { user: 'tools', password: 'r', database: 'app', query_timeout: 5_000, connectionTimeoutMillis: 5_000 };
  const client = new Client({ host: cluster.haproxy.address, port: PORTS.haproxyReplication, ...login });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return String(
      (await client.query<{ name: string }>(`SELECT current_setting('cluster_name') AS name`)).rows[0]?.name,
    );
  } catch {
    return null;
  } finally {
    void client.end().catch(() => undefined);
  }
}

/** A client's session on the read port, and what ended it. */
class Report {
  ended: string | null = null;

  private constructor(private readonly client: Client) {
    client.on('error', (error) => {
      this.ended ??= error.message;
    });
    client.on('end', () => {
      this.ended ??= 'closed';
    });
    clients.push(client);
  }

  static async open(): Promise<Report> {
    const login = { user: 'app', password: PASSWORD, database: 'app', query_timeout: 60_000 };
    const client = new Client({ host: cluster.haproxy.address, port: PORTS.haproxyRead, ...login });
    const report = new Report(client);
    await client.connect();
    return report;
  }

  /** A session on this node, once new readers get there. */
  static async openOn(node: string): Promise<Report> {
    await cluster.until(`new readers get to ${node}`, () => readers().join() === node);
    const report = await Report.open();
    expect(await report.node()).toBe(node);
    return report;
  }

  async ask(sql: string): Promise<string> {
    const { rows } = await this.client.query<{ value: string }>(sql);
    return String(rows[0]?.value);
  }

  async node(): Promise<string> {
    return nameOf(await this.ask('SELECT host(inet_server_addr()) AS value'));
  }
}

const isRoot = process.getuid?.() === 0;

// HAProxy's sockets belong to its own group; without root this test cannot open them.
describe.skipIf(!isRoot)('reports on the read port', () => {
  beforeAll(async () => {
    await cluster.create();
    await cluster.startHaproxy(cluster.nodes.map(({ address }) => address));
    await cluster.startMonitor();
    await cluster.startNodes();
    await cluster.until(
      'a healthy cluster without the report replica',
      () => cluster.counts(A, [B]) && readers().join() === C,
    );
    await cluster.sql(
      A,
      `CREATE TABLE t AS SELECT 1 AS n; GRANT ALL ON t TO app;
      CREATE ROLE tools LOGIN REPLICATION PASSWORD 'r'`,
    );
    await cluster.until('the table is everywhere', async () => {
      const seen = await Promise.all([B, C].map((node) => cluster.sql(node, `SELECT to_regclass('t')`)));
      return seen.every((name) => name === 't');
    });
  });

  afterAll(async () => {
    for (const client of clients) void client.end().catch(() => undefined);
    await cluster.remove();
  });

  it('survive a change of their table on the report replica, and are cancelled on a counted standby (S16)', async () => {
    const delays = await Promise.all([B, C].map((node) => cluster.sql(node, 'SHOW max_standby_streaming_delay')));
    expect(delays).toEqual(['100ms', '30s']);
    const report = await Report.openOn(C);
    await report.ask('BEGIN ISOLATION LEVEL REPEATABLE READ');
    expect(await report.ask('SELECT count(*) AS value FROM t')).toBe('1');
    const slow = 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t; SELECT pg_sleep(10)';
    const counted = cluster.sql(B, slow).then(
      () => 'it ended by itself',
      (error: Error) => error.message,
    );
    const holds = `SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass`;
    await cluster.until('both hold the table', async () => (await cluster.sql(B, holds)) !== '0');
    const fromMs = performance.now();
    await cluster.sql(A, 'ALTER TABLE t ADD COLUMN m int; INSERT INTO t VALUES (2, 2)');
    expect(await counted).toContain('conflict with recovery');
    console.log(`counted standby: cancelled after ${Math.round(performance.now() - fromMs)} ms`);
    while (performance.now() - fromMs < SURVIVES_MS) {
      expect(await report.ask('SELECT count(*) AS value FROM t')).toBe('1');
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    console.log(`report replica: alive after ${Math.round(performance.now() - fromMs)} ms`);
    await report.ask('COMMIT');
    await cluster.until(
      'it sees the change',
      async () => (await report.ask('SELECT count(*) AS value FROM t')) === '2',
    );
    expect(report.ended).toBeNull();
  });

  it('go on for readLagGrace when replay stands still, while new ones go elsewhere', async () => {
    const report = await Report.openOn(C);
    await cluster.sql(C, 'SELECT pg_wal_replay_pause()');
    await cluster.sql(A, `CREATE TABLE big AS SELECT repeat(md5(n::text), 32) FROM generate_series(1, 20480) n`);
    await cluster.until('new readers go to the other standby', () => readers().join() === B);
    const fromMs = performance.now();
    const next = await Report.openOn(B);
    await cluster.until('the report is ended', async () => {
      if (report.ended !== null) return true;
      await report.ask('SELECT 1 AS value').catch(() => undefined);
      return report.ended !== null;
    });
    const livedMs = performance.now() - fromMs;
    console.log(
      `readLagGrace ${GRACE_MS} ms: the report was ended ${Math.round(livedMs)} ms after its replica was left`,
    );
    expect(livedMs).toBeGreaterThan(GRACE_MS - 1_000);
    await cluster.sql(C, 'SELECT pg_wal_replay_resume()');
    await cluster.until('new readers go to the report replica again', () => readers().join() === C);
    expect(await next.ask('SELECT 1 AS value')).toBe('1');
  });

  it('go on while the leader changes, when their node is neither the former nor the next one (S13)', async () => {
    const report = await Report.openOn(C);
    await cluster.until('a client of replication gets to the leader', async () => (await replicates()) === A);
    await docker('kill', A);
    await cluster.until(
      'the counted standby leads',
      () => cluster.decision?.state.leader === B && cluster.decision.code === 'STEADY',
    );
    await cluster.until('the report replica serves readers again', () => readers().join() === C);
    expect(await report.node()).toBe(C);
    expect(report.ended).toBeNull();
    // The report replica is not counted, although the leader has no other standby.
    expect(cluster.decision?.state.joint.at(-1)).toMatchObject({ leader: B, k: 0, members: [] });
    await cluster.until('clients of replication get to the new leader', async () => (await replicates()) === B);
  });
});
