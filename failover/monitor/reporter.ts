/** Puts decisions and failures of the loop into the log, each once. */

import { messageOf } from '../contract/errors';
import type { Decision } from '../core/state/cluster';
import type { Log } from './ports';

/** All is well for this long before it is told, ms. */
const STEADY_MS = 1_000;

export class Reporter {
  private readonly log: Log;
  /** The newest line is of this decision; null: of something else. */
  private decision: string | null = null;
  /** The newest line is of this failure; null: of something else. */
  private failure: string | null = null;
  private steady: { words: string; sinceMs: number } | null = null;

  constructor(log: Log) {
    this.log = log;
  }

  /**
   * A line whenever the decision changes; a growing number of milliseconds is no change. That all is well is told when it
   * has been so for a moment, because small things come and go.
   */
  decided({ code, level, reason, rule, state }: Decision, nowMs: number): void {
    const words = `${code} ${reason.replaceAll(/\d+ ms/g, '')}`;
    if (code !== 'STEADY') this.steady = null;
    else if (this.steady?.words !== words) this.steady = { words, sinceMs: nowMs };
    if (this.steady !== null && nowMs - this.steady.sinceMs < STEADY_MS) return;
    if (words === this.decision) return;
    this.decision = words;
    this.failure = null;
    this.log.write(level, state.leader ?? 'cluster', code, reason, rule);
  }

  /** A cycle failed. The decision that comes next is told again, because it shows that cycles succeed again. */
  failed(error: unknown): void {
    const words = messageOf(error);
    if (words !== this.failure) this.log.write('ERROR', 'monitor', 'CYCLE_FAILED', words);
    this.failure = words;
    this.decision = null;
  }
}
