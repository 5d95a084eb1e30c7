/** Counts failed attempts of one step, and tells how long to rest before the next one. */
import type { FailureCode } from '../contract/codes';
import type { Failure } from '../contract/messages';

/** The rest after the first failure and the longest one, ms; it doubles with each failure. */
const [REST_MIN_MS, REST_MAX_MS] = [1_000, 300_000];

export class Attempts {
  private key = '';
  private tries = 0;
  private untilMs = 0;
  private failure: Failure | null = null;

  /** The rest that is left, ms, and the failure to report meanwhile; null: it may be tried. Another `key` is another step. */
  resting(key: string, nowMs: number): { failure: Failure; leftMs: number } | null {
    const { failure, untilMs } = this;
    return key === this.key && failure !== null && nowMs < untilMs ? { failure, leftMs: untilMs - nowMs } : null;
  }

  /** Notes a failed attempt. Returns the failure with its number, and the rest that begins now, ms. */
  failed(key: string, code: FailureCode, message: string, nowMs: number): { failure: Failure; restMs: number } {
    this.tries = key === this.key ? this.tries + 1 : 1;
    this.key = key;
    const restMs = Math.min(REST_MAX_MS, REST_MIN_MS * 2 ** Math.min(20, this.tries - 1));
    this.failure = { code, message, tries: this.tries };
    this.untilMs = nowMs + restMs;
    return { failure: this.failure, restMs };
  }

  /** The step succeeded: the count begins anew. */
  forget(): void {
    this.key = '';
    this.tries = 0;
    this.failure = null;
  }
}
