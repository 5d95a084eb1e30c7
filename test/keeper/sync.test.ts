/** Proof of a sync configuration while PostgreSQL's answers fail now and then. */
import { describe, expect, it } from 'vitest';
import type { Postgres, SqlView } from '../../failover/keeper/ports';
import { SyncControl } from '../../failover/keeper/sync';
import { FakeClock } from './fakes';

const DESIRED = { leader: 'a', k: 1, members: ['b'], term: 1 };
const signal = new AbortController().signal;

/** A leader whose standby has all of the log; look number `failing` is not answered. */
function leader(failing: number) {
  const clock = new FakeClock();
  const set: string[] = [];
  let looks = 0;
  const postgres = {
    startCanary: () => Promise.resolve(),
    canaryWaits: () => Promise.resolve(true),
    kick: () => Promise.resolve(),
    syncWaiters: () => Promise.resolve(0),
  } as unknown as Postgres;
  const view = {
    flushLsn: '0/2000',
    standbys: [{ name: 'b', state: 'streaming', syncState: 'quorum', flushLsn: '0/2000', replayLsn: '0/2000' }],
  } as unknown as SqlView;
  const observe = () => {
    looks += 1;
    return looks === failing ? Promise.reject(new Error('PostgreSQL does not answer')) : Promise.resolve(view);
  };
  const configure = (names: string) => {
    set.push(names);
    return Promise.resolve();
  };
  const control = new SyncControl(postgres, clock);
  return { set, looks: () => looks, pass: () => control.pursue(DESIRED, { configure, observe }, signal) };
}

describe('a sync configuration', () => {
  it('is proven by one pass, after the barrier', async () => {
    const { set, pass, looks } = leader(0);
    expect(await pass()).toBe(true);
    expect(set).toEqual(['ANY 2 ("b", "failover-barrier")', 'ANY 1 ("b")']);
    expect(looks()).toBe(4);
  });

  it.each([1, 2, 3, 4])('is proven by a later pass when look %i of the first one fails', async (failing) => {
    const { set, pass } = leader(failing);
    await expect(pass()).rejects.toThrow('does not answer');
    expect(await pass()).toBe(true);
    expect(set.at(-1)).toBe('ANY 1 ("b")');
  });
});
