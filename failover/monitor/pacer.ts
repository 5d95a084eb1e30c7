/** One timer for both pings and cycles: at rest, most of the monitor's processor time goes into waking up. */
import { PING_INTERVAL_MS, PINGS_A_STATUS } from '../contract/messages';
import { type StallGuard, TICK_MS } from './stall';

/** A ping is due when the last one is older than this, ms. Timers fire late, and sometimes a little early. */
const PING_DUE_MS = 1.5 * TICK_MS;

interface PacerParts {
  guard: Pick<StallGuard, 'start' | 'tick'>;
  /** Asks every keeper for a sign of life; see {@link Keepers.ping}. */
  ping: (n: number) => boolean;
  /** Called when a cycle is due. */
  wake: () => void;
}

export class Pacer {
  private ticker: NodeJS.Timeout | undefined;
  private pingedMs = Number.NEGATIVE_INFINITY;
  private pings = 0;
  /** True when the last cycle found nothing to do. */
  calm = false;

  constructor(private readonly parts: PacerParts) {}

  start(): void {
    this.parts.guard.start();
    this.tickAfter(TICK_MS);
  }

  stop(): void {
    clearTimeout(this.ticker);
  }

  /** Called after each cycle; `calm` when it found nothing to do. */
  cycled(calm: boolean): void {
    if (this.calm && !calm) this.tickAfter(TICK_MS);
    this.calm = calm;
  }

  private tickAfter(ms: number): void {
    clearTimeout(this.ticker);
    this.ticker = setTimeout(() => this.tick(), ms);
  }

  private tick(): void {
    const { guard, ping, wake } = this.parts;
    const nowMs = guard.tick();
    let well = this.calm;
    if (nowMs - this.pingedMs > PING_DUE_MS) {
      this.pingedMs = nowMs;
      this.pings += 1;
      well = ping(this.pings) && well;
    }
    this.tickAfter(well ? PING_INTERVAL_MS : TICK_MS);
    if (!well || this.pings % PINGS_A_STATUS === 0) wake();
  }
}
