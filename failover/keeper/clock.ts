/** The real clock. It is monotonic, so a change of the machine's time affects no decision (S11). */
import type { Clock } from './ports';

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  sleep,
};

/**
 * Not the timer of `node:timers/promises`: it rejects when it is aborted, and to make an error several times a second
 * costs a keeper at rest much of its processor time.
 */
function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener('abort', end);
  });
}
