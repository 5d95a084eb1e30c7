/**
 * Reports on the read port: the shipped monitor with a real HAProxy and three real nodes, of which the last one is a
 * report replica. Clients come through HAProxy. Durations are printed. The tests build on each other.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { budgetFor } from '../../failover/contract/budget';
import { PORTS } from '../../failover/contract/layout';
import type { Decision } from '../../failover/core/state/cluster';
import { createMonitor } from '../../failover/monitor/monitor';
import type { Store } from '../../failover/monitor/ports';
import { renderHaproxyConfig } from '../../stack/haproxy-config';
import { buildImage, docker, dockerQuietly, removeNode, startNode } from '../keeper/node-containers';
import { applyConfig } from '../rig/apply-config';

const NETWORK = 'readers-inner';
const [POSTGRES, HAPROXY] = ['readers-postgres:test', 'readers-haproxy:test'];
const PROXY = 'readers-proxy';
const HOST = '10.98.77.1';
const PROXY_ADDRESS = '10.98.77.10';
const PORT = 17_477;
const KEY = 'r'.repeat(48);
const [A, B, C] = ['readers-a', 'readers-b', 'readers-c'] as const;
const NODES = [A, B, C].map((name, i) => ({ name, address: `10.98.77.2${i}` }));
const GRACE_MS = 4_000;
/** How long a report has to survive a change of its table. A counted standby cancels it after 100 ms. */
const SURVIVES_MS = 10_500;
/** Limit for what usually takes a moment, on a busy machine, ms. */
const LIMIT_MS = 30_000;

const store: Store = { incarnation: 1, loaded: null, save: async () => undefined, raiseAbove: async (n) => n + 1 };
const log: string[] = [];
const clients: Client[] = [];
let decision: Decision | null = null;
let sockets = '';
let monitor: ReturnType<typeof createMonitor>;
let ran: Promise<void> = Promise.resolve();

function makeMonitor(): ReturnType<typeof createMonitor> {
  return createMonitor({
    nodes: NODES,
    policy: {
      ...{ hangTimeoutMs: 2_000, syncMode: 'synchronous', onNoReplica: 'continue', syncCount: 1 },
      ...{ maxLagBytes: 16 * 1024 ** 2, readLagGraceMs: GRACE_MS, reportReplicas: 1, readFallback: true },
      replication: true,
      ...{ startGraceMs: 10_000, switchback: false, switchbackAfterMs: 30_000, switchbackLimitMs: 600_000 },
    },
    clusterKey: KEY,
    settings: {
      ...{ haproxyAddress: PROXY_ADDRESS, monitorAddress: HOST, subnet: '10.98.77.0/24', postgresSettings: {} },
      ...{ databaseName: 'app', databaseUser: 'app', databasePassword: 'secret' },
      replication: { leaseMs: 2_000 },
    },
    listen: { address: HOST, port: PORT },
    sockets,
    store,
    clock: { nowMs: () => performance.now() },
    log: { write: (level, subject, code, message) => log.push(`${level} ${subject} ${code} ${message}`) },
    onDecision: (made) => {
      decision = made;
    },
  });
}

