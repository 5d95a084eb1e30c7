/** What to do next to become what an order asks for: one pass, from whatever state PostgreSQL is in. */
import type { FailureCode } from '../contract/codes';
import type { Failure, NodeSettings, SyncConfig } from '../contract/messages';
import { Attempts } from './attempts';
import type { Keeper } from './keeper';
import { type AcceptedOrder, KeeperError, messageOf, type ServerConfig, type Source, type SqlView } from './ports';
import { streamingFrom, votingLsn } from './status';
import { barrierNames, SyncControl, syncNames } from './sync';

export interface Outcome {
  done: boolean;
  failure?: Failure;
  /** Look again after this time, ms. */
  againMs?: number;
}

/** While something is about to happen, ms. */
const SOON_MS = 10;
const START_POLL_MS = 20;
const DRAIN_POLL_MS = 3;
/** After a crash a standby rests, twice as long each time, ms. */
const REST_MS = 1_000;
const REST_MAX_MS = 60_000;
/** When a server had answered for this time before its crash, the rests begin with the shortest again, ms. */
const GOOD_MS = 60_000;
/** How often a leader checks that the failover's own objects inside PostgreSQL are there, ms. */
const MEND_MS = 500;
/** Rest before a failed repair of these objects is tried again, ms; it doubles each time. */
const FURNISH_RETRY_MS = 500;
const FURNISH_RETRY_MAX_MS = 15_000;
/** More than the startup process sleeps before it tries to stream again (`wal_retrieve_retry_interval`, 20 ms), ms. */
const QUIET_MS = 25;
/** Replay of what a crash left: at most some checkpoints' distance of WAL, ms. */
const SETTLE_LIMIT_MS = 600_000;
const STARVED_MAX_MS = 2_000;
/** The node is copied when PostgreSQL ended this many times while it replayed the log that a crash left. */
const SETTLE_CRASHES_MAX = 3;
/** How often the order is looked at while a failed copy or rewind rests, ms. */
const RESTING_MS = 1_000;
/** So long a copy that failed under an earlier order rests at most, ms. */
const TURN_REST_MS = 30_000;
/** Until PostgreSQL is looked at again that lets no superuser in, ms. */
const LOCKED_OUT_MS = 200;
/** After a promotion, ms. */
const CALM_MS = 1_000;
/** How often a standby gets ready for sessions, ms. */
const WARM_MS = 30_000;
/** A leader looks at its slots this often, ms: more often than a standby can be copied. */
const SLOTS_MS = 500;

type Target<K> = Extract<AcceptedOrder['target'], { kind: K }>;

export class Pursuit {
  readonly sync: SyncControl;
  leadTerm: number | null = null;
  /** An order promoted the running server, or is about to. */
  promotes = false;
  forkLsn: string | null = null;
  private readonly keeper: Keeper;
  /** What roles, tables and slots were made for on this leader; null: not yet. */
  private furnished: string | null = null;
  private furnishing = false;
  /** When these objects are checked next. */
  private furnishAtMs = Number.NEGATIVE_INFINITY;
  private furnishFailed: { message: string; restMs: number } | null = null;
  /** For whom this standby has made slots; null: not yet since it became one. */
  private slotsMadeFor: string | null = null;
  /** Names that the running server goes by; null: not known. */
  private names: string | null = null;
  private promotedAtMs = Number.NEGATIVE_INFINITY;
  /** When the leader's slots were last looked at. */
  private slotsAtMs = Number.NEGATIVE_INFINITY;
  private warmedAtMs = Number.NEGATIVE_INFINITY;
  /** Since when no walreceiver was seen although none is asked for; null: one was, or may have been. */
  private quietSinceMs: number | null = null;
  /** The order to promise for which a paused replay was resumed. */
  private resumedFor: AcceptedOrder | null = null;
  /** When this server was first seen to answer; null: not since its start. */
  private answeredAtMs: number | null = null;
  /** Crashes of this data, one after the other without a good time in between. */
  crashesInRow = 0;
  /** PostgreSQL is not started before this, unless the settings change. */
  private rest: { untilMs: number; settings: string } | null = null;
  /** The order that a checkpoint was begun for. */
  private preparing: { key: string; done: boolean } | null = null;
  /** Copies and rewinds that did not end in a standby that streams. */
  private readonly attempts = new Attempts();
  /** The order under which a copy was tried last. */
  private copiedUnder: AcceptedOrder | null = null;
  /** An order to copy that came while an earlier one's failure rests, and when. */
  private turn: { order: AcceptedOrder; sinceMs: number } | null = null;
  /** Data that was started to be settled and was not: its shutdown is clean, but it is not consistent. */
  private unsettled: string | null = null;
  /** How often in a row PostgreSQL ended by itself while the data was settled. */
  private crashesInSettle = 0;
  /** Why the last rewind failed; null after a restart. */
  private rewindFailed: string | null = null;

