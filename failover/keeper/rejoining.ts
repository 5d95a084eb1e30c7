/** Brings this node's data to a leader's history, by a rewind or a copy, and replaces the data directory by a copy. */

import type { FailureCode } from '../contract/codes';
import { messageOf } from '../contract/errors';
import type { Failure, NodeSettings, RejoinMethod, Target } from '../contract/messages';
import { seam } from '../contract/seam';
import { type AcceptedOrder, type KeeperState, NEW_DATA } from './keeper-state';
import { alone, type Lives } from './lives';
import { KeeperError, type Source, type View } from './ports';
import { type Outcome, type Pass, type PursuitHost, type PursuitParts, START_POLL_MS } from './pursuit-host';
import { dataIdOf, votingLsn } from './status';

/** Limit of the replay after a crash, ms. At most the WAL of a few checkpoint distances has to be replayed. */
const SETTLE_LIMIT_MS = 600_000;
const STARVED_MAX_MS = 2_000;
/** A node is copied after PostgreSQL ended this many times while it replayed the WAL that a crash had left. */
const SETTLE_CRASHES_MAX = 3;
/** Interval at which the order is looked at while a failed copy or rewind rests, ms. */
const RESTING_MS = 1_000;
/** Longest rest of a copy that failed under an earlier order, ms. */
const TURN_REST_MS = 30_000;

/** The objects that the pursuit of an order works with. */
export interface OrderTools extends PursuitParts {
  readonly lives: Lives;
  readonly rejoining: Rejoining;
}

/** Carries out an order for one kind of target, and holds the order's state from its first pass to its last. */
export abstract class TargetPursuit<Kind extends Target['kind']> {
  constructor(
    protected readonly tools: OrderTools,
    protected readonly order: AcceptedOrder,
    protected readonly target: Extract<Target, { kind: Kind }>,
  ) {}

  abstract pass(pass: Pass): Promise<Outcome>;
}

/** State of one order to copy. */
export interface CopyTurn {
  /** A copy was tried under this order. */
  tried: boolean;
  /** Time since which this order waits for the rest that an earlier order's failure caused; null: it does not. */
  sinceMs: number | null;
}

/**
 * Stores that PostgreSQL became a primary without an order. This is stored before anything else is done, because the
 * number of its timeline may already belong to another history (S3). It also detects a server that ended before the
 * keeper saw it as a primary: the control file says that it ran as a primary, and the keeper's own state says that it
 * was a standby before. Returns true if the promotion was detected by this call.
 */
export const noticeByHand = seam(
  async (view: View, state: KeeperState, save: (change: Partial<KeeperState>) => Promise<void>): Promise<boolean> => {
    const { sql, control, running } = view;
    const { promotedByHand, promotingTerm, rewinding, standby, accepted } = state;
    if (promotedByHand || rewinding) return false;
    const isStandby = sql?.inRecovery === true && promotingTerm === null && accepted?.target.kind !== 'lead';
    if (isStandby && !standby) await save({ standby: true });
    const ended = !running && standby && promotingTerm === null && control?.primary === true;
    if (sql?.inRecovery !== false && !ended) return false;
    await save({ promotedByHand: true });
    return true;
  },
);

/** Throws MUST_COPY or REWIND_FAILED when this data may only be replaced and the order does not say so. */
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
    // The ledger may not have a promotion that was begun and never reported as finished, so such data must never stream
    // (S3).
    if (state.promotingTerm === null || method === 'rewind') return;
    await stop();
    const reason = `a promotion of this data in term ${state.promotingTerm} was begun and is not known as finished (S3)`;
    throw new KeeperError('MUST_COPY', reason);
  },
);

/**
 * Replaces `data` by `data.new`. The state records this first, so that the next start finishes a swap that a crash
 * interrupts.
 */
export async function adopt(parts: PursuitParts, change: Pick<KeeperState, 'fresh' | 'joined'>): Promise<void> {
  await parts.host.save({ ...NEW_DATA, ...change, directoryId: crypto.randomUUID(), swapPending: true });
  await finishSwap(parts);
}

/**
 * Finishes a pending swap, also after an error in the middle of it. While a swap is pending, a restart would take
 * `data.new` for a complete copy.
 */
export async function finishSwap({ host, postgres }: PursuitParts): Promise<void> {
  await postgres.swapIn();
  await host.save({ swapPending: false });
  await host.observe();
}

/** Shortest and longest rest after a failure, ms. The rest doubles with each failure. */
const [REST_MIN_MS, REST_MAX_MS] = [1_000, 300_000];

/** Counts the failed attempts of one step and says how long to rest before the next attempt. */
export class Attempts {
  private key = '';
  private tries = 0;
  private untilMs = 0;
  private failure: Failure | null = null;

  /**
   * The outcome while a failed step rests; null: the step may be tried now. A different `key` means a different step,
   * which does not rest.
   */
  resting(key: string, nowMs: number): Outcome | null {
    const { failure, untilMs } = this;
    if (key !== this.key || failure === null || nowMs >= untilMs) return null;
    return { done: false, failure, againMs: Math.min(untilMs - nowMs, RESTING_MS) };
  }

  /**
   * Records a failed attempt. Returns the failure with its attempt number, and the length of the rest that begins now,
   * ms.
   */
  failed(key: string, code: FailureCode, message: string, nowMs: number): { failure: Failure; restMs: number } {
    this.tries = key === this.key ? this.tries + 1 : 1;
    this.key = key;
    const restMs = Math.min(REST_MAX_MS, REST_MIN_MS * 2 ** Math.min(20, this.tries - 1));
    this.failure = { code, message, tries: this.tries };
    this.untilMs = nowMs + restMs;
    return { failure: this.failure, restMs };
  }

