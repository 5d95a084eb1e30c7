import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { newWatch } from '../../failover/core/facts/watch';
import { type ClusterState, emptyState, type Policy } from '../../failover/core/state/cluster';
import type { Observation, Request } from '../../failover/core/state/observation';
import { parseState, printState } from '../../failover/core/state/stored';
import { gone, leaderView, NOW_MS, observation, POLICY, replicaView, serving, view } from './world';

const PAUSE = { reason: 'new disks', sinceWallMs: 5, untilWallMs: null };
const paused = (replicas: string[], part: Partial<ClusterState> = {}) => ({
  ...serving(replicas),
  pause: PAUSE,
  ...part,
});
const seen = (state: ClusterState, part: Partial<Observation> = {}) =>
  observation([leaderView(state), replicaView(state, 'a')], part);
const dead = (state: ClusterState, request: Request | null = null) =>
  observation([gone('p'), replicaView(state, 'a')], { request });
const decided = (state: ClusterState, now: Observation, policy: Partial<Policy> = {}) =>
  decide(state, now, NOW_MS, { ...POLICY, ...policy });

describe('a pause', () => {
  it('is begun and ended by a person, and is part of the stored state', () => {
    const state = serving(['a']);
    const begun = decided(state, seen(state, { request: { kind: 'pause', pause: PAUSE } }));
    expect(begun).toMatchObject({ code: 'PAUSE_BEGUN', state: { pause: PAUSE } });
    expect(begun.reason).toContain('until a person resumes it: new disks');
    const stored = parseState(printState(begun.state));
    expect(stored?.pause).toEqual(PAUSE);
    const ended = decided(begun.state, seen(begun.state, { request: { kind: 'resume', by: 'expired' } }));
    expect(ended).toMatchObject({ code: 'PAUSE_ENDED', reason: expect.stringContaining('has come to its end') });
    expect(parseState(printState(ended.state))?.pause).toBeUndefined();
  });

  it('is not accepted during an adoption', () => {
    const state = serving(['a'], { adopting: true });
    const now = decided(state, seen(state, { request: { kind: 'pause', pause: PAUSE } }));
    expect(now.state.pause).toBeUndefined();
  });

  it('is named while all is well', () => {
    const state = paused(['a']);
    expect(decided(state, seen(state))).toMatchObject({ code: 'STEADY', reason: expect.stringContaining('new disks') });
  });

  it('promotes no node when the leader dies, holds new connections, and says which node could lead and what to do', () => {
    const state = paused(['a']);
    const now = decided(state, dead(state));
    expect(now).toMatchObject({ code: 'PAUSED', state });
    expect(now.reason).toContain('a would be promoted, but automatic changes of leader are paused');
    expect(now.reason).toContain('start p, promote a, or resume');
    expect(now.actions).toContainEqual({ kind: 'route-write', route: expect.objectContaining({ kind: 'held' }) });
    // The same without a pause.
    expect(decided(serving(['a']), dead(serving(['a'])))).toMatchObject({
      code: 'LEADER_DEAD',
      state: { leader: 'a' },
    });
  });

  it('lets the leader that comes back lead again', () => {
    const state = paused(['a']);
    const back = leaderView(state, { postgres: { state: 'stopped', cleanShutdown: true }, lead: null, done: false });
    expect(decided(state, observation([back, replicaView(state, 'a')]))).toMatchObject({
      code: 'LEADER_BACK',
      state: { leader: 'p', term: 2, pause: PAUSE },
    });
  });

  it('lets a person promote a node without `acceptDataLoss` when nothing would be lost', () => {
    const state = paused(['a']);
    const request: Request = { kind: 'promote', to: 'a', acceptDataLoss: false };
    const now = decided(state, dead(state, request));
    expect(now).toMatchObject({ code: 'PROMOTE_ASKED', state: { leader: 'a', activity: { kind: 'promote' } } });
    // The old sync configuration stays in the joint set, so it still has to be satisfied.
    expect(now.state.joint).toHaveLength(2);
  });

  it('hands over by a switchover that a person asked for, and by no other', () => {
    const state = paused(['a']);
    const asked = decided(state, seen(state, { request: { kind: 'switchover', to: 'a' } }));
    expect(asked).toMatchObject({ code: 'SWITCHOVER_BEGUN' });
    const watch = { ...newWatch(NOW_MS), preferredSinceMs: 0 };
    const policy = { switchback: true, switchbackAfterMs: 1_000 };
    const away = { ...serving(['a']), pause: PAUSE };
    const declaredOtherWay = { ...seen(away, { watch }), declared: [...seen(away).declared].reverse() };
    expect(decided(away, declaredOtherWay, policy).code).toBe('STEADY');
    const free = { ...away, pause: undefined };
    expect(decided(free, declaredOtherWay, policy).code).toBe('SWITCHBACK');
    const plan = { kind: 'switchover', to: 'a', by: 'switchback', stage: 'prepare' } as const;
    const begun: ClusterState = { ...away, activity: { kind: 'preparing', plan } };
    expect(decided(begun, seen(begun), policy).code).toBe('SWITCHOVER_ABORTED');
  });

  it('lets a leader that is told to stop shut down without a handover', () => {
    const state = paused(['a']);
    const stopping = observation([leaderView(state, { stopping: true }), replicaView(state, 'a')]);
    expect(decided(state, stopping)).toMatchObject({
      code: 'PAUSED',
      state: { activity: { kind: 'serving' }, leader: 'p' },
    });
    expect(decided({ ...state, pause: undefined }, stopping).code).toBe('HANDING_OVER');
  });

  it('restarts standbys for their settings, but not the leader', () => {
    const needs = { settings: { restart: 'needed' as const, pending: ['max_connections'], refused: null } };
    const has = { settings: { restart: 'none' as const, pending: [], refused: null } };
    const state = paused(['a']);
    const standby = observation([leaderView(state, has), replicaView(state, 'a', needs)]);
    expect(decided(state, standby)).toMatchObject({ code: 'SETTINGS_STANDBY' });
    const leader = observation([leaderView(state, needs), replicaView(state, 'a', has)], {
      watch: { ...newWatch(NOW_MS), stepSinceMs: 0 },
    });
    expect(decided(state, leader).code).toBe('STEADY');
    expect(decided({ ...state, pause: undefined }, leader).code).toBe('SETTINGS_SWITCHOVER');
  });

  it('goes on shrinking and growing the sync set', () => {
    const state = paused(['a']);
    const now = decided(state, observation([leaderView(state), gone('a')]));
    expect(now).toMatchObject({ code: 'SYNC_CHANGE', state: { pause: PAUSE } });
  });
});

describe('failoverMode observe', () => {
  const observe: Partial<Policy> = { failoverMode: 'observe' };

  it('says what it would do when the leader dies, and leaves leader and route as they are', () => {
    const state = serving(['a']);
    const now = decided(state, dead(state), observe);
    expect(now).toMatchObject({ code: 'OBSERVED', state });
    expect(now.reason).toContain('a would be promoted, but failoverMode is observe');
    expect(now.actions.filter((a) => a.kind === 'route-write')).toEqual([]);
  });

  it('makes a new cluster', () => {
    const empty = { ...emptyState(), seq: 10, adopting: false };
    const nothing = view('p', { recall: null });
    if (nothing.status !== null) nothing.status = { ...nothing.status, dataId: null };
    expect(decided(empty, observation([nothing]), observe).code).toBe('BOOTSTRAP');
  });

  it('allows a switchover that a person asks for', () => {
    const state = serving(['a']);
    expect(decided(state, seen(state, { request: { kind: 'switchover', to: 'a' } }), observe).code).toBe(
      'SWITCHOVER_BEGUN',
    );
  });
});