async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = LIMIT_MS): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > deadline)
      throw new Error(`never: ${what}\n${decision?.reason}\n${log.slice(-30).join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** True when this node leads, exactly these standbys are counted, and nothing is to be done. */
function well(leader: string, counted: readonly string[]): boolean {
  if (decision?.code !== 'STEADY' || decision.state.leader !== leader) return false;
  return decision.state.joint.length === 1 && decision.state.joint[0]?.members.join() === counted.join();
}

/** Names of the nodes that HAProxy leads new readers to. */
const readers = () =>
  (monitor.parts.router.view().read ?? []).map((address) => NODES.find((n) => n.address === address)?.name ?? address);

const superuser = (node: string, sql: string) =>
  docker('exec', node, 'psql', '-U', 'postgres', '-d', 'app', '-Atc', sql);

/** The node that HAProxy leads a client of replication to; null: none lets it in. */
async function replicates(): Promise<string | null> {
  const login = { user: 'tools', password: 'r', database: 'app', query_timeout: 5_000, connectionTimeoutMillis: 5_000 };
  const client = new Client({ host: PROXY_ADDRESS, port: PORTS.haproxyReplication, ...login });
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
    const login = { user: 'app', password: 'secret', database: 'app', query_timeout: 60_000 };
    const client = new Client({ host: PROXY_ADDRESS, port: PORTS.haproxyRead, ...login });
    const report = new Report(client);
    await client.connect();
    return report;
  }

  /** A session on this node, once new readers get there. */
  static async openOn(node: string): Promise<Report> {
    await until(`new readers get to ${node}`, () => readers().join() === node);
    const report = await Report.open();
    expect(await report.node()).toBe(node);
    return report;
  }

  async ask(sql: string): Promise<string> {
    const { rows } = await this.client.query<{ value: string }>(sql);
    return String(rows[0]?.value);
  }

  async node(): Promise<string> {
    const address = await this.ask('SELECT host(inet_server_addr()) AS value');
    return NODES.find((n) => n.address === address)?.name ?? address;
  }
}

const isRoot = process.getuid?.() === 0;

// HAProxy's sockets belong to its own group; without root this test cannot open them.
describe.skipIf(!isRoot)('reports on the read port', () => {
  beforeAll(async () => {
    await dockerQuietly('rm', '-f', '-v', PROXY);
    for (const { name } of NODES) await removeNode(name);
    await dockerQuietly('network', 'rm', NETWORK);
    await docker('network', 'create', '--subnet', '10.98.77.0/24', '--gateway', HOST, NETWORK);
    await buildImage(POSTGRES);
    await docker('build', '-q', '-t', HAPROXY, join(__dirname, '../../images/haproxy'));
    sockets = mkdtempSync(join(tmpdir(), 'readers-sockets-'));
    chmodSync(sockets, 0o777);
    const run = ['run', '-d', '--init', '--network', NETWORK, '--ip', PROXY_ADDRESS, '--name', PROXY];
    await docker(...run, '-v', `${sockets}:/run/haproxy`, HAPROXY);
    const gates = NODES.map(({ address }) => address);
    const config = renderHaproxyConfig({ holdTimeoutMs: 30_000, budget: budgetFor({}), backendHost: null, gates });
    await applyConfig(PROXY, config);
    monitor = makeMonitor();
    await monitor.parts.keepers.listen();
    ran = monitor.run();
    const base = { image: POSTGRES, network: NETWORK, monitor: { host: HOST, port: PORT }, clusterKey: KEY };
    await Promise.all(NODES.map((n) => startNode({ ...base, ...n })));
    await until('a healthy cluster without the report replica', () => well(A, [B]) && readers().join() === C, 120_000);
    await superuser(
      A,
      `CREATE TABLE t AS SELECT 1 AS n; GRANT ALL ON t TO app;
      CREATE ROLE tools LOGIN REPLICATION PASSWORD 'r'`,
    );
    await until('the table is everywhere', async () => {
      const seen = await Promise.all([B, C].map((node) => superuser(node, `SELECT to_regclass('t')`)));
      return seen.every((name) => name === 't');
    });
  });

  afterAll(async () => {
    for (const client of clients) void client.end().catch(() => undefined);
    monitor.stop();
    await monitor.parts.keepers.close();
    await ran;
    await dockerQuietly('rm', '-f', '-v', PROXY);
    for (const { name } of NODES) await removeNode(name);
    await dockerQuietly('network', 'rm', NETWORK);
    for (const image of [POSTGRES, HAPROXY]) await dockerQuietly('rmi', image);
    rmSync(sockets, { recursive: true, force: true });
  });

  it('survive a change of their table on the report replica, and are cancelled on a counted standby (S16)', async () => {
    const delays = await Promise.all([B, C].map((node) => superuser(node, 'SHOW max_standby_streaming_delay')));
    expect(delays).toEqual(['100ms', '30s']);
    const report = await Report.openOn(C);
    await report.ask('BEGIN ISOLATION LEVEL REPEATABLE READ');
    expect(await report.ask('SELECT count(*) AS value FROM t')).toBe('1');
    const slow = 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t; SELECT pg_sleep(10)';
    const counted = superuser(B, slow).then(
      () => 'it ended by itself',
      (error: Error) => error.message,
    );
    const holds = `SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass`;
    await until('both hold the table', async () => (await superuser(B, holds)) !== '0');
    const fromMs = performance.now();
    await superuser(A, 'ALTER TABLE t ADD COLUMN m int; INSERT INTO t VALUES (2, 2)');
    expect(await counted).toContain('conflict with recovery');
    console.log(`counted standby: cancelled after ${Math.round(performance.now() - fromMs)} ms`);
    while (performance.now() - fromMs < SURVIVES_MS) {
      expect(await report.ask('SELECT count(*) AS value FROM t')).toBe('1');
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    console.log(`report replica: alive after ${Math.round(performance.now() - fromMs)} ms`);
    await report.ask('COMMIT');
    await until('it sees the change', async () => (await report.ask('SELECT count(*) AS value FROM t')) === '2');
    expect(report.ended).toBeNull();
  });

  it('go on for readLagGrace when replay stands still, while new ones go elsewhere', async () => {
    const report = await Report.openOn(C);
    await superuser(C, 'SELECT pg_wal_replay_pause()');
    await superuser(A, `CREATE TABLE big AS SELECT repeat(md5(n::text), 32) FROM generate_series(1, 20480) n`);
    await until('new readers go to the other standby', () => readers().join() === B);
    const fromMs = performance.now();
    const next = await Report.openOn(B);
    await until('the report is ended', async () => {
      if (report.ended !== null) return true;
      await report.ask('SELECT 1 AS value').catch(() => undefined);
      return report.ended !== null;
    });
    const livedMs = performance.now() - fromMs;
    console.log(
      `readLagGrace ${GRACE_MS} ms: the report was ended ${Math.round(livedMs)} ms after its replica was left`,
    );
    expect(livedMs).toBeGreaterThan(GRACE_MS - 1_000);
    await superuser(C, 'SELECT pg_wal_replay_resume()');
    await until('new readers go to the report replica again', () => readers().join() === C);
    expect(await next.ask('SELECT 1 AS value')).toBe('1');
  });

  it('go on while the leader changes, when their node is neither the former nor the next one (S13)', async () => {
    const report = await Report.openOn(C);
    await until('a client of replication gets to the leader', async () => (await replicates()) === A);
    await docker('kill', A);
    await until('the counted standby leads', () => decision?.state.leader === B && decision.code === 'STEADY');
    await until('the report replica serves readers again', () => readers().join() === C);
    expect(await report.node()).toBe(C);
    expect(report.ended).toBeNull();
    // The report replica is not counted, although the leader has no other standby.
    expect(decision?.state.joint.at(-1)).toMatchObject({ leader: B, k: 0, members: [] });
    await until('clients of replication get to the new leader', async () => (await replicates()) === B);
  });
});
