import { describe, expect, it } from 'vitest';
import type { SettingsStatus } from '../../failover/contract/messages';
import { decide } from '../../failover/core/decide';
import { DRAIN_MS, STOP_LIMIT_MS } from '../../failover/core/facts/readiness';
import { newWatch } from '../../failover/core/facts/watch';
import { HOLD_LIMIT_MS } from '../../failover/core/procedures/switchover';
import type { Activity, ClusterState } from '../../failover/core/state/cluster';
import { planOf } from '../../failover/core/state/cluster';
import type { NodeView, Observation } from '../../failover/core/state/observation';
import { parseState, printState } from '../../failover/core/state/stored';
import {
  gone,
  leaderView,
  NOW_MS,
  observation,
  orderOf,
  POLICY,
  replicaView,
  routeOf,
  type StatusPart,
  serving,
  standbyRow,
} from './world';

const run = (state: ClusterState, seen: Observation) => decide(state, seen, NOW_MS, POLICY);
const CLOSED = { reachable: true, epoch: '1@1', slot: null, closed: true, keeping: '10.0.0.20', clean: true };
/** A watch whose present step began `ms` ago. */
const since = (ms: number) => ({ ...newWatch(NOW_MS - 60_000), stepSinceMs: NOW_MS - ms });
const LONG = { watch: since(60_000) };

const settings = (restart: SettingsStatus['restart'], refused: string | null = null): { settings: SettingsStatus } => ({
  settings: { restart, pending: restart === 'none' ? [] : ['max_connections'], refused },
});
const NONE = settings('none');
const NEEDED = settings('needed');
const IN_PLACE = settings('in-place');
const LEVEL = (...names: string[]) => ({
  flushLsn: '0/5000',
  standbys: names.map((name) => standbyRow(name)),
});

/** `p` and its replicas, each with the status of its settings. */
function seen(state: ClusterState, parts: Record<string, StatusPart>, more: Partial<Observation> = LONG): Observation {
  const views: NodeView[] = Object.entries(parts).map(([name, part]) =>
    name === state.leader
      ? leaderView(state, { lead: LEVEL(...Object.keys(parts).filter((n) => n !== name)), ...part })
      : replicaView(state, name, part),
  );
  return observation(views, more);
}

