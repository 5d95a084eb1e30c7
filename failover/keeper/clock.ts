/** The real clock. It is monotonic, so a change of the machine's time affects no decision (S11). */
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from './ports';

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  sleep: (ms, signal) => delay(ms, undefined, { signal }).catch(() => undefined),
};
