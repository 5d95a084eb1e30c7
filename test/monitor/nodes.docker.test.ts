/**
 * The monitor's loop with two real nodes, one of which a person or a disk disturbs. HAProxy is a variable here;
 * haproxy.docker.test.ts tests the real one. Durations are printed; only generous limits are checked.
 */

import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Level } from '../../failover/contract/log-line';
import { isDone, isMember, statusOf } from '../../failover/core/facts/view';
import { type Decision, serves } from '../../failover/core/state/cluster';
import type { HaproxyView, Observation } from '../../failover/core/state/observation';
import { createMonitor } from '../../failover/monitor/monitor';
import type { Router, Store } from '../../failover/monitor/ports';
import { buildImage, docker, dockerQuietly, removeNode, startNode } from '../keeper/node-containers';

const IMAGE = 'gap-postgres:test';
const NETWORK = 'gap-inner';
const HOST = '10.98.20.1';
const PORT = 17_420;
const KEY = 'g'.repeat(48);
const [A, B] = ['gap-a', 'gap-b'] as const;
const NODES = [
  { name: A, address: '10.98.20.20' },
  { name: B, address: '10.98.20.21' },
];
/**
 * Disk of the second node: room for its data, or for a copy with the reserve, but not for both once the data has grown.
 */
const DISK_MB = 400;
const SETTINGS = {
  haproxyAddress: HOST,
  monitorAddress: HOST,
  subnet: '10.98.20.0/24',
  databaseName: 'app',
  databaseUser: 'app',
  databasePassword: 'secret',
  postgresSettings: {},
};

/** A router whose slot takes the wanted address at once. */
class PlainRouter implements Router {
  private slot: string | null = null;
  private keep: string | null = null;
  clientPlaces() {
    return undefined;
  }
  view(): HaproxyView {
    const { slot, keep } = this;
    return { reachable: true, epoch: '1@1', slot, closed: slot === null, keeping: keep, clean: true };
  }
  write(address: string | null, keep: string | null): void {
    Object.assign(this, { slot: address, keep });
  }
  read(): void {}
  poke(): void {}
  stop(): void {}
  async run(): Promise<void> {}
  async look(): Promise<void> {}
  async closed(): Promise<boolean> {
    return this.slot === null;
  }
}

/** The monitor's store. It survives the monitor, as its volume does. */
class MemoryStore implements Store {
  incarnation = 0;
  loaded: string | null = null;

  open(): this {
    this.incarnation += 1;
    return this;
  }
  async save(text: string): Promise<void> {
    this.loaded = text;
  }
  async raiseAbove(other: number): Promise<number> {
    this.incarnation = Math.max(this.incarnation, other) + 1;
    return this.incarnation;
  }
}

/** The shipped loop, keepers' server and opening checks, on a store that survives this monitor. */
class Monitor {
  decision: Decision | null = null;
  observation: Observation | null = null;
  readonly log: string[] = [];
  private readonly monitor: ReturnType<typeof createMonitor>;
  private ran: Promise<void> = Promise.resolve();

  constructor(store: MemoryStore, router: Router, rebuildInPlace: boolean) {
    this.monitor = createMonitor({
      nodes: NODES,
      policy: {
        ...{ hangTimeoutMs: 2_000, syncMode: 'synchronous', onNoReplica: 'continue', syncCount: 1, maxLagBytes: 16e6 },
        ...{
          reportReplicas: 0,
          readLagGraceMs: 60_000,
          readFallback: true,
          startGraceMs: 10_000,
          switchback: false,
          switchbackAfterMs: 30_000,
          switchbackLimitMs: 600_000,
        },
      },
      clusterKey: KEY,
      settings: { ...SETTINGS, rebuildInPlace },
      listen: { address: HOST, port: PORT },
      sockets: '/none',
      store: store.open(),
      clock: { nowMs: () => performance.now() },
      log: {
        write: (level: Level, subject: string, code: string, message: string) => {
          this.log.push(`${Math.round(performance.now())} ${level} ${subject} ${code} ${message}`);
        },
      },
      models: () => ({ router }),
      onDecision: (decision, observation) => {
        this.decision = decision;
        this.observation = observation;
      },
    });
  }

  async start(): Promise<this> {
    await this.monitor.parts.keepers.listen();
    this.ran = this.monitor.run();
    return this;
  }

  async stop(): Promise<void> {
    this.monitor.stop();
    await this.monitor.parts.keepers.close();
    await this.ran;
  }

  /** True when `leader` serves and counts the other node, and that node has carried out its order. */
  well(leader: string): boolean {
    const { decision, observation } = this;
    if (decision?.code !== 'STEADY' || observation === null || decision.state.leader !== leader) return false;
    const { state } = decision;
    return (
      state.joint.length === 1 &&
      state.joint[0]?.members.length === 1 &&
      NODES.every((n) => isDone(statusOf(observation, n.name), state.orders[n.name])) &&
      NODES.every((n) => isMember(state, n.name, statusOf(observation, n.name)?.dataId ?? null))
    );
  }

