/**
 * Each rule of SAFETY.md taken out of the shipped code, one at a time: the simulator must find what breaks. A mutation
 * that survives means that the model is too kind. Its steps are seams (contract/seam.ts) and methods that are replaced here.
 */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { simulate } from '../../simulator/run';
import { MUTATIONS, putBack, SAFETY } from './mutations';

/** The rule that is taken out now. */
const out = vi.hoisted(() => ({ rule: '' }));

vi.mock('../../failover/contract/messages', async (load) => {
  const real = await load<typeof import('../../failover/contract/messages')>();
  return {
    ...real,
    compareOrders: ((a, b) => {
      // Only the keeper's: it compares the order itself, the monitor compares what was accepted.
      if (out.rule === 'S5' && 'type' in a) return 1;
      if (out.rule === 'S11') return a.term - b.term || a.seq - b.seq;
      return real.compareOrders(a, b);
    }) satisfies typeof real.compareOrders,
  };
});

afterEach(() => {
  out.rule = '';
  putBack();
});

describe('the simulator finds what breaks', () => {
  it.each(MUTATIONS)(
    'without $rule: $what',
    async ({ rule, what, replicas, faults, steady, policy, seeds, shows = SAFETY, apply }) => {
      out.rule = rule;
      apply?.();
      for (let seed = 1; seed <= seeds; seed++) {
        const { violations } = await simulate({ seed, replicas, faults, steady, policy });
        const found = violations.find((v) => shows.test(v));
        if (found === undefined) continue;
        process.stdout.write(`${rule} found by seed ${seed}: ${found}\n`);
        // With the rule in its place the same seed shows nothing.
        out.rule = '';
        putBack();
        expect((await simulate({ seed, replicas, faults, steady, policy })).violations).toEqual([]);
        return;
      }
      expect.fail(`${rule} survived ${seeds} seeds: ${what}`);
    },
  );
});
