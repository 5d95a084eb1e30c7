import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { DRAIN_MS, GENTLE_LIMIT_MS, STOP_LIMIT_MS } from '../../failover/core/facts/readiness';
import { newWatch } from '../../failover/core/facts/watch';
import { HOLD_LIMIT_MS, PREPARE_LIMIT_MS } from '../../failover/core/procedures/switchover';
import type { ClusterState, LeaderPlan } from '../../failover/core/state/cluster';
import type { NodeView, Observation, Request } from '../../failover/core/state/observation';
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

const run = (state: ClusterState, seen: Observation, policy = POLICY) => decide(state, seen, NOW_MS, policy);
const CLOSED = { reachable: true, epoch: '1@1', slot: null, closed: true, keeping: '10.0.0.20', clean: true };
/** The slot leads to the second declared node. */
const ON_SECOND = { ...CLOSED, slot: '10.0.0.21', closed: false, keeping: '10.0.0.21' };
const ASKED: Request = { kind: 'switchover', to: 'a' };
/** A watch whose present step began `ms` ago. */
const since = (ms: number) => ({ ...newWatch(NOW_MS - 60_000), stepSinceMs: NOW_MS - ms });
const to = (stage: LeaderPlan['stage']): Partial<ClusterState> => ({
  activity: { kind: 'preparing', plan: { kind: 'switchover', to: 'a', by: 'person', stage } },
});
const standby = (replayLsn: string) => ({
  lead: { standbys: [standbyRow('a', 'quorum', replayLsn)], flushLsn: '0/5000' },
});
const pair = (state: ClusterState, leader: StatusPart = {}, replica?: NodeView) => [
  leaderView(state, leader),
  replica ?? replicaView(state, 'a'),
];

describe('a planned switchover', () => {
  it('begins with a checkpoint on the leader, which serves on', () => {
    const state = serving(['a']);
    const decision = run(state, observation(pair(state), { request: ASKED }));
    expect(decision.code).toBe('SWITCHOVER_BEGUN');
    expect(decision.state).toMatchObject({
      leader: 'p',
      activity: { kind: 'preparing', plan: { to: 'a', stage: 'prepare' } },
    });
    expect(orderOf(decision.actions, 'p')).toMatchObject({ kind: 'lead', prepare: true });
    expect(routeOf(decision.actions)).toMatchObject({ kind: 'open', node: 'p' });
  });

  it('is not begun when the standby has not caught up', () => {
    const state = serving(['a']);
    const far = { lead: { ...standby('0/5000').lead, flushLsn: '0/205000' } };
    expect(run(state, observation(pair(state, far), { request: ASKED })).code).toBe('STEADY');
  });

  it('then holds new connections while the sessions stay', () => {
    const state = serving(['a'], to('prepare'));
    const decision = run(state, observation(pair(state)));
    expect(decision.code).toBe('SWITCHOVER_HOLD');
    expect(routeOf(decision.actions)).toEqual({ kind: 'held', node: 'p', address: '10.0.0.20' });
  });

  it('tells the leader to stop only when the slot is closed and the candidate is level', () => {
    const state = serving(['a'], to('hold'));
    expect(run(state, observation(pair(state, standby('0/5000')))).code).toBe('SWITCHING_OVER');
    const behind = { lead: { ...standby('0/5000').lead, flushLsn: '0/45000' } };
    expect(run(state, observation(pair(state, behind), { haproxy: CLOSED })).code).toBe('SWITCHING_OVER');
    const decision = run(state, observation(pair(state, standby('0/5000')), { haproxy: CLOSED }));
    expect(decision.code).toBe('SWITCHOVER_STOP');
    expect(orderOf(decision.actions, 'p')).toEqual({ kind: 'stop', drainMs: DRAIN_MS });
    expect(routeOf(decision.actions)).toMatchObject({ kind: 'held', node: 'p' });
    expect(decision.state.activity.kind).toBe('handover');
  });

  it.each([
    ['prepare', PREPARE_LIMIT_MS],
    ['hold', HOLD_LIMIT_MS],
  ] as const)('is called off when %s takes longer than %i ms', (stage, limitMs) => {
    const state = serving(['a'], to(stage));
    const slow = { ...standby('0/5000'), done: false };
    const at = (ms: number) => run(state, observation(pair(state, slow), { watch: since(ms) }));
    expect(at(limitMs - 1).code).toBe('SWITCHING_OVER');
    const decision = at(limitMs);
    expect(decision.code).toBe('SWITCHOVER_ABORTED');
    expect(decision.state.activity).toEqual({ kind: 'serving' });
    expect(routeOf(decision.actions)).toMatchObject({ kind: 'open', node: 'p' });
  });

  it('is called off when the candidate is lost, and gives way to a failover when the leader dies', () => {
    const state = serving(['a', 'b'], to('hold'));
    const b = replicaView(state, 'b');
    const lost = run(state, observation([leaderView(state), gone('a'), b], { haproxy: CLOSED }));
    expect(lost.code).toBe('SWITCHOVER_ABORTED');
    const dead = run(state, observation([gone('p'), replicaView(state, 'a'), b], { haproxy: CLOSED }));
    expect(dead.code).toBe('LEADER_DEAD');
    expect(dead.state.activity.kind).toBe('elect');
  });
});