  /** The step succeeded, so the count starts again from zero. */
  forget(): void {
    this.key = '';
    this.tries = 0;
    this.failure = null;
  }
}

export class Rejoining {
  /** Counts the copies and rewinds that did not end in a standby that streams. */
  readonly attempts = new Attempts();
  /** Why the last rewind failed; null after a restart of the keeper. */
  rewindFailed: string | null = null;
  /**
   * Data that {@link settle} started and did not bring to consistency. Its shutdown is clean, but the data is not
   * consistent.
   */
  private unsettled: string | null = null;
  /** How many times in a row PostgreSQL ended by itself in {@link settle}. */
  private crashesInSettle = 0;

  constructor(
    private readonly parts: PursuitParts,
    private readonly lives: Lives,
  ) {}

  /**
   * Rewinds the data. Returns null when the data is at the leader's history, or the outcome with which this pass ends.
   * Throws REWIND_FAILED.
   */
  async rewind(leader: Source, term: number, { settings, signal }: Pass): Promise<Outcome | null> {
    const { host, postgres } = this.parts;
    const key = `rewind ${leader.name} ${term}`;
    const resting = this.attempts.resting(key, this.parts.clock.nowMs());
    if (resting !== null) return resting;
    await this.lives.stop();
    await postgres.reach(leader);
    host.note('info', 'REWIND_BEGUN', `rewinding to the history of ${leader.name}`);
    const settled = await this.settle(settings, signal);
    if (signal.aborted) return { done: false };
    if (!settled && this.crashesInSettle > 0 && this.crashesInSettle < SETTLE_CRASHES_MAX) {
      // The cause may be the disk, or settings, which the next start leaves out.
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
      // The marker `rewinding` stays, so the keeper remembers after a restart that this data may only be replaced
      // (S12).
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
   * Brings data to a clean shutdown after a crash, because `pg_rewind` requires one. `pg_rewind`'s own crash recovery
   * would append a checkpoint record of this node to the leader's timeline. No WAL from the leader fits after that
   * record; or, if the lengths agree, one of the leader's records is missing for good (S3). So recovery runs as a
   * standby without a source, which then shuts down. Returns false if the local WAL is not enough to reach consistency;
   * the data can then only be copied.
   */
  private async settle(settings: NodeSettings, signal: AbortSignal): Promise<boolean> {
    const { host, clock } = this.parts;
    const data = dataIdOf(host.view, host.state);
    if (host.view.control?.clean === true && this.unsettled !== data) return true;
    this.unsettled = data;
    await this.lives.start(alone(settings));
    const deadline = clock.nowMs() + SETTLE_LIMIT_MS;
    const settled = () => votingLsn(host.view) !== null;
    // For a moment, a server that is consistent and about to answer looks the same as one that lacks WAL.
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

  /** Copies the leader's data. Returns null when the data is such a copy, or the outcome with which this pass ends. */
  async copy(leader: Source, term: number, pass: Pass, turn: CopyTurn, keepOld: boolean): Promise<Outcome | null> {
    const { host, postgres, clock } = this.parts;
    const { settings, version, signal } = pass;
    // Under other settings a copy may fit on the disk, or may be allowed to replace the old data.
    const key = `copy ${leader.name} ${term} ${version} ${keepOld}`;
    const resting = this.restsInTurn(key, turn);
    if (resting !== null) return resting;
    turn.tried = true;
    // A standby that cannot stream serves no reads anyway, and a primary must be stopped before its successor is
    // copied.
    await this.lives.stop();
    await postgres.reach(leader);
    // The crashes were counted for the data that is to be replaced, not for the copy. If no copy succeeds, the old data
    // gets another chance.
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
    // If a copy succeeded and has to be repeated all the same, the repetition must rest, too.
    const repeated = `the copy of ${leader.name} did not end in a standby`;
    this.attempts.failed(key, 'COPY_REPEATED', repeated, clock.nowMs());
    await adopt(this.parts, { fresh: false, joined: { leader: leader.name, term } });
    this.lives.activity = null;
    this.rewindFailed = null;
    host.note('info', 'COPY_DONE', `copied and verified the data of ${leader.name}`);
    return null;
  }

  /**
   * Allows the removal of the old data. Partly removed data must never be started, and the marker `rewinding` ensures
   * that.
   */
  private async giveUp(): Promise<void> {
    const { host } = this.parts;
    host.note('warn', 'OLD_DATA_REMOVED', 'the old data and the copy cannot both be here: the old data goes first');
    await host.save({ rewinding: true });
  }

  /** Reports a failed step. The step is tried again after a rest, which grows with each failure. */
  private failedFor(key: string, code: FailureCode, message: string): Outcome {
    const { failure, restMs } = this.attempts.failed(key, code, message, this.parts.clock.nowMs());
    const next = `attempt ${failure.tries}, the next one in ${restMs / 1_000} s`;
    this.parts.host.note('error', code, `${message} (${next})`);
    this.lives.activity = null;
    return { done: false, failure, againMs: Math.min(restMs, RESTING_MS) };
  }

  /**
   * Like {@link Attempts.resting}, but a failure under an earlier order is reported under this order only when it
   * happens again. Otherwise two nodes without enough disk space would pass the turn to copy to each other without end.
   */
  private restsInTurn(key: string, turn: CopyTurn): Outcome | null {
    const nowMs = this.parts.clock.nowMs();
    const resting = this.attempts.resting(key, nowMs);
    if (resting === null || turn.tried) return resting;
    turn.sinceMs ??= nowMs;
    const leftMs = turn.sinceMs + TURN_REST_MS - nowMs;
    return leftMs > 0 ? { done: false, againMs: Math.min(leftMs, RESTING_MS) } : null;
  }
}
