/** Replicas that are kept for reports: no write waits for them, and they take over last. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { ifLeaderDied } from '../../failover/core/forecast';
import type { ClusterState, Policy } from '../../failover/core/state/cluster';
import type { NodeView } from '../../failover/core/state/observation';
import { promote } from '../../failover/core/transitions';
import {
  gone,
  leaderView,
  NOW_MS,
  observation,
  orderOf,
  POLICY,
  replicaView,
  type StatusPart,
  serving,
  situation,
  standbyRow,
} from './world';

const policy: Policy = { ...POLICY, reportReplicas: 1 };
const run = (state: ClusterState, views: NodeView[], used = policy) => decide(state, observation(views), NOW_MS, used);
const sees = (...names: string[]): StatusPart => ({
  lead: { standbys: names.map((name) => standbyRow(name, 'async')) },
});

/** `p` leads and counts only the given replicas; `a` and `b` both stream. */
const counts = (members: string[], part: Partial<ClusterState> = {}) => {
  const sync = { leader: 'p', k: Math.min(1, members.length), members, term: 1 };
  const state = serving(['a', 'b'], { joint: [sync], ...part });
  return { ...state, orders: { ...state.orders, p: { term: 1, seq: 9, target: { kind: 'lead' as const, sync } } } };
};
const late = { term: 1, seq: 9, target: { kind: 'follow', leader: 'p', method: 'stream', lateReplay: true } } as const;
const views = (state: ClusterState) => [
  leaderView(state, sees('a', 'b')),
  replicaView(state, 'a'),
  replicaView(state, 'b'),
];

describe('a report replica', () => {
  it('is the last declared standby; it is not counted, and its readers may delay replay', () => {
    const state = counts(['a']);
    const decision = run(state, views(state));
    expect(decision.state.joint).toEqual(state.joint);
    expect(orderOf(decision.actions, 'b')).toEqual(late.target);
    expect(orderOf(decision.actions, 'a')).toEqual({ kind: 'follow', leader: 'p', method: 'stream' });
    expect(run(decision.state, views(decision.state)).state).toBe(decision.state);
    // Without the setting both are counted.
    expect(run(state, views(state), POLICY).state.joint.at(-1)?.members).toEqual(['a', 'b']);
  });

  it('is none while it would be the only standby: a write waits for it, and it replays without delay', () => {
    const alone = serving(['a'], { joint: [{ leader: 'p', k: 0, members: [], term: 1 }] });
    const decision = run(alone, [leaderView(alone, sees('a')), replicaView(alone, 'a')]);
    expect(decision.state.joint.at(-1)?.members).toEqual(['a']);
    expect(orderOf(decision.actions, 'a')).toEqual({ kind: 'follow', leader: 'p', method: 'stream' });
  });

  it('is no node that the config does not name any more', () => {
    const state = counts(['a'], { members: { p: '1:p', a: '1:a', b: '1:b', c: '1:c' } });
    const all = [leaderView(state, sees('a', 'b', 'c')), ...['a', 'b', 'c'].map((name) => replicaView(state, name))];
    const decision = decide(state, observation(all, { retiring: 'c' }), NOW_MS, policy);
    expect(orderOf(decision.actions, 'b')).toEqual(late.target);
  });

  it('gets the new readers; the other standby keeps those that it has, for however long', () => {
    const state = counts(['a']);
    const route = run(state, views(state)).actions.find((a) => a.kind === 'route-read');
    expect(route).toMatchObject({ nodes: ['b'], stay: ['p', 'a'] });
    const behind = [
      leaderView(state, sees('a', 'b')),
      replicaView(state, 'a'),
      replicaView(state, 'b', { postgres: { replayLsn: '0/1' } }),
    ];
    const used = { ...policy, maxLagBytes: 100 };
    const other = run(state, behind, used).actions.find((a) => a.kind === 'route-read');
    expect(other).toMatchObject({ nodes: ['a'], stay: ['p', 'b'] });
  });

  it('that is counted already leaves the sync configuration once another standby is counted, and replays without delay until then', () => {
    const alone = counts(['b']);
    const first = run(alone, views(alone));
    expect(first.state.joint.at(-1)?.members).toEqual(['a', 'b']);
    const both = counts(['a', 'b']);
    const second = run(both, views(both));
    expect(second.state.joint.at(-1)?.members).toEqual(['a']);
    expect(orderOf(second.actions, 'b')).toEqual({ kind: 'follow', leader: 'p', method: 'stream' });
    const off = [leaderView(alone, sees('b')), gone('a'), replicaView(alone, 'b')];
    expect(run(alone, off).state.joint.at(-1)?.members).toEqual(['b']);
  });

  it('is not counted when the only counted standby is gone: the leader goes on alone, or writes wait for another node', () => {
    const state = counts(['a']);
    const seen = [leaderView(state, sees('b')), gone('a'), replicaView(state, 'b')];
    expect(run(state, seen).state.joint.at(-1)).toMatchObject({ k: 0, members: [] });
    const blocks: Policy = { ...policy, onNoReplica: 'block' };
    expect(run(state, seen, blocks).state.joint.at(-1)?.members).toEqual(['a']);
  });

  it('becomes an ordinary standby when the part moves, and is counted only after it replays without delay', () => {
    // b leads, so that a is the last of the standbys.
    const sync = { leader: 'b', k: 1, members: ['p'], term: 1 };
    const base = serving(['a', 'b'], {
      leader: 'b',
      joint: [sync],
      ledger: [{ ...serving([]).ledger[0], node: 'b', dataId: '1:b' } as ClusterState['ledger'][number]],
    });
    const follow = (target: object) =>
      ({
        term: 1,
        seq: 9,
        target: { kind: 'follow', leader: 'b', method: 'stream', ...target },
      }) as ClusterState['orders'][string];
    const state = {
      ...base,
      orders: {
        b: { term: 1, seq: 9, target: { kind: 'lead' as const, sync } },
        p: follow({ lateReplay: true }),
        a: follow({}),
      },
    };
    const from = { postgres: { streamingFrom: 'b' } };
    const seen = observation(
      [replicaView(state, 'p', from), replicaView(state, 'a', from), leaderView(state, sees('p', 'a'))],
      {
        certificate: { node: 'b', term: 1, epoch: '1@1' },
        haproxy: { ...observation([]).haproxy, slot: '10.0.0.22', keeping: '10.0.0.22' },
      },
    );
    const decision = decide(state, seen, NOW_MS, policy);
    expect(orderOf(decision.actions, 'a')).toMatchObject({ lateReplay: true });
    expect(orderOf(decision.actions, 'p')).toEqual({ kind: 'follow', leader: 'b', method: 'stream' });
    const lone = { ...state, joint: [{ leader: 'b', k: 0, members: [], term: 1 }] };
    expect(decide(lone, seen, NOW_MS, policy).state.joint).toEqual(lone.joint);
  });
});

