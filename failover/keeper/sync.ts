/**
 * Puts a synchronous configuration in force on a running leader and proves it. Setting `synchronous_standby_names` is
 * not enough: for some milliseconds after a reload, commits and walsenders still use the old value (S4), and such
 * walsenders release waiting commits by it. The barrier is a value under which no commit is acknowledged. It stays
 * until every process of the leader is proven to use it.
 */
import { parseLsn } from '../contract/lsn';
import type { SyncConfig } from '../contract/messages';
import { seam } from '../contract/seam';
import { type Clock, KeeperError, type Postgres, type SqlView } from './ports';

/** A standby name that no node may have. */
const BARRIER = 'failover-barrier';
/** Time limit of the proof, ms. */
const PROOF_LIMIT_MS = 2_000;
const PROOF_POLL_MS = 3;

function names(count: number, members: string[]): string {
  return count === 0 ? '' : `ANY ${count} (${members.map((m) => `"${m.replaceAll('"', '""')}"`).join(', ')})`;
}

/** Value of synchronous_standby_names for a configuration. */
export function syncNames(config: SyncConfig): string {
  return names(config.k, config.members);
}

/** The value requires every member and one standby that does not exist, so no commit is acknowledged under it (S4). */
export function barrierNames(config: SyncConfig): string {
  return config.k === 0 ? '' : names(config.members.length + 1, [...config.members, BARRIER]);
}

/** Whether the standby is known to have flushed all WAL up to a position; null: the position is not known. */
function hasFlushed({ flushLsn }: SqlView['standbys'][number], position: string | null): boolean {
  return flushLsn !== null && position !== null && parseLsn(flushLsn) >= parseLsn(position);
}

/** The running leader. */
interface Leader {
  configure(syncNames: string): Promise<void>;
  observe(): Promise<SqlView>;
}

/**
 * Sets the barrier and proves that every process uses it. `suspects`: standbys whose walsenders may still use earlier
 * names. Throws SYNC_UNPROVEN if the processes do not use it within the limit.
 */
export const raiseBarrier = seam(
  async (
    postgres: Postgres,
    clock: Clock,
    suspects: readonly string[],
    desired: SyncConfig,
    leader: Leader,
    signal: AbortSignal,
  ): Promise<void> => {
    await leader.configure(barrierNames(desired));
    await postgres.startCanary();
    // The canary waits, so all commits wait. The canary's own record is already flushed, so it lies before this
    // position.
    const position = (await leader.observe()).flushLsn;
    const deadline = clock.nowMs() + PROOF_LIMIT_MS;
    while (!signal.aborted) {
      const { standbys } = await leader.observe();
      // A walsender can still release waiting commits by the old names until it has read the new ones. A standby that
      // loses its membership shows `async` once its walsender has read them. For a standby that keeps its membership,
      // the proof is that it has confirmed a position after the canary's record and the canary still waits.
      const behind = standbys.filter((s) => {
        if (!suspects.includes(s.name)) return false;
        if (!desired.members.includes(s.name)) return s.syncState !== 'async';
        return !hasFlushed(s, position);
      });
      if (behind.length === 0) break;
      if (clock.nowMs() > deadline) {
        throw new KeeperError('SYNC_UNPROVEN', `${behind.map((s) => s.name).join(', ')} did not take the new setting`);
      }
      await postgres.kick();
      await clock.sleep(PROOF_POLL_MS, signal);
    }
    await clock.sleep(PROOF_POLL_MS, signal);
    if (!signal.aborted && !(await postgres.canaryWaits())) {
      throw new KeeperError('SYNC_UNPROVEN', 'a commit was acknowledged under the barrier');
    }
  },
);

/** Whether both name the same leader and the same standbys. */
export function sameSync(a: SyncConfig | null, b: SyncConfig): boolean {
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

  constructor(
    private readonly postgres: Postgres,
    private readonly clock: Clock,
  ) {}

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
  async pursue(desired: SyncConfig, leader: Leader, signal: AbortSignal): Promise<boolean> {
    if (sameSync(this.inForce, desired)) return true;
    this.inForce = null;
    if (desired.k === 0) {
      await leader.configure('');
      await this.release(signal);
      this.applied = desired;
      this.inForce = desired;
      return true;
    }
    if (!sameSync(this.applied, desired)) {
      this.countsFrom = null;
      this.applied = null;
      await raiseBarrier(this.postgres, this.clock, this.suspects, desired, leader, signal);
      if (signal.aborted) return false;
      // Set before the call, because the call may fail in the middle and walsenders may use these names from here on.
      this.suspects = [...new Set([...this.suspects, ...desired.members])];
      await leader.configure(syncNames(desired));
      this.suspects = desired.members;
      this.applied = desired;
    }
    // The next pass asks again if this look failed, because without a position no member would ever count.
    if (this.countsFrom === null) {
      this.countsFrom = (await leader.observe()).flushLsn;
      await this.postgres.kick();
    }
    const from = this.countsFrom;
    const ready = (await leader.observe()).standbys.filter(
      (s) => desired.members.includes(s.name) && hasFlushed(s, from),
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
