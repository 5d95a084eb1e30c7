/** What page and command line say of the tested restores of one place. Pure. */
import type { RestoreTestStatus } from './api';

/** `words`: half a sentence. `failed`: sentences for an alarm. `time`: prints a moment. */
export function restoreTestWords(
  { last, running, next, old, problem }: RestoreTestStatus,
  time: (at: string) => string,
): { readonly words: string; readonly failed: string[] } {
  const took = last === null ? 0 : Math.round(last.tookMs / 1_000);
  const newest = last?.newest == null ? '' : `, newest commit ${time(last.newest)}`;
  const ended =
    last === null
      ? 'none yet'
      : `${last.result}, ${time(last.ended)}, ${last.label ?? 'no backup'}${newest} (${took} s)`;
  const waits = problem ?? (next === null ? null : `the next one ${time(next)}`);
  const now = running === null ? waits : `one runs since ${time(running.since)}: ${running.step}`;
  return {
    words: [ended, ...(now === null ? [] : [now])].join('; '),
    failed: [
      ...(last?.result === 'failed' ? [`The last test of a restore failed: ${last.message}`] : []),
      ...(old === null ? [] : [`No restore was tested with success for two intervals: ${old}.`]),
    ],
  };
}
