import { describe, expect, it } from 'vitest';
import { simulate } from './run';

const SEEDS = 500;
const GROUP = 50;

describe('500 seeds of the simulator', () => {
  const groups = Array.from({ length: SEEDS / GROUP }, (_, i) => i * GROUP + 1);
  it.each(groups)('show no violation from seed %i on', async (first) => {
    const found: string[] = [];
    for (let seed = first; seed < first + GROUP; seed++) {
      const { violations } = await simulate({ seed });
      if (violations.length > 0) found.push(`${violations[0]} (replay: npm run sim -- --seed ${seed} --verbose)`);
    }
    expect(found).toEqual([]);
  });
});
