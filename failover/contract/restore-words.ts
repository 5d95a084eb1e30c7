/** Sentences about a restore in place, for the page and the command line. Pure. */
import type { ClusterStatus } from './api';

/** An empty list when there was no restore. `sized`: prints a size in bytes. */
export function restoreWords(restore: ClusterStatus['restore'], sized: (bytes: number) => string): string[] {
  if (restore === undefined) return [];
  const { underWay, kept, last } = restore;
  const words: string[] = [];
  if (underWay !== null) words.push(`Restore in place: ${underWay}; clients wait.`);
  if (kept !== null) {
    const size = kept.bytes === null ? '' : ` (${sized(kept.bytes)})`;
    words.push(
      `Restored in place to ${kept.to}; the data from before are kept on ${kept.node}${size}: restore --confirm removes them, restore --undo brings them back.`,
    );
  }
  if (last !== null && !last.done) words.push(`The last restore in place failed: ${last.message}`);
  return words;
}
