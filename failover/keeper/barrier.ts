/**
 * The barrier: a value of `synchronous_standby_names` under which no commit is acknowledged, and the proof that every
 * process of the leader uses it (S4).
 */

import { parseLsn } from '../contract/lsn';
import type { SyncConfig } from '../contract/messages';
import { seam } from '../contract/seam';
import { type Clock, KeeperError, type Postgres, type SqlView } from './ports';

/** A standby name that no node may have. */
const BARRIER = 'failover-barrier';
/** Time limit of the proof, ms. */
export const PROOF_LIMIT_MS = 2_000;
export const PROOF_POLL_MS = 3;

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

export interface BarrierStep {
  /**
   * Standbys whose walsenders may still use earlier names, under which one of these standbys could acknowledge a commit
   * alone.
   */
  before: readonly string[];
  desired: SyncConfig;
  configure: (syncNames: string) => Promise<void>;
  observe: () => Promise<SqlView>;
}

/**
 * Sets the barrier and proves that every process uses it. Throws SYNC_UNPROVEN if the processes do not use it within
 * the limit.
 */
export const raiseBarrier = seam(
  async (
    postgres: Postgres,
    clock: Clock,
    { before, desired, configure, observe }: BarrierStep,
    signal: AbortSignal,
  ): Promise<void> => {
    await configure(barrierNames(desired));
    await postgres.startCanary();
    // The canary waits, so all commits wait. The canary's own record is already flushed, so it lies before this
    // position.
    const position = (await observe()).flushLsn;
    const deadline = clock.nowMs() + PROOF_LIMIT_MS;
    while (!signal.aborted) {
      const { standbys } = await observe();
      // A walsender can still release waiting commits by the old names until it has read the new ones. A standby that
      // loses its membership shows `async` once its walsender has read them. For a standby that keeps its membership,
      // the proof is that it has confirmed a position after the canary's record and the canary still waits.
      const behind = standbys.filter((s) => {
        if (!before.includes(s.name)) return false;
        if (!desired.members.includes(s.name)) return s.syncState !== 'async';
        return s.flushLsn === null || position === null || parseLsn(s.flushLsn) < parseLsn(position);
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
