/**
 * The oracles of report replicas (`reportReplicas`), with a notion of their own of which nodes these are: no sync
 * configuration newly names one, and only a node that no sync configuration names may be held up by its readers (S16).
 */
import type { ClusterState, Policy, SyncConfig } from '../failover/core/state/cluster';
import type { Engine } from './engine';

/** A replay that waits already when the node becomes an ordinary standby may wait to the end of its delay, ms. */
const DELAY_MS = 31_000;

/** What the oracles see of the simulated machine. */
interface Surroundings {
  readonly policy: Policy;
  readonly engine: Engine;
  fail(words: string): void;
}

export class ReportReplicas {
  private before: ClusterState | null = null;
  /** When each node was last seen in no sync configuration, ms. */
  private readonly uncountedMs = new Map<string, number>();

  constructor(private readonly machine: Surroundings) {}

  /** How many of this many standbys are report replicas. */
  among(standbys: number): number {
    return Math.max(0, Math.min(this.machine.policy.reportReplicas, standbys - 1));
  }

  /** Called with each state that the monitor decided on, and the names in its config. */
  decided(state: ClusterState, names: readonly string[]): void {
    const { before, machine } = this;
    if (machine.policy.reportReplicas === 0) return;
    this.before = state.adopting ? null : state;
    for (const name of names) {
      if (!namedBy(state.joint, name)) this.uncountedMs.set(name, machine.engine.nowMs);
    }
    const ordered = state.joint.at(-1);
    if (before === null || state.adopting || ordered === undefined) return;
    const standbys = names.filter((name) => name !== ordered.leader);
    const reports = standbys.slice(standbys.length - this.among(standbys.length));
    const added = ordered.members.filter((name) => reports.includes(name) && !namedBy(before.joint, name));
    if (added.length > 0) machine.fail(`REPORT COUNTED: writes begin to wait for ${added.join(', ')}`);
  }

  /** True when readers may delay this node's replay for long. */
  mayBeHeldUp(name: string): boolean {
    const { policy, engine } = this.machine;
    if (policy.reportReplicas === 0) return false;
    return engine.nowMs - (this.uncountedMs.get(name) ?? Number.NEGATIVE_INFINITY) < DELAY_MS;
  }
}

function namedBy(joint: readonly SyncConfig[], name: string): boolean {
  return joint.some((config) => config.members.includes(name));
}