describe('settings that need a restart', () => {
  const state = serving(['a', 'b']);

  it('restart the first standby that needs it, after this standby has left the sync configuration', () => {
    const begun = run(state, seen(state, { p: NEEDED, a: NEEDED, b: NEEDED }));
    expect(begun).toMatchObject({
      code: 'SETTINGS_STANDBY',
      state: { activity: { kind: 'serving', standby: { node: 'a', stage: 'leave' } } },
    });
    expect(orderOf(begun.actions, 'a')).not.toHaveProperty('restart');
    const shrinks = run(begun.state, seen(begun.state, { p: NEEDED, a: NEEDED, b: NEEDED }));
    expect(shrinks).toMatchObject({ code: 'SYNC_CHANGE', state: { joint: [{}, { k: 1, members: ['b'] }] } });
    const proven = run(shrinks.state, seen(shrinks.state, { p: NEEDED, a: NEEDED, b: NEEDED }));
    expect(proven.code).toBe('SYNC_PROVEN');
    const goes = run(proven.state, seen(proven.state, { p: NEEDED, a: NEEDED, b: NEEDED }));
    expect(goes).toMatchObject({
      code: 'SETTINGS_STANDBY',
      state: { activity: { kind: 'serving', standby: { stage: 'restart' } } },
    });
    expect(orderOf(goes.actions, 'a')).toMatchObject({ kind: 'follow', leader: 'p', restart: true });
    expect(orderOf(goes.actions, 'b')).not.toHaveProperty('restart');
    expect(routeOf(goes.actions)).toMatchObject({ kind: 'open', node: 'p' });
  });

  it.each([
    [
      'a node is off',
      [leaderView(state, { ...NEEDED, lead: LEVEL('a', 'b') }), replicaView(state, 'a', NEEDED), gone('b')],
    ],
    [
      'a node has not reported the status of its settings',
      [
        leaderView(state, { ...NEEDED, lead: LEVEL('a', 'b') }),
        replicaView(state, 'a', NEEDED),
        replicaView(state, 'b'),
      ],
    ],
    [
      'a node does not start with them',
      [
        leaderView(state, { ...NEEDED, lead: LEVEL('a', 'b') }),
        replicaView(state, 'a', NEEDED),
        replicaView(state, 'b', settings('none', 'shared_buffers = 64GB: no memory')),
      ],
    ],
  ])('restart no node while %s', (_why, views) => {
    expect(run(state, observation(views, LONG)).code).not.toMatch(/^SETTINGS/);
  });

  it('count as applied when the restarted standby reports it; then the next standby may restart', () => {
    const activity: Activity = { kind: 'serving', standby: { kind: 'restart', node: 'a', stage: 'restart' } };
    const joint = [{ leader: 'p', k: 1, members: ['b'] }];
    const under = run(serving(['a', 'b'], { activity, joint }), seen(state, { p: NEEDED, a: NEEDED, b: NEEDED })).state;
    expect(run(under, seen(under, { p: NEEDED, a: { done: false, ...NEEDED }, b: NEEDED })).code).toBe('STEADY');
    const done = run(under, seen(under, { p: NEEDED, a: NONE, b: NEEDED }));
    expect(done.code).toBe('SETTINGS_APPLIED');
    expect(done.state.activity).toEqual({ kind: 'serving' });
    expect(orderOf(done.actions, 'a')).not.toHaveProperty('restart');
    expect(run(done.state, seen(done.state, { p: NEEDED, a: NONE, b: NEEDED })).code).toBe('SYNC_CHANGE');
    const bad = run(
      under,
      seen(under, { p: NEEDED, a: settings('none', 'shared_buffers = 64GB: no memory'), b: NEEDED }),
    );
    expect(bad).toMatchObject({ code: 'SETTINGS_REFUSED' });
    expect(bad.reason).toContain('a does not start with shared_buffers = 64GB: no memory');
    const after = run(bad.state, seen(bad.state, { p: NEEDED, a: settings('none', 'shared_buffers'), b: NEEDED }));
    expect(after.state.activity).toEqual({ kind: 'serving' });
  });

  it('make the leader hand over when all standbys have them', () => {
    const decision = run(state, seen(state, { p: NEEDED, a: NONE, b: NONE }));
    expect(decision).toMatchObject({
      code: 'SETTINGS_SWITCHOVER',
      state: { activity: { kind: 'preparing', plan: { to: 'a', by: 'settings', stage: 'prepare' } } },
    });
    expect(run(state, seen(state, { p: NEEDED, a: NONE, b: NONE }, { watch: since(10) })).code).toBe('STEADY');
  });

  it('have steps that can be stored and read again', () => {
    const leaves: Activity = { kind: 'serving', standby: { kind: 'restart', node: 'a', stage: 'leave' } };
    const stored: ClusterState = { ...state, activity: leaves };
    expect(parseState(printState(stored))).toEqual(stored);
    const procedure: ClusterState = { ...state, activity: { kind: 'restart' } };
    expect(parseState(printState(procedure))).toEqual(procedure);
  });
});

