/** S21: HAProxy cut off from the leader alone, told like the other stories of this folder. */
import { describe, expect, it } from 'vitest';
import { tell } from './story';

describe('a scenario', () => {
  it('haproxy-cut-off: the leader hands over to a node that HAProxy reaches', async () => {
    const text = await tell({
      name: 'haproxy-cut-off',
      rules: 'S21',
      title: 'Only HAProxy cannot reach the leader: it hands over, and leads again when the network is whole',
      policy: { switchback: true },
      play: async (t) => {
        await t.event('packets between haproxy and primary are lost', () => {
          t.world.network.cut('haproxy', 'primary');
        });
        await t.until('writes go to replica-1', () => t.open() === 'replica-1');
        await t.passes(20_000);
        t.fact(`20 s later writes go to ${t.open() ?? 'nobody'}: what HAProxy does not reach gets no lead back`);
        await t.event('the network is whole again', () => t.world.network.heal());
        await t.until('writes go to primary again', () => t.open() === 'primary' && t.well());
      },
    });
    expect(text).not.toContain('NOT: ');
    expect(text).toContain('Nothing acknowledged was lost');
    await expect(text).toMatchFileSnapshot('haproxy-cut-off.md');
  });
});
