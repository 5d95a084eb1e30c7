/** Promise (S1): stop following, and show the position that counts as a vote. */
import { alone } from './lives';
import { type OrderPursuit, type Outcome, type Pass, SOON_MS } from './pursuit-host';
import type { OrderTools } from './rejoining';
import { votingLsn } from './status';

/** More than the startup process sleeps before it tries to stream again (`wal_retrieve_retry_interval`, 20 ms), ms. */
const QUIET_MS = 25;

export class FreezePursuit implements OrderPursuit {
  private readonly tools: OrderTools;
  /** A replay that a person paused was resumed for this order. */
  private resumed = false;

  constructor(tools: OrderTools) {
    this.tools = tools;
  }

  /** A primary that is told to promise is shut down: its own history is not what is asked for. */
  async pass({ settings }: Pass): Promise<Outcome> {
    const { lives, host } = this.tools;
    if (!host.view.dataExists || host.state.rewinding) return { done: true };
    if (host.view.sql?.inRecovery === false) await lives.stop();
    if (!host.view.running) await lives.start(alone(settings));
    else await lives.configure(alone(settings));
    if (host.view.sql === null) return { done: false, againMs: SOON_MS };
    await this.resumeReplay();
    await host.look();
    const frozen = this.isQuiet() && votingLsn(host.view) !== null;
    return { done: frozen, againMs: frozen ? undefined : SOON_MS };
  }

  /**
   * No walreceiver was seen for so long that the startup process must have read the new configuration: before that it may start
   * one with the old configuration (S1).
   */
  private isQuiet(): boolean {
    const life = this.tools.lives.now;
    const { sql } = this.tools.host.view;
    if (sql === null || sql.walReceiver !== null || sql.receiverRuns === true) {
      life.quietSinceMs = null;
      return false;
    }
    const nowMs = this.tools.clock.nowMs();
    life.quietSinceMs ??= nowMs;
    return nowMs - life.quietSinceMs >= QUIET_MS;
  }

  /**
   * Resumes a replay that a person paused: a candidate has to apply all its log. A replay that is paused for want of
   * parameters stays so, because PostgreSQL would shut down when it is resumed (S23).
   */
  private async resumeReplay(): Promise<void> {
    if (this.resumed || this.tools.host.view.paused === true) return;
    this.resumed = true;
    await this.tools.postgres.resumeReplay();
  }
}
