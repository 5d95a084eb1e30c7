import { afterEach, describe, expect, it } from 'vitest';
import { MemoryStore, restartMonitor, World } from './fakes';

let world = new World([]);

afterEach(async () => {
  await world.end();
  expect(world.broken).toEqual([]);
});

async function cluster(names: string[]): Promise<void> {
  world = new World(names);
  await world.start();
  await world.until('a healthy cluster', () => world.healthy() && world.monitor?.decision?.code === 'STEADY');
  for (let i = 0; i < 5; i++) expect(world.write()).toBe(true);
}

const promote = (to: string, acceptDataLoss: boolean) => world.ask({ kind: 'promote', to, acceptDataLoss });

/** `p` went on alone and died. `a` is back and lacks the writes that `p` acknowledged alone. */
async function onlyOldDataIsUp(): Promise<void> {
  world.node('a').kill();
  await world.until('p is alone', () => world.write() && world.monitor?.decision?.state.joint.length === 1);
  expect(world.write()).toBe(true);
  world.node('p').kill();
  world.node('a').start();
  await world.until('the monitor says which node to start', () => world.monitor?.decision?.code === 'NO_CANDIDATE');
  await world.until('a has reported', () => world.hasReported('a'));
}

describe('promoting a node by a person’s command', () => {
  it('says what would be lost, and promotes only when the person accepts the loss', async () => {
    await cluster(['p', 'a']);
    await onlyOldDataIsUp();
    const refused = await promote('a', false);
    expect(refused).toMatchObject({ done: false, leader: 'p' });
    expect(refused.message).toMatch(
      /a is at 0\/\w+, \d+ bytes behind p at 0\/\w+: what it lacks is lost; .*--accept-data-loss/,
    );
    expect(world.serving()).toBe(false);
    expect(await promote('a', true)).toMatchObject({ done: true, leader: 'a', term: 2 });
    expect(world.write()).toBe(true);
    expect(world.log.join('\n')).toMatch(/WARN a DATA_LOSS_ACCEPTED .* bytes behind p/);
    world.node('p').start();
    await world.until('p lost the writes that only it had, and follows', () => world.healthy());
    expect(world.serving('a')).toBe(true);
  });

  it('is refused while the leader works, and for nodes that are off or unknown', async () => {
    await cluster(['p', 'a']);
    expect((await promote('a', true)).message).toContain('p leads');
    expect((await promote('x', true)).message).toBe('x is no node of this stack');
    world.node('a').kill();
    await world.until('a is off', () => world.write());
    expect((await promote('a', true)).message).toBe('a is off; start it first');
  });

  it('ends the adoption after a lost store (S10); the node that had not reported is copied or rewound', async () => {
    await cluster(['p', 'a']);
    world.node('p').kill();
    await restartMonitor(world, new MemoryStore());
    await world.until('it waits for p', () => world.monitor?.decision?.reason.includes('hear from p before') === true);
    expect((await promote('a', false)).message).toContain('is not known');
    expect(await promote('a', true)).toMatchObject({ done: true, leader: 'a' });
    expect(world.write()).toBe(true);
    world.node('p').start();
    await world.until('p follows', () => world.healthy());
    expect(world.serving('a')).toBe(true);
  });

  it('from an older timeline makes every other node be copied, because two histories get the same number (S3)', async () => {
    await cluster(['p', 'a', 'b']);
    world.node('b').kill();
    await world.until('a alone is counted', () => {
      const { joint } = world.monitor?.decision?.state ?? { joint: [] };
      return joint.length === 1 && joint[0]?.members.join() === 'a';
    });
    world.node('p').kill();
    await world.until('a serves', () => world.serving('a') && world.write());
    world.node('a').kill();
    world.node('b').start();
    await world.until('no node can lead', () => world.monitor?.decision?.code === 'NO_CANDIDATE');
    await world.until('b has reported', () => world.hasReported('b'));
    expect((await promote('b', false)).message).toContain('older timeline');
    expect(await promote('b', true)).toMatchObject({ done: true, leader: 'b' });
    const copies = world.node('a').copies;
    world.node('a').start();
    world.node('p').start();
    await world.until('the other nodes follow', () => world.healthy());
    expect(world.node('a').copies).toBe(copies + 1);
    expect(world.node('p').copies).toBe(1);
  });
});
