/** When a standby is asked why it does not stream: only while it does not, and less often each time. */
import { printLsn } from '../lsn';
import type { Source, SqlView } from '../ports';
import { type Finding, STUCK_MAX, unlike } from './stream-check';

/** After this time without a break a standby counts as streaming, or is asked why it does not stream, ms. */
const SETTLED_MS = 1_000;
const FIRST_GAP_MS = 1_000;
const LONGEST_GAP_MS = 30_000;

interface Parts {
  ask: (leader: Source) => Promise<Finding>;
  nowMs: () => number;
}

/**
 * Watches one standby. A receiver whose WAL is not applied comes and goes many times a second, and looks as if it streamed
 * for some milliseconds each time: such a look counts only when something was applied meanwhile.
 */
export class StreamWatch {
  /** Why this data can never stream from its leader; null: it may. */
  impossible: string | null = null;
  private readonly parts: Parts;
  /** Since when it has not streamed; null: it streams. */
  private since: { atMs: number; brokenAtMs: number; replayLsn: string | null } | null = null;
  private nextAtMs = Number.NEGATIVE_INFINITY;
  private gapMs = FIRST_GAP_MS;
  private asking = false;
  private stuck = { position: -1n, count: 0 };
  /** Rises with each {@link forget}: the answer to a question of an earlier one is ignored. */
  private generation = 0;
  private leader: string | null = null;

  constructor(parts: Parts) {
    this.parts = parts;
  }

  /** This is another server, leader, role or data now. */
  forget(): void {
    this.generation += 1;
    this.impossible = null;
    this.since = null;
    this.nextAtMs = Number.NEGATIVE_INFINITY;
    this.gapMs = FIRST_GAP_MS;
    this.stuck = { position: -1n, count: 0 };
  }

  /** A look at the running server (null: it does not answer), which was told to follow `leader` (null: nobody). */
  seen(sql: SqlView | null, leader: Source | null): void {
    const nowMs = this.parts.nowMs();
    const key = leader === null ? null : `${leader.name} ${leader.address}`;
    if (key !== this.leader || leader === null || sql?.inRecovery === false) {
      this.forget();
      this.leader = key;
      if (leader === null || sql?.inRecovery === false) return;
    }
    const receiver = sql?.walReceiver;
    const replayLsn = sql?.replayLsn ?? null;
    if (receiver?.status === 'streaming' && receiver.host === leader.address) {
      const { since } = this;
      if (since !== null && (nowMs - since.brokenAtMs >= SETTLED_MS || replayLsn !== since.replayLsn)) this.forget();
      return;
    }
    this.since ??= { atMs: nowMs, brokenAtMs: nowMs, replayLsn };
    this.since.brokenAtMs = nowMs;
    if (nowMs - this.since.atMs >= SETTLED_MS && nowMs >= this.nextAtMs && !this.asking) this.begin(leader, nowMs);
  }

  private begin(leader: Source, nowMs: number): void {
    const { generation } = this;
    this.asking = true;
    this.nextAtMs = nowMs + this.gapMs;
    this.gapMs = Math.min(2 * this.gapMs, LONGEST_GAP_MS);
    this.parts
      .ask(leader)
      .then((finding) => {
        if (generation === this.generation) this.impossible = this.judge(finding, leader);
      })
      // No answer is no reason, and takes none away.
      .catch(() => undefined)
      .finally(() => {
        this.asking = false;
      })
      .catch(() => undefined);
  }

  private judge({ impossible, stuck }: Finding, leader: Source): string | null {
    if (stuck === null) {
      this.stuck = { position: -1n, count: 0 };
      return impossible;
    }
    const count = stuck.position === this.stuck.position ? this.stuck.count + 1 : 1;
    this.stuck = { position: stuck.position, count };
    if (count < STUCK_MAX) return null;
    const next = `the next record of ${leader.name} at ${printLsn(stuck.position)} is here and does not fit`;
    return `${unlike(leader.name, stuck.timeline, stuck.position)} (${next})`;
  }
}
