/**
 * Brings a sync configuration in force on a running leader and proves it. Setting `synchronous_standby_names` is not
 * enough: for some milliseconds commits still go by the old value (S4), and walsenders release waiters by it.
 */
import type { SyncConfig } from '../contract/messages';
import { lsnValue } from './lsn';
import { type Clock, KeeperError, type Postgres, type SqlView } from './ports';

/** A name that no node may have. */
const BARRIER = 'failover-barrier';
const PROOF_LIMIT_MS = 2_000;
const POLL_MS = 3;

function names(count: number, members: string[]): string {
  return count === 0 ? '' : `ANY ${count} (${members.map((m) => `"${m.replaceAll('"', '""')}"`).join(', ')})`;
}

/** Value of synchronous_standby_names for a configuration. */
export function syncNames(config: SyncConfig): string {
  return names(config.k, config.members);
}

/** Every member has to confirm, and a standby that does not exist: nothing is acknowledged under it (S4). */
export function barrierNames(config: SyncConfig): string {
  return config.k === 0 ? '' : names(config.members.length + 1, [...config.members, BARRIER]);
}

function same(a: SyncConfig | null, b: SyncConfig): boolean {
  return a !== null && a.leader === b.leader && syncNames(a) === syncNames(b);
}

export class SyncControl {
  /** What is proven in force; null until proven. */
  inForce: SyncConfig | null = null;
  private applied: SyncConfig | null = null;
  /** Standbys whose walsenders may still go by names that let them acknowledge alone. */
  private suspects: string[] = [];
  /** Flush position when the names came in force: a member counts from there on. */
  private countsFrom: string | null = null;
  private readonly postgres: Postgres;
  private readonly clock: Clock;

  constructor(postgres: Postgres, clock: Clock) {
    this.postgres = postgres;
    this.clock = clock;
  }

  /** PostgreSQL was started, stopped or promoted: nothing that was known holds. */
  reset(): void {
    this.inForce = null;
    this.applied = null;
    this.suspects = [];
    this.countsFrom = null;
  }

  /** `config` needs no standby and no names were set since the server's start: there is nothing to prove. */
  foundInForce(config: SyncConfig): void {
    this.applied = config;
    this.inForce = config;
  }

  /**
   * One pass; true when `desired` is proven in force. Not blocking on standbys that have yet to catch up: call again.
   * Throws SYNC_UNPROVEN when the server does not take the setting within two seconds.
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
      await this.bar(desired, configure, observe, signal);
      if (signal.aborted) return false;
      // Also when this fails in the middle: walsenders may go by these names from here on.
      this.suspects = [...new Set([...this.suspects, ...desired.members])];
      await configure(syncNames(desired));
      this.suspects = desired.members;
      this.applied = desired;
    }
    // A look that failed is made up for by the next pass: without a position no member would ever count.
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
        lsnValue(s.flushLsn) >= lsnValue(from),
    );
    if (ready.length < desired.k) return false;
    await this.postgres.kick(); // those who waited under the barrier are looked at again (S17)
    this.inForce = desired;
    return true;
  }

  /** Sets the barrier and proves that every process goes by it. */
  private async bar(
    desired: SyncConfig,
    configure: (syncNames: string) => Promise<void>,
    observe: () => Promise<SqlView>,
    signal: AbortSignal,
  ): Promise<void> {
    const before = this.suspects;
    this.applied = null;
    await configure(barrierNames(desired));
    await this.postgres.startCanary();
    // The canary waits, so commits wait. Its own record is flushed, hence lies before this position.
    const position = (await observe()).flushLsn;
    const deadline = this.clock.nowMs() + PROOF_LIMIT_MS;
    while (!signal.aborted) {
      const { standbys } = await observe();
      // A walsender can still release waiters by the old names until it has taken the new ones: one that lost its
      // membership then shows `async`, one that keeps it has been answered past the canary without releasing it.
      const behind = standbys.filter((s) => {
        if (!before.includes(s.name)) return false;
        if (!desired.members.includes(s.name)) return s.syncState !== 'async';
        return s.flushLsn === null || position === null || lsnValue(s.flushLsn) < lsnValue(position);
      });
      if (behind.length === 0) break;
      if (this.clock.nowMs() > deadline) {
        throw new KeeperError('SYNC_UNPROVEN', `${behind.map((s) => s.name).join(', ')} did not take the new setting`);
      }
      await this.postgres.kick();
      await this.clock.sleep(POLL_MS, signal);
    }
    await this.clock.sleep(POLL_MS, signal);
    if (!signal.aborted && !(await this.postgres.canaryWaits())) {
      throw new KeeperError('SYNC_UNPROVEN', 'a commit was acknowledged under the barrier');
    }
  }

  /** Shrinking does not release waiters by itself (S17): kick until none waits. */
  private async release(signal: AbortSignal): Promise<void> {
    const deadline = this.clock.nowMs() + PROOF_LIMIT_MS;
    while (!signal.aborted) {
      await this.postgres.kick();
      if ((await this.postgres.syncWaiters()) === 0) return;
      if (this.clock.nowMs() > deadline) throw new KeeperError('SYNC_UNPROVEN', 'writers still wait for a standby');
      await this.clock.sleep(POLL_MS, signal);
    }
  }
}
