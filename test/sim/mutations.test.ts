/**
 * Each rule of docs/safety.md taken out of the shipped code, one at a time: the simulator must find what breaks. A mutation
 * that survives means that the model is too kind. Its steps are seams (contract/seam.ts) and methods that are replaced here.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { simulate } from '../../simulator/run';
import { MUTATIONS, putBack, SAFETY } from './mutations';

afterEach(putBack);

describe('the simulator finds what breaks', () => {
  it.each(Object.entries(MUTATIONS).map(([rule, mutation]) => ({ rule, ...mutation })))(
    'without $rule: $what',
    async ({ rule, what, run, shows = SAFETY, apply }) => {
      apply();
      for (let seed = 1; seed <= run.seeds; seed++) {
        const { violations } = await simulate({ ...run, seed });
        const found = violations.find((v) => shows.test(v));
        if (found === undefined) continue;
        process.stdout.write(`${rule} found by seed ${seed}: ${found}\n`);
        // With the rule in its place the same seed shows nothing.
        putBack();
        expect((await simulate({ ...run, seed })).violations).toEqual([]);
        return;
      }
      expect.fail(`${rule} survived ${run.seeds} seeds: ${what}`);
    },
  );
});
