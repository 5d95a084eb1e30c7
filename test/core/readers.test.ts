/** Which nodes get new readers, and on which nodes the sessions of readers go on (S13). */
import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { newWatch, nextWatch } from '../../failover/core/facts/watch';
import type { ClusterState } from '../../failover/core/state/cluster';
import type { NodeView, Observation } from '../../failover/core/state/observation';
import {
  entry,
  gone,
  leaderView,
  NOW_MS,
  observation,
  POLICY,
  replicaView,
  type StatusPart,
  serving,
  situation,
  view,
} from './world';

const GRACE_MS = 30_000;
const policy = { ...POLICY, readLagGraceMs: GRACE_MS, maxLagBytes: 100 };
const BEHIND: StatusPart = { postgres: { replayLsn: '0/1' } };

/** The read port in this state: `open` nodes get new sessions, and on `stay` the present ones go on. */
function readers(state: ClusterState, seen: Observation, nowMs = NOW_MS, used = policy) {
  const { actions } = decide(state, seen, nowMs, used);
  const route = actions.find((action) => action.kind === 'route-read');
  return route && { open: route.nodes, stay: route.stay };
}

const state = serving(['a', 'b']);
const unfit = (name: string, forMs: number) => ({
  watch: { ...newWatch(NOW_MS), unfitSinceMs: { p: NOW_MS - 2 * GRACE_MS, [name]: NOW_MS - forMs } },
});
/** The standbys have served the readers for long, the leader has not. */
const seenOf = (a: NodeView, b = replicaView(state, 'b'), part: Partial<Observation> = {}) =>
  observation([leaderView(state), a, b], { ...unfit('a', 0), ...part });

/** `p` leads again in term 2, whose timeline began at 0/4000. */
const again: ClusterState = {
  ...serving(['b']),
  term: 2,
  members: { p: '1:p', a: '1:a', b: '1:b' },
  ledger: [entry(), entry({ term: 2, timeline: 2, forkLsn: '0/4000' })],
};
const seenAgain = (...standbys: NodeView[]) =>
  observation([leaderView(again, { lead: { timeline: 2 } }), ...standbys], {
    ...unfit('a', 0),
    certificate: { node: 'p', term: 2, epoch: '1@1' },
  });

describe('a standby that lags', () => {
  const late = replicaView(state, 'a', BEHIND);

  it('gets no new session, and its sessions stay until readLagGrace is over', () => {
    expect(readers(state, seenOf(late))).toEqual({ open: ['b'], stay: ['a'] });
    expect(readers(state, seenOf(late, undefined, unfit('a', GRACE_MS - 1)))).toEqual({ open: ['b'], stay: ['a'] });
    expect(readers(state, seenOf(late, undefined, unfit('a', GRACE_MS)))).toEqual({ open: ['b'], stay: [] });
    const none = { ...policy, readLagGraceMs: 0 };
    expect(readers(state, seenOf(late), NOW_MS, none)).toEqual({ open: ['b'], stay: [] });
  });

  it('is counted from the moment at which it became late, and anew when it was fit in between', () => {
    const seen = seenOf(late, undefined, { watch: newWatch(NOW_MS) });
    const first = nextWatch(situation(state, seen, NOW_MS, policy));
    expect(first.unfitSinceMs).toEqual({ p: NOW_MS, a: NOW_MS });
    const second = nextWatch(situation(state, { ...seenOf(late), watch: first }, NOW_MS + 500, policy));
    expect(second.unfitSinceMs.a).toBe(NOW_MS);
    const fit = { ...seenOf(replicaView(state, 'a')), watch: second };
    expect(nextWatch(situation(state, fit, NOW_MS + 900, policy)).unfitSinceMs.a).toBeUndefined();
  });

  it('keeps its sessions while the leader serves new readers, because every standby lags', () => {
    const both = seenOf(late, replicaView(state, 'b', BEHIND));
    expect(readers(state, both)).toEqual({ open: ['p'], stay: ['a', 'b'] });
    const held = { ...policy, readFallback: false };
    expect(readers(state, both, NOW_MS, held)).toEqual({ open: [], stay: ['a', 'b'] });
  });

  it('is the same when its stream broke, when HAProxy does not reach it, or when it is on the former timeline', () => {
    const broken = replicaView(state, 'a', { postgres: { streamingFrom: null } });
    expect(readers(state, seenOf(broken))).toEqual({ open: ['b'], stay: ['a'] });
    const unreached = { '10.0.0.21': NOW_MS - 100 };
    const haproxy = { ...observation([]).haproxy, unreached };
    expect(readers(state, seenOf(replicaView(state, 'a'), undefined, { haproxy }))).toEqual({
      open: ['b'],
      stay: ['a'],
    });
    const newest = replicaView(again, 'b', { postgres: { timeline: 2 } });
    const former = replicaView(again, 'a', { postgres: { lsn: '0/3000' } });
    expect(readers(again, seenAgain(former, newest))).toEqual({ open: ['b'], stay: ['a'] });
  });
});

