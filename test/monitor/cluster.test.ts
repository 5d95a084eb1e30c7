/** Failovers that the stories of test/scenarios do not play: several nodes die, or the monitor dies in the middle. */
import { afterEach, describe, expect, it } from 'vitest';
import { cluster, type Tale } from '../scenarios/story';

let t: Tale;

afterEach(async () => {
  expect(await t.end()).toEqual([]);
});

describe('a failover', () => {
  it('elects the most advanced of several replicas', async () => {
    t = await cluster(3);
    t.world.network.block('primary', 'replica-1');
    await t.plays('500 ms pass; docker kill primary; a new leader is open');
    expect(t.open()).not.toBe('replica-1');
    t.world.network.heal();
    await t.plays('writes are acknowledged');
  });

  it('survives the death of the new leader as well', async () => {
    t = await cluster(2);
    await t.plays('docker kill primary; a new leader is open; writes are acknowledged');
    const second = t.open() ?? '';
    await t.plays(`docker kill ${second}; docker start primary; writes are acknowledged`);
    await t.plays(`docker start ${second}; all nodes are together again`);
  });

  it('lets the old leader lead again when the only candidate dies before it was opened, and copies the candidate', async () => {
    t = await cluster(1);
    t.atStep('promote', () => t.node('replica-1').kill());
    await t.plays('docker kill primary; replica-1 is down; docker start primary; writes go to primary');
    await t.plays('docker start replica-1; all is well');
    expect(t.replaced()).toEqual(['replica-1']);
  });
});

describe('a monitor that is killed in a failover', () => {
  // The stored changes after the kill are: promotion, opening, the order to rejoin, the larger sync set, its proof.
  const moments = [1, 2, 3, 4, 5].flatMap((change) => [
    { change, when: 'before the change is durable' },
    { change, when: 'before it acts on the durable change' },
  ]);

  it.each(moments)('goes on when it is started again: at change $change, $when', async ({ change, when }) => {
    t = await cluster(1);
    const { world } = t;
    let before = { ...world.disk };
    let changes = 0;
    world.onStored = () => {
      changes += 1;
      if (changes === change) t.restartMonitor(when === 'before the change is durable' ? before : world.disk);
      before = { ...world.disk };
    };
    await t.plays('docker kill primary; 300 ms pass; docker start primary');
    await t.until('it was killed', () => changes > change);
    await t.plays('all is well; writes are acknowledged');
  });
});
