/**
 * Limits the processor time that HTTP requests take from the loop. Both run in one process, and a loop that runs too
 * late drops its observations, as after a stall (S11).
 */

/** Maximum number of requests that are answered in a second, and of those that are answered without waiting. */
export const PER_SECOND = 200;
export const AT_ONCE = 10;
/**
 * Maximum number of waiting requests. At {@link PER_SECOND} the last one waits 1.3 s, and clients give up after 5 s.
 */
export const WAITING_MAX = 256;
const LOOK_MS = 5;

/**
 * Lets requests through one after the other, no faster than the loop can afford. A burst of requests waits instead of
 * failing.
 */
export class Turnstile {
  private readonly waiting: ((mayPass: true) => void)[] = [];
  private free = AT_ONCE;
  private countedAtMs: number;
  /** True while a timer is set because requests wait. */
  private looks = false;

  constructor(private readonly nowMs: () => number) {
    this.countedAtMs = nowMs();
  }

  /** Resolves with true when it is this request's turn, and with false at once when too many requests wait. */
  async pass(): Promise<boolean> {
    if (this.waiting.length >= WAITING_MAX) return false;
    return new Promise<boolean>((resolve) => {
      this.waiting.push(resolve);
      if (!this.looks) this.look();
    });
  }

  private look(): void {
    const nowMs = this.nowMs();
    this.free = Math.min(AT_ONCE, this.free + ((nowMs - this.countedAtMs) * PER_SECOND) / 1_000);
    this.countedAtMs = nowMs;
    while (this.free >= 1 && this.waiting.length > 0) {
      this.free -= 1;
      this.waiting.shift()?.(true);
    }
    this.looks = this.waiting.length > 0;
    if (this.looks) setTimeout(() => this.look(), LOOK_MS);
  }
}

/** The result of `make`, made anew at most every `everyMs`, however often it is requested. A failure is not kept. */
export function keptFor<T>(everyMs: number, nowMs: () => number, make: () => Promise<T>): () => Promise<T> {
  let kept: { value: Promise<T>; atMs: number } | null = null;
  return () => {
    if (kept !== null && nowMs() - kept.atMs < everyMs) return kept.value;
    const made = { value: make(), atMs: nowMs() };
    kept = made;
    made.value.catch(() => {
      if (kept === made) kept = null;
    });
    return made.value;
  };
}
