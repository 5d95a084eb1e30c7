/** Waits that have a time limit. */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../failover/contract/errors';
import { TIMEOUTS } from '../timeouts';

type Found<T> = Exclude<T, null | undefined | false>;

/**
 * Calls `look` every `pollMs` until it returns something other than null, undefined and false, and returns that. A look
 * that throws counts as one that found nothing.
 * @throws Error with `what` and the last exception when `limitMs` has passed.
 */
export async function waitFor<T>(
  what: string,
  limitMs: number,
  look: () => T | Promise<T>,
  pollMs: number = TIMEOUTS.poll,
): Promise<Found<T>> {
  const endMs = performance.now() + limitMs;
  let last: unknown = null;
  for (;;) {
    try {
      const found = await look();
      if (found !== null && found !== undefined && found !== false) return found as Found<T>;
      last = null;
    } catch (error) {
      last = error;
    }
    if (performance.now() > endMs) break;
    await sleep(pollMs);
  }
  throw new Error(`waited ${limitMs / 1000} s in vain for ${what}${last === null ? '' : `: ${messageOf(last)}`}`);
}

/** The promise's result. @throws Error with `what` when the promise is not settled within `limitMs`. */
export function within<T>(what: string, limitMs: number, promise: Promise<T>): Promise<T> {
  const late = sleep(limitMs, undefined, { ref: false }).then(() => {
    throw new Error(`waited ${limitMs / 1000} s in vain for ${what}`);
  });
  return Promise.race([promise, late]);
}

/**
 * Time since the epoch, ms, with fractions. Times of different processes can be compared. Within one process the time
 * never goes back.
 */
export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}
