/** Carries out orders, one pass at a time: each pass does the next missing step, whatever state PostgreSQL is in. */
import type { AcceptedOrder } from './keeper-state';
import { Lives } from './lives';
import { KeeperError } from './ports';
import { FollowPursuit } from './pursue-follow';
import { FreezePursuit } from './pursue-freeze';
import { LeadPursuit } from './pursue-lead';
import { finishRestore, forgetRestore, RestorePursuit } from './pursue-restore';
import type { OrderPursuit, Outcome, Pass, PursuitParts } from './pursuit-host';
import { adopt, finishSwap, type OrderTools, Rejoining } from './rejoining';

const DRAIN_POLL_MS = 3;

export class Pursuit {
  readonly lives: Lives;
  private readonly tools: OrderTools;
  /** The order of the last pass, and the object that carries it out. */
  private current: { order: AcceptedOrder; pursuit: OrderPursuit } | null = null;

  constructor(private readonly parts: PursuitParts) {
    this.lives = new Lives(parts);
    const { lives } = this;
    this.tools = { ...parts, lives, rejoining: new Rejoining(parts, lives) };
    parts.postgres.onProgress = (text) => parts.host.note('info', 'COPY_PROGRESS', text);
  }

  /** Does one pass over an order. Throws {@link KeeperError} or whatever error a step throws. */
  async pursue(order: AcceptedOrder, pass: Pass): Promise<Outcome> {
    const { host } = this.parts;
    if (host.view.sql !== null) this.lives.answered();
    if (host.state.swapPending) await finishSwap(this.parts);
    if (host.state.swapping !== undefined) await finishRestore(this.parts);
    if (order.target.kind !== 'restore') await forgetRestore(this.parts);
    if (this.current?.order !== order) this.current = { order, pursuit: this.begin(order) };
    return this.current.pursuit.pass(pass);
  }

  private begin(order: AcceptedOrder): OrderPursuit {
    const { tools } = this;
    const { target } = order;
    switch (target.kind) {
      case 'wait':
        return { pass: () => this.wait(target.unready !== true) };
      case 'bootstrap':
        return { pass: (pass) => this.bootstrap(pass) };
      case 'lead':
        return new LeadPursuit(tools, order, target);
      case 'follow':
        return new FollowPursuit(tools, order, target);
      case 'freeze':
        return new FreezePursuit(tools, order, target);
      case 'restore':
        return new RestorePursuit(tools, order, target);
      case 'stop':
        return { pass: ({ signal }) => this.stop(target.drainMs ?? 0, signal) };
    }
  }

  private async wait(done: boolean): Promise<Outcome> {
    const { state, view } = this.parts.host;
    if (state.promotedByHand && view.sql?.inRecovery === false) await this.lives.stop();
    return { done };
  }

  private async bootstrap({ signal }: Pass): Promise<Outcome> {
    const { host, postgres } = this.parts;
    if (host.view.dataExists) {
      if (host.state.fresh && !host.view.running) return { done: true };
      throw new KeeperError('DATA_EXISTS', 'a new cluster is made only where there is no data');
    }
    this.lives.show('initialising');
    if (postgres.restore === undefined) await postgres.initialise();
    else {
      const progress = (text: string) => host.note('info', 'COPY_PROGRESS', text);
      host.note('info', 'RESTORE_DONE', await postgres.restore(progress, signal));
    }
    if (signal.aborted) return { done: false };
    await adopt(this.parts, { fresh: true, joined: null });
    this.lives.activity = null;
    return { done: true };
  }

  private async stop(drainMs: number, signal: AbortSignal): Promise<Outcome> {
    await this.drain(drainMs, signal);
    if (signal.aborted) return { done: false };
    await this.lives.stop();
    return { done: true };
  }

  /**
   * Ends the sessions of idle clients again and again until none is left. A client in a transaction may finish it,
   * within the limit.
   */
  private async drain(limitMs: number, signal: AbortSignal): Promise<void> {
    const { host, postgres, clock } = this.parts;
    const deadline = clock.nowMs() + limitMs;
    while (host.view.sql?.inRecovery === false && !signal.aborted && clock.nowMs() < deadline) {
      // There is no client to wait for on a PostgreSQL that does not answer. Only the shutdown's own limit applies
      // then.
      const clients = await postgres.endIdleClients().catch(() => 0);
      if (clients === 0) return;
      await clock.sleep(DRAIN_POLL_MS, signal);
    }
  }
}
