/**
 * Time in which this process ran. What was asked of PostgreSQL before the process itself stood still (paused, starved, a
 * suspended machine) may have been answered meanwhile, so that time says nothing of PostgreSQL (S11). Pure.
 */
import type { Clock } from '../ports';

/** How often {@link OwnTime.tick} is due, ms. */
export const TICK_MS = 100;
/** A process that did not look at the clock for longer than this stood still, ms. */
const GAP_MS = 500;

export class OwnTime {
  private readonly clock: Pick<Clock, 'nowMs'>;
  private seenMs: number;
  private stoodMs = 0;

  constructor(clock: Pick<Clock, 'nowMs'>) {
    this.clock = clock;
    this.seenMs = clock.nowMs();
  }

  /** To be called every {@link TICK_MS} while the time is in use. */
  tick(): void {
    this.nowMs();
  }

  /** Time of the clock less the time in which the process stood still, ms. It never falls. */
  nowMs(): number {
    const nowMs = this.clock.nowMs();
    if (nowMs - this.seenMs > GAP_MS) this.stoodMs += nowMs - this.seenMs;
    this.seenMs = nowMs;
    return nowMs - this.stoodMs;
  }
}
