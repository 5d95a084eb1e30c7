/** The groups of `npm run test:settings`. The generator is a library's; that every pair is covered is shown here. */
import { describe, expect, it } from 'vitest';
import { checkConfig } from '../../stack/config';
import { EXTREMES, type Extremes } from './extremes';
import { type Group, groupsOf, missingPairs } from './groups';

const SMALL: Extremes = { a: ['1', '2'], b: ['1', '2', '3'], c: ['x', 'y'] };
/** Generating all groups takes some seconds of processor time, ms. */
const GENERATION_LIMIT_MS = 120_000;

describe('groups', () => {
  it('give each setting one of its values, the same ones each time', () => {
    const groups = groupsOf(SMALL);
    for (const { settings } of groups) {
      for (const [name, values] of Object.entries(SMALL)) expect(values).toContain(settings[name]);
    }
    expect(groupsOf(SMALL)).toEqual(groups);
  });

  it('have every pair of values, in fewer groups than there are combinations', () => {
    const groups = groupsOf(SMALL);
    expect(missingPairs(SMALL, groups)).toEqual([]);
    expect(groups.length).toBeLessThan(12);
    expect(groups.length).toBeGreaterThanOrEqual(6);
  });

  it('are found to lack a pair that is in none of them', () => {
    const groups: Group[] = [{ name: 'g01', settings: { a: '1', b: '2', c: 'x' } }];
    const missing = missingPairs(SMALL, groups);
    expect(missing).toContain('a = 1, b = 1');
    expect(missing).not.toContain('a = 1, b = 2');
    // 2 × 3 + 2 × 2 + 3 × 2 pairs, of which the group has three.
    expect(missing).toHaveLength(13);
  });
});

describe('the extremes', () => {
  it('are in at most 24 groups of at least 12 settings, with every pair', { timeout: GENERATION_LIMIT_MS }, () => {
    const groups = groupsOf(EXTREMES);
    expect(missingPairs(EXTREMES, groups)).toEqual([]);
    expect(groups.length).toBeLessThanOrEqual(24);
    expect(Object.keys(EXTREMES).length).toBeGreaterThanOrEqual(12);
    for (const { settings } of groups) {
      expect(checkConfig({ postgresSettings: JSON.stringify(settings) }).problems).toEqual([]);
    }
  });
});