  constructor(keeper: Keeper) {
    this.keeper = keeper;
    this.sync = new SyncControl(keeper.postgres, keeper.clock);
    keeper.postgres.onProgress = (text) => keeper.note('info', 'COPY_PROGRESS', text);
  }

  /** PostgreSQL is down or about to be: forget what held for the running one. */
  stopped(): void {
    this.sync.reset();
    this.promotes = false;
    this.quietSinceMs = null;
    this.leadTerm = null;
    this.forkLsn = null;
    this.furnished = null;
    this.furnishFailed = null;
    this.slotsMadeFor = null;
    this.names = null;
    this.warmedAtMs = Number.NEGATIVE_INFINITY;
    this.keeper.postgres.stopHeartbeat();
  }

  /** PostgreSQL ended by itself. */
  crashed(): void {
    const nowMs = this.keeper.clock.nowMs();
    const wasGood = this.answeredAtMs !== null && nowMs - this.answeredAtMs >= GOOD_MS;
    this.crashesInRow = wasGood ? 1 : this.crashesInRow + 1;
    const settings = JSON.stringify(this.keeper.settings);
    this.rest = { untilMs: nowMs + Math.min(REST_MAX_MS, REST_MS * 2 ** (this.crashesInRow - 1)), settings };
    this.stopped();
  }

  /** PostgreSQL answers: after a good time the crashes before it are history. */
  private answered(): void {
    const nowMs = this.keeper.clock.nowMs();
    this.answeredAtMs ??= nowMs;
    if (nowMs - this.answeredAtMs >= GOOD_MS) this.crashesInRow = 0;
  }

  /** How long a standby still rests after its last crash, ms. Changed settings may be what it lacked. */
  private restMs(settings: NodeSettings): number {
    if (this.rest === null || this.keeper.crashedUnder === null) return 0;
    if (this.rest.settings !== JSON.stringify(settings)) return 0;
    return Math.max(0, this.rest.untilMs - this.keeper.clock.nowMs());
  }

  /** Beside the order. It may fail: the first session then takes some milliseconds longer. */
  private warm({ databaseName }: NodeSettings): void {
    const { keeper } = this;
    if (keeper.clock.nowMs() - this.warmedAtMs < WARM_MS) return;
    this.warmedAtMs = keeper.clock.nowMs();
    keeper.postgres.warm(databaseName).catch(() => undefined);
  }

  /** Why this data must not lead by this order; null when it may. */
  mayLead(order: AcceptedOrder): string | null {
    const { state, view } = this.keeper;
    if (!view.dataExists) return 'there is no data';
    if (state.rewinding) return 'a rewind was not finished, this data may only be replaced (S12)';
    if (view.sql?.inRecovery === false) return null;
    // The ledger knows one timeline a term (S3): leading again needs a new term.
    if (state.promoted !== null && state.promoted.term >= order.term) {
      return `this data was already promoted in term ${state.promoted.term}, leading again needs a higher one`;
    }
    return null;
  }

  async pursue(order: AcceptedOrder, settings: NodeSettings, signal: AbortSignal): Promise<Outcome> {
    const { target } = order;
    if (this.keeper.view.sql !== null) this.answered();
    if (this.keeper.state.swapPending) await this.finishSwap();
    switch (target.kind) {
      case 'wait':
        if (this.keeper.state.promotedByHand && this.keeper.view.sql?.inRecovery === false) await this.stop();
        return { done: target.unready !== true };
      case 'bootstrap':
        return this.bootstrap();
      case 'lead':
        return this.lead(order, target, settings, signal);
      case 'follow':
        return this.follow(order, target, settings, signal);
      case 'freeze':
        return this.freeze(order, settings);
      case 'stop':
        await this.drain(target.drainMs ?? 0, signal);
        if (signal.aborted) return { done: false };
        await this.stop();
        return { done: true };
    }
  }

