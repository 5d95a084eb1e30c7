/**
 * Measures the steps of each change of leader, logs them in one line when the write slot is open again, and remembers
 * the newest changes. The former leader follows later; that is added as a last step.
 */

import type { Failover } from '../contract/api';
import { addressOf, isDone, statusOf, viewOf } from '../core/facts/view';
import { type ClusterState, type Decision, isChanging, serves, switchoverOf } from '../core/state/cluster';
import type { Observation } from '../core/state/observation';
import type { Clock, Log } from './ports';

const REMEMBERED = 100;

interface Step {
  name: string;
  atMs: number;
}

export class Timeline {
  private startMs: number | null = null;
  private steps: Step[] = [];
  private cause = '';
  private from: string | null = null;
  private opening: { node: string; term: number } | null = null;
  /** Start of the newest finished change while its former leader does not follow yet, monotonic ms; null otherwise. */
  private awaitedSinceMs: number | null = null;
  /** Finished changes of leader, oldest first. */
  readonly finished: Failover[] = [];

  /** `onFailover` is called with each finished change, and once more when its former leader follows. */
  constructor(
    private readonly clock: Clock,
    private readonly log: Log,
    private readonly onFailover: (failover: Failover) => void = () => undefined,
  ) {}

  /** Notes the time of a step, once in the change that is under way. */
  mark(name: string): void {
    if (this.startMs === null || this.steps.some((s) => s.name === name)) return;
    this.steps.push({ name, atMs: this.clock.nowMs() });
  }

  /** Called before a decision is carried out. Notes whether a change begins and which steps have happened. */
  observe(before: ClusterState, decision: Decision, observation: Observation): void {
    const after = decision.state;
    const leaderView = before.leader === null ? null : viewOf(observation, before.leader);
    const holds = (state: ClusterState) => switchoverOf(state)?.stage === 'hold';
    const begins = (!isChanging(before) && isChanging(after)) || (!holds(before) && holds(after));
    // A switchover that was called off is not a change of leader.
    if (decision.code === 'SWITCHOVER_ABORTED') {
      this.startMs = null;
      this.opening = null;
    }
    if (begins && this.startMs === null) {
      const broke = leaderView !== null && !leaderView.connected && leaderView.everConnected;
      this.startMs = broke ? leaderView.changedAtMs : this.clock.nowMs();
      this.steps = [];
      this.cause = decision.code;
      this.from = before.leader;
      this.mark(holds(after) ? 'held' : 'confirmed');
    }
    if (before.activity.kind === 'handover' && after.activity.kind !== 'handover') this.mark('stopped');
    // The executor waits for the closed slot only briefly. On a slow machine the step is noted here.
    if (before.activity.kind === 'promote' && this.from !== null && observation.haproxy.closed) this.mark('closed');
    if (after.activity.kind === 'promote' && after.leader !== null) {
      const status = statusOf(observation, after.leader);
      if (status?.postgres.state === 'primary' && status.lead?.term === after.term) this.mark('promoted');
    }
    this.finish(observation);
    this.noticeRejoined(after, observation);
  }

  /** Called when the state is on the disk. */
  stored(before: ClusterState, decision: Decision): void {
    const after = decision.state;
    if (before.activity.kind !== 'promote' && after.activity.kind === 'promote') this.mark('recorded');
    if (before.activity.kind === 'promote' && serves(after) && after.leader !== null) {
      this.mark('proven');
      // For a change that began before this monitor's start, the time of detection is unknown, so no steps are
      // reported.
      if (this.startMs !== null) this.opening = { node: after.leader, term: after.term };
    }
  }

  private finish(observation: Observation): void {
    if (this.opening === null || this.startMs === null) return;
    const { node, term } = this.opening;
    if (observation.haproxy.slot === null || observation.haproxy.slot !== addressOf(observation, node)) return;
    this.mark('opened');
    const start = this.startMs;
    const steps = this.steps.map((s) => ({ name: s.name, ms: Math.round(s.atMs - start) }));
    const at = new Date(Date.now() - (this.clock.nowMs() - start)).toISOString();
    const words = steps.map((s) => `${s.name} +${s.ms} ms`).join(', ');
    this.log.write('INFO', node, 'OPENED', `writes go to ${node} in term ${term} (${this.cause}): ${words}`);
    this.awaitedSinceMs = this.from === null || this.from === node ? null : start;
    this.remember({ at, from: this.from, node, term, cause: this.cause, steps });
    this.startMs = null;
    this.opening = null;
  }

  private remember(failover: Failover): void {
    this.finished.push(failover);
    if (this.finished.length > REMEMBERED) this.finished.shift();
    this.onFailover(failover);
  }

  private noticeRejoined(state: ClusterState, observation: Observation): void {
    const last = this.finished.at(-1);
    if (this.awaitedSinceMs === null || last === undefined || last.from === null || state.term !== last.term) return;
    const status = statusOf(observation, last.from);
    if (status?.postgres.streamingFrom !== last.node || !isDone(status, state.orders[last.from])) return;
    const ms = Math.round(this.clock.nowMs() - this.awaitedSinceMs);
    this.awaitedSinceMs = null;
    const whole = { ...last, steps: [...last.steps, { name: 'rejoined', ms }] };
    this.finished[this.finished.length - 1] = whole;
    this.onFailover(whole);
  }
}
