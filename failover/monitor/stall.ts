/**
 * Notices that the process stood still (paused, starved, or a suspended machine). After that no earlier observation
 * counts (S11).
 */
import { PING_INTERVAL_MS } from '../contract/messages';
import type { Clock, Log } from './ports';

/** Interval of the ticker while something is going on, ms. At rest it runs as often as pings are sent. */
export const TICK_MS = PING_INTERVAL_MS / 2;
/** After a gap longer than this the process counts as having stood still (S11), ms. */
const GAP_MS = 500;

export class StallGuard {
  /** When the ticker last ran, monotonic ms. */
  private tickedMs: number;
  /** Number of stalls so far. */
  count = 0;

  /** `onStall` is called at the moment when a stall is noticed, before any other code goes on. */
  constructor(
    private readonly clock: Clock,
    private readonly log: Log,
    private readonly onStall: (nowMs: number) => void,
  ) {
    this.tickedMs = clock.nowMs();
  }

  /** Called when the ticker begins. The time before that is no stall. */
  start(): void {
    this.tickedMs = this.clock.nowMs();
  }

  /** Called by the ticker. Returns the time, monotonic ms. */
  tick(): number {
    this.notice();
    this.start();
    return this.tickedMs;
  }

  /**
   * Must be called wherever code goes on after waiting, because other code than the ticker may run first after a stall.
   */
  notice(): void {
    const nowMs = this.clock.nowMs();
    const stillMs = Math.round(nowMs - this.tickedMs);
    if (stillMs <= GAP_MS + TICK_MS) return;
    const message = `the monitor stood still for ${stillMs} ms and looks at everything anew`;
    this.log.write('WARN', 'monitor', 'STALLED', message);
    this.tickedMs = nowMs;
    this.count += 1;
    this.onStall(nowMs);
  }
}
