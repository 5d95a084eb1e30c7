/**
 * When this keeper sent its answers to the monitor's pings. A lease is counted from there, so that a ping which waited
 * in a buffer gives no time.
 */

/** Most answers that are remembered; the monitor sends ten pings a second. */
const ANSWERS_MAX = 64;

export class SentAnswers {
  /** By the ping's number, boot time, ms. */
  private readonly sentMs = new Map<number, number>();

  /** The ping with this number is answered now. */
  add(n: number, nowMs: number): void {
    this.sentMs.set(n, nowMs);
    const oldest = this.sentMs.keys().next();
    if (this.sentMs.size > ANSWERS_MAX && oldest.done !== true) this.sentMs.delete(oldest.value);
  }

  /** When that answer was sent, ms; undefined: not known. */
  at(n: number): number | undefined {
    return this.sentMs.get(n);
  }

  /** A new connection counts its pings anew. */
  clear(): void {
    this.sentMs.clear();
  }
}
