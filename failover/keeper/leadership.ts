/**
 * State of one leadership of this node. It begins with the promotion, or with the order that found the node leading
 * already, and ends with the leadership.
 */

import { inBackground, messageOf } from '../contract/errors';
import type { NodeSettings, SyncConfig } from '../contract/messages';
import { seam } from '../contract/seam';
import { consumerSlots, standbysFirst } from './consumers';
import { ensureSlots, type Pass, type PursuitParts, peersOf } from './pursuit-host';
import { SyncControl, sameSync } from './sync';

/**
 * For this time after a promotion, work that can wait is left for later, ms: the clients' first writes need the
 * machine.
 */
const CALM_MS = 1_000;
/** Interval at which a leader checks that the failover's own objects exist inside PostgreSQL, ms. */
const MEND_MS = 500;
/** Rest before a failed repair of these objects is tried again, ms. It doubles each time. */
const FURNISH_RETRY_MS = 500;
const FURNISH_RETRY_MAX_MS = 15_000;
/** Interval at which a leader checks its slots, ms. It is shorter than any copy of a standby takes. */
const SLOTS_MS = 500;

export class Leadership {
  readonly sync: SyncControl;
  /** Term of the newest order to lead; null: the promotion has not finished. */
  term: number | null = null;
  forkLsn: string | null = null;
  /** Time of the promotion; negative infinity: the node was found leading. */
  promotedAtMs = Number.NEGATIVE_INFINITY;
  /**
   * The settings version and slots for which the leader's own objects were made on this leader; null: they were not
   * made yet.
   */
  furnished: string | null = null;
  private furnishing = false;
  /** Time of the next check of these objects. */
  private dueAtMs = Number.NEGATIVE_INFINITY;
  private failed: { message: string; restMs: number } | null = null;
  /** The configuration under which consumers of logical slots may be sent something; null: none yet. */
  consumersUnder: SyncConfig | null = null;
  /** The standbys that have to have a change before a consumer gets it. */
  private standbysFirst: string[] = [];
  /** Time of the last check of the slots. */
  slotsAtMs = Number.NEGATIVE_INFINITY;

  constructor(readonly parts: PursuitParts) {
    this.sync = new SyncControl(parts.postgres, parts.clock);
  }

  /** True when work that can wait should be done now. */
  get calm(): boolean {
    return this.parts.host.state.fresh || this.parts.clock.nowMs() - this.promotedAtMs >= CALM_MS;
  }

  /** Value of `synchronized_standby_slots` under this configuration; undefined: logical slots are not possible. */
  consumerSlots(settings: NodeSettings, sync: SyncConfig): string | undefined {
    // A session may still begin with the value of the configuration before.
    if (this.consumersUnder !== null && !sameSync(this.consumersUnder, sync)) this.consumersUnder = null;
    if (settings.postgresSettings.wal_level !== 'logical') return undefined;
    this.standbysFirst = standbysFirst(sync, this.standbysFirst, this.parts.host.view.sql?.standbys ?? []);
    return consumerSlots(this.standbysFirst);
  }

  /** Lets consumers in under this configuration, which is in force, once new sessions hold back for these slots. */
  async letConsumersIn(sync: SyncConfig, slots: string | undefined): Promise<void> {
    if (sameSync(this.consumersUnder, sync)) return;
    const { postgres } = this.parts;
    if (slots !== undefined && (await postgres.holdsConsumersFor?.(slots)) === false) return;
    this.consumersUnder = sync;
  }

  /**
   * Makes or repairs the leader's own objects beside the user's data, its slots, roles and tables, in the background,
   * so that a new leader does not wait for it. People may remove any of these objects at any time.
   */
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
    await ensureSlots(this.parts, slots, false);
    // A bootstrapped leader stays fresh until this has succeeded, and is not opened before. So the application's
    // database and table are made once: what a person renames or drops later does not come back after a failover.
    await postgres.furnish(settings, host.state.fresh);
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

/**
 * The nodes for which this leader keeps slots. A node that is no longer declared keeps its slot until it has left the
 * synchronous set.
 */
function slotsFor(node: string, settings: NodeSettings, sync: SyncConfig): string[] {
  return [...new Set([...peersOf(node, settings), ...sync.members])];
}

/**
 * Makes lost slots again. A standby whose slot was invalidated is copied, and before it comes back it needs a slot that
 * keeps WAL again (S22).
 */
export const keepSlots = seam(
  async (leadership: Leadership, settings: NodeSettings, sync: SyncConfig): Promise<void> => {
    const { node, clock } = leadership.parts;
    if (leadership.furnished === null || clock.nowMs() - leadership.slotsAtMs < SLOTS_MS) return;
    leadership.slotsAtMs = clock.nowMs();
    await ensureSlots(leadership.parts, slotsFor(node, settings, sync), false);
  },
);
