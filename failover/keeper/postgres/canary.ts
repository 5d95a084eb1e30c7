/** Commits that test how synchronous commit behaves, over the local socket (S4, S17). */
import { setTimeout as delay } from 'node:timers/promises';
import { KeeperError } from '../ports';
import { type OwnSessions, SQL_LIMIT_MS } from './own-sessions';
import type { Session } from './session';

const LIMIT_MS = 2_000;
/** Longest time that the canary waits before it is released or ended, ms. */
const WAIT_LIMIT_MS = 3_600_000;
/** A waiting process that is woken checks its position and waits again within this time, ms. */
const WAKE_LIMIT_MS = 500;
/** Writes one WAL record and needs no table. */
const WRITE = `SELECT pg_logical_emit_message(true, 'failover', '')`;

export class Canary {
  private session: Session | null = null;
  private pid = 0;

  constructor(private readonly sessions: Pick<OwnSessions, 'home' | 'common'>) {}

  /** Begins a commit and resolves when it is seen to wait. Throws SYNC_UNPROVEN when commits do not wait. */
  async start(): Promise<void> {
    await this.end();
    const session = await this.sessions.home(SQL_LIMIT_MS, 0, 'on');
    this.session = session;
    this.pid = (await session.askOne<{ pid: number }>('pid', 'SELECT pg_backend_pid() AS pid')).pid;
    const deadline = performance.now() + LIMIT_MS;
    // A canary that commits before the server has read the setting is acknowledged at once. Then the next one is tried.
    while (performance.now() < deadline) {
      let over = false;
      const end = () => {
        over = true;
      };
      const commit = session.query(WRITE, [], WAIT_LIMIT_MS).then(end, end);
      while (!over && performance.now() < deadline) {
        if (await this.waits()) return;
        await Promise.race([commit, delay(2)]);
      }
      await delay(1);
    }
    throw new KeeperError('SYNC_UNPROVEN', 'commits do not wait under the barrier');
  }

  /**
   * Whether the commit still waits. A signal, such as that of a reload, wakes a waiting process for an instant, which
   * may be long on a busy machine. So a wake-up alone is no proof: the commit counts as released only when it has
   * ended, or when no wait is seen within the limit.
   */
  async waits(): Promise<boolean> {
    const deadline = performance.now() + WAKE_LIMIT_MS;
    for (;;) {
      const [row] = await (await this.sessions.common()).query<{ waits: boolean }>(
        `SELECT wait_event IS NOT DISTINCT FROM 'SyncRep' AS waits FROM pg_stat_get_activity($1::int)
          WHERE state = 'active'`,
        [this.pid],
      );
      if (row === undefined) return false;
      if (row.waits || performance.now() > deadline) return row.waits;
      await delay(2);
    }
  }

  /** The server has ended. */
  drop(): void {
    this.session?.destroy();
    this.session = null;
  }

  /**
   * Commits one record without waiting for a standby. Both statements are one transaction, so an error leaves no
   * changed setting behind.
   */
  async kick(): Promise<void> {
    await (await this.sessions.common()).query(`SET LOCAL synchronous_commit = local; ${WRITE}`);
  }

  /** Number of sessions that wait for a standby. */
  async waiters(): Promise<number> {
    const rows = await (await this.sessions.common()).ask(
      'waiters',
      `SELECT FROM pg_stat_get_activity(NULL) WHERE wait_event = 'SyncRep'`,
    );
    return rows.length;
  }

  /**
   * Ends the canary. It is the keeper's own commit, so ending it during its wait breaks no promise to a client (S7).
   */
  private async end(): Promise<void> {
    const { session, pid } = this;
    if (session === null) return;
    this.drop();
    const alive = `SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity($1::int) WHERE wait_event = 'SyncRep'`;
    await (await this.sessions.common()).query(alive, [pid]);
  }
}
