/** Brings this node's data to a leader's history, by rewind or by copy, and swaps a new directory in. */

import type { FailureCode } from '../contract/codes';
import { messageOf } from '../contract/errors';
import type { NodeSettings, RejoinMethod } from '../contract/messages';
import { seam } from '../contract/seam';
import { Attempts } from './attempts';
import type { KeeperState } from './keeper-state';
import { alone, type Lives } from './lives';
import { KeeperError, type Source } from './ports';
import { type Outcome, type Pass, type PursuitHost, type PursuitParts, START_POLL_MS } from './pursuit-host';
import { dataIdOf, votingLsn } from './status';

/** Replay of what a crash left: at most some checkpoints' distance of WAL, ms. */
const SETTLE_LIMIT_MS = 600_000;
const STARVED_MAX_MS = 2_000;
/** The node is copied when PostgreSQL ended this many times while it replayed the log that a crash left. */
const SETTLE_CRASHES_MAX = 3;
/** How often the order is looked at while a failed copy or rewind rests, ms. */
const RESTING_MS = 1_000;
/** So long a copy that failed under an earlier order rests at most, ms. */
const TURN_REST_MS = 30_000;

/** What the pursuit of an order works with. */
export interface OrderTools extends PursuitParts {
  readonly lives: Lives;
  readonly rejoining: Rejoining;
}

/** What belongs to one order to copy. */
export interface CopyTurn {
  /** A copy was tried under it. */
  tried: boolean;
  /** Since when it waits for the rest of an earlier order's failure; null: it has not. */
  sinceMs: number | null;
}

/** Throws MUST_COPY or REWIND_FAILED when this data may only be replaced, which is not ordered. */
export const mustBeOrdered = seam(
  async (
    method: RejoinMethod,
    { state, view }: PursuitHost,
    rewindFailed: string | null,
    stop: () => Promise<void>,
  ): Promise<void> => {
    if (!view.dataExists) throw new KeeperError('MUST_COPY', 'there is no data here');
    if (state.rewinding) {
      const reason = rewindFailed ?? 'a rewind was not finished, this data may only be replaced (S12)';
      throw new KeeperError('REWIND_FAILED', reason);
    }
    if (state.promotedByHand) {
      await stop();
      throw new KeeperError('MUST_COPY', 'PostgreSQL became a primary on this data without an order (S3)');
    }
    // A promotion that was begun and not reported as finished may not be in the ledger, so its data never streams (S3).
    if (state.promotingTerm === null || method === 'rewind') return;
    await stop();
    const reason = `a promotion of this data in term ${state.promotingTerm} was begun and is not known as finished (S3)`;
    throw new KeeperError('MUST_COPY', reason);
  },
);

/** Swaps `data.new` in; the state says so first, so that a crash in between is finished at the next start. */
export async function adopt(parts: PursuitParts, change: Pick<KeeperState, 'fresh' | 'joined'>): Promise<void> {
  await parts.host.save({
    ...change,
    directoryId: crypto.randomUUID(),
    swapPending: true,
    promotingTerm: null,
    promoted: null,
    promotedByHand: false,
    standby: false,
    rewinding: false,
  });
  await finishSwap(parts);
}

/** Also after an error in the middle: while the swap is pending, a restart would take `data.new` for a whole copy. */
export async function finishSwap({ host, postgres }: PursuitParts): Promise<void> {
  await postgres.swapIn();
  await host.save({ swapPending: false });
  await host.observe();
}

export class Rejoining {
  /** Copies and rewinds that did not end in a standby that streams. */
  readonly attempts = new Attempts();
  /** Why the last rewind failed; null after a restart. */
  rewindFailed: string | null = null;
  /** Data that was started to be settled and was not: its shutdown is clean, but it is not consistent. */
  private unsettled: string | null = null;
  /** How often in a row PostgreSQL ended by itself while the data was settled. */
  private crashesInSettle = 0;
  private readonly parts: PursuitParts;
  private readonly lives: Lives;

  constructor(parts: PursuitParts, lives: Lives) {
    this.parts = parts;
    this.lives = lives;
  }

  /** Null: the data is at the leader's history; else this pass ends with this outcome. Throws REWIND_FAILED. */
  async rewind(leader: Source, term: number, { settings, signal }: Pass): Promise<Outcome | null> {
    const { host, postgres } = this.parts;
    const key = `rewind ${leader.name} ${term}`;
    const resting = this.restsFor(key);
    if (resting !== null) return resting;
    await this.lives.stop();
    await postgres.reach(leader);
    host.note('info', 'REWIND_BEGUN', `rewinding to the history of ${leader.name}`);
    const settled = await this.settle(settings, signal);
    if (signal.aborted) return { done: false };
    if (!settled && this.crashesInSettle > 0 && this.crashesInSettle < SETTLE_CRASHES_MAX) {
      // The cause may be the settings, which the next start leaves out, or the disk.
      const message = 'PostgreSQL ended while it replayed the write-ahead log that a crash had left';
      return this.failedFor(key, 'SETTLE_FAILED', message);
    }
    if (!settled) return this.failedFor(key, 'REWIND_FAILED', 'a crash left the data without WAL that it needs');
    this.lives.activity = 'rewinding';
    await host.save({ rewinding: true });
    host.report();
    try {
      await postgres.rewindFrom(leader, signal);
    } catch (error) {
      this.lives.activity = null;
      // The marker stays, so a restart does not forget it: this data may only be replaced (S12).
      this.rewindFailed = messageOf(error);
      throw new KeeperError('REWIND_FAILED', this.rewindFailed);
    }
    await host.save({ rewinding: false, promotingTerm: null, promoted: null, joined: { leader: leader.name, term } });
    this.lives.activity = null;
    host.note('info', 'REWIND_DONE', `rewound to the history of ${leader.name}`);
    await host.observe();
    return null;
  }

