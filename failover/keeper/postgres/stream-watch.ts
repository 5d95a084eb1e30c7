/** Decides when to check why a standby does not stream: only while it does not, and less often each time. */

import { inBackground } from '../../contract/errors';
import { printLsn } from '../../contract/lsn';
import type { Source, SqlView } from '../ports';
import { type Finding, STUCK_MAX, unlike } from './stream-check';

/** After this time without a break, a standby counts as streaming; or, if it does not stream, the check begins, ms. */
const SETTLED_MS = 1_000;
const FIRST_GAP_MS = 1_000;
const LONGEST_GAP_MS = 30_000;

const NOT_STUCK = { position: -1n, count: 0 };

/** What is known about a standby while it does not stream from one leader. */
class Doubt {
  impossible: string | null = null;
  /** Time since which it has not streamed; null: it streams. */
  since: { atMs: number; brokenAtMs: number; replayLsn: string | null } | null = null;
  nextAtMs = Number.NEGATIVE_INFINITY;
  gapMs = FIRST_GAP_MS;
  stuck = NOT_STUCK;
}

/**
 * Watches one standby. A walreceiver whose WAL is not applied starts and ends many times a second, and each time looks
 * for some milliseconds as if it streamed. Such a look counts only if something was applied meanwhile.
 */
export class StreamWatch {
  /** The node that the standby follows, as text; null: none. */
  private leader: string | null = null;
  private doubt = new Doubt();
  private asking = false;

  constructor(
    private readonly ask: (leader: Source) => Promise<Finding>,
    private readonly nowMs = () => performance.now(),
  ) {}

  /** Why this data can never stream from its leader; null: it may. */
  get impossible(): string | null {
    return this.doubt.impossible;
  }

  /** The leader or the role has changed, so the answer to a check that is under way no longer counts. */
  forget(): void {
    this.doubt = new Doubt();
  }

  /** Takes a look at the running server (null: it does not answer), which has to follow `leader` (null: no node). */
  seen(sql: SqlView | null, leader: Source | null): void {
    const nowMs = this.nowMs();
    const key = leader === null ? null : `${leader.name} ${leader.address}`;
    if (key !== this.leader || leader === null || sql?.inRecovery === false) {
      this.forget();
      this.leader = key;
      if (leader === null || sql?.inRecovery === false) return;
    }
    const receiver = sql?.walReceiver;
    const replayLsn = sql?.replayLsn ?? null;
    const { doubt } = this;
    if (receiver?.status === 'streaming' && receiver.host === leader.address) {
      const { since } = doubt;
      if (since !== null && (nowMs - since.brokenAtMs >= SETTLED_MS || replayLsn !== since.replayLsn)) this.forget();
      return;
    }
    doubt.since ??= { atMs: nowMs, brokenAtMs: nowMs, replayLsn };
    doubt.since.brokenAtMs = nowMs;
    const due = nowMs - doubt.since.atMs >= SETTLED_MS && nowMs >= doubt.nextAtMs;
    // A check without an answer changes nothing.
    if (due && !this.asking) inBackground(() => this.check(leader, nowMs));
  }

  private async check(leader: Source, nowMs: number): Promise<void> {
    const { doubt } = this;
    this.asking = true;
    doubt.nextAtMs = nowMs + doubt.gapMs;
    doubt.gapMs = Math.min(2 * doubt.gapMs, LONGEST_GAP_MS);
    try {
      doubt.impossible = judge(doubt, await this.ask(leader), leader);
    } finally {
      this.asking = false;
    }
  }
}

function judge(doubt: Doubt, { impossible, stuck }: Finding, leader: Source): string | null {
  if (stuck === null) {
    doubt.stuck = NOT_STUCK;
    return impossible;
  }
  const count = stuck.position === doubt.stuck.position ? doubt.stuck.count + 1 : 1;
  doubt.stuck = { position: stuck.position, count };
  if (count < STUCK_MAX) return null;
  const next = `the next record of ${leader.name} at ${printLsn(stuck.position)} is here and does not fit`;
  return `${unlike(leader.name, stuck.timeline, stuck.position)} (${next})`;
}