  private async bootstrap(): Promise<Outcome> {
    const { keeper } = this;
    if (keeper.view.dataExists) {
      if (keeper.state.fresh && !keeper.view.running) return { done: true };
      throw new KeeperError('DATA_EXISTS', 'a new cluster is made only where there is no data');
    }
    keeper.activity = 'initialising';
    keeper.report();
    await keeper.postgres.initialise();
    await this.adopt({ fresh: true, joined: null });
    return { done: true };
  }

  /** Swaps `data.new` in; the state says so first, so that a crash in between is finished at the next start. */
  private async adopt(change: { fresh: boolean; joined: { leader: string; term: number } | null }): Promise<void> {
    const { keeper } = this;
    await keeper.save({
      ...change,
      directoryId: crypto.randomUUID(),
      swapPending: true,
      promotingTerm: null,
      promoted: null,
      promotedByHand: false,
      standby: false,
      rewinding: false,
    });
    await this.finishSwap();
    keeper.activity = null;
  }

  /** Also after an error in the middle: while the swap is pending, a restart would take `data.new` for a whole copy. */
  private async finishSwap(): Promise<void> {
    const { keeper } = this;
    await keeper.postgres.swapIn();
    await keeper.save({ swapPending: false });
    await keeper.observe();
  }

  private async lead(
    order: AcceptedOrder,
    target: Target<'lead'>,
    settings: NodeSettings,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { keeper } = this;
    if (target.sync.leader !== keeper.node)
      throw new KeeperError('ORDER_WRONG', `told to lead as ${target.sync.leader}`);
    const refusal = this.mayLead(order);
    if (refusal !== null) throw new KeeperError(keeper.view.dataExists ? 'MUST_NOT_LEAD' : 'NO_DATA', refusal);
    if (!keeper.view.running) {
      if (keeper.crashedUnder !== null && keeper.crashedUnder === keeper.state.accepted) {
        throw new KeeperError('POSTGRES_CRASHED', 'PostgreSQL crashed; it starts again on a new order (S8)');
      }
      await this.start(config(settings, null, barrierNames(target.sync)), true);
    }
    const { sql, blind } = keeper.view;
    if (sql === null && blind !== true) return { done: false, againMs: SOON_MS };
    if (sql === null || sql.inRecovery) await this.promote(order, target.sync, settings, signal);
    // The node had become a primary without an order, and a person then made it the leader.
    else if (!this.promotes) this.forkLsn = await keeper.postgres.forkLsn(sql.timeline ?? 1);
    this.promotes = true;
    if (signal.aborted) return { done: false };
    this.leadTerm = order.term;
    // What can wait a second does: the clients' first writes need the machine now.
    const calm = keeper.state.fresh || keeper.clock.nowMs() - this.promotedAtMs >= CALM_MS;
    if (calm && keeper.view.lockedOut === undefined) {
      this.furnish(settings, target.sync);
      await this.keepSlots(settings, target.sync);
    }
    const inForce = await this.sync.pursue(
      target.sync,
      (names) => this.configure(config(settings, null, names)),
      () => this.sql(),
      signal,
    );
    if (signal.aborted) return { done: false };
    keeper.report();
    // Tunables and addresses may have changed while the names did not.
    if (calm) await this.configure(config(settings, null, syncNames(target.sync)));
    await this.remember(order);
    const done = inForce && !keeper.state.fresh && (target.prepare !== true || this.prepared(order));
    return { done, againMs: done ? undefined : SOON_MS };
  }

  /** True when a checkpoint was written since this was ordered; it is written beside the order, which must not wait. */
  private prepared({ term, seq }: AcceptedOrder): boolean {
    const { keeper } = this;
    const key = `${term}.${seq}`;
    if (this.preparing?.key === key) return this.preparing.done;
    const preparing = { key, done: false };
    this.preparing = preparing;
    keeper.postgres
      .checkpoint()
      .catch((error: unknown) => keeper.note('warn', 'CHECKPOINT_FAILED', messageOf(error)))
      .finally(() => {
        preparing.done = true;
      })
      .catch(() => undefined);
    return false;
  }