describe('when the leader dies', () => {
  it('the report replica does not take over in synchronous mode', () => {
    const state = counts(['a']);
    const decision = run(state, [gone('p'), replicaView(state, 'a'), replicaView(state, 'b')]);
    expect(decision.state).toMatchObject({ leader: 'a', activity: { kind: 'promote' } });
    const both = run(state, [gone('p'), gone('a'), replicaView(state, 'b')]);
    expect(both.code).toBe('NO_CANDIDATE');
  });

  it('the report replica takes over last in asynchronous mode, even when it is ahead', () => {
    const used: Policy = { ...policy, syncMode: 'asynchronous' };
    const state = counts([], { term: 2, activity: { kind: 'elect', cause: 'LEADER_DEAD' } });
    const frozen = (name: string, lsn: string): NodeView =>
      replicaView(state, name, {
        accepted: { incarnation: 1, term: 2, seq: 10, kind: 'freeze' },
        postgres: { lsn, replayLsn: lsn, streamingFrom: null },
      });
    const haproxy = { ...observation([]).haproxy, slot: null, closed: true };
    const watch = { ...observation([]).watch, newest: { node: 'p', term: 1, lsn: '0/5000' } };
    const elected = (a: NodeView, b: NodeView) =>
      decide(state, observation([gone('p'), a, b], { haproxy, watch }), NOW_MS, used).state.leader;
    expect(elected(frozen('a', '0/4000'), frozen('b', '0/5000'))).toBe('a');
    expect(elected(gone('a'), frozen('b', '0/5000'))).toBe('b');
  });

  it('the next leader does not count the report replica from the start', () => {
    const state = serving(['a', 'b', 'c'], { term: 2, activity: { kind: 'elect', cause: 'LEADER_DEAD' } });
    const promised = (name: string) =>
      replicaView(state, name, { accepted: { incarnation: 1, term: 2, seq: 10, kind: 'freeze' } });
    const seen = observation([gone('p'), promised('a'), promised('b'), promised('c')]);
    const next = promote(situation(state, seen, NOW_MS, policy), 'a', 'LEADER_DEAD');
    expect(next.joint.at(-1)?.members).toEqual(['b']);
  });

  it('a switchover to it is refused with the reason, and the forecast names the counted standby', () => {
    const state = counts(['a']);
    const seen = observation(views(state));
    expect(ifLeaderDied(situation(state, seen, NOW_MS, policy)).takesOver).toBe('a');
    const request = { kind: 'switchover' as const, to: 'b' };
    expect(decide(state, { ...seen, request }, NOW_MS, policy).code).not.toBe('SWITCHOVER_BEGUN');
  });
});
