/**
 * One timer for both pings and cycles, because at rest most of the monitor's processor time is spent on waking up. The
 * timer also notices that the process stood still (it was paused or got no CPU, or the machine was suspended). After
 * that no earlier observation counts (S11).
 */
import { PING_INTERVAL_MS, PINGS_A_STATUS } from '../contract/messages';
import type { Clock, Events, Keepers, Log } from './ports';

/** Interval of the timer during a change or disturbance, ms. At rest the timer runs as often as pings are sent. */
const TICK_MS = PING_INTERVAL_MS / 2;
/**
 * A ping is due when the last one is older than this, ms. It is below PING_INTERVAL_MS, because timers may fire early.
 */
const PING_DUE_MS = 1.5 * TICK_MS;
/** After a gap longer than this the process counts as having stood still (S11), ms. */
const GAP_MS = 500;

export class Ticker {
  private timer: NodeJS.Timeout | undefined;
  /** When the timer last ran, monotonic ms. */
  private tickedMs: number;
  private pingedMs = Number.NEGATIVE_INFINITY;
  private pings = 0;
  /** True when the last cycle found nothing to do. */
  calm = false;
  /** Number of stalls so far. */
  stalls = 0;

  /** `stoodStill` is called at the moment when a stall is noticed, before any other code goes on. */
  constructor(
    private readonly clock: Clock,
    private readonly log: Log,
    private readonly keepers: Pick<Keepers, 'ping'>,
    private readonly loop: Pick<Events, 'wake'> & { stoodStill(nowMs: number): void },
  ) {
    this.tickedMs = clock.nowMs();
  }

  /** Begins to tick. The time before that is no stall. */
  start(): void {
    this.tickedMs = this.clock.nowMs();
    this.tickAfter(TICK_MS);
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  /** Called after each cycle; `calm` when it found nothing to do. */
  cycled(calm: boolean): void {
    if (this.calm && !calm) this.tickAfter(TICK_MS);
    this.calm = calm;
  }

  /** Must be called wherever code goes on after waiting, because after a stall that code may run before the timer. */
  notice(): void {
    const nowMs = this.clock.nowMs();
    const stillMs = Math.round(nowMs - this.tickedMs);
    if (stillMs <= GAP_MS + TICK_MS) return;
    const message = `the monitor stood still for ${stillMs} ms and looks at everything anew`;
    this.log.write('WARN', 'monitor', 'STALLED', message);
    this.tickedMs = nowMs;
    this.stalls += 1;
    this.loop.stoodStill(nowMs);
  }

  private tickAfter(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tick(), ms);
  }

  private tick(): void {
    this.notice();
    const nowMs = this.clock.nowMs();
    this.tickedMs = nowMs;
    let well = this.calm;
    if (nowMs - this.pingedMs > PING_DUE_MS) {
      this.pingedMs = nowMs;
      this.pings += 1;
      well = this.keepers.ping(this.pings) && well;
    }
    this.tickAfter(well ? PING_INTERVAL_MS : TICK_MS);
    if (!well || this.pings % PINGS_A_STATUS === 0) this.loop.wake();
  }
}
