import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { newWatch } from '../../failover/core/facts/watch';
import type { Action, ClusterState } from '../../failover/core/state/cluster';
import type { HaproxyView, NodeView, Observation } from '../../failover/core/state/observation';
import { gone, leaderView, NOW_MS, observation, orderOf, POLICY, replicaView, serving, status, view } from './world';

const run = (state: ClusterState, seen: Observation) => decide(state, seen, NOW_MS, POLICY);
const readOf = (actions: Action[]) => actions.flatMap((a) => (a.kind === 'route-read' ? [a.nodes] : []))[0];
const OPEN = { reachable: true, epoch: '1@1', slot: '10.0.0.20', closed: false, keeping: '10.0.0.20', clean: true };
/** HAProxy has not reached the nodes with these host numbers for `forMs`. */
const beyond = (forMs: number, ...hosts: number[]): HaproxyView => ({
  ...OPEN,
  unreached: Object.fromEntries(hosts.map((h) => [`10.0.0.${h}`, NOW_MS - forMs])),
});
const calm = newWatch(NOW_MS - 60_000);
const seenBy = (views: NodeView[], haproxy: HaproxyView, part: Partial<Observation> = {}) =>
  observation(views, { haproxy, watch: calm, ...part });

describe('HAProxy cut off from the leader alone', () => {
  const state = serving(['a', 'b']);
  const views = () => [leaderView(state), replicaView(state, 'a'), replicaView(state, 'b')];

  it('makes a leader that works hand over after hangTimeout, without time for its clients, which cannot reach it anyway', () => {
    expect(run(state, seenBy(views(), beyond(1_999, 20))).code).toBe('STEADY');
    const decision = run(state, seenBy(views(), beyond(2_000, 20)));
    expect(decision.code).toBe('HAPROXY_CUT_OFF');
    expect(decision.state.activity).toEqual({ kind: 'handover', candidate: 'a', planned: true, cutOff: true });
    expect(orderOf(decision.actions, 'p')).toEqual({ kind: 'stop' });
    expect(decision.state).toMatchObject({ leader: 'p', term: 1 });
  });

  it('hands over to a node that HAProxy reaches, and does not hand over when it reaches no standby', () => {
    const decision = run(state, seenBy(views(), beyond(5_000, 20, 21)));
    expect(decision.state.activity).toMatchObject({ kind: 'handover', candidate: 'b' });
    const alone = run(state, seenBy(views(), beyond(5_000, 20, 21, 22)));
    expect(alone.code).toBe('STEADY');
    expect(alone.reason).toContain('HAProxy does not reach it');
  });

  it('is not taken for the leader’s fault while HAProxy itself is silent, or just after an attempt that failed', () => {
    const silent = { ...beyond(5_000, 20), reachable: false, slot: null };
    expect(run(state, seenBy(views(), silent)).code).not.toBe('HAPROXY_CUT_OFF');
    const watch = newWatch(NOW_MS - 1_000);
    expect(run(state, seenBy(views(), beyond(5_000, 20), { watch })).code).toBe('STEADY');
  });

  it('is a failover when the monitor does not reach the leader either, although its heartbeat advances (S21)', () => {
    const leader = leaderView(state, {}, { silentMs: 3_000 });
    const beating = replicaView(state, 'a', {}, { heartbeatSeenAtMs: NOW_MS - 100 });
    const others = [beating, replicaView(state, 'b')];
    expect(run(state, seenBy([leader, ...others], OPEN)).code).toBe('LEADER_APART');
    const decision = run(state, seenBy([leader, ...others], beyond(2_500, 20)));
    expect(decision.code).toBe('LEADER_CUT_OFF');
    expect(decision.state).toMatchObject({ term: 2, activity: { kind: 'elect' } });
  });

  it('keeps a standby that HAProxy does not reach out of the read pool and from being the target of a switchover', () => {
    const seen = seenBy(views(), beyond(100, 21), { request: { kind: 'switchover', to: 'a' } });
    const decision = run(state, seen);
    expect(readOf(decision.actions)).toEqual(['b']);
    expect(decision.code).toBe('STEADY');
  });

  it('makes a failover prefer, among equally good candidates, one that HAProxy reaches', () => {
    const dead = [gone('p'), replicaView(state, 'a'), replicaView(state, 'b')];
    const all = serving(['a', 'b'], {}, 2);
    expect(run(all, seenBy(dead, OPEN)).state.leader).toBe('a');
    expect(run(all, seenBy(dead, beyond(100, 21))).state.leader).toBe('b');
    expect(run(all, seenBy(dead, beyond(100, 21, 22))).state.leader).toBe('a');
  });
});

