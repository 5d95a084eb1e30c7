/**
 * Keeps the replication slots that people made through a change of leader. A standby keeps a copy of each physical slot
 * of its leader and moves it behind the leader's, as archive-slot.ts does for the archive; so a new leader has all that
 * the former one kept. The opened leader makes what is missing and says what may be lost. Logical slots belong to
 * PostgreSQL (`failover = true`): it copies them, and one without it cannot be made again without loss.
 */
import type { ClientSlot, ClientSlotsView, SlotGap, SlotOrder } from '../contract/client-slots';
import { inBackground, messageOf } from '../contract/errors';
import { compareLsn } from '../contract/lsn';
import type { MonitorFrame } from '../contract/messages';
import type { Leadership } from './leadership';
import type { ClientSlotTool, Clock, View } from './ports';
import type { NoteLevel } from './pursuit-host';

/** Interval between two looks of a leader, ms. */
const LOOK_MS = 2_000;
/** A standby looks again after this time even if it was told nothing new, ms: a copy may have been given up. */
const REPEAT_MS = 30_000;
/** Rest after a failure, ms. It doubles each time. */
const RETRY_MS = 2_000;
const RETRY_MAX_MS = 60_000;

type Ping = Extract<MonitorFrame, { type: 'ping' }>;
type Kept = SlotOrder['keep'][number];

/** What it needs from the keeper. */
export interface ClientSlotsHost {
  readonly view: View;
  /** PostgreSQL runs as its order asks. */
  readonly settled: boolean;
  /** The leadership that the present order gave; null: none, or this node is about to end it. */
  leadership(): Leadership | null;
  note(level: NoteLevel, code: 'SLOT_DROPPED' | 'SLOT_GAP' | 'SLOT_LOST' | 'SLOT_PROBLEM', message: string): void;
}

export class ClientSlots {
  /** For the status; undefined: this node is not the leader, or does not have what it was told yet. */
  view: ClientSlotsView | undefined;
  private leadership: Leadership | null = null;
  private busy = false;
  private dueAtMs = Number.NEGATIVE_INFINITY;
  private done: { text: string; untilMs: number } = { text: '', untilMs: Number.NEGATIVE_INFINITY };
  private failed: { message: string; restMs: number; untilMs: number } | null = null;

  constructor(
    private readonly node: string,
    private readonly tool: ClientSlotTool,
    private readonly clock: Clock,
    private readonly host: ClientSlotsHost,
  ) {}

  /** Takes a ping. */
  pinged({ archive, slots }: Ping): void {
    const leadership = this.host.leadership();
    if (leadership !== this.leadership) this.view = undefined;
    this.leadership = leadership;
    if (slots === undefined || this.busy || this.clock.nowMs() < (this.failed?.untilMs ?? 0)) return;
    if (leadership === null) {
      if (this.host.settled && this.host.view.sql?.inRecovery === true) this.run(() => this.follow(slots));
      return;
    }
    const { term, calm } = leadership;
    if (!calm || archive?.term !== term || slots.term !== term) return;
    if (this.view === undefined) this.run(() => this.adopt(leadership, slots));
    else if (this.clock.nowMs() >= this.dueAtMs) this.run(() => this.look(leadership, this.view?.gaps ?? []));
  }

  private run(work: () => Promise<void>): void {
    this.busy = true;
    inBackground(
      async () => {
        await work();
        this.failed = null;
      },
      (error) => this.rest(messageOf(error)),
      () => {
        this.busy = false;
      },
    );
  }

  private rest(message: string): void {
    const { failed, clock } = this;
    if (failed?.message !== message) this.host.note('warn', 'SLOT_PROBLEM', message);
    const restMs = failed === null ? RETRY_MS : Math.min(RETRY_MAX_MS, failed.restMs * 2);
    this.failed = { message, restMs, untilMs: clock.nowMs() + restMs };
  }

  /** A standby: copies of the leader's physical slots, never ahead of them. */
  private async follow(order: SlotOrder): Promise<void> {
    const text = JSON.stringify(order);
    const nowMs = this.clock.nowMs();
    if (text === this.done.text && nowMs < this.done.untilMs) return;
    const here = await this.dropGone(order);
    const errors: unknown[] = [];
    for (const kept of order.keep) {
      if (kept.type !== 'physical') continue;
      // A slot that fails, for example because all are in use, must not hold up the copies of the others.
      await this.copy(kept, here.get(kept.name)).catch((error: unknown) => errors.push(error));
    }
    if (errors.length > 0) throw errors[0];
    this.done = { text, untilMs: nowMs + REPEAT_MS };
  }

