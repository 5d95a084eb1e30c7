import { afterEach, describe, expect, it } from 'vitest';
import { cluster, newStore, type Tale } from '../scenarios/story';

let t: Tale;

afterEach(async () => {
  expect(await t.end()).toEqual([]);
});

const promote = (to: string, acceptDataLoss: boolean) => t.answer({ kind: 'promote', to, acceptDataLoss });

describe('promoting a node by a person’s command', () => {
  it('says what would be lost, and promotes only when the person accepts the loss', async () => {
    t = await cluster(1);
    await t.plays('docker kill replica-1; the leader is alone, recorded and in force; writes are acknowledged');
    await t.plays('docker kill primary; docker start replica-1; the monitor knows the position of replica-1');
    await t.plays('no node can take over');
    const refused = await promote('replica-1', false);
    expect(refused).toMatchObject({ done: false, leader: 'primary' });
    expect(refused.message).toMatch(
      /replica-1 is at 0\/\w+, \d+ bytes behind primary at 0\/\w+: what it lacks is lost; .*--accept-data-loss/,
    );
    expect(t.open()).toBeNull();
    expect(await promote('replica-1', true)).toMatchObject({ done: true, leader: 'replica-1', term: 2 });
    expect(t.log).toContainEqual(expect.stringMatching(/^WARN replica-1 DATA_LOSS_ACCEPTED .* bytes behind primary/));
    await t.plays('writes are acknowledged; docker start primary; primary follows replica-1; writes go to replica-1');
  });

  it('is refused while the leader works, and for nodes that are off or unknown', async () => {
    t = await cluster(1);
    expect((await promote('replica-1', true)).message).toContain('primary leads');
    expect((await promote('x', true)).message).toBe('x is no node of this stack');
    await t.plays('docker kill replica-1; writes are acknowledged');
    expect((await promote('replica-1', true)).message).toBe('replica-1 is off; start it first');
  });

  it('ends the adoption after a lost store (S10); the node that had not reported is copied or rewound', async () => {
    t = await cluster(1);
    t.node('primary').kill();
    t.restartMonitor(newStore());
    await t.until('it waits for primary', () => t.reason().includes('hear from primary before'));
    expect((await promote('replica-1', false)).message).toContain('is not known');
    expect(await promote('replica-1', true)).toMatchObject({ done: true, leader: 'replica-1' });
    await t.plays('writes are acknowledged; docker start primary; primary follows replica-1; writes go to replica-1');
  });

  it('from an older timeline makes every other node be copied, because two histories get the same number (S3)', async () => {
    t = await cluster(2);
    // replica-2 keeps running, so that its position is known when the network is whole again.
    for (const other of ['primary', 'replica-1', 'monitor']) t.world.network.cut('replica-2', other);
    await t.until('replica-1 alone is counted', () => {
      const { joint } = t.world.state ?? { joint: [] };
      return joint.length === 1 && joint[0]?.members.join() === 'replica-1';
    });
    await t.plays('docker kill primary; writes go to replica-1; writes are acknowledged; docker kill replica-1');
    await t.plays('the network is whole again; the monitor knows the position of replica-2; no node can take over');
    expect((await promote('replica-2', false)).message).toContain('older timeline');
    expect(await promote('replica-2', true)).toMatchObject({ done: true, leader: 'replica-2' });
    await t.plays('docker start replica-1; docker start primary; all nodes are together again');
    expect(t.copied().sort()).toEqual(['primary', 'replica-1']);
  });
});
