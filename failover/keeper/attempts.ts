/** Counts the failed attempts of one step and says how long to rest before the next attempt. */
import type { FailureCode } from '../contract/codes';
import type { Failure } from '../contract/messages';

/** Shortest and longest rest after a failure, ms. The rest doubles with each failure. */
const [REST_MIN_MS, REST_MAX_MS] = [1_000, 300_000];

export class Attempts {
  private key = '';
  private tries = 0;
  private untilMs = 0;
  private failure: Failure | null = null;

  /**
   * Returns the rest that is left, ms, and the failure to report meanwhile; null when the step may be tried now. A
   * different `key` means a different step, which does not rest.
   */
  resting(key: string, nowMs: number): { failure: Failure; leftMs: number } | null {
    const { failure, untilMs } = this;
    return key === this.key && failure !== null && nowMs < untilMs ? { failure, leftMs: untilMs - nowMs } : null;
  }

  /**
   * Records a failed attempt. Returns the failure with its attempt number, and the length of the rest that begins now,
   * ms.
   */
  failed(key: string, code: FailureCode, message: string, nowMs: number): { failure: Failure; restMs: number } {
    this.tries = key === this.key ? this.tries + 1 : 1;
    this.key = key;
    const restMs = Math.min(REST_MAX_MS, REST_MIN_MS * 2 ** Math.min(20, this.tries - 1));
    this.failure = { code, message, tries: this.tries };
    this.untilMs = nowMs + restMs;
    return { failure: this.failure, restMs };
  }

  /** The step succeeded, so the count starts again from zero. */
  forget(): void {
    this.key = '';
    this.tries = 0;
    this.failure = null;
  }
}
