import { afterEach, describe, expect, it } from 'vitest';
import { lsnText, World } from './fakes';

let world = new World([]);

afterEach(async () => {
  await world.end();
  expect(world.broken).toEqual([]);
});

async function cluster(names: string[], policy = {}): Promise<void> {
  world = new World(names);
  await world.start({ syncMode: 'asynchronous', ...policy });
  await world.until('the other nodes follow p', () => world.serving('p') && world.follow('p'));
  for (let i = 0; i < 5; i++) expect(world.write()).toBe(true);
}

/** `p` acknowledges so many writes that `a` does not get, reports its position, and dies. */
async function diesAhead(writes: number): Promise<void> {
  world.node('a').pause();
  for (let i = 0; i < writes; i++) expect(world.write()).toBe(true);
  const reported = () => world.monitor?.observation?.watch.newest?.lsn;
  await world.until('p has reported its position', () => reported() === lsnText(world.node('p').lsn));
  world.node('p').kill();
  world.node('a').wake();
}

describe('asynchronous mode', () => {
  it('acknowledges without a replica, and fails over to the most advanced one', async () => {
    await cluster(['p', 'a', 'b']);
    expect(world.monitor?.decision?.state.joint).toEqual([{ leader: 'p', k: 0, members: [], term: 1 }]);
    world.node('p').kill();
    await world.until('a replica serves', () => world.serving() && !world.serving('p'));
    expect(world.write()).toBe(true);
    world.node('p').start();
    await world.until('the other nodes follow', () =>
      world.follow(world.nameOf(world.monitor?.router.slot ?? null) ?? ''),
    );
    expect(world.lost()).toBe(0);
  });

  it('promotes a replica that is behind by no more than maxLag', async () => {
    await cluster(['p', 'a'], { maxLagBytes: 100 });
    await diesAhead(4);
    await world.until('a serves', () => world.serving('a'));
  });

  it('leaves the decision to a person when every replica is further behind', async () => {
    await cluster(['p', 'a'], { maxLagBytes: 100 });
    await diesAhead(40);
    const reason = () => world.monitor?.decision?.reason ?? '';
    await world.until('it says what to do', () => reason().includes('promote a --accept-data-loss'));
    expect(reason()).toMatch(/a is more than 100 bytes behind p; start p, or/);
    expect(world.serving()).toBe(false);
    expect(await world.ask({ kind: 'promote', to: 'a', acceptDataLoss: true })).toMatchObject({
      done: true,
      leader: 'a',
    });
    world.node('p').start();
    await world.until('p follows', () => world.follow('a'));
  });

  it('loses nothing in a planned switchover', async () => {
    await cluster(['p', 'a', 'b']);
    expect(await world.switchover('b')).toMatchObject({ done: true, leader: 'b' });
    await world.until('the other nodes follow', () => world.follow('b'));
    expect(world.node('p').copies + world.node('p').rewinds).toBe(0);
    expect(world.lost()).toBe(0);
  });
});