describe('a node that is no sound standby loses its sessions at once', () => {
  it.each<[string, NodeView]>([
    ['it is stopped', replicaView(state, 'a', { postgres: { state: 'stopped' } })],
    ['it is being rewound', replicaView(state, 'a', { postgres: { state: 'rewinding' }, rewinding: true })],
    ['it is being stopped', replicaView(state, 'a', { stopping: true })],
    ['it was promoted', replicaView(state, 'a', { postgres: { state: 'primary', streamingFrom: null } })],
    ['it came back with other data', replicaView(state, 'a', { dataId: '1:other' })],
    ['it does not answer', replicaView(state, 'a', {}, { silentMs: 2_000 })],
    ['its connection broke', gone('a')],
    ['its history may be its own', replicaView(state, 'a', { promotedTerm: 7, postgres: { streamingFrom: null } })],
  ])('%s', (_, a) => {
    expect(readers(state, seenOf(a))).toEqual({ open: ['b'], stay: [] });
  });

  it('it has rows that the next leader does not have (S13)', () => {
    const former = (lsn: string) =>
      replicaView(again, 'a', { postgres: { timeline: 1, streamingFrom: null, lsn, replayLsn: lsn } });
    const seen = (lsn: string) => seenAgain(former(lsn), replicaView(again, 'b'));
    expect(readers(again, seen('0/3000'))?.stay).toContain('a');
    expect(readers(again, seen('0/4001'))?.stay).not.toContain('a');
  });
});

describe('a change of leader', () => {
  it('does not end the reports on the other standbys, and ends those on the former leader and on the next one (S2)', () => {
    const elects: ClusterState = { ...state, term: 2, activity: { kind: 'elect', cause: 'LEADER_DEAD' } };
    const seen = observation([gone('p'), replicaView(state, 'a'), replicaView(state, 'b')]);
    expect(readers(elects, seen)).toMatchObject({ open: [] });
    const promotes: ClusterState = {
      ...elects,
      leader: 'a',
      activity: { kind: 'promote', cause: 'LEADER_DEAD' },
      joint: [...state.joint, { leader: 'a', k: 1, members: ['b'], term: 2 }],
      ledger: [entry(), entry({ term: 2, node: 'a', dataId: '1:a', timeline: null, opened: false })],
    };
    expect(readers(promotes, seen)).toEqual({ open: [], stay: ['b'] });
    const back = observation([
      replicaView(state, 'p', { postgres: { state: 'primary' } }),
      ...seen.declared.slice(1).map(({ name }) => replicaView(state, name)),
    ]);
    expect(readers(promotes, back)?.stay).toEqual(['b']);
    // Their rows may be no part of what the next leader has.
    for (const part of [{ promotedTerm: 7 }, { rewinding: true }]) {
      const strange = observation([gone('p'), replicaView(state, 'a'), replicaView(state, 'b', part)]);
      expect(readers(promotes, strange)).toEqual({ open: [], stay: [] });
    }
  });
});

describe('a monitor that has just started', () => {
  const since = { sinceMs: NOW_MS - 500 };
  const unseen = view('a', { connected: false, everConnected: false, status: null, changedAtMs: NOW_MS - 500 });

  it('leaves the sessions on a node alone of which it has not heard yet', () => {
    expect(readers(state, seenOf(unseen, undefined, since))).toEqual({ open: ['b'], stay: ['a'] });
    const later = { sinceMs: NOW_MS - 2_000 };
    expect(readers(state, seenOf(unseen, undefined, later))?.stay).toEqual([]);
  });

  it('does not do so before a leader serves, because that node may be the former leader (S2)', () => {
    const promotes: ClusterState = {
      ...state,
      term: 2,
      leader: 'b',
      activity: { kind: 'promote', cause: 'LEADER_DEAD' },
      joint: [...state.joint, { leader: 'b', k: 0, members: [], term: 2 }],
      ledger: [entry(), entry({ term: 2, node: 'b', dataId: '1:b', timeline: null, opened: false })],
    };
    expect(readers(promotes, seenOf(unseen, undefined, since))?.stay).toEqual([]);
  });
});

describe('the leader, which served reads while no standby did', () => {
  it('gets no new reader when a standby is back, and its sessions stay for readLagGrace', () => {
    const lone = serving(['a']);
    const both = observation([leaderView(lone), replicaView(lone, 'a')]);
    expect(readers(lone, both)).toEqual({ open: ['a'], stay: ['p'] });
    expect(readers(lone, { ...both, ...unfit('a', 0) })).toEqual({ open: ['a'], stay: [] });
  });
});