describe('a leader that is not declared any more', () => {
  const state = serving(['a'], {
    leader: 'x',
    term: 1,
    members: { x: '1:x', p: '1:p', a: '1:a' },
    joint: [{ leader: 'x', k: 1, members: ['p', 'a'] }],
    ledger: [{ term: 1, node: 'x', dataId: '1:x', timeline: 1, forkLsn: null, opened: true }],
    orders: {
      x: { term: 1, seq: 9, target: { kind: 'lead', sync: { leader: 'x', k: 1, members: ['p', 'a'] } } },
      p: { term: 1, seq: 9, target: { kind: 'follow', leader: 'x', method: 'stream' } },
      a: { term: 1, seq: 9, target: { kind: 'follow', leader: 'x', method: 'stream' } },
    },
  });
  const standby = (name: string) => replicaView(state, name, { postgres: { streamingFrom: 'x' } });
  const haproxy = { ...OPEN, slot: '10.0.0.22', keeping: '10.0.0.22' };
  const certificate = { node: 'x', term: 1, epoch: '1@1' };
  const seen = (part: Partial<Observation> = {}) =>
    seenBy([standby('p'), standby('a'), leaderView(state)], haproxy, { retiring: 'x', certificate, ...part });

  it('switches over instead of being failed over', () => {
    const decision = run(state, seen());
    expect(decision.code).toBe('LEADER_REMOVED');
    expect(decision.state).toMatchObject({
      leader: 'x',
      activity: { kind: 'preparing', plan: { kind: 'switchover', to: 'p', by: 'removal', stage: 'prepare' } },
    });
  });

  it('is not asked again right after a switchover was called off', () => {
    expect(run(state, seen({ watch: newWatch(NOW_MS - 500) })).code).toBe('STEADY');
  });

  it('counts as dead at once when its address is unknown', () => {
    const decision = run(state, seenBy([standby('p'), standby('a')], haproxy, { certificate }));
    expect(decision.code).toBe('LEADER_REMOVED');
    expect(decision.state.activity.kind).toBe('elect');
  });

  it('is ordered to stop if it still runs, is never counted again, and is forgotten', () => {
    const next = serving(['p', 'a'], {
      ...state,
      leader: 'p',
      term: 2,
      joint: [{ leader: 'p', k: 1, members: ['a'] }],
      ledger: [...state.ledger, { term: 2, node: 'p', dataId: '1:p', timeline: 2, forkLsn: '0/5000', opened: true }],
      orders: {
        p: { term: 2, seq: 9, target: { kind: 'lead', sync: { leader: 'p', k: 1, members: ['a'] } } },
        a: { term: 2, seq: 9, target: { kind: 'follow', leader: 'p', method: 'stream' } },
      },
    });
    const seenAfter = (former: NodeView) =>
      observation([leaderView(next), replicaView(next, 'a'), former], {
        retiring: 'x',
        certificate: { node: 'p', term: 2, epoch: '1@1' },
        watch: calm,
      });
    const former = (state: 'primary' | 'stopped') => view('x', { status: status('x', { postgres: { state } }) });
    const stopped = run(next, seenAfter(former('stopped')));
    expect(orderOf(stopped.actions, 'x')).toMatchObject({ kind: 'wait' });
    expect(stopped.code).toBe('MEMBER_REMOVED');
    expect(stopped.state.members).toEqual({ p: '1:p', a: '1:a' });
    expect(orderOf(run(next, seenAfter(former('primary'))).actions, 'x')).toEqual({ kind: 'stop' });
  });
});
