/** Builds an observation from what the monitor sees now and what it remembers of before. */

import { hearsNoNode, withoutDeafness } from '../core/facts/hearing';
import { Situation } from '../core/facts/situation';
import { newWatch, nextWatch } from '../core/facts/watch';
import { isRetired } from '../core/procedures/members';
import type { ClusterState, DeclaredNode, Policy } from '../core/state/cluster';
import type { Certificate, Observation, Watch } from '../core/state/observation';
import type { Keepers, Router } from './ports';

export class Observer {
  /** Since when the monitor hears no node; null while it hears one. */
  private deafSinceMs: number | null = null;
  private certificate: Certificate | null = null;
  private watch: Watch;

  constructor(
    /** All nodes with an address: the declared ones, followed by a leader that was removed from the config, if any. */
    public nodes: readonly DeclaredNode[],
    /** Name of the leader that was removed from the config. */
    private retiring: string | undefined,
    private readonly policy: Policy,
    private readonly keepers: Pick<Keepers, 'views' | 'retire'>,
    private readonly router: Pick<Router, 'view'>,
    /** Since when observations count, monotonic ms. */
    private sinceMs: number,
  ) {
    this.watch = newWatch(sinceMs);
  }

  /** Notes that a node has passed the opening checks. */
  certified(node: string, term: number): void {
    this.certificate = { node, term, epoch: this.router.view().epoch };
  }

  /** Forgets all former observations (S11). */
  forget(nowMs: number): void {
    this.sinceMs = nowMs;
    this.certificate = null;
  }

  /** The present observation; `request` is null, the loop adds it. */
  observe(state: ClusterState, nowMs: number): Observation {
    const nodes = this.keepers.views(nowMs);
    if (hearsNoNode(nodes, nowMs)) {
      this.deafSinceMs ??= nowMs;
      this.sinceMs = nowMs;
    } else this.deafSinceMs = null;
    const seen = {
      sinceMs: this.sinceMs,
      deafMs: this.deafSinceMs === null ? 0 : nowMs - this.deafSinceMs,
      declared: [...this.nodes],
      retiring: this.retiring,
      nodes: withoutDeafness(nodes, this.sinceMs, nowMs),
      haproxy: this.router.view(),
      certificate: this.certificate,
      watch: this.watch,
      request: null,
    };
    this.watch = nextWatch(new Situation(state, seen, nowMs, this.policy));
    return { ...seen, watch: this.watch };
  }

  /**
   * Forgets the former leader that was removed from the config, once nothing depends on it. True when it did so now.
   */
  retire(state: ClusterState): boolean {
    const node = this.retiring;
    if (node === undefined || !isRetired(state, node)) return false;
    this.retiring = undefined;
    this.nodes = this.nodes.filter((n) => n.name !== node);
    this.keepers.retire(node);
    return true;
  }
}
