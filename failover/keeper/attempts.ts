/** Counts what was tried in vain and how long to rest before it is tried again. */

export interface Failure {
  code: string;
  message: string;
  tries: number;
}

/** Doubles from one to the other, ms. */
const [REST_MIN_MS, REST_MAX_MS] = [1_000, 300_000];

export class Attempts {
  private key = '';
  private tries = 0;
  private untilMs = 0;
  private failure: Failure | null = null;

  /** How long to rest still, ms, and the failure meanwhile; null: it may be tried. Another `key` begins anew. */
  resting(key: string, nowMs: number): { failure: Failure; leftMs: number } | null {
    const { failure, untilMs } = this;
    return key === this.key && failure !== null && nowMs < untilMs ? { failure, leftMs: untilMs - nowMs } : null;
  }

  /** It failed: gives the failure and the rest that begins now, ms. */
  failed(key: string, code: string, message: string, nowMs: number): { failure: Failure; restMs: number } {
    this.tries = key === this.key ? this.tries + 1 : 1;
    this.key = key;
    const restMs = Math.min(REST_MAX_MS, REST_MIN_MS * 2 ** Math.min(20, this.tries - 1));
    this.failure = { code, message, tries: this.tries };
    this.untilMs = nowMs + restMs;
    return { failure: this.failure, restMs };
  }

  /** It went well. */
  forget(): void {
    this.key = '';
    this.tries = 0;
    this.failure = null;
  }
}
