/** The simulator's oracles, tested with histories that are wrong on purpose: each check must be able to fail. */
import { beforeAll, describe, expect, it } from 'vitest';
import { type ClusterState, emptyState } from '../../failover/core/state/cluster';
import { printState } from '../../failover/core/state/stored';
import { EMPTY_STATE, type KeeperState } from '../../failover/keeper/keeper-state';
import { History, type Operation } from '../../simulator/history';
import { World } from '../../simulator/world';

const like = (pattern: RegExp) => expect.stringMatching(pattern);

/** A history that a test writes step by step; `found` has the violations. */
class Written {
  readonly found: string[] = [];
  readonly history = new History((violation) => this.found.push(violation));

  private ends(part: Partial<Operation>, proxy: 'write' | 'read' = 'write'): void {
    const operation: Operation = {
      kind: 'read',
      client: 'client 1',
      startMs: 0,
      endMs: 0,
      node: 'a',
      outcome: 'ok',
      row: 0,
      value: 0,
      version: 0,
      rows: [],
      count: 0,
      standby: proxy === 'read',
      ...part,
    };
    this.history.ended(operation, proxy);
  }

  /** A row is inserted and acknowledged. */
  insert(row: number, startMs: number, outcome: Operation['outcome'] = 'ok'): this {
    this.history.inserted({ kind: 'row', row }, startMs + 1);
    this.ends({ kind: 'row', row, startMs, endMs: startMs + 10, outcome });
    return this;
  }

  set(version: number, value: number, startMs: number): this {
    this.ends({ kind: 'register', version, value, startMs, endMs: startMs + 10 });
    return this;
  }

  read(rows: readonly number[], startMs: number, part: Partial<Operation> = {}): this {
    this.ends({ rows, count: rows.length, startMs, endMs: startMs + 10, ...part });
    return this;
  }

  readReplica(rows: readonly number[], startMs: number): this {
    this.ends({ rows, count: rows.length, startMs, endMs: startMs + 10 }, 'read');
    return this;
  }

  opens(rows: readonly number[], atMs: number): this {
    this.history.opened(atMs, new Set(rows));
    return this;
  }

  ended(rows: readonly number[]): string[] {
    this.history.checkPhantoms();
    this.history.checkReads(rows);
    this.history.checkFinal(new Set(rows), 'a');
    return this.found;
  }
}

describe('the answers to clients', () => {
  it('show no violation when they are right', () => {
    const written = new Written().insert(1, 0).set(1, 7, 20).read([1], 40, { version: 1, value: 7 });
    written.insert(2, 60, 'unknown').opens([1], 100).read([1], 120, { version: 1, value: 7 }).readReplica([1], 5_000);
    expect(written.ended([1])).toEqual([]);
  });

  it('LOST: a read does not show an acknowledged write', () => {
    expect(new Written().insert(1, 0).read([], 20).found).toEqual([like(/^LOST: row 1 /)]);
  });

  it('LOST: an acknowledged write is missing at the end', () => {
    expect(new Written().insert(1, 0).insert(2, 20).ended([2])).toEqual([like(/^LOST: row 1 /)]);
  });

  it('OUT OF ORDER: a standby shows a row, but not the row that was written before it', () => {
    const written = new Written().insert(1, 0).insert(2, 20).insert(3, 40).readReplica([1], 60).readReplica([], 60);
    expect(new Written().readReplica([1, 9], 0).readReplica([1, 2], 60).ended([1, 2, 3])).toEqual([]);
    expect(written.readReplica([1, 3], 80).ended([1, 2, 3])).toEqual([like(/^OUT OF ORDER: .*row 3 and not row 2/)]);
  });

  it('VANISHED: a later read no longer shows a row', () => {
    const { found } = new Written().insert(1, 0, 'unknown').read([1], 20).read([], 40);
    expect(found).toEqual([like(/^VANISHED: row 1 /)]);
  });

  it('VANISHED: a row that was read is missing at the end', () => {
    expect(new Written().insert(1, 0, 'unknown').read([1], 20).ended([])).toEqual([like(/^VANISHED: row 1 /)]);
  });

  it('a read that shows a cancelled commit proves nothing (S7)', () => {
    const written = new Written().insert(1, 0, 'unknown');
    written.history.tag({ kind: 'row', row: 1 });
    expect(written.read([1], 20).read([], 40).ended([])).toEqual([]);
  });

  it('STALE: a read shows an older version than one that was acknowledged before', () => {
    const { found } = new Written().set(1, 7, 0).set(2, 8, 20).read([], 40, { version: 1, value: 7 });
    expect(found).toEqual([like(/^STALE: client 1 read version 1 /)]);
  });

  it('STALE: two successive writes make the same version', () => {
    const { found } = new Written().set(1, 7, 0).set(1, 7, 20);
    expect(found).toEqual([like(/^STALE: client 1 wrote version 1 /)]);
  });

  it('a read during a write may show either version', () => {
    const written = new Written().set(1, 7, 0).set(2, 8, 20);
    expect(written.read([], 25, { version: 1, value: 7 }).found).toEqual([]);
  });

  it('FORKED: a version has two values', () => {
    const { found } = new Written().set(1, 7, 0).read([], 5, { version: 1, value: 8 });
    expect(found).toEqual([like(/^FORKED: version 1 /)]);
  });

  it('PHANTOM: the read port shows a row that only the former leader had', () => {
    const written = new Written().insert(1, 0, 'unknown').opens([], 100).readReplica([1], 2_000);
    expect(written.ended([])).toEqual([like(/^PHANTOM: client 1 read row 1 /)]);
  });

  it('LOST: a promotion with accepted loss may lose only rows that the named node did not have', () => {
    const written = new Written().insert(1, 0).insert(2, 20);
    expect(written.history.overridden(50, new Set([1]), new Set(), 0)).toBe(2);
    expect(new Set(written.found)).toEqual(
      new Set(['LOST: row 1 of 0.010 s was on the new leader when the loss was accepted']),
    );
  });
});

