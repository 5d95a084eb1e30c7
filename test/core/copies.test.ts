/** When the monitor orders a copy: never for a counted member, for one node at a time, and not without end. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import type { ClusterState, Policy } from '../../failover/core/state/cluster';
import type { NodeView } from '../../failover/core/state/observation';
import { gone, leaderView, NOW_MS, observation, POLICY, replicaView, type StatusPart, serving } from './world';

const decided = (state: ClusterState, views: NodeView[], policy: Partial<Policy> = {}) =>
  decide(state, observation(views), NOW_MS, { ...POLICY, ...policy });
const impossible: StatusPart = {
  done: false,
  failure: { code: 'STREAM_IMPOSSIBLE', message: 'WAL is gone' },
  postgres: { streamingFrom: null },
};
const targetOf = (state: ClusterState, node: string) => state.orders[node]?.target;

describe('a standby that has to be copied', () => {
  it.each(['STREAM_IMPOSSIBLE', 'REWIND_FAILED', 'MUST_COPY'] as const)(
    'first leaves the sync set, proven (%s)',
    (code) => {
      const state = serving(['a']);
      const failed: StatusPart = { ...impossible, failure: { code, message: 'x' } };
      const shrinking = decided(state, [leaderView(state), replicaView(state, 'a', failed)]);
      expect(shrinking.code).toBe('SYNC_CHANGE');
      expect(targetOf(shrinking.state, 'a')).toEqual(targetOf(state, 'a'));
      const proven = decided(shrinking.state, [leaderView(shrinking.state), replicaView(shrinking.state, 'a', failed)]);
      expect(proven.code).toBe('SYNC_PROVEN');
      expect(targetOf(proven.state, 'a')).toEqual({ kind: 'follow', leader: 'p', method: 'copy', replaces: '1:a' });
    },
  );

  it('keeps its old data during the copy when it is the last counted standby (block)', () => {
    const state = serving(['a']);
    const views = [leaderView(state), replicaView(state, 'a', impossible)];
    expect(targetOf(decided(state, views, { onNoReplica: 'block' }).state, 'a')).toMatchObject({
      method: 'copy',
      keepOld: true,
    });
  });

  it('is copied although it is counted when it has lost its data: there is nothing left to lose', () => {
    const state = serving(['a']);
    const empty: StatusPart = { dataId: null, done: false, postgres: { state: 'absent' } };
    const { state: next } = decided(state, [leaderView(state), replicaView(state, 'a', empty)], {
      onNoReplica: 'block',
    });
    expect(targetOf(next, 'a')).toMatchObject({ method: 'copy' });
  });

  it('waits while another node is copied, and is copied when that copy streams or fails', () => {
    const state = serving([], { members: { p: '1:p' }, joint: [{ leader: 'p', k: 0, members: [], term: 1 }] });
    const empty: StatusPart = {
      dataId: null,
      done: false,
      postgres: { state: 'absent', streamingFrom: null },
    };
    const copying: StatusPart = { ...empty, postgres: { state: 'copying', streamingFrom: null } };
    const views = (from: ClusterState, a: StatusPart, b: StatusPart) => [
      leaderView(from),
      replicaView(from, 'a', a),
      replicaView(from, 'b', b),
    ];
    const first = decided(state, views(state, empty, empty)).state;
    expect(targetOf(first, 'a')).toMatchObject({ method: 'copy' });
    expect(targetOf(first, 'b')).toEqual({ kind: 'wait', reason: 'a is copied first', unready: true });
    const fails: StatusPart = {
      ...copying,
      failure: { code: 'TOOL_FAILED', message: 'x', tries: 2 },
    };
    const second = decided(first, views(first, fails, empty)).state;
    expect(targetOf(second, 'a')).toMatchObject({ kind: 'wait' });
    expect(targetOf(second, 'b')).toMatchObject({ method: 'copy' });
    const joined = decided(first, views(first, { dataId: '1:copied' }, empty));
    expect(joined.code).toBe('MEMBER_JOINED');
    expect(targetOf(joined.state, 'b')).toMatchObject({ method: 'copy' });
  });

  it('keeps its order to stream while another node is copied, so that it goes on reporting what is wrong with its data', () => {
    const state = serving([], {
      members: { p: '1:p', b: '1:b' },
      joint: [{ leader: 'p', k: 0, members: [], term: 1 }],
    });
    state.orders.a = { term: 1, seq: 8, target: { kind: 'follow', leader: 'p', method: 'copy' } };
    state.orders.b = { term: 1, seq: 9, target: { kind: 'follow', leader: 'p', method: 'stream' } };
    const copying: StatusPart = { dataId: null, done: false, postgres: { state: 'copying', streamingFrom: null } };
    const views = [leaderView(state), replicaView(state, 'a', copying), replicaView(state, 'b', impossible)];
    expect(targetOf(decided(state, views).state, 'b')).toEqual({ kind: 'follow', leader: 'p', method: 'stream' });
  });

  it('lets another node be copied first when it is disconnected', () => {
    const state = serving([], { members: { p: '1:p' }, joint: [{ leader: 'p', k: 0, members: [], term: 1 }] });
    state.orders.a = { term: 1, seq: 9, target: { kind: 'follow', leader: 'p', method: 'copy' } };
    const empty: StatusPart = { dataId: null, done: false, postgres: { state: 'absent' } };
    const { state: next } = decided(state, [leaderView(state), gone('a'), replicaView(state, 'b', empty)]);
    expect(targetOf(next, 'b')).toMatchObject({ method: 'copy' });
  });

  it('is not copied when its PostgreSQL streams, however often it crashed before', () => {
    const state = serving([], {
      members: { p: '1:p', a: '1:a' },
      joint: [{ leader: 'p', k: 0, members: [], term: 1 }],
    });
    state.orders.a = { term: 1, seq: 9, target: { kind: 'follow', leader: 'p', method: 'stream' } };
    const over: StatusPart = { postgres: { crashes: 4, crashesInRow: 8 } };
    const { state: next } = decided(state, [leaderView(state), replicaView(state, 'a', over)]);
    expect(targetOf(next, 'a')).toMatchObject({ method: 'stream' });
  });

  it('uses its old, sound data again after three failed copies', () => {
    const state = serving([], {
      members: { p: '1:p', a: '1:a' },
      joint: [{ leader: 'p', k: 0, members: [], term: 1 }],
    });
    state.orders.a = { term: 1, seq: 9, target: { kind: 'follow', leader: 'p', method: 'stream' } };
    const crashing: StatusPart = { done: false, postgres: { state: 'stopped', crashesInRow: 6, streamingFrom: null } };
    const copied = decided(state, [leaderView(state), replicaView(state, 'a', crashing)]).state;
    expect(targetOf(copied, 'a')).toMatchObject({ method: 'copy', keepOld: true });
    const failing = (tries: number): StatusPart => ({
      ...crashing,
      failure: { code: 'DISK_TOO_SMALL', message: 'no room', tries },
      postgres: { ...crashing.postgres, crashesInRow: 0, lsn: '0/5000', cleanShutdown: true },
    });
    const twice = decided(copied, [leaderView(copied), replicaView(copied, 'a', failing(2))]).state;
    expect(targetOf(twice, 'a')).toMatchObject({ method: 'copy' });
    const thrice = decided(copied, [leaderView(copied), replicaView(copied, 'a', failing(3))]).state;
    expect(targetOf(thrice, 'a')).toMatchObject({ method: 'stream' });
  });

  it('uses its old data again when the copy that a person asked for fails', () => {
    const state = serving(['b'], {
      members: { p: '1:p', a: '1:a', b: '1:b' },
      rebuild: { a: '1:a' },
      rebuildAsked: { a: '1:a' },
    });
    state.orders.a = { term: 1, seq: 9, target: { kind: 'follow', leader: 'p', method: 'copy', replaces: '1:a' } };
    const failed: StatusPart = {
      done: false,
      failure: { code: 'TOOL_FAILED', message: 'No space left on device', tries: 3 },
      postgres: { state: 'stopped', streamingFrom: null, lsn: '0/5000', cleanShutdown: true },
    };
    const decision = decided(state, [leaderView(state), replicaView(state, 'a', failed), replicaView(state, 'b')]);
    expect(decision.code).toBe('REBUILD_FAILED');
    expect(decision.reason).toContain('No space left on device');
    expect(decision.state).toMatchObject({ rebuild: {}, rebuildAsked: {} });
    expect(targetOf(decision.state, 'a')).toMatchObject({ method: 'stream' });
  });
});