describe('a leader that was told to stop for a switchover', () => {
  const activity = { kind: 'handover', candidate: 'a', planned: true } as const;
  const primary = (state: ClusterState, stateOf: 'primary' | 'stopping') =>
    leaderView(state, { done: false, postgres: { state: stateOf } });

  it('leads again when it does not begin to stop in time, and is replaced when it hangs in its shutdown', () => {
    const state = serving(['a'], { activity });
    const at = (ms: number, stateOf: 'primary' | 'stopping') =>
      run(
        state,
        observation([primary(state, stateOf), replicaView(state, 'a')], { watch: since(ms), haproxy: CLOSED }),
      );
    expect(at(STOP_LIMIT_MS - 1, 'primary').code).toBe('HANDING_OVER');
    const back = at(STOP_LIMIT_MS, 'primary');
    expect(back).toMatchObject({
      code: 'SWITCHOVER_ABORTED',
      state: { activity: { kind: 'serving' }, leader: 'p', term: 1 },
    });
    expect(orderOf(back.actions, 'p')).toMatchObject({ kind: 'lead' });
    expect(routeOf(back.actions)).toMatchObject({ kind: 'open', node: 'p' });
    expect(at(STOP_LIMIT_MS, 'stopping')).toMatchObject({ code: 'HANDED_OVER', state: { leader: 'a', term: 2 } });
  });

  it('makes the requested node win the election among equally advanced nodes', () => {
    const state = serving(['a', 'b'], { activity: { ...activity, candidate: 'b' } });
    const stopped = leaderView(state, { postgres: { state: 'stopped', cleanShutdown: true }, lead: null });
    const asked = run(state, observation([stopped, replicaView(state, 'a'), replicaView(state, 'b')]));
    expect(asked).toMatchObject({ code: 'HANDED_OVER', state: { activity: { kind: 'elect', prefer: 'b' } } });
    const promised = ['a', 'b'].map((n) => replicaView(asked.state, n, { postgres: { streamingFrom: null } }));
    expect(run(asked.state, observation([stopped, ...promised]))).toMatchObject({
      code: 'ELECTED',
      state: { leader: 'b' },
    });
  });

  it('waits a moment for promises of standbys before it leads again', () => {
    const state = serving(['a', 'b'], { term: 2, activity: { kind: 'elect', cause: 'HANDED_OVER' } });
    const stopped = leaderView(state, { postgres: { state: 'stopped', cleanShutdown: true }, lead: null });
    const views = [stopped, replicaView(state, 'a'), replicaView(state, 'b')];
    expect(run(state, observation(views, { watch: since(100) })).code).toBe('ELECTING');
    expect(run(state, observation(views, { watch: since(2_000) })).code).toBe('LEADER_BACK');
  });
});

