/** Waiting with a limit. */
import { TIMEOUTS } from '../timeouts';

/**
 * Looks again and again until `look` gives something, and returns it.
 * @throws Error with `what` and the last failure when `limitMs` has passed.
 */
export async function waitFor<T>(what: string, limitMs: number, look: () => Promise<T | null | undefined>): Promise<T> {
  const endMs = performance.now() + limitMs;
  let last: unknown = null;
  while (performance.now() < endMs) {
    try {
      const found = await look();
      if (found !== null && found !== undefined) return found;
      last = null;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, TIMEOUTS.poll));
  }
  const words = last instanceof Error ? `: ${last.message}` : '';
  throw new Error(`waited ${limitMs / 1000} s in vain for ${what}${words}`);
}
