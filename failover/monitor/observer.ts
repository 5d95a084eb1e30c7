/** Builds an observation from what the monitor sees now and what it remembers of before. */

import { hearsNobody, withoutDeafness } from '../core/facts/hearing';
import { Situation } from '../core/facts/situation';
import { newWatch, nextWatch } from '../core/facts/watch';
import { isRetired } from '../core/procedures/members';
import type { ClusterState, DeclaredNode, Policy } from '../core/state/cluster';
import type { Certificate, Observation, Watch } from '../core/state/observation';
import type { Keepers, Router } from './ports';

interface ObserverParts {
  /** The declared nodes, followed by a leader that was removed from the config, if there is one. */
  nodes: readonly DeclaredNode[];
  /** Name of the leader that was removed from the config. */
  retiring: string | undefined;
  policy: Policy;
  keepers: Pick<Keepers, 'views' | 'retire'>;
  router: Pick<Router, 'view'>;
}

export class Observer {
  /** All nodes with an address, the retiring leader too. */
  nodes: readonly DeclaredNode[];
  private retiring: string | undefined;
  /** Since when observations count, monotonic ms. */
  private sinceMs: number;
  /** Since when the monitor hears no node; null while it hears one. */
  private deafSinceMs: number | null = null;
  private certificate: Certificate | null = null;
  private watch: Watch;

  constructor(
    private readonly parts: ObserverParts,
    nowMs: number,
  ) {
    this.nodes = parts.nodes;
    this.retiring = parts.retiring;
    this.sinceMs = nowMs;
    this.watch = newWatch(nowMs);
  }

  /** Notes that a node has passed the opening checks. */
  certified(node: string, term: number): void {
    this.certificate = { node, term, epoch: this.parts.router.view().epoch };
  }

  /** Forgets all former observations (S11). */
  forget(nowMs: number): void {
    this.sinceMs = nowMs;
    this.certificate = null;
  }

  /** The present observation, without the request of a person. */
  observe(state: ClusterState, nowMs: number): Observation {
    const seen = this.look(nowMs);
    this.watch = nextWatch(new Situation(state, seen, nowMs, this.parts.policy));
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
    this.parts.keepers.retire(node);
    return true;
  }

  private look(nowMs: number): Observation {
    const { keepers, router } = this.parts;
    const nodes = keepers.views(nowMs);
    if (hearsNobody(nodes, nowMs)) {
      this.deafSinceMs ??= nowMs;
      this.sinceMs = nowMs;
    } else this.deafSinceMs = null;
    return {
      sinceMs: this.sinceMs,
      deafMs: this.deafSinceMs === null ? 0 : nowMs - this.deafSinceMs,
      declared: [...this.nodes],
      retiring: this.retiring,
      nodes: withoutDeafness(nodes, this.sinceMs, nowMs),
      haproxy: router.view(),
      certificate: this.certificate,
      watch: this.watch,
      request: null,
    };
  }
}
