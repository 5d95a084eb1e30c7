/**
 * Every history of the small world, and that the search would see it: with a rule of docs/safety.md taken out of the
 * shipped code it must find what breaks. The larger worlds are `npm run sim:exhaustive`.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { choose } from '../../failover/core/facts/candidates';
import { withConfig } from '../../failover/core/facts/sync-set';
import { asIfFrozen } from '../../simulator/as-if-frozen';
import { type Result, search } from '../../simulator/exhaustive/search';
import { type Bounds, worldOf } from '../../simulator/exhaustive/steps';

const SMALL: Bounds = { k: 1, crashes: 1, starts: 1, cuts: 0, promotions: 2, changes: 1, writes: 1, hands: 0 };

function told(bounds: Bounds, { states, transitions, depth, outside }: Result): string {
  return `${worldOf(bounds)}: ${states} states, ${transitions} transitions, depth ${depth}, ${outside} steps out of bounds\n`;
}

/** What takes a rule out that a bound does not leave out. */
const TAKEN_OUT: Readonly<Record<string, () => void>> = {
  S1: () => choose.replace((own) => (s, _promised, prefer) => own(asIfFrozen(s), true, prefer)),
  joint: () => withConfig.replace(() => (_joint, next) => [next]),
};

afterEach(() => {
  choose.restore();
  withConfig.restore();
});

describe('in every history of three nodes', () => {
  const worlds: Bounds[] = [
    { ...SMALL, crashes: 2 },
    { ...SMALL, k: 2, crashes: 2, starts: 0 },
    { ...SMALL, cuts: 1, crashes: 0, starts: 0, promotions: 1 },
    { ...SMALL, k: 2, cuts: 1, crashes: 0, starts: 0, promotions: 1 },
    { ...SMALL, hands: 1, promotions: 1, changes: 0 },
    { ...SMALL, hands: 1, promotions: 1, starts: 0 },
    { ...SMALL, k: 2, hands: 1, promotions: 1, changes: 0 },
    { ...SMALL, k: 2, hands: 1, promotions: 1, starts: 0 },
  ];
  it.each(worlds)(
    'no acknowledged write is lost and no two nodes take writes: ANY $k, $crashes crashes, $starts starts, $cuts cuts, $promotions promotions, $changes changes, $hands statements of people',
    (bounds) => {
      const result = search(bounds);
      process.stdout.write(told(bounds, result));
      expect(result.violation).toBeNull();
      expect(result.complete).toBe(true);
      expect(result.states).toBeGreaterThan(1_000);
    },
  );
});

describe('the search finds what breaks', () => {
  const oneCut: Bounds = { ...SMALL, starts: 0, cuts: 1, promotions: 1 };
  const mutations: { rule: string; what: string; bounds: Bounds; shows?: RegExp }[] = [
    {
      rule: 'S1',
      what: 'a candidate is chosen by positions that nobody promised to keep',
      bounds: { ...oneCut, crashes: 0, changes: 0 },
    },
    { rule: 'joint', what: 'a new sync configuration takes the place of the old one at once', bounds: oneCut },
    { rule: 'S4', what: 'a setting counts as soon as it is shown', bounds: { ...oneCut, early: true } },
    {
      rule: 'S3',
      what: 'a keeper forgets that its PostgreSQL was promoted by hand',
      bounds: { ...SMALL, hands: 1, promotions: 1, forgets: true },
      shows: /^DIFFERENT/,
    },
  ];
  it.each(mutations)('without $rule: $what', ({ rule, bounds, shows = /^LOST/ }) => {
    TAKEN_OUT[rule]?.();
    const result = search(bounds, { statesMax: 200_000 });
    const story = result.violation?.path.map((step) => `  ${step}\n`).join('') ?? '';
    process.stdout.write(`without ${rule}, ${told(bounds, result)}${story}  ${result.violation?.words}\n`);
    expect(result.violation?.words).toMatch(shows);
  });
});