  private async promote(
    order: AcceptedOrder,
    sync: SyncConfig,
    settings: NodeSettings,
    signal: AbortSignal,
  ): Promise<void> {
    const { keeper } = this;
    if (keeper.state.promotingTerm !== order.term) await keeper.save({ promotingTerm: order.term, standby: false });
    keeper.activity = 'promoting';
    keeper.report();
    this.promotes = true;
    this.sync.reset();
    this.forkLsn = null;
    this.furnished = null;
    // No names are in force and none are wanted: a reload now would only take time from the promotion.
    const alone = sync.k === 0 && this.names === '';
    // The barrier is what the first commit meets: nothing is acknowledged before the names are proven (S4, S9).
    if (!alone) await this.configure(config(settings, null, barrierNames(sync)));
    const timeline = await keeper.postgres.promote((text) => keeper.note('info', 'PROMOTION_REPLAYS', text), signal);
    this.forkLsn = await keeper.postgres.forkLsn(timeline);
    this.leadTerm = order.term;
    this.promotedAtMs = keeper.clock.nowMs();
    if (alone) this.sync.foundInForce(sync);
    keeper.activity = null;
    keeper.promoted(timeline);
    if (!keeper.state.fresh) keeper.postgres.startHeartbeat();
  }

  /** Closes the marker of the promotion once its timeline is stored. */
  private async remember(order: AcceptedOrder): Promise<void> {
    const { keeper } = this;
    const timeline = keeper.view.sql?.timeline ?? null;
    if (timeline === null) return;
    if (keeper.state.promotingTerm === null && keeper.state.promoted?.term === order.term) return;
    const promoted = { term: order.term, timeline, forkLsn: this.forkLsn };
    await keeper.save({ promotingTerm: null, promoted, promotedByHand: false, standby: false, joined: null });
  }

  /** Whose slots this leader keeps: a node that is not declared any more keeps its own until it counts no more. */
  private slotsFor(settings: NodeSettings, sync: SyncConfig): string[] {
    return [...new Set([...this.peers(settings), ...sync.members])];
  }

  /** A standby that fell off is copied, and needs a slot that keeps WAL again before it comes back (S22). */
  private async keepSlots(settings: NodeSettings, sync: SyncConfig): Promise<void> {
    const { keeper } = this;
    if (this.furnished === null || keeper.clock.nowMs() - this.slotsAtMs < SLOTS_MS) return;
    this.slotsAtMs = keeper.clock.nowMs();
    await keeper.postgres.ensureSlots(this.slotsFor(settings, sync), false);
  }

  /** Slots, roles and tables, beside the order: a new leader does not wait for them. People may remove any of it at any time. */
  private furnish(settings: NodeSettings, sync: SyncConfig): void {
    const { keeper } = this;
    const slots = this.slotsFor(settings, sync);
    const version = [keeper.settingsVersion, ...slots].join(' ');
    if (this.furnishing) return;
    const isNew = this.furnished !== version;
    if (keeper.clock.nowMs() < this.furnishAtMs && (!isNew || this.furnishFailed !== null)) return;
    this.furnishing = true;
    const work = async () => {
      if (isNew) await this.furnishAnew(settings, slots, version);
      else await this.mend();
      this.furnishFailed = null;
      this.furnishAtMs = keeper.clock.nowMs() + MEND_MS;
    };
    work()
      .catch((error: unknown) => this.furnishingFailed(messageOf(error)))
      .finally(() => {
        this.furnishing = false;
      })
      .catch(() => undefined);
  }

  private async furnishAnew(settings: NodeSettings, slots: string[], version: string): Promise<void> {
    const { keeper } = this;
    await keeper.postgres.ensureSlots(slots, false);
    await keeper.postgres.furnish(settings);
    keeper.postgres.startHeartbeat();
    if (keeper.state.fresh) await keeper.save({ fresh: false });
    this.furnished = version;
  }

  private async mend(): Promise<void> {
    const made = await this.keeper.postgres.mend();
    if (made.length > 0)
      this.keeper.note('warn', 'MENDED', `made again, because SQL had removed or changed it: ${made.join(', ')}`);
  }

