/**
 * Measures the steps of each change of leader, and logs them in one line when the write slot is open again. Later, when
 * the former leader follows, the last step `rejoined` is added.
 */

import type { Failover } from '../contract/api';
import { addressOf, isDone, statusOf, viewOf } from '../core/facts/view';
import { type ClusterState, type Decision, isChanging, serves, switchoverOf } from '../core/state/cluster';
import type { Observation } from '../core/state/observation';
import type { Clock, Log } from './ports';

/** A change of leader that is under way. */
interface Change extends Pick<Failover, 'from' | 'cause' | 'steps'> {
  startMs: number;
  /** The new leader, once the write slot may be opened to it. */
  opening: { node: string; term: number } | null;
}

export class Timeline {
  private change: Change | null = null;
  /** The newest finished change while its former leader does not follow yet, and its start, monotonic ms. */
  private awaited: { failover: Failover; startMs: number } | null = null;

  /** `onFailover` is called with each finished change, and once more when its former leader follows. */
  constructor(
    private readonly clock: Clock,
    private readonly log: Log,
    private readonly onFailover: (failover: Failover) => void = () => undefined,
  ) {}

  /** Notes the time of a step, once in the change that is under way. */
  mark(name: string): void {
    const { change } = this;
    if (change === null || change.steps.some((s) => s.name === name)) return;
    change.steps.push({ name, ms: this.msSince(change.startMs) });
  }

  /** Called before a decision is carried out. Notes whether a change begins and which steps have happened. */
  observe(before: ClusterState, decision: Decision, observation: Observation): void {
    const after = decision.state;
    const leaderView = before.leader === null ? null : viewOf(observation, before.leader);
    const holds = (state: ClusterState) => switchoverOf(state)?.stage === 'hold';
    const begins = (!isChanging(before) && isChanging(after)) || (!holds(before) && holds(after));
    // A switchover that was called off is not a change of leader.
    if (decision.code === 'SWITCHOVER_ABORTED') this.change = null;
    if (begins && this.change === null) {
      const broke = leaderView !== null && !leaderView.connected && leaderView.everConnected;
      const startMs = broke ? leaderView.changedAtMs : this.clock.nowMs();
      this.change = { startMs, from: before.leader, cause: decision.code, steps: [], opening: null };
      this.mark(holds(after) ? 'held' : 'confirmed');
    }
    if (before.activity.kind === 'handover' && after.activity.kind !== 'handover') this.mark('stopped');
    // The executor waits for the closed slot only briefly. On a slow machine the step is noted here.
    const replaces = before.activity.kind === 'promote' && this.change?.from != null;
    if (replaces && observation.haproxy.closed) this.mark('closed');
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
      if (this.change !== null) this.change.opening = { node: after.leader, term: after.term };
    }
  }

  private finish(observation: Observation): void {
    const { change } = this;
    if (change === null || change.opening === null) return;
    const { from, cause, steps, startMs } = change;
    const { node, term } = change.opening;
    if (observation.haproxy.slot === null || observation.haproxy.slot !== addressOf(observation, node)) return;
    this.mark('opened');
    this.change = null;
    const times = steps.map((s) => `${s.name} +${s.ms} ms`).join(', ');
    this.log.write('INFO', node, 'OPENED', `writes go to ${node} in term ${term} (${cause}): ${times}`);
    const at = new Date(Date.now() - (this.clock.nowMs() - startMs)).toISOString();
    const failover = { at, from, node, term, cause, steps };
    this.awaited = from === null || from === node ? null : { failover, startMs };
    this.onFailover(failover);
  }

  private noticeRejoined(state: ClusterState, observation: Observation): void {
    if (this.awaited === null) return;
    const { failover, startMs } = this.awaited;
    const { from, node, term, steps } = failover;
    if (from === null || state.term !== term) return;
    const status = statusOf(observation, from);
    if (status?.postgres.streamingFrom !== node || !isDone(status, state.orders[from])) return;
    this.awaited = null;
    this.onFailover({ ...failover, steps: [...steps, { name: 'rejoined', ms: this.msSince(startMs) }] });
  }

  private msSince(startMs: number): number {
    return Math.round(this.clock.nowMs() - startMs);
  }
}
