/** Does what a decision asks for. Only this file executes actions. */
import type { Action, Decision, DeclaredNode } from '../core/state/cluster';
import type { Keepers, Opening, Router, Store } from './ports';

/** Closing the slot is waited for before orders go out, but no longer than this: HAProxy may be down, ms. */
const CLOSE_LIMIT_MS = 100;

export interface ExecutorParts {
  keepers: Pick<Keepers, 'order' | 'probe'>;
  router: Pick<Router, 'write' | 'read' | 'closed'>;
  opening: Opening;
  /** Its incarnation goes with each order. */
  store: Pick<Store, 'incarnation'>;
  /** The slot was closed for a change of leader, and read back. */
  onClosed: () => void;
}

export class Executor {
  private readonly parts: ExecutorParts;
  private isRevoked = false;
  /** The opening check that was asked for. */
  private asked: string | null = null;
  /** The slot is being closed: that was waited for. */
  private closing = false;

  constructor(parts: ExecutorParts) {
    this.parts = parts;
  }

  /** The next decision is about to be made: it may be carried out until it is revoked. */
  begin(): void {
    this.isRevoked = false;
  }

  /** What the decision rests on counts no more: nothing of it is done from now on, whatever was done before (S11). */
  revoke(): void {
    this.isRevoked = true;
  }

  /** The decision that was begun last must not be carried out, or not to its end. */
  get revoked(): boolean {
    return this.isRevoked;
  }

  /** Does one action after the other, up to the end or until it is revoked. `nodes`: all that have an address. */
  async execute({ actions, state }: Decision, nodes: readonly DeclaredNode[]): Promise<void> {
    const { keepers, router, store } = this.parts;
    const addressOf = (node: string) => nodes.find((n) => n.name === node)?.address ?? null;
    if (!this.isRevoked) this.check(actions);
    for (const action of actions) {
      if (this.isRevoked) return;
      switch (action.kind) {
        case 'route-write': {
          const { route } = action;
          if (route.kind === 'closed') await this.close(route.keep === null ? null : addressOf(route.keep));
          else await this.lead(route, state.activity.kind === 'handover');
          break;
        }
        case 'route-read':
          router.read(action.nodes.map(addressOf).filter((address) => address !== null));
          break;
        case 'order':
          keepers.order(action.node, { incarnation: store.incarnation, ...action.order });
          break;
        case 'probe':
          keepers.probe(action.node);
          break;
        case 'certify':
          break;
      }
    }
  }

  private check(actions: readonly Action[]): void {
    const action = actions.find((a) => a.kind === 'certify');
    const key = action === undefined ? null : `${action.node} ${action.term}`;
    if (key === this.asked && action === undefined) return;
    this.asked = key;
    this.parts.opening.want(action === undefined ? null : { node: action.node, term: action.term });
  }

  private async lead({ kind, address }: { kind: 'open' | 'held'; address: string }, handsOver: boolean): Promise<void> {
    const { router } = this.parts;
    this.closing = false;
    router.write(kind === 'open' ? address : null, address);
    // A leader that is about to stop must get no new client: it would be sent away.
    if (kind === 'held' && handsOver) await router.closed(CLOSE_LIMIT_MS);
  }

  /** Close, then promote: waited for once, when the slot begins to be closed (S2, S15). */
  private async close(keep: string | null): Promise<void> {
    const { router, onClosed } = this.parts;
    router.write(null, keep);
    if (this.closing) return;
    this.closing = true;
    if (await router.closed(CLOSE_LIMIT_MS)) onClosed();
  }
}
