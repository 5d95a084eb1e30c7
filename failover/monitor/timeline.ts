/** Times the steps of each change of leader and tells them in one line when the slot is open again. */
import type { ClusterState, Decision, Observation } from '../core/types';
import { addressOf, statusOf, viewOf } from '../core/view';
import type { Clock, Log } from './ports';

interface Step {
  name: string;
  atMs: number;
}

/** A finished change of leader, for page and bench: milliseconds since it was detected. */
export interface Transition {
  node: string;
  term: number;
  cause: string;
  steps: { name: string; ms: number }[];
}

export class Timeline {
  private readonly clock: Clock;
  private readonly log: Log;
  private startMs: number | null = null;
  private steps: Step[] = [];
  private cause = '';
  private opening: { node: string; term: number } | null = null;
  last: Transition | null = null;

  constructor(clock: Clock, log: Log) {
    this.clock = clock;
    this.log = log;
  }

  /** Notes a step once within the change that is under way. */
  mark(name: string): void {
    if (this.startMs === null || this.steps.some((s) => s.name === name)) return;
    this.steps.push({ name, atMs: this.clock.nowMs() });
  }

  /** Before the decision is carried out: does a change begin, and what of it has happened? */
  observe(before: ClusterState, decision: Decision, observation: Observation): void {
    const after = decision.state;
    const leaderView = before.leader === null ? null : viewOf(observation, before.leader);
    const holds = (state: ClusterState) => state.switchover?.stage === 'hold';
    const begins = (before.procedure === null && after.procedure !== null) || (!holds(before) && holds(after));
    // A switchover that was called off is no change of leader.
    if (decision.code === 'SWITCHOVER_ABORTED') this.startMs = null;
    if (begins && this.startMs === null) {
      const broke = leaderView !== null && !leaderView.connected && leaderView.everConnected;
      this.startMs = broke ? leaderView.changedAtMs : this.clock.nowMs();
      this.steps = [];
      this.cause = decision.code;
      this.mark(holds(after) ? 'held' : 'confirmed');
    }
    if (before.procedure?.kind === 'handover' && after.procedure?.kind !== 'handover') this.mark('stopped');
    if (after.procedure?.kind === 'promote' && after.leader !== null) {
      const status = statusOf(observation, after.leader);
      if (status?.postgres.state === 'primary' && status.lead?.term === after.term) this.mark('promoted');
    }
    this.finish(observation);
  }

  /** After the state is on the disk. */
  stored(before: ClusterState, decision: Decision): void {
    const after = decision.state;
    if (before.procedure?.kind !== 'promote' && after.procedure?.kind === 'promote') this.mark('recorded');
    if (before.procedure?.kind === 'promote' && after.procedure === null && after.leader !== null) {
      this.mark('proven');
      this.opening = { node: after.leader, term: after.term };
    }
  }

  private finish(observation: Observation): void {
    if (this.opening === null || this.startMs === null) return;
    const { node, term } = this.opening;
    if (observation.haproxy.slot === null || observation.haproxy.slot !== addressOf(observation, node)) return;
    this.mark('opened');
    const start = this.startMs;
    const steps = this.steps.map((s) => ({ name: s.name, ms: Math.round(s.atMs - start) }));
    this.last = { node, term, cause: this.cause, steps };
    const words = steps.map((s) => `${s.name} +${s.ms} ms`).join(', ');
    this.log.write('INFO', node, 'OPENED', `writes go to ${node} in term ${term} (${this.cause}): ${words}`);
    this.startMs = null;
    this.opening = null;
  }
}
