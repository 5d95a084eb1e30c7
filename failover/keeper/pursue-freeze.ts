/**
 * Carries out an order to freeze: the node promises (S1) to stop following, and reports the position that counts as its
 * vote.
 */
import { alone } from './lives';
import { type Outcome, type Pass, SOON_MS } from './pursuit-host';
import { TargetPursuit } from './rejoining';
import { votingLsn } from './status';

/**
 * Longer than the startup process sleeps before it tries to stream again (`wal_retrieve_retry_interval`, 20 ms), ms.
 */
const QUIET_MS = 25;

export class FreezePursuit extends TargetPursuit<'freeze'> {
  /** This order has already resumed a replay that a person may have paused. */
  private resumed = false;

  /** A primary that is ordered to freeze is shut down, because its own history is not the one that is asked for. */
  override async pass({ settings }: Pass): Promise<Outcome> {
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
   * True when no walreceiver was seen for so long that the startup process must have read the new configuration. Before
   * that, it may still start a walreceiver with the old configuration (S1).
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
   * Resumes a replay that a person paused, because a candidate has to apply all its WAL. A replay that is paused
   * because a setting is too low stays paused: PostgreSQL would shut down if it were resumed (S23).
   */
  private async resumeReplay(): Promise<void> {
    if (this.resumed || this.tools.host.view.paused === true) return;
    this.resumed = true;
    await this.tools.postgres.resumeReplay();
  }
}
