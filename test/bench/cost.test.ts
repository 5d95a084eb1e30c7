/** The figures of `npm run bench:cost`: statistics, pgbench's report, and what the page says of a ratio. */
import { describe, expect, it } from 'vitest';
import { EMPTY, type Round, ratioOf, verdict } from './cost-page';
import { figuresOf } from './pgbench';
import { median, medianInterval, quantile } from './statistics';

/** Output of pgbench 17 for `-S -C`, and the latencies of three statements, µs. */
const REPORT = `transaction type: <builtin: select only>
scaling factor: 5
number of clients: 4
number of failed transactions: 0 (0.000%)
latency average = 8.301 ms
average connection time = 7.923 ms
tps = 481.857291 (including reconnection times)
300
100
200`;

function round(way: string, number: number, rate: number): Round {
  return { round: number, work: '1 client', way, rate, p50: 1, p99: 2, connectMs: null };
}

describe('statistics', () => {
  it('take the middle of numbers, not of texts', () => {
    expect(median([10, 9, 100])).toBe(10);
    expect(median([10, 9, 100, 1])).toBe(9.5);
    expect(median([])).toBeNaN();
  });

  it('take the nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect(quantile(hundred, 0.99)).toBe(99);
    expect(quantile([7], 0.99)).toBe(7);
    expect(quantile([], 0.99)).toBeNaN();
  });

  it('give an interval that holds the median, is wider for values that differ more, and is the same each time', () => {
    const values = [0.97, 0.98, 0.99, 1, 1.01, 1.02, 1.03];
    const interval = medianInterval(values);
    expect(interval.low).toBeLessThan(1);
    expect(interval.high).toBeGreaterThan(1);
    // Less than 2.5 % of the samples of seven have the smallest value as their median.
    expect(interval.low).toBeGreaterThan(0.97);
    expect(medianInterval(values)).toEqual(interval);
    const wider = medianInterval(values.map((value) => 1 + (value - 1) * 2));
    expect(wider.high - wider.low).toBeGreaterThan(interval.high - interval.low);
    expect(medianInterval([2, 2, 2])).toEqual({ low: 2, high: 2 });
  });
});

describe("pgbench's report", () => {
  it('is read with the latencies that follow it', () => {
    expect(figuresOf(REPORT, true)).toEqual({ rate: 481.857291, p50: 0.2, p99: 0.3, connectMs: 7.923 });
    const other = REPORT.replace('average connection time', 'initial connection time').replace('including', 'without');
    expect(figuresOf(other, false)).toEqual({ rate: 481.857291, p50: 0.2, p99: 0.3, connectMs: null });
  });

  it('with failed transactions or without a figure is refused', () => {
    expect(() => figuresOf(REPORT.replace('failed transactions: 0', 'failed transactions: 3'), true)).toThrow('failed');
    expect(() => figuresOf('pgbench: error: connection failed', false)).toThrow("pgbench's report has no");
  });
});

describe('a ratio', () => {
  it('compares runs of the same round', () => {
    const empty = [100, 200, 400].map((rate, i) => round(EMPTY, i + 1, rate));
    const ours = [50, 100, 200].map((rate, i) => round('our HAProxy', i + 1, rate)).reverse();
    const result = ratioOf([...ours, ...empty], '1 client', 'our HAProxy', ({ rate }) => rate);
    expect(result).toEqual({ ratio: 0.5, low: 0.5, high: 0.5 });
  });

  it('is judged by its whole interval', () => {
    expect(verdict({ ratio: 0.99, low: 0.975, high: 1.01 }, true)).toBe('yes');
    expect(verdict({ ratio: 0.9, low: 0.85, high: 0.96 }, true)).toBe('no');
    expect(verdict({ ratio: 0.98, low: 0.95, high: 1 }, true)).toContain('within');
    expect(verdict({ ratio: 1.05, low: 1.01, high: 1.1 }, false)).toContain('beyond');
    expect(verdict({ ratio: 0.5, low: 0.4, high: 0.6 }, false)).toBe('yes');
  });
});
