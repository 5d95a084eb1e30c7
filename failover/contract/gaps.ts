/**
 * Which backups a gap in the write-ahead log concerns. A gap is listed as long as a backup is kept that begins before
 * its end, because such a backup cannot be restored beyond it. Pure.
 */
import type { Gap } from './backups';

/** What is left once the oldest backup begins with this file of write-ahead log. */
export function gapsFrom(gaps: readonly Gap[], walStart: string): Gap[] {
  return gaps.filter((gap) => !isBehind(gap, walStart));
}

/**
 * True when a backup that begins with this file needs nothing of the gap. Names are compared without their timeline.
 */
export function isBehind(gap: Gap, walStart: string): boolean {
  return gap.to.slice(8) < walStart.slice(8);
}