  /**
   * After a crash: applies what is there as a standby that follows nobody, and shuts down. pg_rewind wants a clean shutdown;
   * its own way to one is a crash recovery that ends with a checkpoint, a record of this node's own on a timeline that is
   * the leader's. Nothing that the leader sends fits behind it, or, where the lengths agree, one of its records is
   * missing for good (S3). False: it is not consistent by what is here, so it can only be copied.
   */
  private async settle(settings: NodeSettings, signal: AbortSignal): Promise<boolean> {
    const { host, clock } = this.parts;
    const data = dataIdOf(host.view, host.state);
    if (host.view.control?.clean === true && this.unsettled !== data) return true;
    this.unsettled = data;
    await this.lives.start(alone(settings));
    const deadline = clock.nowMs() + SETTLE_LIMIT_MS;
    const settled = () => votingLsn(host.view) !== null;
    // Consistent and about to answer looks the same for a moment.
    let patienceMs = STARVED_MAX_MS;
    while (!settled() && host.view.running && patienceMs > 0 && !signal.aborted && clock.nowMs() < deadline) {
      await clock.sleep(START_POLL_MS, signal);
      await host.observe();
      if (host.view.sql === null && host.view.starved === true) patienceMs -= START_POLL_MS;
    }
    const good = settled();
    this.crashesInSettle = good || host.view.running ? 0 : this.crashesInSettle + 1;
    if (good) this.unsettled = null;
    await this.lives.stop();
    return good;
  }

  /** Null: the data is a copy of the leader's; else this pass ends with this outcome. */
  async copy(
    leader: Source,
    term: number,
    { settings, version, signal }: Pass,
    turn: CopyTurn,
    keepOld: boolean,
  ): Promise<Outcome | null> {
    const { host, postgres, clock } = this.parts;
    // With other settings a copy may fit, or be allowed to take the place of the old data.
    const key = `copy ${leader.name} ${term} ${version} ${keepOld}`;
    const resting = this.restsInTurn(key, turn);
    if (resting !== null) return resting;
    turn.tried = true;
    // A standby that cannot stream serves no reads; a primary must be gone before its successor is copied.
    await this.lives.stop();
    await postgres.reach(leader);
    // Counted for the data that is to be replaced, not for the copy; and where no copy succeeds it gets another chance.
    this.lives.forgetCrashes();
    this.lives.show('copying');
    host.note('info', 'COPY_BEGUN', `copying the data of ${leader.name}`);
    const progress = (text: string) => host.note('info', 'COPY_PROGRESS', text);
    const mayGiveUp = settings.rebuildInPlace === true && !keepOld;
    try {
      await postgres.copyFrom(leader, progress, signal, mayGiveUp ? () => this.giveUp() : undefined);
    } catch (error) {
      if (signal.aborted) throw error;
      return this.failedFor(key, error instanceof KeeperError ? error.code : 'STEP_FAILED', messageOf(error));
    }
    if (signal.aborted) {
      await postgres.dropCopy();
      return { done: false };
    }
    // A copy that went well and has to be repeated all the same rests, too.
    const repeated = `the copy of ${leader.name} did not end in a standby`;
    this.attempts.failed(key, 'COPY_REPEATED', repeated, clock.nowMs());
    await adopt(this.parts, { fresh: false, joined: { leader: leader.name, term } });
    this.lives.activity = null;
    this.rewindFailed = null;
    host.note('info', 'COPY_DONE', `copied and verified the data of ${leader.name}`);
    return null;
  }

  /** Half removed data must never be started; the marker of a rewind says just that. */
  private async giveUp(): Promise<void> {
    const { host } = this.parts;
    host.note('warn', 'OLD_DATA_REMOVED', 'the old data and the copy cannot both be here: the old data goes first');
    await host.save({ rewinding: true });
  }

  /** Reports a failed step, which is tried again after a rest that gets longer each time. */
  private failedFor(key: string, code: FailureCode, message: string): Outcome {
    const { failure, restMs } = this.attempts.failed(key, code, message, this.parts.clock.nowMs());
    const next = `attempt ${failure.tries}, the next one in ${restMs / 1_000} s`;
    this.parts.host.note('error', code, `${message} (${next})`);
    this.lives.activity = null;
    return { done: false, failure, againMs: Math.min(restMs, RESTING_MS) };
  }

  /** The outcome while a failed step rests; null: it may be tried. */
  private restsFor(key: string): Outcome | null {
    const resting = this.attempts.resting(key, this.parts.clock.nowMs());
    if (resting === null) return null;
    return { done: false, failure: resting.failure, againMs: Math.min(resting.leftMs, RESTING_MS) };
  }

  /**
   * As {@link restsFor}, but a failure under an earlier order is not this one's: it is told once it has come again. Two nodes that
   * both find no room would otherwise pass their turn to one another without end.
   */
  private restsInTurn(key: string, turn: CopyTurn): Outcome | null {
    const resting = this.restsFor(key);
    if (resting === null || turn.tried) return resting;
    const nowMs = this.parts.clock.nowMs();
    turn.sinceMs ??= nowMs;
    const leftMs = turn.sinceMs + TURN_REST_MS - nowMs;
    return leftMs > 0 ? { done: false, againMs: Math.min(leftMs, RESTING_MS) } : null;
  }
}
