import { describe, expect, it } from 'vitest';
import { STARVATION } from './aimed-faults';
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

/** Seeds in which the machine is only slow, for shorter than `hangTimeout` at a time (S28). */
const SLOW_SEEDS = 50;

describe(`${SLOW_SEEDS} seeds of a machine that is only slow`, () => {
  it('show no change of the leader at all', async () => {
    const found: string[] = [];
    for (let seed = 1; seed <= SLOW_SEEDS; seed++) {
      const { violations } = await simulate({ seed, faults: Object.keys(STARVATION), steady: true });
      if (violations.length > 0) found.push(`seed ${seed}: ${violations[0]}`);
    }
    expect(found).toEqual([]);
  });
});
