/**
 * A clock that counts only the time in which this process ran. A process may stand still: paused, starved, or on a
 * suspended machine. PostgreSQL may have answered meanwhile, so such time says nothing about PostgreSQL (S11). Pure.
 */
import type { Clock } from '../ports';

/** Longest time between two readings of an {@link OwnTime} that is in use, ms. */
export const TICK_MS = 100;
/** A process that did not read the clock for longer than this stood still, ms. */
const GAP_MS = 500;

export class OwnTime {
  private seenMs: number;
  private stoodMs = 0;

  constructor(private readonly clock: Pick<Clock, 'nowMs'>) {
    this.seenMs = clock.nowMs();
  }

  /** The clock's time minus the time in which the process stood still, ms. It never decreases. */
  nowMs(): number {
    const nowMs = this.clock.nowMs();
    if (nowMs - this.seenMs > GAP_MS) this.stoodMs += nowMs - this.seenMs;
    this.seenMs = nowMs;
    return nowMs - this.stoodMs;
  }
}
