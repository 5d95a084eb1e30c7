/**
 * One moment: what the monitor remembers and sees, the time, and the policy. Every question of the core is asked of this
 * value; a {@link question} is answered once for each moment. Pure.
 */
import type { ClusterState, LedgerEntry, Policy, Status } from '../state/cluster';
import type { NodeView, Observation } from '../state/observation';
import { addressOf, isDeclared, isMember, lastEntry, lastOpened, statusOf, viewOf } from './view';

export class Situation {
  readonly state: ClusterState;
  readonly observation: Observation;
  /** Monotonic, ms. */
  readonly nowMs: number;
  readonly policy: Policy;
  private readonly answers = new Map<unknown, unknown>();

  constructor(state: ClusterState, observation: Observation, nowMs: number, policy: Policy) {
    this.state = state;
    this.observation = observation;
    this.nowMs = nowMs;
    this.policy = policy;
  }

  /** The same moment with another state, to ask what would follow from it. */
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

  /** Newest leadership; null before the first. */
  get lastEntry(): LedgerEntry | null {
    return lastEntry(this.state);
  }

  /** Newest leadership that was opened: the history that every node has to be on. */
  get lastOpened(): LedgerEntry | null {
    return lastOpened(this.state);
  }

  /** How long the present step of a procedure or a switchover has been under way, ms. */
  get stepMs(): number {
    return this.nowMs - this.observation.watch.stepSinceMs;
  }

  view(node: string): NodeView {
    return viewOf(this.observation, node);
  }

  /** Status of a node whose connection stands; else null. */
  status(node: string): Status | null {
    return statusOf(this.observation, node);
  }

  address(node: string): string | null {
    return addressOf(this.observation, node);
  }

  isDeclared(node: string): boolean {
    return isDeclared(this.observation, node);
  }

  /** See {@link isMember} in view.ts. */
  isMember(node: string, dataId: string | null): boolean {
    return isMember(this.state, node, dataId);
  }

  /** The answer to a question, computed at the first time that it is asked. */
  answer<T>(ask: (s: Situation) => T): T {
    if (!this.answers.has(ask)) this.answers.set(ask, ask(this));
    return this.answers.get(ask) as T;
  }
}

/** A question that is answered once for each moment. */
export function question<T>(ask: (s: Situation) => T): (s: Situation) => T {
  return (s) => s.answer(ask);
}
