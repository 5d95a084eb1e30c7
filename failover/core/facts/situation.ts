/**
 * A situation is one moment: what the monitor remembers and sees, the time, and the policy. Every function of the core
 * asks it. The answer to a {@link question} is computed once for each situation. Pure.
 */
import type { ClusterState, LedgerEntry, Policy, Status, SyncConfig, Target } from '../state/cluster';
import type { NodeView, Observation } from '../state/observation';
import { addressOf, hasAccepted, isDone, isMember, lastEntry, lastOpened, statusOf, viewOf } from './view';

export class Situation {
  private readonly answers = new Map<unknown, unknown>();

  constructor(
    readonly state: ClusterState,
    readonly observation: Observation,
    /** Monotonic, ms. */
    readonly nowMs: number,
    readonly policy: Policy,
  ) {}

  /** The same moment with another state, to find out what would follow from that state. */
  with(state: ClusterState): Situation {
    return state === this.state ? this : new Situation(state, this.observation, this.nowMs, this.policy);
  }

  /** Name of the recorded leader; empty before the first. */
  get leader(): string {
    return this.state.leader ?? '';
  }

  /** Names of the declared nodes, the preferred one first. */
  get names(): string[] {
    return this.observation.declared.map((d) => d.name);
  }

  /** The sync configuration that is ordered for the leader; undefined before the first leader. */
  get ordered(): SyncConfig | undefined {
    return this.state.joint.at(-1);
  }

  /** Ledger entry of the newest leadership; null before the first. */
  get lastEntry(): LedgerEntry | null {
    return lastEntry(this.state);
  }

  /** Ledger entry of the newest leadership that was opened. Every node has to be on its history. */
  get lastOpened(): LedgerEntry | null {
    return lastOpened(this.state);
  }

  /** How long the present step of the activity has been under way, ms. */
  get stepMs(): number {
    return this.nowMs - this.observation.watch.stepSinceMs;
  }

  view(node: string): NodeView {
    return viewOf(this.observation, node);
  }

  /** Status of a node that is connected; else null. */
  status(node: string): Status | null {
    return statusOf(this.observation, node);
  }

  address(node: string): string | null {
    return addressOf(this.observation, node);
  }

  /** True when the config names the node. A retiring leader has an address, but the config no longer names it. */
  isDeclared(node: string): boolean {
    return node !== this.observation.retiring && this.names.includes(node);
  }

  /** See {@link isMember} in view.ts. */
  isMember(node: string, dataId: string | null): boolean {
    return isMember(this.state, node, dataId);
  }

  /** What the node was ordered to be in this term; undefined while it has no order of this term. */
  target(node: string): Target | undefined {
    const order = this.state.orders[node];
    return order?.term === this.state.term ? order.target : undefined;
  }

  /** True when the node's keeper has accepted its present order. */
  hasAccepted(node: string): boolean {
    return hasAccepted(this.status(node), this.state.orders[node]);
  }

  /** True when the node's keeper has accepted its present order and carried it out. */
  isDone(node: string): boolean {
    return isDone(this.status(node), this.state.orders[node]);
  }

  /** The answer to a question. It is computed when first asked for. */
  answer<T>(ask: (s: Situation) => T): T {
    if (!this.answers.has(ask)) this.answers.set(ask, ask(this));
    return this.answers.get(ask) as T;
  }
}

/** Makes a function whose answer is computed once for each situation. */
export function question<T>(ask: (s: Situation) => T): (s: Situation) => T {
  return (s) => s.answer(ask);
}
