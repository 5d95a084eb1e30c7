/**
 * A subscription on another PostgreSQL goes on through failovers of the publisher: it has every row, none twice, and none
 * that the cluster has lost. `CONSUMER_ROUNDS` is the number of rounds of a kill and a switchover each.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PORTS } from '../../failover/contract/layout';
import type { SyncConfig } from '../../failover/contract/messages';
import { slotName } from '../../failover/contract/naming';
import { waitFor } from '../rig/wait';
import { docker, dockerQuietly, NodePair } from './node-containers';

const pair = new NodePair({
  ...{ prefix: 'cdc', subnet: '10.211.96', port: 17_496, postgresSettings: { wal_level: 'logical' } },
});
const { a: A, b: B, monitor, address } = pair;
const SUBSCRIBER = 'cdc-subscriber';
const ADDRESS = '10.211.96.30';
const ROUNDS = Number(process.env.CONSUMER_ROUNDS ?? 1);
/** A limit, not an expectation: the machine may be very busy, ms. */
const SOON_MS = 60_000;
/** A round takes 10 s on a quiet machine, ms. */
const ROUND_LIMIT_MS = 240_000;
const COPIES = `SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'cdc' AND synced AND NOT temporary`;
const ROWS = `SELECT count(*), coalesce(sum(n), 0) FROM rows`;

const psql = (text: string, node: string) =>
  docker('exec', node, 'psql', '-XAtq', '-U', 'postgres', '-d', 'app', '-c', text);
const subscriber = (text: string) =>
  docker('exec', SUBSCRIBER, 'psql', '-XAtq', '-h', '/tmp', '-U', 'postgres', '-d', 'postgres', '-c', text);
const other = (node: string) => (node === A ? B : A);
const alone = (leader: string): SyncConfig => ({ leader, k: 0, members: [] });
const both = (leader: string): SyncConfig => ({ leader, k: 1, members: [other(leader)] });

/** As HAProxy does: leads to the node whose gate listens. */
const PROXY = `
const net = require('node:net');
net.createServer((client) => {
  let found;
  const tries = ${JSON.stringify(Object.values(address))}.map((host) => {
    const server = net.connect(${PORTS.gate}, host);
    const end = () => { server.destroy(); if (found === server) client.destroy(); };
    server.on('error', end).on('close', end).on('connect', () => {
      if (found !== undefined) return end();
      found = server;
      client.pipe(server).pipe(client);
    });
    return server;
  });
  const leave = () => tries.forEach((server) => server.destroy());
  const late = setTimeout(() => { if (found === undefined) client.destroy(); }, 1000);
  client.on('error', leave).on('close', () => { clearTimeout(late); leave(); });
}).listen(${PORTS.gate}, '127.0.0.1');`;

let term = 1;

/** Makes the standby the leader, and opens it to clients of replication. */
async function lead(node: string): Promise<void> {
  term += 1;
  await monitor.done(node, term, { kind: 'lead', sync: alone(node) }, SOON_MS);
  monitor.archivist = { node, term };
}

/** Makes the former leader a standby that counts, and waits for its copy of the slot. */
async function follow(leader: string, method: 'rewind' | 'stream'): Promise<void> {
  await monitor.done(other(leader), term, { kind: 'follow', leader, method }, SOON_MS);
  await monitor.done(leader, term, { kind: 'lead', sync: both(leader) }, SOON_MS);
  await waitFor('the standby has a copy of the slot', SOON_MS, async () => (await psql(COPIES, other(leader))) === '1');
}

/** Commits rows one after the other until the leader is gone. */
const write = (leader: string) =>
  psql('DO $$ BEGIN LOOP INSERT INTO rows DEFAULT VALUES; COMMIT; END LOOP; END $$', leader).catch(() => undefined);

/** Waits until the subscriber has exactly the leader's rows, of which it got none a second time. */
async function same(leader: string): Promise<void> {
  const rows = await psql(ROWS, leader);
  await waitFor(`the subscriber has ${rows}`, SOON_MS, async () => (await subscriber(ROWS)) === rows);
  expect(await docker('exec', SUBSCRIBER, 'sh', '-c', "grep -c 'duplicate key' /tmp/log || true")).toBe('0');
}

