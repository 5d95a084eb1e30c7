import { describe, expect, it } from 'vitest';
import type { Failover } from '../../failover/contract/api';
import type { ClusterState, Decision } from '../../failover/core/state/cluster';
import { Timeline } from '../../failover/monitor/timeline';
import { leaderView, observation, replicaView, serving } from '../core/world';

function rig() {
  const clock = { ms: 0, nowMs: () => clock.ms };
  const lines: string[] = [];
  const log = {
    write: (_level: string, _subject: string, code: string, message: string) => lines.push(`${code} ${message}`),
  };
  const finished: Failover[] = [];
  const timeline = new Timeline(clock, log, (failover) => finished.push(failover));
  /** One cycle that changes the state from `before` to `after`; then the slot leads to `open`. */
  const cycle = (before: ClusterState, after: ClusterState, open: string | null) => {
    const decision: Decision = { state: after, actions: [], rule: 'x', code: 'STEADY', level: 'INFO', reason: '' };
    const seen = observation([leaderView(after), replicaView(after, 'a')]);
    const slot = seen.declared.find((d) => d.name === open)?.address ?? null;
    timeline.observe(before, decision, { ...seen, haproxy: { ...seen.haproxy, slot, closed: slot === null } });
    timeline.stored(before, decision);
    clock.ms += 10;
  };
  return { finished, lines, cycle };
}

const steady = serving(['a']);
const promoting: ClusterState = { ...steady, activity: { kind: 'promote', cause: 'LEADER_DEAD' } };
const handing: ClusterState = { ...steady, activity: { kind: 'handover', candidate: 'a' } };

describe('the times of a change of leader', () => {
  it('are reported once, when the slot is open again', () => {
    const { finished, lines, cycle } = rig();
    cycle(steady, promoting, null);
    cycle(promoting, steady, null);
    cycle(steady, steady, 'p');
    cycle(steady, steady, 'p');
    expect(lines).toEqual([expect.stringMatching(/^OPENED writes go to p in term 1 \(STEADY\): confirmed \+0 ms/)]);
    expect(finished).toHaveLength(1);
  });

  it('are not reported for a change that began before the monitor’s start, also not when the next change begins', () => {
    const { finished, lines, cycle } = rig();
    cycle(promoting, steady, null);
    cycle(steady, steady, 'p');
    cycle(steady, handing, 'p');
    cycle(handing, handing, 'p');
    expect(lines).toEqual([]);
    expect(finished).toEqual([]);
  });
});
