import { afterEach, describe, expect, it } from 'vitest';
import { cluster, type Tale } from '../scenarios/story';

const ASYNCHRONOUS = { syncMode: 'asynchronous' } as const;
/** About ten records of the simulated WAL. */
const BOUNDED = { ...ASYNCHRONOUS, maxLagBytes: 1_000 };

let t: Tale;

afterEach(async () => {
  expect(await t.end()).toEqual([]);
});

/** `primary` writes so many records that `replica-1` does not get, and dies with them. */
async function diesAhead(records: number): Promise<void> {
  const { network } = t.world;
  const written = (name: string) => t.node(name).volume.data?.wal.length ?? 0;
  network.block('primary', 'replica-1');
  await t.until('primary is ahead', () => written('primary') - written('replica-1') >= records);
  t.node('primary').kill();
  network.lose('primary');
  network.heal();
}

describe('asynchronous mode', () => {
  it('acknowledges without a replica, and fails over to the most advanced one', async () => {
    t = await cluster(2, ASYNCHRONOUS);
    expect(t.world.state?.joint).toEqual([{ leader: 'primary', k: 0, members: [], term: 1 }]);
    t.world.network.block('primary', 'replica-1');
    await t.plays('writes are acknowledged');
    // The last acknowledged writes have time to reach replica-2. From now on none may be lost.
    t.world.clientsEnd = true;
    t.world.history.asynchronous = false;
    await t.plays('500 ms pass; docker kill primary; writes go to replica-2');
    t.world.network.heal();
  });

  it('promotes a replica that is behind by no more than maxLag', async () => {
    t = await cluster(1, BOUNDED);
    await diesAhead(5);
    await t.plays('writes go to replica-1; writes are acknowledged');
  });

  it('leaves the decision to a person when every replica is further behind', async () => {
    t = await cluster(1, BOUNDED);
    await diesAhead(40);
    await t.plays('no node can take over');
    await t.until('the monitor says what to do', () => t.reason().includes('promote replica-1 --accept-data-loss'));
    expect(t.reason()).toMatch(/replica-1 is more than 1000 bytes behind primary; start primary, or/);
    expect(t.open()).toBeNull();
    const promoted = await t.answer({ kind: 'promote', to: 'replica-1', acceptDataLoss: true });
    expect(promoted).toMatchObject({ done: true, leader: 'replica-1' });
    await t.plays('docker start primary; primary follows replica-1; writes go to replica-1');
  });

  it('loses nothing in a planned switchover', async () => {
    t = await cluster(2, ASYNCHRONOUS);
    t.world.history.asynchronous = false;
    expect(await t.answer({ kind: 'switchover', to: 'replica-2' })).toMatchObject({ done: true, leader: 'replica-2' });
    await t.plays('all nodes are together again; writes are acknowledged');
    expect(t.replaced()).toEqual([]);
  });
});