  private furnishingFailed(message: string): void {
    const { keeper } = this;
    const before = this.furnishFailed;
    if (message !== before?.message) keeper.note('warn', 'FURNISH_FAILED', message);
    const restMs = Math.min(FURNISH_RETRY_MAX_MS, before === null ? FURNISH_RETRY_MS : before.restMs * 2);
    this.furnishFailed = { message, restMs };
    this.furnishAtMs = keeper.clock.nowMs() + restMs;
  }

  private async follow(
    order: AcceptedOrder,
    target: Target<'follow'>,
    settings: NodeSettings,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { keeper } = this;
    const leader = settings.nodes.find((n) => n.name === target.leader);
    if (leader === undefined || leader.name === keeper.node) {
      throw new KeeperError('ORDER_WRONG', `told to follow ${target.leader}, which is no other node of the settings`);
    }
    const outcome = await this.join(order, target, leader, settings, signal);
    if (signal.aborted) return { done: false };
    if (outcome !== null) return outcome;
    const wanted = config(settings, leader, '');
    if (!keeper.view.running) {
      const againMs = this.restMs(settings);
      if (againMs > 0) return { done: false, againMs };
      await this.start(wanted);
    } else if (keeper.view.paused === true || (target.restart === true && this.needsRestart(settings))) {
      keeper.note('info', 'SETTINGS_RESTART', `PostgreSQL is restarted for its settings: ${this.restartCause()}`);
      await this.stop();
      await this.start(wanted);
    } else {
      await this.configure(wanted);
    }
    const { lockedOut } = keeper.view;
    if (lockedOut !== undefined)
      return { done: false, failure: { code: 'SUPERUSER_LOCKED_OUT', message: lockedOut }, againMs: LOCKED_OUT_MS };
    if (keeper.view.sql === null) return { done: false, failure: this.cannotStream(), againMs: START_POLL_MS };
    const peers = this.peers(settings);
    if (this.slotsMadeFor !== peers.join(' ')) {
      // Also for a node that comes later: it follows this one at once when this one is promoted (S22).
      await keeper.postgres.ensureSlots(peers, this.slotsMadeFor === null);
      this.slotsMadeFor = peers.join(' ');
    }
    await keeper.look();
    if (streamingFrom(keeper.view, settings) === leader.name) {
      this.warm(settings);
      this.attempts.forget();
      const settled = target.restart !== true || this.needsRestart(settings) === false;
      return { done: settled, againMs: settled ? undefined : START_POLL_MS };
    }
    return { done: false, failure: this.cannotStream(), againMs: START_POLL_MS };
  }

  /** The failure for the monitor when this data can never stream, also of a server that is not consistent and takes no sessions. */
  private cannotStream(): Outcome['failure'] {
    const { catchingUp, streamImpossible } = this.keeper.view;
    const impossible = catchingUp === true ? null : (streamImpossible ?? null);
    return impossible === null ? undefined : { code: 'STREAM_IMPOSSIBLE', message: impossible };
  }

  /** Whether a setting waits for a restart; null: not known yet. */
  private needsRestart({ postgresSettings }: NodeSettings): boolean | null {
    const seen = this.keeper.view.settings ?? null;
    if (seen === null || seen.wanted !== JSON.stringify(postgresSettings)) return null;
    return seen.status.restart !== 'none';
  }

  private restartCause(): string {
    const { settings, paused } = this.keeper.view;
    return paused === true ? 'its leader has more of something (S23)' : (settings?.status.pending ?? []).join(', ');
  }

  /**
   * Brings the data to the leader's history, unless it is there already. The data is replaced only when that is ordered: a node
   * that is counted leaves the set first, and the monitor lets one node at a time copy. Null: the order goes on; else this pass ends with this outcome.
   * Throws MUST_COPY or REWIND_FAILED where nothing but a copy helps.
   */
  private async join(
    order: AcceptedOrder,
    target: Target<'follow'>,
    leader: Source,
    settings: NodeSettings,
    signal: AbortSignal,
  ): Promise<Outcome | null> {
    const { keeper } = this;
    const { state, view } = keeper;
    const joined = state.joined?.leader === leader.name && state.joined.term === order.term;
    if (target.method === 'copy') {
      const replaced = target.replaces !== undefined && target.replaces === keeper.dataId();
      const unfit = !view.dataExists || state.rewinding || state.promotedByHand || state.promotingTerm !== null;
      const impossible = view.catchingUp !== true && view.streamImpossible !== null;
      if (!joined || unfit || replaced || impossible) return this.copy(leader, order, target, settings, signal);
    } else {
      await this.refuse(target);
      if (target.method === 'rewind' && !joined) return this.rewind(leader, order, settings, signal);
    }
    if (keeper.view.sql?.inRecovery === false) await this.stop();
    return null;
  }

