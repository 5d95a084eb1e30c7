/**
 * Two real nodes: a standby that is away until its leader gives its log up (S22), an address that is another node's
 * (S14), what a promotion after many writes has to clean up, and an election while replay is paused.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { lsnDistance } from '../../failover/contract/lsn';
import type { Status } from '../../failover/contract/messages';
import { slotName } from '../../failover/contract/naming';
import type { DeclaredNode } from '../../failover/core/state/cluster';
import { OpeningChecks } from '../../failover/monitor/nodes/opening';
import { docker, NodePair, psql as psqlOn } from './node-containers';

/** A standby that is not paused takes 0.1 s. */
const ELECTED_LIMIT_MS = 2_000;

const pair = new NodePair({
  ...{ prefix: 'spf', subnet: '10.211.4', port: 17_440 },
  postgresSettings: { wal_keep_size: '0', max_slot_wal_keep_size: '2MB', max_wal_size: '2MB', min_wal_size: '2MB' },
});
const { a: A, b: B, monitor, address: ADDRESS, clusterKey: KEY, settings: SETTINGS, streams } = pair;

const psql = (text: string) => psqlOn(A, text);
/** State of the standby's slot on the leader. */
const slot = () => psql(`SELECT wal_status FROM pg_replication_slots WHERE slot_name = '${slotName(B)}'`);

beforeAll(() => pair.start());
afterAll(() => pair.remove());

describe('a standby whose slot fell off', () => {
  it('is copied and streams again through a slot that was made anew (S22)', async () => {
    monitor.order(B, 1, { kind: 'follow', leader: A, method: 'stream' });
    const before = await monitor.until(B, streams, 'streams', 20_000);
    await docker('kill', B);
    await monitor.wait(() => !monitor.view(B).connected, 'break', 10_000);
    const writeAndClean = async () => {
      await psql("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1000000)), pg_switch_wal()");
      await psql('CHECKPOINT');
      return slot();
    };
    // One that was made anew already has no state until it is used.
    let seen = await writeAndClean();
    for (let i = 0; i < 40 && seen !== 'lost' && seen !== ''; i++) seen = await writeAndClean();
    expect(seen).toMatch(/^(lost)?$/);
    await docker('start', B);
    await monitor.until(B, (s) => s.accepted !== null, 'back', 20_000);
    monitor.order(B, 1, { kind: 'follow', leader: A, method: 'stream' });
    const told = await monitor.until(B, (s) => s.failure?.code === 'STREAM_IMPOSSIBLE', 'says so', 20_000);
    expect(told.dataId).toBe(before.dataId);
    monitor.order(B, 1, { kind: 'follow', leader: A, method: 'copy', replaces: before.dataId ?? '' });
    const after = await monitor.until(B, (s) => streams(s) && s.dataId !== before.dataId, 'streams a copy', 60_000);
    expect(after.postgres.streamingFrom).toBe(A);
    expect(monitor.view(B).notes.filter((n) => n.startsWith('COPY_DONE'))).toHaveLength(2);
    expect(await slot()).toMatch(/^(reserved|extended)$/);
  });
});

describe('an address that is another node’s', () => {
  const stranger = { name: 'spf-c', address: ADDRESS[A] ?? '' };

  it('is not opened for writes (S14)', async () => {
    const told: string[] = [];
    const opened: string[] = [];
    const checks = (node: DeclaredNode) =>
      new OpeningChecks(
        {
          clusterKey: KEY,
          log: { write: (_level, subject, _code, message) => told.push(`${subject}: ${message}`) },
        },
        [node],
        { certified: (name) => opened.push(name), broken: () => undefined, isRunning: () => true },
      );
    const [right, wrong] = [checks({ name: A, address: stranger.address }), checks(stranger)];
    wrong.want({ node: stranger.name, term: 1 });
    await vi.waitFor(
      () => expect(told).toEqual([`spf-c: the address of spf-c answers as another node; it is not opened`]),
      10_000,
    );
    right.want({ node: A, term: 1 });
    await vi.waitFor(() => expect(opened).toEqual([A]), 10_000);
    right.stop();
    wrong.stop();
    expect(await psql("SELECT count(*) FROM failover.canary WHERE node = 'spf-c'")).toBe('0');
  });

  it('is no source of a copy, and the old data stays (S14)', async () => {
    const { dataId } = await monitor.until(B, streams, 'streams', 20_000);
    monitor.settle({ ...SETTINGS, nodes: [...SETTINGS.nodes, stranger] });
    monitor.order(B, 2, { kind: 'follow', leader: stranger.name, method: 'copy' });
    const refused = (s: Status) => s.failure?.message.includes('the address of spf-c answers as spf-a') === true;
    const status = await monitor.until(B, refused, 'refuses', 20_000);
    expect(status.failure?.code).toBe('LEADER_UNREACHABLE');
    expect(status.dataId).toBe(dataId);
    await monitor.done(B, 2, { kind: 'follow', leader: A, method: 'stream' });
  });
});

