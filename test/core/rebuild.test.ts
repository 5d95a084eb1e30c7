import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { newWatch } from '../../failover/core/facts/watch';
import { rebuildRefusal } from '../../failover/core/procedures/rebuild';
import type { ClusterState, Policy } from '../../failover/core/state/cluster';
import type { Observation } from '../../failover/core/state/observation';
import { gone, leaderView, NOW_MS, observation, POLICY, replicaView, serving, situation } from './world';

const seen = (state: ClusterState, part: Partial<Observation> = {}) =>
  observation(
    [
      leaderView(state),
      ...Object.keys(state.orders)
        .filter((n) => n !== 'p')
        .map((n) => replicaView(state, n)),
    ],
    part,
  );
const decided = (state: ClusterState, now: Observation, policy: Partial<Policy> = {}) =>
  decide(state, now, NOW_MS, { ...POLICY, ...policy });
const ask = { request: { kind: 'rebuild', node: 'a' } } as const;

describe('rebuild', () => {
  it('takes the standby out of the sync set first, and copies it once the smaller set is proven', () => {
    const state = serving(['a', 'b']);
    const asked = decided(state, seen(state, ask));
    expect(asked).toMatchObject({
      code: 'REBUILD_ASKED',
      state: { activity: { kind: 'serving', standby: { kind: 'rebuild', node: 'a' } } },
    });
    expect(asked.state.orders.a).toEqual(state.orders.a);
    const shrinking = decided(asked.state, seen(asked.state));
    expect(shrinking).toMatchObject({ code: 'SYNC_CHANGE' });
    expect(shrinking.state.joint.map((c) => c.members)).toEqual([['a', 'b'], ['b']]);
    // The smaller sync set is not in force yet, so no copy is ordered.
    const late = leaderView(shrinking.state, { lead: { syncInForce: state.joint[0] ?? null } });
    const views = [late, replicaView(shrinking.state, 'a'), replicaView(shrinking.state, 'b')];
    expect(decided(shrinking.state, observation(views)).state.orders.a).toEqual(state.orders.a);
    const proven = decided(shrinking.state, seen(shrinking.state));
    expect(proven).toMatchObject({ code: 'SYNC_PROVEN' });
    const begun = decided(proven.state, seen(proven.state));
    expect(begun).toMatchObject({ code: 'REBUILD_BEGUN', state: { rebuild: { a: '1:a' } } });
    expect(begun.state.activity).toEqual({ kind: 'serving' });
    expect(begun.state.orders.a?.target).toEqual({ kind: 'follow', leader: 'p', method: 'copy', replaces: '1:a' });
  });

  it('makes the node a member when its copy streams, and then orders it to stream', () => {
    const state = serving(['b'], {
      members: { p: '1:p', a: '1:a', b: '1:b' },
      rebuild: { a: '1:a' },
    });
    state.orders.a = { term: 1, seq: 9, target: { kind: 'follow', leader: 'p', method: 'copy', replaces: '1:a' } };
    const views = [leaderView(state), replicaView(state, 'a', { dataId: '1:new' }), replicaView(state, 'b')];
    const joined = decided(state, observation(views));
    expect(joined).toMatchObject({ code: 'MEMBER_JOINED', state: { members: { a: '1:new' }, rebuild: {} } });
    expect(joined.state.orders.a?.target).toMatchObject({ method: 'stream' });
  });

  it('is refused for the leader, for a node that is off, for an unknown node, and a second time', () => {
    const state = serving(['a']);
    const refusal = (node: string, from = state, now = seen(from), policy: Partial<Policy> = {}) =>
      rebuildRefusal(situation(from, now, NOW_MS, { ...POLICY, ...policy }), node);
    expect(refusal('a')).toBeNull();
    expect(refusal('p')).toContain('p leads; hand over first');
    expect(refusal('x')).toBe('x is no node of this stack');
    expect(refusal('a', state, observation([leaderView(state), gone('a')]))).toBe('a is off; start it first');
    expect(
      refusal('a', { ...state, activity: { kind: 'serving', standby: { kind: 'rebuild', node: 'a' } } }),
    ).toContain('about to be copied anew');
    expect(refusal('a', { ...state, rebuild: { a: '1:a' } })).toBe('a is being copied already');
    expect(refusal('a', state, seen(state), { onNoReplica: 'block' })).toContain('onNoReplica is block');
    const two = serving(['a', 'b']);
    expect(refusal('a', two, seen(two), { onNoReplica: 'block' })).toBeNull();
  });

  const activity: ClusterState['activity'] = { kind: 'serving', standby: { kind: 'rebuild', node: 'a' } };

  it('is dropped when the standby cannot leave the sync set', () => {
    const state = serving(['a'], { activity });
    const watch = { ...newWatch(NOW_MS - 40_000), step: 'rebuild of a' };
    const now = decided(state, seen(state, { watch }), { onNoReplica: 'block' });
    expect(now).toMatchObject({ code: 'REBUILD_DROPPED', reason: expect.stringContaining('writes still wait for it') });
    expect(now.state.activity).toEqual({ kind: 'serving' });
  });

  it('ends the request as not done when it is dropped, also when the state still notes an earlier rebuild', () => {
    const request = { id: 'one', kind: 'rebuild', node: 'a', from: 'p', term: 1 } as const;
    const state = serving(['a'], { activity, request, rebuildAsked: { a: '1:a' } });
    const watch = { ...newWatch(NOW_MS - 40_000), step: 'rebuild of a' };
    const now = decided(state, seen(state, { watch }), { onNoReplica: 'block' });
    expect(now).toMatchObject({ code: 'REBUILD_DROPPED', state: { request: { ended: { done: false } } } });
  });

  it('is given up when the leader is lost meanwhile', () => {
    const state = serving(['a'], { activity });
    const now = decided(state, observation([gone('p'), replicaView(state, 'a')]));
    expect(now).toMatchObject({ code: 'LEADER_DEAD', state: { leader: 'a', activity: { kind: 'promote' } } });
  });
});