  /** Throws when this data may only be replaced, which is not ordered. */
  private async refuse({ method }: Target<'follow'>): Promise<void> {
    const { state, view } = this.keeper;
    if (!view.dataExists) throw new KeeperError('MUST_COPY', 'there is no data here');
    if (state.rewinding) {
      const reason = this.rewindFailed ?? 'a rewind was not finished, this data may only be replaced (S12)';
      throw new KeeperError('REWIND_FAILED', reason);
    }
    if (state.promotedByHand) {
      await this.stop();
      throw new KeeperError('MUST_COPY', 'PostgreSQL became a primary on this data without an order (S3)');
    }
    // A promotion that was begun and not reported as finished may not be in the ledger, so its data never streams (S3).
    if (state.promotingTerm === null || method === 'rewind') return;
    await this.stop();
    const reason = `a promotion of this data in term ${state.promotingTerm} was begun and is not known as finished (S3)`;
    throw new KeeperError('MUST_COPY', reason);
  }

  /** Reports a failed step, which is tried again after a rest that gets longer each time. */
  private failedFor(key: string, code: FailureCode, message: string): Outcome {
    const { keeper } = this;
    const { failure, restMs } = this.attempts.failed(key, code, message, keeper.clock.nowMs());
    keeper.note('error', code, `${message} (attempt ${failure.tries}, the next one in ${restMs / 1_000} s)`);
    keeper.activity = null;
    return { done: false, failure, againMs: Math.min(restMs, RESTING_MS) };
  }

  /** The outcome while a failed step rests; null: it may be tried. */
  private restsFor(key: string): Outcome | null {
    const resting = this.attempts.resting(key, this.keeper.clock.nowMs());
    if (resting === null) return null;
    return { done: false, failure: resting.failure, againMs: Math.min(resting.leftMs, RESTING_MS) };
  }

  /**
   * As {@link restsFor}, but a failure under an earlier order is not this one's: it is told once it has come again. Two nodes that
   * both find no room would otherwise pass their turn to one another without end.
   */
  private restsInTurn(key: string, order: AcceptedOrder): Outcome | null {
    const resting = this.restsFor(key);
    if (resting === null || this.copiedUnder === order) return resting;
    const nowMs = this.keeper.clock.nowMs();
    if (this.turn?.order !== order) this.turn = { order, sinceMs: nowMs };
    const leftMs = this.turn.sinceMs + TURN_REST_MS - nowMs;
    return leftMs > 0 ? { done: false, againMs: Math.min(leftMs, RESTING_MS) } : null;
  }

  /**
   * After a crash: applies what is there as a standby that follows nobody, and shuts down. pg_rewind wants a clean shutdown;
   * its own way to one is a crash recovery that ends with a checkpoint, a record of this node's own on a timeline that is
   * the leader's. Nothing that the leader sends fits behind it, or, where the lengths agree, one of its records is
   * missing for good (S3). False: it is not consistent by what is here, so it can only be copied.
   */
  private async settle(settings: NodeSettings, signal: AbortSignal): Promise<boolean> {
    const { keeper } = this;
    const data = keeper.dataId();
    if (keeper.view.control?.clean === true && this.unsettled !== data) return true;
    this.unsettled = data;
    await this.start(config(settings, null, ''));
    const deadline = keeper.clock.nowMs() + SETTLE_LIMIT_MS;
    const settled = () => votingLsn(keeper.view) !== null;
    // Consistent and about to answer looks the same for a moment.
    let patienceMs = STARVED_MAX_MS;
    while (!settled() && keeper.view.running && patienceMs > 0 && !signal.aborted && keeper.clock.nowMs() < deadline) {
      await keeper.clock.sleep(START_POLL_MS, signal);
      await keeper.observe();
      if (keeper.view.sql === null && keeper.view.starved === true) patienceMs -= START_POLL_MS;
    }
    const good = settled();
    this.crashesInSettle = good || keeper.view.running ? 0 : this.crashesInSettle + 1;
    if (good) this.unsettled = null;
    await this.stop();
    return good;
  }