describe('a cluster', () => {
  let world: World;

  /** A healthy cluster for all cases; each case breaks another part and mends it again. */
  beforeAll(async () => {
    world = new World({ seed: 5, replicas: 1, calm: true, cancels: 0 });
    world.startAll();
    world.startClients(2, 0);
    expect(await world.engine.run(60_000, () => world.healthy() !== null)).toBe(true);
    await world.engine.run(world.engine.nowMs + 500);
    world.clientsEnd = true;
    expect(await world.engine.run(world.engine.nowMs + 5_000, () => world.identical())).toBe(true);
  });

  /** The violations that are reported during `work`. */
  function reported(work: () => void): string[] {
    const before = world.violations.length;
    work();
    return world.violations.slice(before);
  }

  it('shows no violation when it is right', () => {
    expect(
      reported(() => {
        world.checkRoutes();
        world.checkIdentical();
      }),
    ).toEqual([]);
  });

  it('TWO ROUTES: two nodes that take writes are both reachable', () => {
    const [primary, replica] = world.nodes;
    const { haproxy } = world;
    if (primary?.postgres == null || replica?.postgres == null || haproxy.current === null) throw new Error('not up');
    haproxy.workers.unshift(Object.assign(Object.create(haproxy.current), { sessions: new Map() }));
    const old = haproxy.workers[0];
    Object.assign(old ?? {}, { routes: () => [replica.address] });
    expect(reported(() => world.checkRoutes())).toEqual([]);
    replica.postgres.isPrimary = true;
    expect(reported(() => world.checkRoutes())).toEqual([like(/^TWO ROUTES: /)]);
    replica.postgres.isPrimary = false;
    haproxy.workers.shift();
  });

  it('DIFFERENT: a node has another record than the leader', () => {
    const wal = world.nodes[1]?.volume.data?.wal ?? [];
    const [record] = wal;
    if (record === undefined) throw new Error('no log');
    wal[0] = { ...record, id: -1 };
    expect(reported(() => world.checkIdentical())).toEqual([like(/^DIFFERENT: replica-1 /)]);
    wal[0] = record;
  });

  const led = (term: number, node: string): ClusterState => ({
    ...emptyState(),
    adopting: false,
    term,
    leader: node,
    ledger: [{ term, node, dataId: `1:${node}`, timeline: term, forkLsn: null, opened: true }],
  });

  it('TERMS: a leader is opened in a lower term than one before', () => {
    expect(reported(() => world.stored(printState(led(50, 'primary'))))).toEqual([]);
    expect(reported(() => world.stored(printState(led(49, 'replica-1'))))).toEqual([
      like(/^TERMS: .* is opened in term 49, but term 50 was opened before/),
    ]);
  });

  it('TERMS: one term is opened for two nodes', () => {
    expect(reported(() => world.stored(printState(led(60, 'primary'))))).toEqual([]);
    expect(reported(() => world.stored(printState(led(60, 'replica-1'))))).toEqual([
      like(/^TERMS: term 60 was opened for /),
    ]);
  });

  it('FALSE FAILOVER: a new leader is opened although the leader must not change', () => {
    world.steady = true;
    expect(reported(() => world.stored(printState(led(70, 'replica-1'))))).toEqual([like(/^FALSE FAILOVER: /)]);
    world.steady = false;
  });

  it('ORDERS: a keeper goes back to an older order', () => {
    const [node] = world.nodes;
    if (node === undefined) throw new Error('no node');
    const accepted = (incarnation: number, term: number, seq: number): KeeperState => ({
      ...EMPTY_STATE,
      accepted: { incarnation, term, seq, target: { kind: 'freeze' } },
    });
    const older: [KeeperState, KeeperState][] = [
      [accepted(1, 1, 2), accepted(1, 1, 1)],
      [accepted(1, 2, 1), accepted(1, 1, 9)],
      [accepted(2, 1, 1), accepted(1, 9, 9)],
    ];
    for (const [before, after] of older) {
      expect(reported(() => world.keeperStored(node, after, before))).toEqual([]);
      expect(reported(() => world.keeperStored(node, before, after))).toEqual([like(/^ORDERS: /)]);
    }
  });
});