const grows = async (leader: string) => {
  const before = await subscriber('SELECT count(*) FROM rows');
  await waitFor(
    'rows come',
    SOON_MS,
    async () => Number(await subscriber('SELECT count(*) FROM rows')) > Number(before) + 20,
  );
  expect(await psql('SHOW synchronized_standby_slots', leader)).toBe(slotName(other(leader)));
};

beforeAll(async () => {
  monitor.settle({ ...pair.settings, haproxyAddress: ADDRESS, replication: { leaseMs: 2_000 } });
  await pair.start();
  await monitor.done(A, 1, { kind: 'lead', sync: both(A) });
  monitor.archivist = { node: A, term };
  await docker(
    ...['run', '-d', '--init', '--name', SUBSCRIBER, '--network', 'cdc-inner', '--ip', ADDRESS, '--cap-drop', 'ALL'],
    ...[pair.image, 'sleep', 'infinity'],
  );
  const settings = '-c unix_socket_directories=/tmp -c wal_retrieve_retry_interval=200ms';
  await docker(
    ...['exec', SUBSCRIBER, 'sh', '-c'],
    `initdb -D /tmp/data -U postgres -A trust >/dev/null && pg_ctl -D /tmp/data -o '${settings}' -l /tmp/log -w start`,
  );
  const table = 'CREATE TABLE rows (n bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY)';
  await psql(
    `${table}; CREATE PUBLICATION all_rows FOR TABLE rows; CREATE ROLE tools LOGIN REPLICATION PASSWORD 'r';
     GRANT SELECT ON rows TO tools`,
    A,
  );
  await subscriber(table);
  await docker('exec', '-d', SUBSCRIBER, 'node', '-e', PROXY);
  const conninfo = `host=127.0.0.1 port=${PORTS.gate} user=tools password=r dbname=app`;
  const subscribe = `CREATE SUBSCRIPTION s CONNECTION '${conninfo}' PUBLICATION all_rows WITH (slot_name = cdc, failover = true)`;
  await waitFor('the subscription is made', SOON_MS, async () => {
    await subscriber(subscribe);
    return true;
  });
  await psql('INSERT INTO rows DEFAULT VALUES', A);
  await same(A);
  await waitFor('the standby has a copy of the slot', SOON_MS, async () => (await psql(COPIES, B)) === '1');
}, 240_000);

afterAll(async () => {
  if (process.env.KEEP_NODES !== undefined) return;
  await dockerQuietly('rm', '-f', '-v', SUBSCRIBER);
  await pair.remove();
});

describe('a subscription', () => {
  it.each(Array.from({ length: ROUNDS }, (_, i) => i + 1))(
    'has every row once after a kill and a switchback, round %d',
    async () => {
      let writes = write(A);
      await grows(A);
      await docker('kill', A);
      await lead(B);
      await writes;
      await same(B);
      await docker('start', A);
      await monitor.until(A, (s) => s.postgres.state === 'stopped', 'is back', SOON_MS);
      await follow(B, 'rewind');
      writes = write(B);
      await grows(B);
      await monitor.done(B, term, { kind: 'stop', drainMs: 0 }, SOON_MS);
      await lead(A);
      await writes;
      await same(A);
      await follow(A, 'stream');
    },
    ROUND_LIMIT_MS,
  );

  it('gets no row that no standby has, because a failover may lose it', async () => {
    const rows = await psql(ROWS, A);
    await docker('pause', B);
    const written = psql('INSERT INTO rows DEFAULT VALUES', A).catch(() => undefined);
    const held = `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'WaitForStandbyConfirmation'`;
    await waitFor('the row is held back', SOON_MS, async () => (await psql(held, A)) !== '0');
    expect(await subscriber(ROWS)).toBe(rows);
    await docker('kill', A);
    await docker('unpause', B);
    await lead(B);
    await written;
    // Whether the row is there depends on what was on its way to the standby.
    await psql('INSERT INTO rows DEFAULT VALUES', B);
    await same(B);
  });
});
