/**
 * Puts a synchronous configuration in force on a running leader and proves it. Setting `synchronous_standby_names` is
 * not enough: for some milliseconds after a reload, commits and walsenders still use the old value (S4), and such
 * walsenders release waiting commits by it.
 */

import { parseLsn } from '../contract/lsn';
import type { SyncConfig } from '../contract/messages';
import { PROOF_LIMIT_MS, PROOF_POLL_MS, raiseBarrier, syncNames } from './barrier';
import { type Clock, KeeperError, type Postgres, type SqlView } from './ports';

function same(a: SyncConfig | null, b: SyncConfig): boolean {
  return a !== null && a.leader === b.leader && syncNames(a) === syncNames(b);
}

export class SyncControl {
  /** The configuration that is proven to be in force; null: none is. */
  inForce: SyncConfig | null = null;
  private applied: SyncConfig | null = null;
  /**
   * Standbys whose walsenders may still use earlier names, under which one of these standbys could acknowledge a commit
   * alone.
   */
  private suspects: string[] = [];
  /** Flush position when the names came into force. A member counts once it has flushed up to this position. */
  private countsFrom: string | null = null;
  private readonly postgres: Postgres;
  private readonly clock: Clock;

  constructor(postgres: Postgres, clock: Clock) {
    this.postgres = postgres;
    this.clock = clock;
  }

  /**
   * The configuration needs no standby and no names were set since the server's start, so there is nothing to prove.
   */
  foundInForce(config: SyncConfig): void {
    this.applied = config;
    this.inForce = config;
  }

  /**
   * Does one pass. Returns true when `desired` is proven to be in force. It does not wait for standbys that still have
   * to catch up; the caller calls again. Throws SYNC_UNPROVEN when the server does not take the setting within two
   * seconds.
   */
  async pursue(
    desired: SyncConfig,
    configure: (syncNames: string) => Promise<void>,
    observe: () => Promise<SqlView>,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (same(this.inForce, desired)) return true;
    this.inForce = null;
    if (desired.k === 0) {
      await configure('');
      await this.release(signal);
      this.applied = desired;
      this.inForce = desired;
      return true;
    }
    if (!same(this.applied, desired)) {
      this.countsFrom = null;
      const before = this.suspects;
      this.applied = null;
      await raiseBarrier(this.postgres, this.clock, { before, desired, configure, observe }, signal);
      if (signal.aborted) return false;
      // Set before the call, because the call may fail in the middle and walsenders may use these names from here on.
      this.suspects = [...new Set([...this.suspects, ...desired.members])];
      await configure(syncNames(desired));
      this.suspects = desired.members;
      this.applied = desired;
    }
    // The next pass asks again if this look failed, because without a position no member would ever count.
    if (this.countsFrom === null) {
      this.countsFrom = (await observe()).flushLsn;
      await this.postgres.kick();
    }
    const from = this.countsFrom;
    const ready = (await observe()).standbys.filter(
      (s) =>
        desired.members.includes(s.name) &&
        from !== null &&
        s.flushLsn !== null &&
        parseLsn(s.flushLsn) >= parseLsn(from),
    );
    if (ready.length < desired.k) return false;
    await this.postgres.kick(); // commits that waited under the barrier are checked again (S17)
    this.inForce = desired;
    return true;
  }

  /** A smaller configuration does not release waiting commits by itself (S17), so kick until none waits. */
  private async release(signal: AbortSignal): Promise<void> {
    const deadline = this.clock.nowMs() + PROOF_LIMIT_MS;
    while (!signal.aborted) {
      await this.postgres.kick();
      if ((await this.postgres.syncWaiters()) === 0) return;
      if (this.clock.nowMs() > deadline) throw new KeeperError('SYNC_UNPROVEN', 'writers still wait for a standby');
      await this.clock.sleep(PROOF_POLL_MS, signal);
    }
  }
}
