/**
 * Carries out an order to lead: starts PostgreSQL as a standby if it is stopped, promotes it, puts the synchronous
 * configuration in force and maintains the leader's own objects.
 */

import type { AcceptedOrder, KeeperState } from './keeper-state';
import { keepSlots, Leadership } from './leadership';
import { alone } from './lives';
import { KeeperError, NOTHING_SEEN, type SqlView, type View } from './ports';
import { beginCheckpoint, type Outcome, type Pass, SOON_MS } from './pursuit-host';
import { TargetPursuit } from './rejoining';
import { barrierNames, syncNames } from './sync';

/** Why this data must not lead under this order; null when it may. */
export function whyNotLead(order: AcceptedOrder, state: KeeperState, view: View): string | null {
  if (!view.dataExists) return 'there is no data';
  if (state.rewinding) return 'a rewind was not finished, this data may only be replaced (S12)';
  if (view.sql?.inRecovery === false) return null;
  // The ledger has one timeline per term (S3), so leading again needs a new term.
  if (state.promoted !== null && state.promoted.term >= order.term) {
    return `this data was already promoted in term ${state.promoted.term}, leading again needs a higher one`;
  }
  return null;
}

export class LeadPursuit extends TargetPursuit<'lead'> {
  /** Says whether the checkpoint that this order asks for has ended; null: it has not begun. */
  private checkpoint: (() => boolean) | null = null;

  override async pass(pass: Pass): Promise<Outcome> {
    const { lives, host } = this.tools;
    const { settings, signal } = pass;
    const { sync } = this.target;
    await this.startIfStopped(pass);
    const { sql, blind } = host.view;
    if (sql === null && blind !== true) return { done: false, againMs: SOON_MS };
    const leadership = sql === null || sql.inRecovery ? await this.promote(pass) : await this.foundLeading(sql);
    if (signal.aborted) return { done: false };
    leadership.term = this.order.term;
    const { calm } = leadership;
    if (calm && host.view.lockedOut === undefined) {
      leadership.furnish(pass, sync);
      await keepSlots(leadership, settings, sync);
    }
    const slots = leadership.consumerSlots(settings, sync);
    const configure = (names: string) => lives.configure(alone(settings, names, slots));
    const inForce = await leadership.sync.pursue(sync, { configure, observe: () => lives.sql() }, signal);
    if (signal.aborted) return { done: false };
    host.report();
    // Settings and addresses may have changed although the names did not.
    if (calm) await configure(syncNames(sync));
    if (inForce && calm && settings.replication !== undefined) await leadership.letConsumersIn(sync, slots);
    await this.remember(leadership.forkLsn);
    const done = inForce && !host.state.fresh && (this.target.prepare !== true || this.isPrepared());
    return { done, againMs: done ? undefined : SOON_MS };
  }

  /**
   * Starts PostgreSQL if it is stopped and may lead. Throws ORDER_WRONG, MUST_NOT_LEAD or NO_DATA. Throws
   * POSTGRES_CRASHED when it crashed under this order, because only another order may start it again.
   */
  private async startIfStopped({ settings }: Pass): Promise<void> {
    const { node, host, lives } = this.tools;
    const { sync } = this.target;
    if (sync.leader !== node) throw new KeeperError('ORDER_WRONG', `told to lead as ${sync.leader}`);
    const refusal = whyNotLead(this.order, host.state, host.view);
    if (refusal !== null) throw new KeeperError(host.view.dataExists ? 'MUST_NOT_LEAD' : 'NO_DATA', refusal);
    if (host.view.running) return;
    if (lives.crashedUnderNewest) {
      throw new KeeperError('POSTGRES_CRASHED', 'PostgreSQL crashed; it starts again on a new order (S8)');
    }
    await lives.start(alone(settings, barrierNames(sync)), true);
  }

  /**
   * Returns the present leadership. If there is none, the node became a primary without an order and a person then made
   * it the leader; a leadership is created for it.
   */
  private async foundLeading({ timeline }: SqlView): Promise<Leadership> {
    const { now } = this.tools.lives;
    if (now.leadership !== null) return now.leadership;
    const leadership = new Leadership(this.tools);
    leadership.forkLsn = await this.tools.postgres.forkLsn(timeline ?? 1);
    now.leadership = leadership;
    return leadership;
  }

  private async promote({ settings, signal }: Pass): Promise<Leadership> {
    const { order } = this;
    const { lives, host, postgres, clock } = this.tools;
    const { sync } = this.target;
    if (host.state.promotingTerm !== order.term) await host.save({ promotingTerm: order.term, standby: false });
    lives.show('promoting');
    const life = lives.now;
    const leadership = new Leadership(this.tools);
    life.leadership = leadership;
    // No names are in force and none are wanted. A reload now would only delay the promotion.
    const waitsForNone = sync.k === 0 && life.names === '';
    // The barrier is in force before the first commit, so nothing is acknowledged before the names are proven (S4, S9).
    if (!waitsForNone) await lives.configure(alone(settings, barrierNames(sync)));
    const timeline = await postgres.promote((text) => host.note('info', 'PROMOTION_REPLAYS', text), signal);
    leadership.forkLsn = await postgres.forkLsn(timeline);
    leadership.term = order.term;
    leadership.promotedAtMs = clock.nowMs();
    if (waitsForNone) leadership.sync.foundInForce(sync);
    lives.activity = null;
    host.changed(promoted(host.view, timeline));
    if (!host.state.fresh) postgres.startHeartbeat();
    return leadership;
  }

  /** Clears the marker of the promotion, once its timeline is known and stored. */
  private async remember(forkLsn: string | null): Promise<void> {
    const { host } = this.tools;
    const { term } = this.order;
    const timeline = host.view.sql?.timeline ?? null;
    if (timeline === null) return;
    if (host.state.promotingTerm === null && host.state.promoted?.term === term) return;
    const promoted = { term, timeline, forkLsn };
    await host.save({ promotingTerm: null, promoted, promotedByHand: false, standby: false, joined: null });
  }

  /**
   * True when a checkpoint was written since this order. The checkpoint is written in the background, because the order
   * must not wait for it.
   */
  private isPrepared(): boolean {
    this.checkpoint ??= beginCheckpoint(this.tools);
    return this.checkpoint();
  }
}

/**
 * The view of PostgreSQL right after its promotion; the next look completes it. Undefined: PostgreSQL was not seen
 * before.
 */
function promoted(view: View, timeline: number): View | undefined {
  // A server that was started blind accepts sessions only from now on.
  const sql = view.sql ?? (view.blind === true ? NOTHING_SEEN : null);
  if (sql === null) return undefined;
  const standby = { receiveLsn: null, replayLsn: null, walReceiver: null, startupWaits: false };
  return {
    ...view,
    sql: { ...sql, ...standby, inRecovery: false, timeline, flushLsn: null, standbys: [] },
    settings: null,
  };
}
