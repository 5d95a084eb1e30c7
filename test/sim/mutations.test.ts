/**
 * Each rule of docs/safety.md taken out of the shipped code, one at a time: the simulator must find what breaks. A mutation
 * that survives means that the model is too kind. Its steps are seams (contract/seam.ts) and methods that are replaced here.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { simulate } from '../../simulator/run';
import { MUTATIONS, putBack, SAFETY } from './mutations';

afterEach(putBack);

describe('the simulator finds what breaks', () => {
  it.each(MUTATIONS)(
    'without $rule: $what',
    async ({ rule, what, replicas, faults, steady, policy, seeds, shows = SAFETY, apply }) => {
      apply();
      for (let seed = 1; seed <= seeds; seed++) {
        const { violations } = await simulate({ seed, replicas, faults, steady, policy });
        const found = violations.find((v) => shows.test(v));
        if (found === undefined) continue;
        process.stdout.write(`${rule} found by seed ${seed}: ${found}\n`);
        // With the rule in its place the same seed shows nothing.
        putBack();
        expect((await simulate({ seed, replicas, faults, steady, policy })).violations).toEqual([]);
        return;
      }
      expect.fail(`${rule} survived ${seeds} seeds: ${what}`);
    },
  );
});
