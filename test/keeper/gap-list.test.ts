/** The list of what is in no backup. */
import { expect, it } from 'vitest';
import { GAPS_MAX } from '../../failover/contract/backups';
import { gapsFrom, isBehind } from '../../failover/contract/gaps';
import { withGap } from '../../failover/keeper/postgres/gap-list';

const MB = 1024n ** 2n;
const file = (segment: number, timeline = 1) =>
  `0000000${timeline}00000000${segment.toString(16).toUpperCase().padStart(8, '0')}`;
const gap = (from: number, to = from, timeline = 1) => ({ from: file(from, timeline), to: file(to, timeline) });
const all = (...gaps: ReturnType<typeof gap>[]) =>
  gaps.reduce<ReturnType<typeof gap>[]>((list, one) => withGap(list, one, MB), []);

it('keeps gaps apart, and joins what touches or overlaps, whatever its timeline is', () => {
  expect(all(gap(1), gap(3))).toEqual([gap(1), gap(3)]);
  expect(all(gap(3), gap(1))).toEqual([gap(1), gap(3)]);
  expect(all(gap(1), gap(2))).toEqual([gap(1, 2)]);
  expect(all(gap(1, 4), gap(2, 3))).toEqual([gap(1, 4)]);
  expect(all(gap(1, 4), gap(3, 6, 2))).toEqual([{ from: file(1), to: file(6, 2) }]);
  expect(all(gap(1), gap(5), gap(2, 4))).toEqual([gap(1, 5)]);
});

it('joins the oldest beyond the limit, so that the list says rather too much than too little', () => {
  const many = Array.from({ length: GAPS_MAX + 3 }, (_, at) => gap(2 * at));
  const list = all(...many);
  expect(list).toHaveLength(GAPS_MAX);
  expect(list[0]).toEqual(gap(0, 6));
  expect(list[1]).toEqual(gap(8));
  expect(list.at(-1)).toEqual(many.at(-1));
});

it('is behind a backup that begins after its last file', () => {
  expect([file(4), file(4, 3), file(3), file(1)].map((start) => isBehind(gap(2, 3), start))).toEqual([
    ...[true, true, false, false],
  ]);
  expect(gapsFrom([gap(1), gap(3), gap(5)], file(4, 2))).toEqual([gap(5)]);
});
