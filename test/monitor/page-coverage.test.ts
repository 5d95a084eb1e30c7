import { expect, it } from 'vitest';
import { bandOf } from '../../failover/page/coverage';
import { healthyBackups } from '../rig/healthy-cluster';

const HOUR = 3_600_000;
const NOW = Date.parse('2026-06-01T12:00:00Z');
const GAP = { from: '000000010000000000000005', to: '000000010000000000000007' };
const at = (hoursAgo: number) => new Date(NOW - hoursAgo * HOUR).toISOString();

/** Kinds and shares of the band; times are hours ago. */
function drawn(oldest: number | null, window: [number, number] | null, gaps = [GAP], open = true) {
  const archive = { ...healthyBackups().archive, gaps, open };
  const reach = window && { from: at(window[0]), to: at(window[1]) };
  return bandOf({ oldest: oldest === null ? null : at(oldest), window: reach, archive }, NOW);
}
const shares = (parts: ReturnType<typeof drawn>) => parts.map(({ kind, share }) => [kind, share]);

it('gives a gap its part of the width, and its reason', () => {
  const parts = drawn(10, [8, 0]);
  expect(shares(parts)).toEqual([
    ['gap', 0.2],
    ['covered', 0.8],
  ]);
  expect(parts.map(({ reason }) => reason)).toEqual([expect.stringContaining(`${GAP.from} to ${GAP.to}`), null]);
  expect(parts).toMatchObject([{ fromMs: NOW - 10 * HOUR, toMs: NOW - 8 * HOUR }, { toMs: NOW }]);
});

it('ends with what is not in the archive yet, and says why', () => {
  expect(shares(drawn(8, [8, 2], []))).toEqual([
    ['covered', 0.75],
    ['new', 0.25],
  ]);
  expect(drawn(8, [8, 2], []).at(-1)?.reason).toContain('not surely');
  expect(drawn(8, [8, 2], [], false).at(-1)?.reason).toContain('does not archive');
});

it('is red up to now while no backup is behind a gap', () => {
  expect(shares(drawn(3, null))).toEqual([['gap', 1]]);
});

it('has no red without a gap, and also with an older monitor that does not name the oldest backup', () => {
  expect(shares(drawn(4, [4, 0], []))).toEqual([['covered', 1]]);
  expect(shares(drawn(null, [4, 0]))).toEqual([['covered', 1]]);
});

it('is not drawn without a backup, without any length, or with a time that cannot be read', () => {
  expect(drawn(null, null)).toEqual([]);
  expect(drawn(0, [0, 0], [])).toEqual([]);
  expect(bandOf({ oldest: 'x', window: null, archive: healthyBackups().archive }, NOW)).toEqual([]);
});

it('ends with the window when the clock of the browser is behind', () => {
  expect(shares(drawn(1, [1, -1], []))).toEqual([['covered', 1]]);
  expect(shares(drawn(-1, null))).toEqual([]);
});
