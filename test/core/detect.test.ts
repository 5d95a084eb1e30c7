import { describe, expect, it } from 'vitest';
import { leaderHealth } from '../../failover/core/facts/health';
import type { NodeView } from '../../failover/core/state/observation';
import { gone, leaderView, NOW_MS, observation, replicaView, serving, situation } from './world';

const state = serving(['a']);
const replica = (part: Partial<NodeView> = {}) => replicaView(state, 'a', {}, part);
const BEATING = { heartbeatSeenAtMs: NOW_MS - 100 };

function health(leader: NodeView, other: NodeView = replica(), sinceMs = NOW_MS - 60_000) {
  const { code, kind } = {
    code: null,
    ...leaderHealth(situation(state, observation([leader, other], { sinceMs }))),
  };
  return code === null ? kind : `${kind} ${code}`;
}

describe('the health of the leader', () => {
  it('is well while it answers and commits', () => {
    expect(health(leaderView(state))).toBe('well');
  });

  it('is unsure when the connection breaks, until the quick connect has answered', () => {
    expect(health(gone('p', { probe: null }))).toBe('late LEADER_BROKEN');
    expect(health(gone('p'))).toBe('dead LEADER_DEAD');
  });

  it('is dead as soon as its PostgreSQL refuses connections, while its keeper is still connected; an old refusal does not count', () => {
    expect(health(leaderView(state, {}, { refusedAtMs: NOW_MS - 2 }))).toBe('dead LEADER_DEAD');
    expect(health(leaderView(state, {}, { refusedAtMs: NOW_MS - 150 }))).toBe('well');
    expect(health(leaderView(state, { stopping: true }, { refusedAtMs: NOW_MS - 2 }))).toBe('stopping');
  });

  it('is dead although a heartbeat was seen just before the connection broke', () => {
    expect(health(gone('p'), replica(BEATING))).toBe('dead LEADER_DEAD');
  });

  it('is apart while PostgreSQL still answers, and is hung when no heartbeat is seen for hangTimeout', () => {
    const probe = { alive: true, atMs: NOW_MS - 5 };
    expect(health(gone('p', { probe }))).toBe('apart LEADER_APART');
    expect(health(gone('p', { probe, changedAtMs: NOW_MS - 2_000 }))).toBe('dead LEADER_HUNG');
    expect(health(gone('p', { probe, changedAtMs: NOW_MS - 2_000 }), replica(BEATING))).toBe('apart LEADER_APART');
  });

  it('is late after a quarter of hangTimeout without an answer, and hung after hangTimeout', () => {
    expect(health(leaderView(state, {}, { silentMs: 400 }))).toBe('well');
    expect(health(leaderView(state, {}, { silentMs: 600 }))).toBe('late LEADER_LATE');
    expect(health(leaderView(state, {}, { silentMs: 2_000 }))).toBe('dead LEADER_HUNG');
  });

  it('is alive behind a partition while its heartbeat advances on a replica (S21)', () => {
    expect(health(leaderView(state, {}, { silentMs: 9_000 }), replica(BEATING))).toBe('apart LEADER_APART');
  });

  it('stays well while no node answers: the monitor itself may be cut off (S21)', () => {
    const seen = (deafMs: number) =>
      leaderHealth(situation(state, observation([leaderView(state), replica()], { deafMs })));
    expect(seen(1_999)).toEqual({ kind: 'well' });
    expect(seen(2_000)).toMatchObject({ kind: 'apart', code: 'MONITOR_APART' });
  });

  it('is wedged when it answers but does not commit (S27)', () => {
    expect(health(leaderView(state, { lead: { heartbeatAgeMs: 2_000 } }))).toBe('dead LEADER_WEDGED');
  });

  it('is down when its keeper says that PostgreSQL is no primary, and wiped with other data (S8, S10)', () => {
    expect(health(leaderView(state, { postgres: { state: 'stopped' }, lead: null }))).toBe('down LEADER_DOWN');
    expect(health(leaderView(state, { dataId: null, postgres: { state: 'absent' }, lead: null }))).toBe(
      'down LEADER_WIPED',
    );
  });

  it('is stopping when its container was told to stop', () => {
    expect(health(leaderView(state, { stopping: true }))).toBe('stopping');
  });

  it('is awaited for startGrace after the monitor started (S25)', () => {
    const absent = gone('p', { everConnected: false, probe: null });
    expect(health(absent, replica(), NOW_MS - 9_000)).toBe('blind');
    expect(health(absent, replica(), NOW_MS - 10_000)).toBe('dead LEADER_ABSENT');
    expect(health(absent, replica(BEATING), NOW_MS - 10_000)).toBe('apart LEADER_APART');
  });

  it('is awaited only for hangTimeout when a connected node ran long before the monitor: this is no cold start (S25)', () => {
    const absent = gone('p', { everConnected: false, probe: null });
    const seen = (upMs: number | undefined, part: Partial<NodeView> = {}, sinceMs = NOW_MS - 2_000) =>
      health(absent, replicaView(state, 'a', { upMs }, part), sinceMs);
    // Its keeper had run for ten seconds (startGrace) when the monitor started, two seconds ago.
    expect(seen(12_000)).toBe('dead LEADER_ABSENT');
    expect(seen(11_900)).toBe('blind');
    expect(seen(undefined)).toBe('blind');
    expect(seen(12_000, {}, NOW_MS - 1_900)).toBe('blind');
    expect(seen(60_000, { changedAtMs: NOW_MS - 1_900 })).toBe('blind');
    expect(seen(60_000, { connected: false })).toBe('blind');
    expect(seen(60_000, BEATING)).toBe('apart LEADER_APART');
  });

  it('is not taken for hung until another node, which would report its heartbeat, has been connected for hangTimeout', () => {
    const apart = gone('p', { probe: { alive: true, atMs: NOW_MS - 5 }, changedAtMs: NOW_MS - 9_000 });
    expect(health(apart, replica({ changedAtMs: NOW_MS - 1_900 }))).toBe('apart LEADER_APART');
    expect(health(apart, replica({ changedAtMs: NOW_MS - 2_000 }))).toBe('dead LEADER_HUNG');
    expect(health(apart, gone('a'))).toBe('apart LEADER_APART');
  });

  it('is unknown after a stall of the monitor until a fresh status came (S11)', () => {
    const forgotten = leaderView(state, {}, { status: null, changedAtMs: NOW_MS - 100 });
    expect(health(forgotten, replica(), NOW_MS - 100)).toBe('blind');
  });
});
