import { afterEach, describe, expect, it } from 'vitest';
import { parseState } from '../../failover/core/state/stored';
import { MemoryStore, restartMonitor, World } from './fakes';

let world = new World([]);

afterEach(async () => {
  await world.end();
  expect(world.broken).toEqual([]);
});

async function cluster(names: string[], policy = {}): Promise<void> {
  world = new World(names);
  await world.start(policy);
  await world.until('a healthy cluster', () => world.healthy());
  for (let i = 0; i < 5; i++) expect(world.write()).toBe(true);
}

describe('loop, store and keepers together', () => {
  it('create a new cluster, fail over when the leader is killed, and take the old leader back as a standby', async () => {
    await cluster(['p', 'a']);
    expect(world.serving('p')).toBe(true);
    world.node('p').kill();
    await world.until('a serves', () => world.serving('a'));
    expect(world.write()).toBe(true);
    world.node('p').start();
    await world.until('p streams and is counted', () => world.healthy());
    expect(world.lost()).toBe(0);
    expect(world.node('p').copies).toBe(0);
  });

  it('elect the most advanced of several replicas', async () => {
    await cluster(['p', 'a', 'b', 'c']);
    world.node('a').lsn -= 16;
    world.node('p').kill();
    await world.until('a leader serves', () => world.serving());
    expect(world.serving('a')).toBe(false);
    expect(world.write()).toBe(true);
    expect(world.lost()).toBe(0);
  });

  it('fail over from a frozen leader, and stop its PostgreSQL when it continues', async () => {
    await cluster(['p', 'a']);
    world.node('p').pause();
    await world.until('a serves', () => world.serving('a'));
    expect(world.write()).toBe(true);
    world.node('p').wake();
    await world.until('p is a standby', () => world.healthy());
    expect(world.node('p').postgres).toBe('standby');
    expect(world.lost()).toBe(0);
  });

  it('hand over when the leader is told to stop', async () => {
    await cluster(['p', 'a']);
    const node = world.node('p');
    node.stopping = true;
    node.report();
    await world.until('p has stopped', () => node.postgres === 'stopped');
    node.kill();
    await world.until('a serves', () => world.serving('a'));
    expect(world.lost()).toBe(0);
  });

  it('let the leader go on alone when the only replica dies, and name the leader when it dies, too', async () => {
    await cluster(['p', 'a']);
    world.node('a').kill();
    await world.until('p is alone', () => world.monitor?.decision?.state.joint.at(-1)?.k === 0 && world.write());
    await world.until('alone is proven', () => world.monitor?.decision?.state.joint.length === 1);
    world.node('p').kill();
    world.node('a').start();
    await world.until(
      'it says which node to start',
      () => world.monitor?.decision?.reason.includes('start p') === true,
    );
    expect(world.node('a').postgres).not.toBe('primary');
    world.node('p').start();
    await world.until('p leads again', () => world.serving('p'));
    await world.until('a is back', () => world.healthy());
    expect(world.lost()).toBe(0);
  });

  it('survive the death of the new leader as well', async () => {
    await cluster(['p', 'a', 'b']);
    world.node('p').kill();
    await world.until('a replica serves', () => world.serving() && !world.serving('p'));
    expect(world.write()).toBe(true);
    const second = world.serving('a') ? 'a' : 'b';
    world.node(second).kill();
    world.node('p').start();
    await world.until('the cluster serves again', () => world.serving() && world.write());
    world.node(second).start();
    await world.until('every node is back', () => world.healthy());
    expect(world.lost()).toBe(0);
  });

  it('let the old leader lead again when the only candidate dies before it was opened', async () => {
    await cluster(['p', 'a']);
    const store = world.monitor?.store;
    if (store === undefined) throw new Error('no store');
    store.onSave = (text) => {
      if (parseState(text)?.activity.kind === 'promote') world.node('a').kill();
    };
    world.node('p').kill();
    await world.until('a was chosen and died', () => !world.node('a').up);
    store.onSave = () => undefined;
    world.node('p').start();
    await world.until('p leads again', () => world.serving('p'));
    world.node('a').start();
    await world.until('a is copied', () => world.healthy());
    expect(world.node('a').copies).toBe(2);
    expect(world.lost()).toBe(0);
  });
});

describe('the monitor restarted at any moment', () => {
  it('leaves a serving leader alone', async () => {
    await cluster(['p', 'a']);
    const promotions = world.node('p').timeline;
    await restartMonitor(world);
    await world.until('it is steady', () => world.monitor?.decision?.code === 'STEADY');
    expect(world.node('p').timeline).toBe(promotions);
    expect(world.write()).toBe(true);
  });

  // The stored changes after the kill are: promotion, opening, the order to rejoin, the larger sync set, its proof.
  it.each([1, 2, 3, 4, 5])('carries on when it is killed at its stored change number %i after the kill', async (at) => {
    await cluster(['p', 'a']);
    const store = world.monitor?.store;
    if (store === undefined) throw new Error('no store');
    let saves = 0;
    let reached = false;
    // With an odd number the monitor dies before the change is stored, with an even one right after it.
    store.onSave = (text) => {
      saves += 1;
      if (saves < at || reached) {
        if (reached) throw new Error('killed');
        return;
      }
      reached = true;
      if (at % 2 === 0) store.loaded = text;
      throw new Error('killed');
    };
    world.node('p').kill();
    setTimeout(() => world.node('p').start(), 150);
    await world.until('the change is reached', () => reached);
    const next = new MemoryStore();
    next.incarnation = store.incarnation;
    next.loaded = store.loaded;
    await restartMonitor(world, next);
    await world.until('everything heals', () => world.healthy(), 12_000);
    expect(world.write()).toBe(true);
    expect(world.lost()).toBe(0);
  });

  it('adopts what the keepers remember when its store is lost (S10)', async () => {
    await cluster(['p', 'a']);
    const term = world.monitor?.decision?.state.term;
    await restartMonitor(world, new MemoryStore());
    await world.until('it is steady', () => world.monitor?.decision?.code === 'STEADY');
    expect(world.monitor?.decision?.state).toMatchObject({ term, leader: 'p' });
    expect(world.write()).toBe(true);
    world.node('p').kill();
    await world.until('a serves', () => world.serving('a'));
    expect(world.lost()).toBe(0);
  });

  it('promotes no node on an old store before every declared node has reported (S10)', async () => {
    await cluster(['p', 'a']);
    const old = new MemoryStore();
    old.loaded = world.monitor?.store.loaded ?? null;
    old.incarnation = world.monitor?.store.incarnation ?? 0;
    world.node('a').kill();
    await world.until('p is alone', () => world.monitor?.decision?.state.joint[0]?.k === 0 && world.write());
    world.node('p').kill();
    world.node('a').start();
    await restartMonitor(world, old);
    await new Promise((resolve) => setTimeout(resolve, 300));
    world.node('p').start();
    await world.until('everything heals', () => world.healthy(), 12_000);
    expect(world.lost()).toBe(0);
  });
});

describe('late and wrong messages', () => {
  it('are refused: a late order of an older term, and a keeper with a wrong key', async () => {
    await cluster(['p', 'a']);
    world.node('p').pause();
    await world.until('a serves', () => world.serving('a'));
    // All frames that the monitor sent to p meanwhile reach p now, in their order. p must not lead again.
    world.node('p').wake();
    await world.until('p follows', () => world.healthy());
    expect(world.serving('a')).toBe(true);
  });
});
