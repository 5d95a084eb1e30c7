/** What belongs to one leadership of this node: from the promotion, or from the order that found it leading, to its end. */

import { inBackground, messageOf } from '../contract/errors';
import type { NodeSettings, SyncConfig } from '../contract/messages';
import { seam } from '../contract/seam';
import { type Pass, type PursuitParts, peersOf } from './pursuit-host';
import { SyncControl } from './sync';

/** After a promotion what can wait does, for this time, ms: the clients' first writes need the machine. */
const CALM_MS = 1_000;
/** How often a leader checks that the failover's own objects inside PostgreSQL are there, ms. */
const MEND_MS = 500;
/** Rest before a failed repair of these objects is tried again, ms; it doubles each time. */
const FURNISH_RETRY_MS = 500;
const FURNISH_RETRY_MAX_MS = 15_000;
/** A leader looks at its slots this often, ms: more often than a standby can be copied. */
const SLOTS_MS = 500;

export class Leadership {
  readonly sync: SyncControl;
  readonly upkeep: Upkeep;
  /** Term of the newest order to lead; null: the promotion is not finished. */
  term: number | null = null;
  forkLsn: string | null = null;
  /** When it was promoted; the infinite past: it was found leading. */
  promotedAtMs = Number.NEGATIVE_INFINITY;
  private readonly parts: PursuitParts;

  constructor(parts: PursuitParts) {
    this.parts = parts;
    this.sync = new SyncControl(parts.postgres, parts.clock);
    this.upkeep = new Upkeep(parts);
  }

  /** What can wait is due. */
  get calm(): boolean {
    return this.parts.host.state.fresh || this.parts.clock.nowMs() - this.promotedAtMs >= CALM_MS;
  }
}

/** Keeps what a leader has beside the user's data: slots, roles and tables. */
export class Upkeep {
  /** What they were made for on this leader; null: not yet. */
  furnished: string | null = null;
  private furnishing = false;
  /** When these objects are checked next. */
  private dueAtMs = Number.NEGATIVE_INFINITY;
  private failed: { message: string; restMs: number } | null = null;
  /** When the slots were last looked at. */
  slotsAtMs = Number.NEGATIVE_INFINITY;
  private readonly parts: PursuitParts;

  constructor(parts: PursuitParts) {
    this.parts = parts;
  }

  /** Beside the order: a new leader does not wait for it. People may remove any of it at any time. */
  furnish({ settings, version: settingsVersion }: Pass, sync: SyncConfig): void {
    const { clock, node } = this.parts;
    const slots = slotsFor(node, settings, sync);
    const version = [settingsVersion, ...slots].join(' ');
    if (this.furnishing) return;
    const isNew = this.furnished !== version;
    if (clock.nowMs() < this.dueAtMs && (!isNew || this.failed !== null)) return;
    this.furnishing = true;
    inBackground(
      async () => {
        if (isNew) await this.make(settings, slots, version);
        else await this.mend();
        this.failed = null;
        this.dueAtMs = clock.nowMs() + MEND_MS;
      },
      (error) => this.rest(messageOf(error)),
      () => {
        this.furnishing = false;
      },
    );
  }

  private async make(settings: NodeSettings, slots: string[], version: string): Promise<void> {
    const { host, postgres } = this.parts;
    await postgres.ensureSlots(slots, false);
    await postgres.furnish(settings);
    postgres.startHeartbeat();
    if (host.state.fresh) await host.save({ fresh: false });
    this.furnished = version;
  }

  private async mend(): Promise<void> {
    const made = await this.parts.postgres.mend();
    if (made.length === 0) return;
    this.parts.host.note('warn', 'MENDED', `made again, because SQL had removed or changed it: ${made.join(', ')}`);
  }

  private rest(message: string): void {
    const { failed } = this;
    if (message !== failed?.message) this.parts.host.note('warn', 'FURNISH_FAILED', message);
    const restMs = Math.min(FURNISH_RETRY_MAX_MS, failed === null ? FURNISH_RETRY_MS : failed.restMs * 2);
    this.failed = { message, restMs };
    this.dueAtMs = this.parts.clock.nowMs() + restMs;
  }
}

/** Whose slots this leader keeps: a node that is not declared any more keeps its own until it counts no more. */
function slotsFor(node: string, settings: NodeSettings, sync: SyncConfig): string[] {
  return [...new Set([...peersOf(node, settings), ...sync.members])];
}

/** A standby that fell off is copied, and needs a slot that keeps WAL again before it comes back (S22). */
export const keepSlots = seam(
  async (
    upkeep: Upkeep,
    { node, postgres, clock }: PursuitParts,
    settings: NodeSettings,
    sync: SyncConfig,
  ): Promise<void> => {
    if (upkeep.furnished === null || clock.nowMs() - upkeep.slotsAtMs < SLOTS_MS) return;
    upkeep.slotsAtMs = clock.nowMs();
    await postgres.ensureSlots(slotsFor(node, settings, sync), false);
  },
);
