/**
 * When the pooler is paused: from the moment when a planned change would hold new connections until the next leader
 * serves. So no statement is running through the pooler when the leader's sessions are ended, and no client of the pooler
 * sees an error. An unplanned change needs no pause: its statements wait because HAProxy holds the pooler's connections.
 */

import type { ClusterState } from '../core/state/cluster';
import type { Clock, Log, Pooler } from './ports';

/**
 * How long a planned change waits for the statements and transactions that run through the pooler, ms. After that it goes
 * on; those that still run are then treated like those of every other client, and the pause goes on for all others. It is
 * below HOLD_LIMIT_MS (switchover.ts), after which the change would be called off.
 */
export const PAUSE_LIMIT_MS = 1_000;

/** `begin`: a planned change is about to cut the leader's clients off. `keep`: a pause that has begun goes on. */
type Need = 'begin' | 'keep' | 'none';

export class PoolerPause {
  /** When the present pause began, monotonic ms; null when there is none. */
  private sinceMs: number | null = null;
  /** True once the log says that this pause is not waited for any longer. */
  private told = false;

  constructor(
    private readonly pooler: Pick<Pooler, 'pause' | 'isQuiet'>,
    private readonly clock: Clock,
    private readonly log: Log,
  ) {}

  /**
   * Pauses or resumes the pooler as this state needs it. True while the actions that cut clients off have to wait for the
   * pooler, for {@link PAUSE_LIMIT_MS} at most.
   */
  holdsBack(state: ClusterState): boolean {
    const need = needOf(state);
    if (need === 'none' || (need === 'keep' && this.sinceMs === null)) {
      this.sinceMs = null;
      this.told = false;
      this.pooler.pause(false);
      return false;
    }
    const nowMs = this.clock.nowMs();
    this.sinceMs ??= nowMs;
    this.pooler.pause(true);
    if (need !== 'begin' || this.pooler.isQuiet()) return false;
    const isLate = nowMs - this.sinceMs >= PAUSE_LIMIT_MS;
    if (isLate) this.tellLate();
    return !isLate;
  }

  private tellLate(): void {
    if (this.told) return;
    this.told = true;
    const message = `a transaction through the pooler has not ended within ${PAUSE_LIMIT_MS} ms; the change goes on`;
    this.log.write('WARN', 'pooler', 'POOLER_LATE', message);
  }
}

function needOf({ activity }: ClusterState): Need {
  switch (activity.kind) {
    case 'preparing':
      return activity.plan.stage === 'hold' ? 'begin' : 'none';
    case 'handover':
      // Clients of a leader that HAProxy does not reach are cut off already: nothing would end, however long one waits.
      return activity.cutOff === true ? 'keep' : 'begin';
    case 'restart':
      return 'begin';
    case 'elect':
    case 'promote':
      return 'keep';
    case 'empty':
    case 'bootstrap':
    case 'serving':
      return 'none';
  }
}