  private async rewind(
    leader: Source,
    order: AcceptedOrder,
    settings: NodeSettings,
    signal: AbortSignal,
  ): Promise<Outcome | null> {
    const { keeper } = this;
    const key = `rewind ${leader.name} ${order.term}`;
    const resting = this.restsFor(key);
    if (resting !== null) return resting;
    await this.stop();
    await keeper.postgres.reach(leader);
    keeper.note('info', 'REWIND_BEGUN', `rewinding to the history of ${leader.name}`);
    const settled = await this.settle(settings, signal);
    if (signal.aborted) return { done: false };
    if (!settled && this.crashesInSettle > 0 && this.crashesInSettle < SETTLE_CRASHES_MAX) {
      // The cause may be the settings, which the next start leaves out, or the disk.
      return this.failedFor(
        key,
        'SETTLE_FAILED',
        'PostgreSQL ended while it replayed the write-ahead log that a crash had left',
      );
    }
    if (!settled) return this.failedFor(key, 'REWIND_FAILED', 'a crash left the data without WAL that it needs');
    keeper.activity = 'rewinding';
    await keeper.save({ rewinding: true });
    keeper.report();
    try {
      await keeper.postgres.rewindFrom(leader, signal);
    } catch (error) {
      keeper.activity = null;
      // The marker stays, so a restart does not forget it: this data may only be replaced (S12).
      this.rewindFailed = messageOf(error);
      throw new KeeperError('REWIND_FAILED', this.rewindFailed);
    }
    await keeper.save({
      rewinding: false,
      promotingTerm: null,
      promoted: null,
      joined: { leader: leader.name, term: order.term },
    });
    keeper.activity = null;
    keeper.note('info', 'REWIND_DONE', `rewound to the history of ${leader.name}`);
    await keeper.observe();
    return null;
  }

  private async copy(
    leader: Source,
    order: AcceptedOrder,
    target: Target<'follow'>,
    settings: NodeSettings,
    signal: AbortSignal,
  ): Promise<Outcome | null> {
    const { keeper } = this;
    // With other settings a copy may fit, or be allowed to take the place of the old data.
    const key = `copy ${leader.name} ${order.term} ${keeper.settingsVersion} ${target.keepOld === true}`;
    const resting = this.restsInTurn(key, order);
    if (resting !== null) return resting;
    this.copiedUnder = order;
    // A standby that cannot stream serves no reads; a primary must be gone before its successor is copied.
    await this.stop();
    await keeper.postgres.reach(leader);
    // Counted for the data that is to be replaced, not for the copy; and where no copy succeeds it gets another chance.
    this.crashesInRow = 0;
    this.rest = null;
    keeper.activity = 'copying';
    keeper.report();
    keeper.note('info', 'COPY_BEGUN', `copying the data of ${leader.name}`);
    const giveUp = async () => {
      keeper.note('warn', 'OLD_DATA_REMOVED', 'the old data and the copy cannot both be here: the old data goes first');
      // Half removed data must never be started; the marker of a rewind says just that.
      await keeper.save({ rewinding: true });
    };
    const mayGiveUp = settings.rebuildInPlace === true && target.keepOld !== true;
    const progress = (text: string) => keeper.note('info', 'COPY_PROGRESS', text);
    try {
      await keeper.postgres.copyFrom(leader, progress, signal, mayGiveUp ? giveUp : undefined);
    } catch (error) {
      if (signal.aborted) throw error;
      return this.failedFor(key, error instanceof KeeperError ? error.code : 'STEP_FAILED', messageOf(error));
    }
    if (signal.aborted) {
      await keeper.postgres.dropCopy();
      return { done: false };
    }
    // A copy that went well and has to be repeated all the same rests, too.
    this.attempts.failed(
      key,
      'COPY_REPEATED',
      `the copy of ${leader.name} did not end in a standby`,
      keeper.clock.nowMs(),
    );
    await this.adopt({ fresh: false, joined: { leader: leader.name, term: order.term } });
    this.rewindFailed = null;
    keeper.note('info', 'COPY_DONE', `copied and verified the data of ${leader.name}`);
    return null;
  }

