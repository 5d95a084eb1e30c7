/** Notices that the process stood still: after that nothing that was seen before counts (S11). */
import { PING_INTERVAL_MS } from '../contract/messages';
import type { Clock, Log } from './ports';

/** The ticker runs at least this often, ms; as often as statuses come while all is well and every keeper answers. */
export const TICK_MS = PING_INTERVAL_MS / 2;
/** A loop that stood still for longer than this trusts nothing that it saw before (S11), ms. */
const GAP_MS = 500;

export class StallGuard {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly onStall: (nowMs: number) => void;
  /** When the ticker ran last, ms. */
  private tickedMs: number;
  private stalls = 0;

  /** `onStall` is called in the moment in which a stall is noticed, before anything goes on. */
  constructor(clock: Clock, log: Log, onStall: (nowMs: number) => void) {
    this.clock = clock;
    this.log = log;
    this.onStall = onStall;
    this.tickedMs = clock.nowMs();
  }

  /** How often the process was found to have stood still. */
  get count(): number {
    return this.stalls;
  }

  /** The ticker begins: how long that took is no stall. */
  start(): void {
    this.tickedMs = this.clock.nowMs();
  }

  /** The ticker runs; returns the time, ms. */
  tick(): number {
    this.notice();
    this.start();
    return this.tickedMs;
  }

  /** To be called wherever something goes on after waiting, because what wakes first after a stall need not be the ticker. */
  notice(): void {
    const nowMs = this.clock.nowMs();
    const stillMs = Math.round(nowMs - this.tickedMs);
    if (stillMs <= GAP_MS + TICK_MS) return;
    const words = `the monitor stood still for ${stillMs} ms and looks at everything anew`;
    this.log.write('WARN', 'monitor', 'STALLED', words);
    this.tickedMs = nowMs;
    this.stalls += 1;
    this.onStall(nowMs);
  }
}
