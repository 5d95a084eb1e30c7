/**
 * Posts each finished change of leader as JSON (api.ts, `Failover`, with the stack's name) to the address in the
 * config. It works beside the loop, with a bounded queue, a deadline for each call and a bounded number of attempts.
 * The address may hold a secret and is never shown.
 */

import { setTimeout as delay } from 'node:timers/promises';
import type { Failover } from '../../contract/api';
import type { NoteCode } from '../../contract/codes';
import type { Log } from '../ports';

const QUEUE_MAX = 20;
const CALL_LIMIT_MS = 5_000;
const FIRST_REST_MS = 1_000;
const REST_MAX_MS = 60_000;
/** Maximum number of attempts: with doubling rests about ten minutes. */
const ATTEMPTS_MAX = 15;

export class Notifier {
  private queue: Failover[] = [];
  private working: Promise<void> | null = null;

  constructor(
    private readonly url: string,
    private readonly stack: string,
    private readonly log: Log,
    private readonly post: (url: string, init: RequestInit) => Promise<{ ok: boolean; status: number }> = fetch,
    /** @default a timer that keeps no process alive */
    private readonly sleep = (ms: number): Promise<void> => delay(ms, undefined, { ref: false }),
  ) {}

  /** Queues a change and returns at once. The same change is posted again when its last step is added. */
  failover(failover: Failover): void {
    this.queue.push(failover);
    if (this.queue.length > QUEUE_MAX) {
      this.queue.shift();
      this.tell('WARN', 'NOTIFY_DROPPED', 'the webhook does not keep up: the oldest notification was dropped');
    }
    this.working ??= this.work().finally(() => {
      this.working = null;
    });
  }

  /** Resolves when no change waits any more. */
  async idle(): Promise<void> {
    await this.working;
  }

  private async work(): Promise<void> {
    for (let next = this.queue.shift(); next !== undefined; next = this.queue.shift()) await this.deliver(next);
  }

  private async deliver(failover: Failover): Promise<void> {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      const problem = await this.once(failover);
      if (problem === null) return;
      if (attempt === 1)
        this.tell('WARN', 'NOTIFY_FAILED', `the webhook did not take a notification (${problem}); it is tried again`);
      if (attempt < ATTEMPTS_MAX) await this.sleep(Math.min(FIRST_REST_MS * 2 ** (attempt - 1), REST_MAX_MS));
    }
    this.tell('ERROR', 'NOTIFY_GIVEN_UP', `the webhook did not take the notification of term ${failover.term}`);
  }

  /** Makes one attempt. Returns what went wrong, without the address; null when the change was accepted. */
  private async once(failover: Failover): Promise<string | null> {
    try {
      const answer = await this.post(this.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'user-agent': 'postgres-failover' },
        body: JSON.stringify({ stack: this.stack, ...failover }),
        redirect: 'error',
        signal: AbortSignal.timeout(CALL_LIMIT_MS),
      });
      return answer.ok ? null : `status ${answer.status}`;
    } catch (error) {
      return error instanceof Error ? error.name : 'no answer';
    }
  }

  private tell(level: 'WARN' | 'ERROR', code: NoteCode, message: string): void {
    this.log.write(level, 'monitor', code, message);
  }
}
