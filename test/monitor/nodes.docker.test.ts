/**
 * The monitor's loop with two real nodes, one of which a person or a disk disturbs. HAProxy is a variable here;
 * haproxy.docker.test.ts tests the real one. Durations are printed; only generous limits are checked.
 */

import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isDone, isMember, statusOf } from '../../failover/core/facts/view';
import { serves } from '../../failover/core/state/cluster';
import type { HaproxyView } from '../../failover/core/state/observation';
import type { Router } from '../../failover/monitor/ports';
import { docker } from '../keeper/node-containers';
import { PASSWORD, RealCluster } from './real-cluster';

/**
 * Disk of the second node: room for its data, or for a copy with the reserve, but not for both once the data has grown.
 */
const DISK_MB = 400;
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

// Clients come from this machine, not through HAProxy.
const cluster = new RealCluster({
  ...{ prefix: 'gap', subnet: '10.98.20', port: 17_420 },
  settings: { haproxyAddress: '10.98.20.1' },
});
const [A = '', B = ''] = cluster.nodes.map(({ name }) => name);
const router = new PlainRouter();
const startMonitor = (rebuildInPlace: boolean) =>
  cluster.startMonitor({ rebuildInPlace }, { models: () => ({ router }) });
const times: Record<string, number> = {};

/** True when `leader` serves and counts the other node, and that node has carried out its order. */
function well(leader: string): boolean {
  const { decision, observation } = cluster;
  if (decision === null || observation === null || !cluster.counts(leader, [leader === A ? B : A])) return false;
  const { state } = decision;
  return cluster.nodes.every(({ name }) => {
    const status = statusOf(observation, name);
    return isDone(status, state.orders[name]) && isMember(state, name, status?.dataId ?? null);
  });
}

const said = (code: string) => cluster.log.findLast((line) => line.includes(` ${code} `));

/** A client's write, over the network. */
async function write(node: string, text: string): Promise<void> {
  const host = cluster.nodes.find(({ name }) => name === node)?.address;
  const client = new Client({ host, user: 'app', password: PASSWORD, database: 'app', query_timeout: 10_000 });
  await client.connect();
  await client.query(text).finally(() => client.end());
}

/** Promotes as a person would. The keeper stops the node so soon that the answer may not come. */
async function promoteByHand(node: string): Promise<void> {
  await docker('exec', node, 'sh', '-c', `psql -U postgres -c 'SELECT pg_promote(false)' || true`);
}

const dataOf = (node: string) => cluster.decision?.state.members[node];

describe('the monitor with two real nodes', () => {
  beforeAll(async () => {
    await cluster.create();
    const size = `size=${DISK_MB}m,uid=10000,gid=10000,mode=700`;
    const tmpfs = ['--opt', 'type=tmpfs', '--opt', 'device=tmpfs', '--opt', `o=${size}`];
    await docker('volume', 'create', '--driver', 'local', ...tmpfs, `${B}-data`);
    await startMonitor(false);
    await cluster.startNodes();
    await cluster.until('a healthy cluster', () => well(A), 60_000);
  });

  afterAll(async () => {
    console.log(`times, ms: ${JSON.stringify(times)}`);
    await cluster.remove();
  });

  it('notices a standby that was promoted by hand, stops it and copies it again', async () => {
    await write(A, 'CREATE TABLE t (n int); INSERT INTO t VALUES (1)');
    const before = dataOf(B);
    await promoteByHand(B);
    times['promoted by hand → noticed'] = await cluster.until('it is noticed', () => {
      return said('PROMOTED_BY_HAND') !== undefined;
    });
    times['… → rebuilt and counted'] = await cluster.until('it is rebuilt', () => {
      return dataOf(B) !== before && well(A);
    });
    expect(cluster.decision?.state).toMatchObject({ leader: A, rebuild: {} });
    await write(A, 'INSERT INTO t VALUES (2)');
    expect(await cluster.sql(B, 'SELECT pg_is_in_recovery()')).toBe('t');
  });

  it('refuses a copy beside the old data on a disk that is too small, and names the space that is needed and free', async () => {
    await cluster.until('it streams and is counted', () => well(A));
    await write(A, `CREATE TABLE big AS SELECT n, repeat('x', 900) FROM generate_series(1, 40000) n`);
    await promoteByHand(B);
    const failure = () => (cluster.observation === null ? null : (statusOf(cluster.observation, B)?.failure ?? null));
    await cluster.until('it is refused', () => failure()?.code === 'DISK_TOO_SMALL');
    expect(failure()?.message).toMatch(
      /^the copy of gap-a needs \d+ bytes \(\d+ MB\) beside the old data, \d+ bytes \(\d+ MB\) are free in the volume of gap-b/,
    );
    expect(await docker('exec', B, 'ls', '/var/lib/postgresql')).toMatch(/^data$/m);
    expect(cluster.decision?.state.leader).toBe(A);
  });

  it('makes the copy in the place of the old data when the config allows it', async () => {
    await cluster.stopMonitor();
    await startMonitor(true);
    await cluster.until('it is rebuilt', () => well(A), 60_000);
    expect(said('OLD_DATA_REMOVED')).toBeDefined();
    expect(await cluster.sql(B, 'SELECT count(*) FROM big')).toBe('40000');
  });

  it('fails over from a stopped postmaster (SIGSTOP), and the old node follows again within seconds (S27)', async () => {
    const pid = await docker('exec', A, 'head', '-1', '/var/lib/postgresql/data/postmaster.pid');
    await docker('exec', A, 'sh', '-c', `kill -STOP ${pid}`);
    const stopped = performance.now();
    await cluster.until('the other one leads', () => {
      const { state } = cluster.decision ?? {};
      return state?.leader === B && serves(state);
    });
    times['postmaster stopped → another leads'] = Math.round(performance.now() - stopped);
    const backMs = await cluster.until('the old one follows and is counted', () => well(B), 60_000);
    times['… → the old one is back'] = backMs;
    expect(backMs).toBeLessThan(20_000);
    expect(await cluster.sql(A, 'SELECT count(*) FROM t')).toBe('2');
  });
});
