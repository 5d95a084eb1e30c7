/** Writes the loop's decisions and failures into the log, each once. */

import { messageOf } from '../contract/errors';
import type { Decision } from '../core/state/cluster';
import type { Log } from './ports';

/** The steady state is logged only after it has lasted this long, ms. */
const STEADY_MS = 1_000;

export class Reporter {
  /** The decision that the newest log line is about; null when it is about something else. */
  private decision: string | null = null;
  /** The failure that the newest log line is about; null when it is about something else. */
  private failure: string | null = null;
  /** The steady decision, and since when it lasts; null during any other decision. */
  private steady: { text: string; sinceMs: number } | null = null;

  constructor(private readonly log: Log) {}

  /**
   * Writes a line when the decision changes; a new number of milliseconds alone is no change. The steady state is
   * written only after a moment, so that it is not written between two short disturbances.
   */
  decided({ code, level, reason, rule, state }: Decision, nowMs: number): void {
    const text = `${code} ${reason.replaceAll(/\d+ ms/g, '')}`;
    if (code !== 'STEADY') this.steady = null;
    else if (this.steady?.text !== text) this.steady = { text, sinceMs: nowMs };
    if (this.steady !== null && nowMs - this.steady.sinceMs < STEADY_MS) return;
    if (text === this.decision) return;
    this.decision = text;
    this.failure = null;
    this.log.write(level, state.leader ?? 'cluster', code, reason, rule);
  }

  /** Writes that a cycle failed. The next decision is written again, to show that cycles succeed again. */
  failed(error: unknown): void {
    const message = messageOf(error);
    if (message !== this.failure) this.log.write('ERROR', 'monitor', 'CYCLE_FAILED', message);
    this.failure = message;
    this.decision = null;
  }
}
