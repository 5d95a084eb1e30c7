/**
 * When the pooler is paused: from the moment when a planned change would hold new connections until the next leader
 * serves. So no statement is running through the pooler when the leader's sessions are ended, and no client of the
 * pooler sees an error. An unplanned change needs no pause: its statements wait because HAProxy holds the pooler's
 * connections.
 *
 * And from the moment when HAProxy announces its stop until it leads to the leader again.
 */

import type { ClusterState } from '../core/state/cluster';
import type { Clock, Log, Pooler, Router } from './ports';

/**
 * How long a planned change waits for the statements and transactions that run through the pooler, ms. After that it
 * goes on; those that still run are then treated like those of every other client, and the pause goes on for all
 * others. It is below HOLD_LIMIT_MS (switchover.ts), after which the change would be called off.
 */
export const PAUSE_LIMIT_MS = 1_000;

/** A HAProxy that does not come back for longer than this is not waited for in a pause, ms. */
export const AWAY_LIMIT_MS = 20_000;

/** `begin`: a planned change is about to cut the leader's clients off. `keep`: a pause that has begun goes on. */
type Need = 'begin' | 'keep' | 'none';

export class PoolerPause {
  /** When the present pause began, monotonic ms; null when there is none. */
  private sinceMs: number | null = null;
  /** True once the log says that this pause is not waited for any longer. */
  private told = false;
  /** HAProxy's announced stop: when it was seen, and the worker of then; null when there is none. */
  private away: { sinceMs: number; epoch: string | null } | null = null;

  constructor(
    private readonly pooler: Pick<Pooler, 'pause' | 'isQuiet' | 'haproxyLeaves' | 'letHaproxyGo'>,
    private readonly router: Pick<Router, 'view'>,
    private readonly clock: Clock,
    private readonly log: Log,
  ) {}

  /**
   * Pauses or resumes the pooler as this state needs it. True while the actions that cut clients off have to wait for
   * the pooler, for {@link PAUSE_LIMIT_MS} at most.
   */
  holdsBack(state: ClusterState): boolean {
    const nowMs = this.clock.nowMs();
    const isAway = this.isAway(nowMs);
    const need = needOf(state);
    if (need === 'none' || (need === 'keep' && this.sinceMs === null)) {
      this.sinceMs = null;
      this.told = false;
      this.pooler.pause(isAway);
      return false;
    }
    this.sinceMs ??= nowMs;
    this.pooler.pause(true);
    if (need !== 'begin' || this.pooler.isQuiet()) return false;
    const isLate = nowMs - this.sinceMs >= PAUSE_LIMIT_MS;
    if (isLate) this.tellLate();
    return !isLate;
  }

  /**
   * True from HAProxy's announcement until its next worker leads somewhere. Lets HAProxy go when the pooler is paused.
   */
  private isAway(nowMs: number): boolean {
    const { epoch, reachable, slot } = this.router.view();
    if (this.pooler.haproxyLeaves()) {
      this.away ??= { sinceMs: nowMs, epoch };
      this.pooler.pause(true);
      if (this.pooler.isQuiet()) this.pooler.letHaproxyGo();
    }
    if (this.away === null) return false;
    const isBack = reachable && slot !== null && epoch !== this.away.epoch;
    if (isBack || nowMs - this.away.sinceMs >= AWAY_LIMIT_MS) this.away = null;
    return this.away !== null;
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
    case 'restore':
      return activity.stage === 'stop' ? 'begin' : 'keep';
    case 'elect':
    case 'promote':
      return 'keep';
    case 'empty':
    case 'bootstrap':
    case 'serving':
      return 'none';
  }
}
