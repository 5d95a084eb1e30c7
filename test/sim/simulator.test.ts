import { describe, expect, it } from 'vitest';
import { simulate } from '../../simulator/run';

describe('the simulator', () => {
  it('plays the same events in the same order with the same seed', async () => {
    const [first, second] = [await simulate({ seed: 3, replicas: 1 }), await simulate({ seed: 3, replicas: 1 })];
    expect(first.story).toEqual(second.story);
    expect(first.acknowledged).toBeGreaterThan(20);
  });

  it.each([1, 2])('finds no violation with %i replicas', async (replicas) => {
    for (let seed = 1; seed <= 2; seed++) {
      const { violations, story } = await simulate({ seed, replicas });
      expect(violations, story.join('\n')).toEqual([]);
    }
  });
});
