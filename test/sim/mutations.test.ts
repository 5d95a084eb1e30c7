/**
 * Takes one rule of docs/safety.md at a time out of the shipped code; the simulator must then report an error. If it
 * does not, its model of the world lacks the case that the rule is for.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { simulate } from '../../simulator/run';
import { MUTATIONS, putBack, SAFETY } from './mutations';

afterEach(putBack);

describe('the simulator reports an error', () => {
  it.each(Object.entries(MUTATIONS).map(([rule, mutation]) => ({ rule, ...mutation })))(
    'without $rule: $what',
    async ({ rule, what, run, shows = SAFETY, apply }) => {
      apply();
      for (let seed = 1; seed <= run.seeds; seed++) {
        const { violations } = await simulate({ ...run, seed });
        const found = violations.find((v) => shows.test(v));
        if (found === undefined) continue;
        process.stdout.write(`${rule} found by seed ${seed}: ${found}\n`);
        // With the rule in place the same seed shows no error.
        putBack();
        expect((await simulate({ ...run, seed })).violations).toEqual([]);
        return;
      }
      expect.fail(`${rule} survived ${run.seeds} seeds: ${what}`);
    },
  );
});