  private async copy({ name, lsn }: Kept, here: ClientSlot | undefined): Promise<void> {
    const { tool } = this;
    if (lsn === undefined || here?.active === true) return;
    const isUseless = here !== undefined && (here.invalidation !== null || (here.lsn === null && lsn !== null));
    if (isUseless) await tool.drop(name);
    if (here === undefined || isUseless) await tool.make(name, lsn !== null);
    else if (lsn !== null && here.lsn !== null && compareLsn(here.lsn, lsn) < 0) await tool.advance(name, lsn);
  }

  /** Drops copies of slots that were dropped on a leader. Resolves with the slots that are left. */
  private async dropGone({ gone }: SlotOrder): Promise<Map<string, ClientSlot>> {
    const here = new Map((await this.tool.look()).slots.map((slot) => [slot.name, slot]));
    for (const name of gone) {
      const slot = here.get(name);
      if (slot === undefined || slot.type !== 'physical' || slot.active) continue;
      await this.tool.drop(name);
      here.delete(name);
      this.host.note('info', 'SLOT_DROPPED', `${name}: it was dropped on a leader, so its copy here goes too`);
    }
    return here;
  }

  /** A new leader: makes what is missing, and says what may be lost. */
  private async adopt(leadership: Leadership, order: SlotOrder): Promise<void> {
    const here = await this.dropGone(order);
    const gaps: SlotGap[] = [];
    for (const kept of order.keep) {
      const gap = await this.take(kept, here.get(kept.name), order.by === this.node);
      if (gap !== null) gaps.push(gap);
    }
    await this.look(leadership, gaps);
    for (const gap of this.view?.gaps ?? []) this.tell(gap);
  }

  /** `isOwn`: this node had the lead before, so the slot is no copy. Resolves with what may be lost; null: nothing. */
  private async take(kept: Kept, here: ClientSlot | undefined, isOwn: boolean): Promise<SlotGap | null> {
    const { name, type, lsn } = kept;
    const gap = { name, type, from: lsn ?? null, to: null };
    const isThere = here !== undefined && here.invalidation === null;
    if (isThere) {
      const isLate = lsn != null && here.lsn !== null && compareLsn(here.lsn, lsn) > 0;
      return type === 'physical' && isLate && !isOwn ? { ...gap, to: here.lsn } : null;
    }
    if (type === 'logical') return gap;
    if (here !== undefined && isOwn) return null;
    try {
      if (here !== undefined) await this.tool.drop(name);
      const madeAt = await this.tool.make(name, lsn !== null);
      const isWhole = madeAt === null || (lsn != null && compareLsn(madeAt, lsn) <= 0);
      return isWhole ? null : { ...gap, to: madeAt };
    } catch (error) {
      this.host.note('warn', 'SLOT_PROBLEM', `${name}: ${messageOf(error)}`);
      return gap;
    }
  }

  /** A slot that is there again is not lost, and a slot that a person dropped has no gap. */
  private async look(leadership: Leadership, gaps: readonly SlotGap[]): Promise<void> {
    const { slots, more } = await this.tool.look();
    const isThere = (name: string) => slots.some((slot) => slot.name === name && slot.invalidation === null);
    const left = gaps.filter(({ name, to }) => isThere(name) === (to !== null));
    this.dueAtMs = this.clock.nowMs() + LOOK_MS;
    // It may have ended meanwhile.
    if (this.leadership !== leadership || leadership.term === null || this.host.leadership() !== leadership) return;
    this.view = { term: leadership.term, slots, ...(more && { more }), gaps: left };
  }

  private tell({ name, type, from, to }: SlotGap): void {
    const since = from === null ? 'from a position that is not known' : `from ${from}`;
    if (to !== null) {
      this.host.note('warn', 'SLOT_GAP', `${name}: write-ahead log ${since} to ${to} may be missing for its reader`);
    } else if (type === 'logical') {
      const why = 'without failover = true, or without a finished copy, a logical slot is lost with its leader';
      this.host.note('warn', 'SLOT_LOST', `${name}: ${why}; its reader has to begin anew`);
    } else {
      this.host.note('warn', 'SLOT_LOST', `${name}: it could not be made again; nothing is kept for its reader`);
    }
  }
}
