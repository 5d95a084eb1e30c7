/**
 * The stretches of write-ahead log that are in no backup. A stretch stays in the list as long as a backup is kept that
 * begins before its end, because such a backup cannot be restored beyond it. Pure.
 */
import { GAPS_MAX, type Gap } from '../contract/backups';
import { segmentStart } from './postgres/timelines';

/** Adds a stretch. What touches is joined, and beyond {@link GAPS_MAX} the oldest are. Oldest first. */
export function withGap(gaps: readonly Gap[], gap: Gap, segmentBytes: bigint): Gap[] {
  const start = (name: string) => segmentStart(name, segmentBytes);
  const joined: Gap[] = [];
  for (const one of [...gaps, gap].sort((a, b) => (start(a.from) < start(b.from) ? -1 : 1))) {
    const last = joined.at(-1);
    if (last === undefined || start(one.from) > start(last.to) + segmentBytes) joined.push({ ...one });
    else if (start(one.to) >= start(last.to)) last.to = one.to;
  }
  const oldest = joined.splice(0, Math.max(1, joined.length - GAPS_MAX + 1));
  const [first, last] = [oldest[0], oldest.at(-1)];
  return first === undefined || last === undefined ? [] : [{ from: first.from, to: last.to }, ...joined];
}

/** What is left once the oldest backup begins with this file of write-ahead log. */
export function gapsFrom(gaps: readonly Gap[], walStart: string): Gap[] {
  return gaps.filter((gap) => !isBehind(gap, walStart));
}

/** True when a backup that begins with this file needs nothing of the gap. Names are compared without their timeline. */
export function isBehind(gap: Gap, walStart: string): boolean {
  return gap.to.slice(8) < walStart.slice(8);
}