describe('a standby that has replayed many writes', () => {
  /** How many segments a node keeps for log that is still to come. */
  const kept = async (node: string, end: string) =>
    Number(
      await psqlOn(
        node,
        `SELECT count(*) FROM pg_ls_waldir(), pg_split_walfile_name(name) WHERE name ~ '^[0-9A-F]{24}$'
          AND segment_number > (${end} - '0/0') / 1048576`,
      ),
    );

  it('keeps no segments for later, which its promotion would have to unlink one by one', async () => {
    monitor.settle({ ...SETTINGS, postgresSettings: { wal_keep_size: '0', min_wal_size: '64MB' } });
    await monitor.done(A, 3, { kind: 'lead', sync: { leader: A, k: 0, members: [] } });
    await monitor.done(B, 3, { kind: 'follow', leader: A, method: 'stream' });
    for (let round = 0; round < 2; round++) {
      await psql("SELECT pg_logical_emit_message(false, 'filler', 'x'), pg_switch_wal() FROM generate_series(1, 40)");
      await psql('CHECKPOINT');
      const lsn = await psql('SELECT pg_current_wal_flush_lsn()');
      await vi.waitFor(
        async () => expect(await psqlOn(B, `SELECT pg_last_wal_replay_lsn() >= '${lsn}'`)).toBe('t'),
        10_000,
      );
      await psqlOn(B, 'CHECKPOINT');
    }
    // The leader keeps them, so they were there to be kept.
    expect(await kept(A, 'pg_current_wal_lsn()')).toBeGreaterThan(20);
    expect(await kept(B, 'pg_last_wal_receive_lsn()')).toBeLessThanOrEqual(1);
  });
});

describe('a standby whose replay a person paused', () => {
  it('is elected in the usual time when its leader dies, with all that it has received', async () => {
    await monitor.until(B, streams, 'streams', 20_000);
    await psqlOn(B, 'SELECT pg_wal_replay_pause()');
    await psql('CREATE TABLE late AS SELECT generate_series(1, 1000) AS n');
    const flushed = await psql('SELECT pg_current_wal_flush_lsn()');
    const received = () => psqlOn(B, `SELECT pg_last_wal_receive_lsn() >= '${flushed}'`);
    await vi.waitFor(async () => expect(await received()).toBe('t'), 10_000);
    expect(await psqlOn(B, "SELECT to_regclass('late')")).toBe('');
    await docker('kill', A);
    await monitor.wait(() => !monitor.view(A).connected, 'break', 10_000);
    const fromMs = performance.now();
    const { postgres } = await monitor.done(B, 4, { kind: 'freeze' });
    expect(lsnDistance(flushed, postgres.lsn ?? '0/0')).toBeGreaterThanOrEqual(0);
    await monitor.done(B, 4, { kind: 'lead', sync: { leader: B, k: 0, members: [] } });
    const tookMs = Math.round(performance.now() - fromMs);
    console.log(`told to promise → leads, with replay paused: ${tookMs} ms`);
    expect(tookMs).toBeLessThan(ELECTED_LIMIT_MS);
    expect(await psqlOn(B, 'SELECT count(*) FROM late')).toBe('1000');
  });
});