  /** Stops following (S1). A primary that is told to promise is shut down: its own history is not what is asked for. */
  private async freeze(order: AcceptedOrder, settings: NodeSettings): Promise<Outcome> {
    const { keeper } = this;
    if (!keeper.view.dataExists) return { done: true };
    if (keeper.state.rewinding) return { done: true };
    if (keeper.view.sql?.inRecovery === false) await this.stop();
    if (!keeper.view.running) await this.start(config(settings, null, ''));
    else await this.configure(config(settings, null, ''));
    if (keeper.view.sql === null) return { done: false, againMs: SOON_MS };
    await this.resumeReplay(order);
    await keeper.look();
    const frozen = this.isQuiet() && votingLsn(keeper.view) !== null;
    return { done: frozen, againMs: frozen ? undefined : SOON_MS };
  }

  /**
   * No walreceiver was seen for so long that the startup process must have read the new configuration: before that it may start
   * one with the old configuration (S1).
   */
  private isQuiet(): boolean {
    const { clock, view } = this.keeper;
    if (view.sql === null || view.sql.walReceiver !== null || view.sql.receiverRuns === true) {
      this.quietSinceMs = null;
      return false;
    }
    this.quietSinceMs ??= clock.nowMs();
    return clock.nowMs() - this.quietSinceMs >= QUIET_MS;
  }

  /**
   * Resumes a replay that a person paused: a candidate has to apply all its log. A replay that is paused for want of
   * parameters stays so, because PostgreSQL would shut down when it is resumed (S23).
   */
  private async resumeReplay(order: AcceptedOrder): Promise<void> {
    const { keeper } = this;
    if (this.resumedFor === order || keeper.view.paused === true) return;
    this.resumedFor = order;
    await keeper.postgres.resumeReplay();
  }

  /** Sends idle clients away again and again until none is left: who is in a transaction may finish it, within the limit. */
  private async drain(limitMs: number, signal: AbortSignal): Promise<void> {
    const { keeper } = this;
    const deadline = keeper.clock.nowMs() + limitMs;
    while (keeper.view.sql?.inRecovery === false && !signal.aborted && keeper.clock.nowMs() < deadline) {
      // A PostgreSQL that does not answer has no client to wait for: only the shutdown's own limit counts.
      const clients = await keeper.postgres.endIdleClients().catch(() => 0);
      if (clients === 0) return;
      await keeper.clock.sleep(DRAIN_POLL_MS, signal);
    }
  }

  private async stop(): Promise<void> {
    const { keeper } = this;
    this.stopped();
    if (!keeper.view.running) return;
    keeper.activity = 'stopping';
    keeper.report();
    await keeper.stopPostgres();
    keeper.activity = null;
    await keeper.observe();
  }

  private async start(wanted: ServerConfig, leads = false): Promise<void> {
    const { keeper } = this;
    if (keeper.stopping) throw new KeeperError('STOPPING', 'this container is being stopped');
    this.stopped();
    keeper.crashedUnder = null;
    this.answeredAtMs = null;
    await keeper.postgres.start(wanted, leads);
    this.names = wanted.syncNames;
    await keeper.observe();
  }

  private async configure(wanted: ServerConfig): Promise<void> {
    this.names = null;
    if (await this.keeper.postgres.configure(wanted)) {
      this.keeper.changed();
      this.quietSinceMs = null;
    }
    this.names = wanted.syncNames;
  }

  private async sql(): Promise<SqlView> {
    const { sql, stale } = await this.keeper.observe();
    if (sql === null || stale === true) throw new KeeperError('POSTGRES_SILENT', 'PostgreSQL does not answer');
    return sql;
  }

  private peers(settings: NodeSettings): string[] {
    return settings.nodes.map((n) => n.name).filter((name) => name !== this.keeper.node);
  }
}

function config(settings: NodeSettings, upstream: Source | null, names: string): ServerConfig {
  return { settings, upstream, syncNames: names };
}