  async until(what: string, holds: () => boolean, limitMs = 30_000): Promise<number> {
    const from = performance.now();
    while (!holds()) {
      if (performance.now() - from > limitMs)
        throw new Error(
          `not within ${limitMs} ms: ${what}\n${this.log.slice(-30).join('\n')}\n${this.decision?.reason}`,
        );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return Math.round(performance.now() - from);
  }

  said(code: string): string | undefined {
    return this.log.findLast((line) => line.includes(` ${code} `));
  }
}

const store = new MemoryStore();
const router = new PlainRouter();
let monitor = new Monitor(store, router, false);
const times: Record<string, number> = {};

async function sql(node: string, text: string): Promise<string> {
  return docker('exec', node, 'psql', '-U', 'postgres', '-d', 'app', '-Atc', text);
}

/** A client's write, over the network. */
async function write(node: string, text: string): Promise<void> {
  const host = NODES.find((n) => n.name === node)?.address;
  const client = new Client({ host, user: 'app', password: 'secret', database: 'app', query_timeout: 10_000 });
  await client.connect();
  await client.query(text).finally(() => client.end());
}

/** Promotes as a person would. The keeper stops the node so soon that the answer may not come. */
async function promoteByHand(node: string): Promise<void> {
  await docker('exec', node, 'sh', '-c', `psql -U postgres -c 'SELECT pg_promote(false)' || true`);
}

const dataOf = (node: string) => monitor.decision?.state.members[node];

describe('the monitor with two real nodes', () => {
  beforeAll(async () => {
    for (const { name } of NODES) await removeNode(name);
    await dockerQuietly('network', 'rm', NETWORK);
    await docker('network', 'create', '--subnet', SETTINGS.subnet, '--gateway', HOST, NETWORK);
    const size = `size=${DISK_MB}m,uid=10000,gid=10000,mode=700`;
    const tmpfs = ['--opt', 'type=tmpfs', '--opt', 'device=tmpfs', '--opt', `o=${size}`];
    await docker('volume', 'create', '--driver', 'local', ...tmpfs, `${B}-data`);
    await buildImage(IMAGE);
    await monitor.start();
    const base = { image: IMAGE, network: NETWORK, monitor: { host: HOST, port: PORT }, clusterKey: KEY };
    await Promise.all(NODES.map((n) => startNode({ ...base, ...n })));
    await monitor.until('a healthy cluster', () => monitor.well(A), 60_000);
  });

  afterAll(async () => {
    console.log(`times, ms: ${JSON.stringify(times)}`);
    await monitor.stop();
    for (const { name } of NODES) await removeNode(name);
    await dockerQuietly('network', 'rm', NETWORK);
    await dockerQuietly('rmi', IMAGE);
  });

  it('notices a standby that was promoted by hand, stops it and copies it again', async () => {
    await write(A, 'CREATE TABLE t (n int); INSERT INTO t VALUES (1)');
    const before = dataOf(B);
    await promoteByHand(B);
    times['promoted by hand → noticed'] = await monitor.until('it is noticed', () => {
      return monitor.said('PROMOTED_BY_HAND') !== undefined;
    });
    times['… → rebuilt and counted'] = await monitor.until('it is rebuilt', () => {
      return dataOf(B) !== before && monitor.well(A);
    });
    expect(monitor.decision?.state).toMatchObject({ leader: A, rebuild: {} });
    await write(A, 'INSERT INTO t VALUES (2)');
    expect(await sql(B, 'SELECT pg_is_in_recovery()')).toBe('t');
  });

  it('refuses a copy beside the old data on a disk that is too small, and names the space that is needed and free', async () => {
    await monitor.until('it streams and is counted', () => monitor.well(A));
    await write(A, `CREATE TABLE big AS SELECT n, repeat('x', 900) FROM generate_series(1, 40000) n`);
    await promoteByHand(B);
    const failure = () => (monitor.observation === null ? null : (statusOf(monitor.observation, B)?.failure ?? null));
    await monitor.until('it is refused', () => failure()?.code === 'DISK_TOO_SMALL');
    expect(failure()?.message).toMatch(
      /^the copy of gap-a needs \d+ bytes \(\d+ MB\) beside the old data, \d+ bytes \(\d+ MB\) are free in the volume of gap-b/,
    );
    expect(await docker('exec', B, 'ls', '/var/lib/postgresql')).toMatch(/^data$/m);
    expect(monitor.decision?.state.leader).toBe(A);
  });

  it('makes the copy in the place of the old data when the config allows it', async () => {
    await monitor.stop();
    monitor = await new Monitor(store, router, true).start();
    await monitor.until('it is rebuilt', () => monitor.well(A), 60_000);
    expect(monitor.said('OLD_DATA_REMOVED')).toBeDefined();
    expect(await sql(B, 'SELECT count(*) FROM big')).toBe('40000');
  });

  it('fails over from a stopped postmaster (SIGSTOP), and the old node follows again within seconds (S27)', async () => {
    const pid = await docker('exec', A, 'head', '-1', '/var/lib/postgresql/data/postmaster.pid');
    await docker('exec', A, 'sh', '-c', `kill -STOP ${pid}`);
    const stopped = performance.now();
    await monitor.until('the other one leads', () => {
      const { state } = monitor.decision ?? {};
      return state?.leader === B && serves(state);
    });
    times['postmaster stopped → another leads'] = Math.round(performance.now() - stopped);
    const backMs = await monitor.until('the old one follows and is counted', () => monitor.well(B), 60_000);
    times['… → the old one is back'] = backMs;
    expect(backMs).toBeLessThan(20_000);
    expect(await sql(A, 'SELECT count(*) FROM t')).toBe('2');
  });
});
