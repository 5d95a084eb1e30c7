/** The list of the stretches of write-ahead log that are in no backup. Pure. */
import { GAPS_MAX, type Gap } from '../../contract/backups';
import { segmentStart } from './timelines';

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
