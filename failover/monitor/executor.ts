/** Carries out the actions of a decision. No other file executes actions. */
import type { Action, ClusterState, Decision, DeclaredNode } from '../core/state/cluster';
import type { PoolerPause } from './pooler-pause';
import type { Keepers, Opening, Router, Store } from './ports';

/** Maximum time for which orders wait until the write slot is closed, ms. HAProxy may be down. */
const CLOSE_LIMIT_MS = 100;

export class Executor {
  /**
   * True when the present decision must not be carried out any further, because the observations behind it are no
   * longer valid (S11).
   */
  revoked = false;
  /** True once this executor has waited for the write slot to close, so that it waits only once. */
  private closing = false;

  constructor(
    private readonly keepers: Pick<Keepers, 'order' | 'probe' | 'archive' | 'removeKept'>,
    private readonly router: Pick<Router, 'write' | 'read' | 'closed'>,
    private readonly opening: Pick<Opening, 'want'>,
    private readonly pooler: Pick<PoolerPause, 'holdsBack'>,
    /** Gives the incarnation that is part of each order's id. */
    private readonly store: Pick<Store, 'incarnation'>,
    /** Called when the write slot was closed for a change of leader and read back as closed. */
    private readonly onClosed: () => void,
  ) {}

  /**
   * Carries out the actions one after the other, until the end or until the decision is revoked. `nodes`: all nodes
   * with an address.
   */
  async execute({ actions, state }: Decision, nodes: readonly DeclaredNode[]): Promise<void> {
    const addressOf = (node: string) => nodes.find((n) => n.name === node)?.address ?? null;
    const addressesOf = (names: readonly string[]) => names.map(addressOf).filter((address) => address !== null);
    if (!this.revoked) this.opening.want(actions.find((action) => action.kind === 'certify') ?? null);
    if (!this.revoked) this.keepers.archive(actions.find((action) => action.kind === 'archive') ?? null);
    if (!this.revoked) this.keepers.removeKept(actions.find((action) => action.kind === 'confirm')?.id);
    const waits = this.revoked ? false : this.pooler.holdsBack(state);
    for (const action of actions) {
      if (this.revoked) return;
      if (waits && endsSessions(action, state)) continue;
      switch (action.kind) {
        case 'route-write': {
          const { route } = action;
          if (route.kind === 'closed') await this.close(route.keep === null ? null : addressOf(route.keep));
          else await this.lead(route, state.activity.kind === 'handover');
          break;
        }
        case 'route-read':
          this.router.read(addressesOf(action.nodes), addressesOf(action.stay));
          break;
        case 'order':
          this.keepers.order(action.node, { incarnation: this.store.incarnation, ...action.order });
          break;
        case 'probe':
          this.keepers.probe(action.node);
          break;
        case 'certify':
        case 'archive':
        case 'confirm':
          break;
      }
    }
  }

  private async lead({ kind, address }: { kind: 'open' | 'held'; address: string }, handsOver: boolean): Promise<void> {
    this.closing = false;
    this.router.write(kind === 'open' ? address : null, address);
    // A leader that is about to stop must get no new client, because it would soon end the client's session.
    if (kind === 'held' && handsOver) await this.router.closed(CLOSE_LIMIT_MS);
  }

  /**
   * The write slot has to be closed before a node is promoted. So the first action that closes it waits until it was
   * read back as closed (S2, S15).
   */
  private async close(keep: string | null): Promise<void> {
    this.router.write(null, keep);
    if (this.closing) return;
    this.closing = true;
    if (await this.router.closed(CLOSE_LIMIT_MS)) this.onClosed();
  }
}

/**
 * True for the actions of a planned change after which the leader's clients are cut off. The next cycle lists them
 * again.
 */
function endsSessions(action: Action, { leader }: ClusterState): boolean {
  if (action.kind === 'route-write') return action.route.kind === 'held';
  return action.kind === 'order' && action.node === leader && action.order.target.kind === 'stop';
}
