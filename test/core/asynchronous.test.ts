import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { newWatch } from '../../failover/core/facts/watch';
import type { ClusterState } from '../../failover/core/state/cluster';
import type { HaproxyView, Watch } from '../../failover/core/state/observation';
import { gone, leaderView, NOW_MS, observation, POLICY, replicaView, serving } from './world';

const policy = { ...POLICY, syncMode: 'asynchronous' as const, maxLagBytes: 0x1000 };
const alone = { leader: 'p', k: 0, members: [], term: 1 };
const cut: HaproxyView = { reachable: true, epoch: '1@1', slot: null, closed: true, keeping: null, clean: true };
const watch = (lsn: string | null): Watch => ({
  ...newWatch(NOW_MS),
  newest: lsn === null ? null : { node: 'p', term: 1, lsn },
});
/** `p` is dead, `a` stands at 0/5000. */
const dead = (state: ClusterState, newest: string | null, haproxy: HaproxyView = cut) =>
  decide(
    state,
    observation([gone('p'), replicaView(state, 'a', { postgres: { streamingFrom: null } })], {
      haproxy,
      watch: watch(newest),
    }),
    NOW_MS,
    policy,
  );

describe('asynchronous mode', () => {
  it('begins when "alone" is proven in force; until then no standby may be promoted', () => {
    const state = serving(['a']);
    const seen = observation([leaderView(state), replicaView(state, 'a')]);
    const decision = decide(state, seen, NOW_MS, policy);
    expect(decision.code).toBe('SYNC_CHANGE');
    expect(decision.state.joint).toEqual([{ leader: 'p', k: 1, members: ['a'], term: 1 }, alone]);
    expect(dead(decision.state, '0/5000').code).toBe('NO_CANDIDATE');
  });

  it('closes the slot and ends the sessions on the old leader before it promotes (S2)', () => {
    const lost = dead(serving(['a'], { joint: [alone] }), '0/5000');
    expect(lost).toMatchObject({ code: 'LEADER_DEAD', state: { activity: { kind: 'elect' } } });
    for (const part of [{ reachable: false }, { closed: false }, { clean: false }]) {
      expect(dead(lost.state, '0/5000', { ...cut, ...part }).code).toBe('ELECTING');
    }
    expect(dead(lost.state, '0/5000')).toMatchObject({ code: 'ELECTED', state: { leader: 'a', term: 2 } });
  });

  it('waits for the end of the sessions in a planned switchover, too', () => {
    const activity = { kind: 'elect', cause: 'HANDED_OVER', prefer: 'a' } as const;
    const state = serving(['a'], { joint: [alone], term: 2, activity });
    const stopped = leaderView(state, { postgres: { state: 'stopped', cleanShutdown: true }, lead: null });
    const run = (part: Partial<HaproxyView>, views = [stopped, replicaView(state, 'a')]) =>
      decide(state, observation(views, { haproxy: { ...cut, ...part }, watch: watch('0/5000') }), NOW_MS, policy);
    const asked = run({ clean: false });
    expect(asked.code).toBe('ELECTING');
    const order = asked.state.orders.a;
    const accepted = { incarnation: 1, term: 2, seq: order?.seq ?? 0, kind: 'freeze' };
    const promised = [stopped, replicaView(state, 'a', { accepted, postgres: { streamingFrom: null } })];
    expect(run({ clean: false }, promised).code).toBe('ELECTING');
    expect(run({}, promised)).toMatchObject({ code: 'ELECTED', state: { leader: 'a' } });
  });

  it.each([
    ['0/6000', 'LEADER_DEAD'],
    ['0/6001', 'NO_CANDIDATE'],
    [null, 'NO_CANDIDATE'],
  ])('with the leader last seen at %s decides %s', (newest, code) => {
    expect(dead(serving(['a'], { joint: [alone] }), newest).code).toBe(code);
  });
});
