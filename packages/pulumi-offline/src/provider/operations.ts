/** Manages the running operations: their time limits, and their end when the engine cancels or ends. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Limit when neither the program nor the resource type gives one; the same as the vendor's provider's. */
const DEFAULT_LIMIT_MS = 20 * 60_000;
/** Time that the clean-up may take when the engine ends, ms. */
const END_LIMIT_MS = 20_000;

export class Operations {
  private readonly cancelled = new AbortController();
  private readonly running = new Set<Promise<unknown>>();

  /**
   * Runs one operation.
   * @param timeoutSeconds the program's limit (`customTimeouts`), 0 when it gives none
   */
  async run<T>(timeoutSeconds: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const limitMs = timeoutSeconds > 0 ? timeoutSeconds * 1000 : DEFAULT_LIMIT_MS;
    const timer = new AbortController();
    const timeout = setTimeout(() => timer.abort(new Error(`not done within ${limitMs / 1000} s`)), limitMs);
    const running = work(AbortSignal.any([this.cancelled.signal, timer.signal]));
    this.running.add(running);
    try {
      return await running;
    } finally {
      clearTimeout(timeout);
      this.running.delete(running);
    }
  }

  cancel(): void {
    this.cancelled.abort(new Error('cancelled'));
  }

  /** Cancels all operations. Settles when they have cleaned up, or at the limit. */
  async end(): Promise<void> {
    this.cancel();
    if (this.running.size === 0) return;
    await Promise.race([Promise.allSettled(this.running), sleep(END_LIMIT_MS)]);
  }
}

/** Waits for `promise`, but no longer than the signal allows. @throws the signal's reason */
export function within<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  signal.throwIfAborted();
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Like {@link within}, for a call that creates an object. An object that is created too late is removed. */
export function withinOrUndo<T>(
  signal: AbortSignal,
  made: Promise<T>,
  undo: (late: T) => Promise<unknown>,
): Promise<T> {
  return within(signal, made).catch((error) => {
    if (signal.aborted) made.then(undo).catch(() => undefined);
    throw error;
  });
}

/** Pauses between two checks. @throws the signal's reason */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await within(signal, sleep(ms));
}