describe('switchback', () => {
  const policy = { ...POLICY, switchback: true, switchbackAfterMs: 1_000 };
  const state = serving(['a'], { orders: {} });
  const views = (s: ClusterState) => [replicaView(s, 'a'), leaderView(s)];
  const ready = (ms: number) => ({ ...newWatch(NOW_MS), preferredSinceMs: NOW_MS - ms });

  it('gives the lead to the first declared node after a stable period', () => {
    const certificate = { node: 'p', term: 1, epoch: '1@1' };
    const given = run(state, observation(views(state), { haproxy: ON_SECOND })).state;
    const at = (ms: number) =>
      run(given, observation(views(given), { watch: ready(ms), certificate, haproxy: ON_SECOND }), policy);
    expect(at(999).code).toBe('STEADY');
    expect(at(1_000)).toMatchObject({
      code: 'SWITCHBACK',
      state: { activity: { kind: 'preparing', plan: { to: 'a', by: 'switchback' } } },
    });
  });

  /** The switchback has been due for `dueMs`; the leader's oldest transaction is this old, or none is old (null). */
  const busy = (dueMs: number, oldTransactionMs: number | null) => {
    const given = run(state, observation(views(state), { haproxy: ON_SECOND })).state;
    const seen = [
      replicaView(given, 'a'),
      leaderView(given, { lead: { ...leaderView(given).status?.lead, oldTransactionMs } }),
    ];
    const watch = ready(policy.switchbackAfterMs + dueMs);
    const certificate = { node: 'p', term: 1, epoch: '1@1' };
    return run(given, observation(seen, { watch, certificate, haproxy: ON_SECOND }), policy);
  };

  it('waits until no transaction is older than a second, and says so', () => {
    const waits = busy(5_000, 90_000);
    expect(waits.code).toBe('STEADY');
    expect(waits.reason).toContain('a gets the lead back when no transaction is older than a second');
    expect(busy(5_000, null).code).toBe('SWITCHBACK');
  });

  it('is put off when old transactions never end, and then waits twice as long', () => {
    expect(busy(policy.switchbackLimitMs - 1, 90_000).code).toBe('STEADY');
    const put = busy(policy.switchbackLimitMs, 90_000);
    expect(put).toMatchObject({ code: 'SWITCHBACK_PUT_OFF', state: { switchbacks: 1, activity: { kind: 'serving' } } });
  });

  it('is called off when a transaction becomes old while the leader prepares', () => {
    const preparing = serving(['a'], {
      activity: { kind: 'preparing', plan: { kind: 'switchover', to: 'a', by: 'switchback', stage: 'prepare' } },
    });
    const lead = { ...leaderView(preparing).status?.lead, oldTransactionMs: 1_500 };
    const decision = run(
      preparing,
      observation([leaderView(preparing, { lead }), replicaView(preparing, 'a')]),
      policy,
    );
    expect(decision).toMatchObject({ code: 'SWITCHOVER_ABORTED', state: { activity: { kind: 'serving' } } });
  });

  it('ends no transaction by force: it is called off when one does not end', () => {
    const activity = { kind: 'handover', candidate: 'a', planned: true, gentle: true } as const;
    const leaving = serving(['a'], { activity });
    const primary = leaderView(leaving, { done: false, postgres: { state: 'primary' } });
    const at = (ms: number) =>
      run(leaving, observation([primary, replicaView(leaving, 'a')], { watch: since(ms), haproxy: CLOSED }), policy);
    expect(at(GENTLE_LIMIT_MS - 1).code).toBe('HANDING_OVER');
    expect(at(GENTLE_LIMIT_MS)).toMatchObject({ code: 'SWITCHOVER_ABORTED', state: { activity: { kind: 'serving' } } });
    const held = serving(['a'], {
      activity: { kind: 'preparing', plan: { kind: 'switchover', to: 'a', by: 'switchback', stage: 'hold' } },
    });
    const begun = run(held, observation(pair(held, standby('0/5000')), { haproxy: CLOSED }), policy);
    expect(begun).toMatchObject({ code: 'SWITCHOVER_STOP', state: { activity: { gentle: true } } });
    expect(orderOf(begun.actions, 'p')).toEqual({ kind: 'stop', drainMs: STOP_LIMIT_MS });
    expect(GENTLE_LIMIT_MS).toBeLessThan(STOP_LIMIT_MS);
  });
});

describe('a slot that another monitor moved (S11)', () => {
  it('makes this monitor ask every node before it does anything more', () => {
    const state = serving(['a']);
    const decision = run(state, observation([leaderView(state), replicaView(state, 'a')], { haproxy: ON_SECOND }));
    expect(decision).toMatchObject({ code: 'SLOT_MOVED', state: { adopting: true } });
    expect(routeOf(decision.actions)).toBeUndefined();
  });
});