describe('a leader that restarts in place', () => {
  it('does so when it has no standby, or when a setting is lowered for which a standby must not have less than its leader (S23)', () => {
    const alone = serving([]);
    expect(run(alone, seen(alone, { p: NEEDED }))).toMatchObject({
      code: 'SETTINGS_RESTART',
      state: { activity: { kind: 'preparing', plan: { kind: 'restart', stage: 'prepare' } } },
    });
    const pair = serving(['a']);
    const lowered = run(pair, seen(pair, { p: IN_PLACE, a: NONE }));
    expect(lowered.code).toBe('SETTINGS_RESTART');
    expect(orderOf(lowered.actions, 'p')).toMatchObject({ kind: 'lead', prepare: true });
    expect(run(pair, seen(pair, { p: IN_PLACE, a: NEEDED })).code).toBe('SETTINGS_STANDBY');
  });

  it('holds new connections once its checkpoint is written, and stops when the slot is closed', () => {
    const held = serving(['a'], { activity: { kind: 'preparing', plan: { kind: 'restart', stage: 'prepare' } } });
    const hold = run(held, seen(held, { p: IN_PLACE, a: NONE }, { watch: since(10) }));
    expect(planOf(hold.state)?.stage).toBe('hold');
    expect(routeOf(hold.actions)).toMatchObject({ kind: 'held', node: 'p' });
    expect(run(hold.state, seen(hold.state, { p: IN_PLACE, a: NONE }, { watch: since(10) })).code).toBe('STEADY');
    const stops = run(hold.state, seen(hold.state, { p: IN_PLACE, a: NONE }, { haproxy: CLOSED, watch: since(10) }));
    expect(stops.state.activity).toEqual({ kind: 'restart' });
    expect(orderOf(stops.actions, 'p')).toEqual({ kind: 'stop', drainMs: DRAIN_MS });
    expect(routeOf(stops.actions)).toMatchObject({ kind: 'held', node: 'p' });
    const late = run(hold.state, seen(hold.state, { p: IN_PLACE, a: NONE }, { watch: since(HOLD_LIMIT_MS) }));
    expect(late).toMatchObject({ code: 'SETTINGS_ABORTED' });
    expect(late.state.activity).toEqual({ kind: 'serving' });
  });

  const state = run(serving(['a'], { activity: { kind: 'restart' } }), observation([])).state;
  const pair = serving(['a'], { activity: { kind: 'restart' } });
  const given = run(pair, seen(pair, { p: IN_PLACE, a: NONE }, { haproxy: CLOSED, watch: since(10) })).state;
  const stopped = (part: StatusPart = {}) =>
    leaderView(given, { done: true, postgres: { state: 'stopped', cleanShutdown: true }, lead: null, ...part });

  it('leads again in the next term when it has stopped, although its standby could lead', () => {
    const decision = run(given, observation([stopped(), replicaView(given, 'a')], { haproxy: CLOSED }));
    expect(decision).toMatchObject({
      code: 'SETTINGS_RESTART',
      state: { leader: 'p', term: 2, activity: { kind: 'promote', cause: 'SETTINGS_RESTART' } },
    });
    expect(orderOf(decision.actions, 'p')).toMatchObject({ kind: 'lead', sync: { k: 0 } });
    expect(state.term).toBe(1);
  });

  it('is replaced by a failover when it is lost meanwhile, and goes on leading when it does not stop in time', () => {
    const dies = run(given, observation([gone('p'), replicaView(given, 'a')], { haproxy: CLOSED }));
    expect(dies).toMatchObject({ code: 'SETTINGS_ABORTED', state: { activity: { kind: 'serving' }, leader: 'p' } });
    const next = run(dies.state, observation([gone('p'), replicaView(dies.state, 'a')], { haproxy: CLOSED }));
    expect(next).toMatchObject({ code: 'LEADER_DEAD', state: { leader: 'a' } });
    const primary = leaderView(given, { done: false });
    const at = (ms: number) =>
      run(given, observation([primary, replicaView(given, 'a')], { haproxy: CLOSED, watch: since(ms) }));
    expect(at(STOP_LIMIT_MS - 1).state.activity).toEqual({ kind: 'restart' });
    expect(at(STOP_LIMIT_MS)).toMatchObject({
      code: 'SETTINGS_ABORTED',
      state: { activity: { kind: 'serving' }, term: 1 },
    });
  });
});
