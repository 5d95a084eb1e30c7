/**
 * The leader's heartbeat: a flushed local commit (S21, S27) every 100 ms on a connection of its own. Its age says whether
 * the leader can still write, its row on the replicas whether it is alive behind a partition.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Beat } from './ports';
import type { Session } from './session';

const INTERVAL_MS = 100;
const LIMIT_MS = 10_000;
/** After so many beats the next goes over a fresh connection: a stopped postmaster still serves old ones (S27). */
const BEATS_A_SESSION = 4;
const BEAT = 'UPDATE failover.heartbeat SET n = n + 1, at = clock_timestamp() RETURNING n::int8::text AS n';

export class Heartbeat {
  private count = 0;
  private lastMs = 0;
  private commitMs: number | null = null;
  private life: AbortController | null = null;
  private readonly open: (limitMs: number, setup: string) => Promise<Session>;

  constructor(open: (limitMs: number, setup: string) => Promise<Session>) {
    this.open = open;
  }

  start(): void {
    if (this.life !== null) return;
    this.life = new AbortController();
    this.lastMs = performance.now();
    this.commitMs = null;
    this.run(this.life.signal).catch(() => undefined);
  }

  stop(): void {
    this.life?.abort();
    this.life = null;
  }

  read(): Beat {
    const ageMs = this.life === null ? 0 : Math.round(performance.now() - this.lastMs);
    return { count: this.count, ageMs, commitMs: this.commitMs };
  }

  private async run(signal: AbortSignal): Promise<void> {
    let session: Session | null = null;
    let beats = 0;
    while (!signal.aborted) {
      const sentMs = performance.now();
      try {
        if (session === null || beats >= BEATS_A_SESSION) {
          session?.destroy();
          session = null;
          session = await this.open(LIMIT_MS, 'SET synchronous_commit = local');
          beats = 0;
        }
        beats += 1;
        // Not from `sentMs`: a fresh session costs more than what clients of a pool notice.
        const commitFromMs = performance.now();
        const [row] = await session.query<{ n: string }>(BEAT);
        if (row !== undefined) {
          this.count = Number(row.n);
          this.lastMs = sentMs;
          this.commitMs = tenths(performance.now() - commitFromMs);
        }
      } catch {
        session?.destroy();
        session = null;
      }
      const restMs = Math.max(10, INTERVAL_MS - (performance.now() - sentMs));
      await delay(restMs, undefined, { signal }).catch(() => undefined);
    }
    session?.destroy();
  }
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
