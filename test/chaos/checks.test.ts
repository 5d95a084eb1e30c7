/** The checks of the fault matrix, shown histories that are wrong: each has to be found. */
import { describe, expect, test } from 'vitest';
import { doubleRoutes, Reigns, twoPrimariesMs } from '../rig/reigns';
import { longestPauseMs, type WriteEvent } from '../rig/writer';
import { judge } from './lib/checks';
import type { ReadEvent } from './lib/events';

const write = (id: string | null, outcome: WriteEvent['outcome'], endMs = 0): WriteEvent => ({
  what: 'write',
  client: 'held',
  id,
  outcome,
  startMs: endMs,
  endMs,
});
const read = (port: 'write' | 'read', ...ids: string[]): ReadEvent => ({ what: 'read', port, endMs: 0, ids });
const rows = (...ids: string[]) => new Map(ids.map((id) => [id, 1]));

describe('rows', () => {
  test('acknowledged rows that are there and unknown ones that may be are all right', () => {
    const writes = [write('a', 'acknowledged'), write('b', 'unknown'), write('c', 'unknown'), write(null, 'failed')];
    const verdict = judge({ writes, reads: [read('write', 'a', 'b')], rows: rows('a', 'b') });
    expect(verdict).toMatchObject({ violations: [], acknowledged: 1, unknown: 2, failed: 1, lost: 0 });
  });

  test('an acknowledged row that is not there is lost', () => {
    const verdict = judge({ writes: [write('a', 'acknowledged')], reads: [], rows: rows() });
    expect(verdict).toMatchObject({ lost: 1, violations: ['1 acknowledged rows are lost: a'] });
  });

  test('a row that is there twice is found', () => {
    const verdict = judge({ writes: [write('a', 'acknowledged')], reads: [], rows: new Map([['a', 2]]) });
    expect(verdict.violations).toEqual(['1 rows are there more than once: a']);
  });

  test('a refused row that is there is found', () => {
    const verdict = judge({ writes: [write('a', 'failed')], reads: [], rows: rows('a') });
    expect(verdict.violations).toEqual(['1 refused rows are there: a']);
  });

  test('a row that nobody wrote is found', () => {
    expect(judge({ writes: [], reads: [], rows: rows('a') }).violations).toHaveLength(1);
  });

  test('a row that was read on the write port and is gone is found', () => {
    const verdict = judge({ writes: [write('a', 'unknown')], reads: [read('write', 'a')], rows: rows() });
    expect(verdict.violations).toEqual(['1 rows that were read on the write port are gone: a']);
  });

  test('a row whose write was warned not to be replicated promises nothing, and neither does the read port', () => {
    const warned = judge({ writes: [write('a', 'warned')], reads: [read('write', 'a')], rows: rows() });
    expect(warned.violations).toEqual([]);
    const standby = judge({ writes: [write('a', 'unknown')], reads: [read('read', 'a')], rows: rows() });
    expect(standby).toMatchObject({ violations: [], vanishedOnRead: 1 });
  });

  test('a repeated write counts as acknowledged when one of its tries was', () => {
    const verdict = judge({ writes: [write('a', 'unknown'), write('a', 'acknowledged')], reads: [], rows: rows('a') });
    expect(verdict).toMatchObject({ violations: [], acknowledged: 1, unknown: 0 });
  });

  test('the outage is the longest pause that ends after the fault began', () => {
    const writes = [0, 500, 510, 700, 720].map((atMs) => write(`${atMs}`, 'acknowledged', atMs));
    expect(longestPauseMs(writes, 505, 'held')).toBe(190);
    expect(longestPauseMs(writes, 505, 'fresh')).toBe(0);
  });
});

describe('routes', () => {
  const seen = (kind: 'writable' | 'routed', node: string, fromMs: number, toMs: number) => ({
    kind,
    node,
    fromMs,
    toMs,
  });

  test('one node after the other is all right, also while a woken leader that nothing leads to is out of recovery', () => {
    const reigns = [
      seen('writable', 'a', 0, 150),
      seen('routed', 'a', 0, 90),
      seen('writable', 'b', 100, 200),
      seen('routed', 'b', 110, 200),
    ];
    expect(doubleRoutes(reigns)).toEqual([]);
    expect(twoPrimariesMs(reigns)).toBe(50);
  });

  test('two writable nodes that clients can reach at the same moment are found', () => {
    const reigns = [
      seen('writable', 'a', 0, 150),
      seen('routed', 'a', 0, 120),
      seen('writable', 'b', 100, 200),
      seen('routed', 'b', 110, 200),
    ];
    expect(doubleRoutes(reigns)).toEqual([{ nodes: ['a', 'b'], fromMs: 110, toMs: 120 }]);
  });

  test('a time ends at the last look that saw it', () => {
    const reigns = new Reigns('writable');
    reigns.look('a', true, 1);
    reigns.look('a', true, 5);
    reigns.look('a', false, 7);
    reigns.look('a', true, 9);
    expect(reigns.all()).toEqual([seen('writable', 'a', 1, 5), seen('writable', 'a', 9, 9)]);
  });
});
