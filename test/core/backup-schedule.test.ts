/** When a backup is due, when the backups are too old, and what a restore can reach. */
import { expect, it } from 'vitest';
import type { Backup } from '../../failover/contract/backups';
import { nextBackup, restAfter, whyOld, windowOf } from '../../failover/core/backup-schedule';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = Date.parse('2026-06-01T12:00:00Z');
const PLAN = { fullEveryMs: 7 * DAY, everyMs: DAY };

const made = (type: Backup['type'], agoMs: number, more: Partial<Backup> = {}): Backup => ({
  ...{ label: `${type}-${agoMs}`, type, startMs: NOW - agoMs, stopMs: NOW - agoMs + HOUR },
  ...{ startLsn: '0/100000', stopLsn: '0/200000', walStart: null, walStop: null },
  ...{ sizeBytes: 1, storedBytes: 1, hasErrors: false, usable: true },
  ...more,
});

it.each<[string, Backup[], 'full' | 'incr', number]>([
  ['nothing', [], 'full', 0],
  ['a full one of today', [made('full', HOUR)], 'incr', 23 * HOUR],
  ['a full one of yesterday', [made('full', 25 * HOUR)], 'incr', -HOUR],
  ['an incremental one of today', [made('full', 3 * DAY), made('incr', HOUR)], 'incr', 23 * HOUR],
  ['a full one of last week', [made('full', 7 * DAY + 1), made('incr', HOUR)], 'full', -1],
  ['both due', [made('full', 8 * DAY), made('incr', 2 * DAY)], 'full', -DAY],
  ['a full one that is due at the same time', [made('full', 6 * DAY), made('incr', 0)], 'full', DAY],
  ['a full one that cannot be restored', [made('full', HOUR, { usable: false })], 'full', 0],
  [
    'an incremental one whose full one is behind a gap',
    [made('full', DAY, { usable: false }), made('incr', 1)],
    'full',
    0,
  ],
  ['one from the future, when the clock was wrong', [made('full', -9 * DAY)], 'full', 0],
  ['one from in a moment, because the clock went back', [made('full', -HOUR)], 'incr', 25 * HOUR],
])('after %s, a backup is due', (_, backups, kind, inMs) => {
  expect(nextBackup(backups, PLAN, NOW)).toEqual({ kind, atMs: NOW + inMs });
});

it.each<[string, Backup[], RegExp | null]>([
  ['a day and a half after the last one', [made('full', 1.5 * DAY)], null],
  ['later than that', [made('full', 1.5 * DAY + 1)], /the newest backup is of 2026-05-30/],
  [
    'long after the last full one',
    [made('full', 11 * DAY), made('incr', HOUR)],
    /the newest full backup is of 2026-05-21/,
  ],
  ['when none can be restored', [made('full', HOUR, { usable: false })], /no backup that can be restored/],
])('says whether backups are old %s', (_, backups, says) => {
  const why = whyOld(backups, PLAN, NOW, NOW - DAY);
  if (says === null) expect(why).toBeNull();
  else expect(why).toMatch(says);
});

it('gives a new cluster an hour for its first backup', () => {
  expect(whyOld([], PLAN, NOW, NOW - HOUR)).toBeNull();
  expect(whyOld([], PLAN, NOW, NOW - HOUR - 1)).toContain('no backup');
});

it('rests for minutes after a failure, at most for an hour', () => {
  expect([1, 2, 3, 10, 1_000].map((failures) => restAfter(failures) / 60_000)).toEqual([2, 4, 8, 60, 60]);
});

it('reaches from the end of the oldest backup that can be restored to what is archived', () => {
  const behindGap = made('full', 3 * DAY, { usable: false });
  const backups = [behindGap, made('full', 2 * DAY), made('incr', DAY)];
  expect(windowOf(backups, NOW)).toEqual({ fromMs: NOW - 2 * DAY + HOUR, toMs: NOW });
  expect(windowOf(backups, null)).toEqual({ fromMs: NOW - 2 * DAY + HOUR, toMs: NOW - DAY + HOUR });
  expect(windowOf([behindGap], NOW)).toBeNull();
});
