/** The checks of the fault matrix, shown histories that are wrong: each has to be found. */
import { describe, expect, test } from 'vitest';
import { doubleRoutes, Reigns, twoPrimariesMs } from '../rig/reigns';
import { longestPauseMs, type WriteEvent } from '../rig/writer';
import { judge } from './lib/checks';
import type { ReadEvent } from './lib/events';

const write = (id: string | null, outcome: WriteEvent['outcome'], endMs = 0): WriteEvent => {
  return { what: 'write', client: 'held', id, outcome, startMs: endMs, endMs };
};
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

  test.each<[string, WriteEvent[], ReadEvent[], Map<string, number>, string]>([
    ['is there twice', [write('a', 'acknowledged')], [], new Map([['a', 2]]), '1 rows are there more than once: a'],
    ['was refused and is there', [write('a', 'failed')], [], rows('a'), '1 refused rows are there: a'],
    ['nobody wrote', [], [], rows('a'), '1 rows are there that no client wrote: a'],
    [
      'was read on the write port and is gone',
      [write('a', 'unknown')],
      [read('write', 'a')],
      rows(),
      '1 rows that were read on the write port are gone: a',
    ],
  ])('a row that %s is found', (_, writes, reads, there, violation) => {
    expect(judge({ writes, reads, rows: there }).violations).toEqual([violation]);
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
  const seen = (kind: 'writable' | 'routed', node: string, fromMs: number, toMs: number) => {
    return { kind, node, fromMs, toMs };
  };
  /** From a to b, where a is writable until 150 and a route until `aUntilMs`. */
  const handOver = (aUntilMs: number) => [
    ...[seen('writable', 'a', 0, 150), seen('routed', 'a', 0, aUntilMs)],
    ...[seen('writable', 'b', 100, 200), seen('routed', 'b', 110, 200)],
  ];

  test('one node after the other is all right, also while a woken leader that nothing leads to is out of recovery', () => {
    expect(doubleRoutes(handOver(90))).toEqual([]);
    expect(twoPrimariesMs(handOver(90))).toBe(50);
  });

  test('two writable nodes that clients can reach at the same moment are found', () => {
    expect(doubleRoutes(handOver(120))).toEqual([{ nodes: ['a', 'b'], fromMs: 110, toMs: 120 }]);
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
