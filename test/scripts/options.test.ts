import { describe, expect, it } from 'vitest';
import { someOf, wholeNumber } from '../../scripts/lib/options';

describe('options of the commands', () => {
  it('take a whole number within bounds', () => {
    expect(wholeNumber('runs', '20', 1, 20)).toBe(20);
  });

  it.each(['0', '21', '1.5', 'many', '', ' '])('name what is allowed instead of %j', (value) => {
    expect(() => wholeNumber('runs', value, 1, 20)).toThrow(`--runs ${value}: allowed is a whole number from 1 to 20`);
  });

  it('take names of a list, or all of them', () => {
    expect(someOf('only', 'b,a', ['a', 'b', 'c'])).toEqual(['b', 'a']);
    expect(someOf('only', null, ['a', 'b'])).toEqual(['a', 'b']);
    expect(() => someOf('only', 'a,x,y', ['a', 'b'])).toThrow('--only x,y: allowed are a, b');
  });
});
