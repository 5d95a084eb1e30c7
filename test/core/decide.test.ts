import { describe, expect, it } from 'vitest';
import { decide } from '../../failover/core/decide';
import { LEAVE_MS } from '../../failover/core/facts/readiness';
import { type Action, type ClusterState, emptyState } from '../../failover/core/state/cluster';
import type { NodeView, Observation } from '../../failover/core/state/observation';
import { printState } from '../../failover/core/state/stored';
import {
  entry,
  gone,
  leaderView,
  NOW_MS,
  observation,
  orderOf,
  POLICY,
  replicaView,
  routeOf,
  serving,
  standbyRow,
  status,
  view,
} from './world';

const run = (state: ClusterState, seen: Observation, policy = POLICY) => decide(state, seen, NOW_MS, policy);
const readOf = (actions: Action[]) => actions.flatMap((a) => (a.kind === 'route-read' ? [a.nodes] : []))[0];

const blank = (name: string) =>
  view(name, {
    status: status(name, {
      dataId: null,
      postgres: { state: 'absent', timeline: null, lsn: null, streamingFrom: null },
    }),
  });
const CLOSED = { reachable: true, epoch: '1@1', slot: null, closed: true, keeping: '10.0.0.21', clean: true };

describe('a new cluster', () => {
  it('promotes no node and creates no database until every declared node has reported (S10)', () => {
    const decision = run(emptyState(), observation([blank('p'), gone('a', { recall: undefined })]));
    expect(decision.code).toBe('ADOPT_WAIT');
    expect(decision.reason).toContain('a');
    expect(orderOf(decision.actions, 'p')).toMatchObject({ kind: 'wait' });
  });

  it('lets the first declared node make the database, then lead alone', () => {
    const seen = observation([blank('p'), blank('a')], { haproxy: { ...CLOSED, keeping: null }, certificate: null });
    const adopted = run(emptyState(), seen);
    expect(adopted.code).toBe('ADOPTED');
    const created = run(adopted.state, seen);
    expect(created.code).toBe('BOOTSTRAP');
    expect(orderOf(created.actions, 'p')).toEqual({ kind: 'bootstrap' });
    expect(orderOf(created.actions, 'a')).toMatchObject({ kind: 'wait' });
    const order = created.state.orders.p;
    const made = view('p', {
      status: status('p', {
        accepted: { incarnation: 1, term: 1, seq: order?.seq ?? 0, kind: 'bootstrap' },
        postgres: { state: 'stopped', streamingFrom: null },
      }),
    });
    const led = run(created.state, observation([made, blank('a')], { haproxy: seen.haproxy, certificate: null }));
    expect(led.code).toBe('BOOTSTRAPPED');
    expect(orderOf(led.actions, 'p')).toEqual({ kind: 'lead', sync: { leader: 'p', k: 0, members: [], term: 1 } });
    expect(led.state.ledger).toEqual([entry({ timeline: null, opened: false })]);
  });

  it('creates no database while a node has data that no stored state describes', () => {
    const decision = run(emptyState(), observation([blank('p'), view('a')]));
    expect(decision.code).toBe('ADOPT_UNKNOWN');
    expect(decision.state.activity).toEqual({ kind: 'empty' });
  });
});

describe('a lost or old store (S10)', () => {
  const known = serving(['a']);
  const remembered = { term: known.term, seq: known.seq, blob: printState(known) };

  it('takes over the newest state that a keeper remembers, once every declared node has reported', () => {
    const seen = observation([leaderView(known), replicaView(known, 'a', {}, { recall: remembered })]);
    const decision = run(emptyState(), seen);
    expect(decision.code).toBe('ADOPTED');
    expect(decision.state).toMatchObject({ leader: 'p', term: 1, adopting: false });
    expect(decision.state.seq).toBeGreaterThan(known.seq);
  });

  it('takes over a keeper’s state also when it is only one change newer than the store', () => {
    const old = serving(['a'], { seq: known.seq - 1 });
    const newer = { ...known, joint: [{ leader: 'p', k: 0, members: [] }] };
    const recall = { term: newer.term, seq: newer.seq, blob: printState(newer) };
    const seen = observation([leaderView(known), replicaView(known, 'a', {}, { recall })]);
    const asked = run(old, seen);
    expect(asked.code).toBe('STORE_OLD');
    const adopted = run(asked.state, seen);
    expect(adopted.code).toBe('ADOPTED');
    expect(adopted.state.joint).toEqual(newer.joint);
  });

  it('gives no orders when a keeper remembers a newer state than the store', () => {
    const old = serving(['a'], { seq: 5 });
    const seen = observation([gone('p'), replicaView(known, 'a', {}, { recall: remembered })]);
    const decision = run(old, seen);
    expect(decision.code).toBe('STORE_OLD');
    expect(decision.state.adopting).toBe(true);
    expect(decision.actions.filter((a) => a.kind === 'order')).toEqual([]);
    expect(run(decision.state, seen).code).toBe('ADOPT_WAIT');
  });

  describe('when a member has lost its copy of the state, too', () => {
    const members = serving(['a', 'b']);
    const copy = { term: members.term, seq: members.seq, blob: printState(members) };
    const remembers = (name: string) => view(name, { recall: copy });
    const empty = { ...blank('b'), recall: null };
    const leads = { ...leaderView(members), recall: copy };
    const decided = (views: NodeView[], slot: string | null) => {
      const seen = observation(views);
      return run(emptyState(), { ...seen, haproxy: { ...seen.haproxy, slot } });
    };

    it('leaves the decision to a person, because that member may have known of a later leader', () => {
      const decision = decided([remembers('p'), remembers('a'), empty], null);
      expect(decision.code).toBe('ADOPT_FORGOTTEN');
      expect(decision.reason).toContain('b lost its copy of the state');
      expect(decided([remembers('p'), remembers('a')], null).code).toBe('ADOPT_FORGOTTEN');
    });

    it('keeps the leader that HAProxy leads to, and lets no standby take over until standbys are counted again', () => {
      const decision = decided([leads, remembers('a'), empty], '10.0.0.20');
      expect(decision.code).toBe('ADOPTED');
      expect(decision.state.joint.at(-1)).toEqual({ leader: 'p', k: 0, members: [], term: 1 });
      expect(decision.state.joint).toHaveLength(2);
    });

    it('adopts the state when the only empty node never was a member', () => {
      expect(
        decided([remembers('p'), remembers('a'), remembers('b'), { ...blank('c'), recall: null }], null).code,
      ).toBe('ADOPTED');
    });
  });
});

describe('the death of the leader', () => {
  it('makes the monitor hold new connections and probe PostgreSQL when the keeper’s connection breaks', () => {
    const state = serving(['a']);
    const decision = run(state, observation([gone('p', { probe: null }), replicaView(state, 'a')]));
    expect(decision.code).toBe('LEADER_BROKEN');
    expect(decision.state).toBe(state);
    expect(decision.actions).toContainEqual({ kind: 'probe', node: 'p' });
    expect(routeOf(decision.actions)).toEqual({ kind: 'held', node: 'p', address: '10.0.0.20' });
  });

  it('makes the only replica the leader, without standbys, in one step: recorded, slot closed, promoted', () => {
    const state = serving(['a']);
    const decision = run(state, observation([gone('p'), replicaView(state, 'a')]));
    expect(decision.code).toBe('LEADER_DEAD');
    expect(decision.state).toMatchObject({ term: 2, leader: 'a', activity: { kind: 'promote' } });
    expect(decision.state.joint).toEqual([
      { leader: 'p', k: 1, members: ['a'], term: 1 },
      { leader: 'a', k: 0, members: [], term: 2 },
    ]);
    const kinds = decision.actions.map((a) => a.kind);
    expect(kinds.indexOf('route-write')).toBeLessThan(kinds.indexOf('order'));
    expect(routeOf(decision.actions)).toEqual({ kind: 'closed', keep: 'a' });
    expect(orderOf(decision.actions, 'a')).toEqual({ kind: 'lead', sync: { leader: 'a', k: 0, members: [], term: 2 } });
  });

  it('with `block` lets the new leader wait for a standby', () => {
    const state = serving(['a']);
    const decision = run(state, observation([gone('p'), replicaView(state, 'a')]), { ...POLICY, onNoReplica: 'block' });
    expect(decision.state.joint.at(-1)).toEqual({ leader: 'a', k: 1, members: ['p'], term: 2 });
  });

  it('asks several replicas to promise first, promotes the most advanced one and orders the others at once to follow it (S1, S9)', () => {
    const state = serving(['a', 'b']);
    const asked = run(state, observation([gone('p'), replicaView(state, 'a'), replicaView(state, 'b')]));
    expect(asked.state).toMatchObject({ term: 2, leader: 'p', activity: { kind: 'elect' } });
    expect(orderOf(asked.actions, 'a')).toEqual({ kind: 'freeze' });
    const promised = (name: string, lsn: string) =>
      replicaView(asked.state, name, { postgres: { lsn, streamingFrom: null } });
    const elected = run(asked.state, observation([gone('p'), promised('a', '0/5000'), promised('b', '0/6000')]));
    expect(elected.code).toBe('ELECTED');
    expect(elected.state).toMatchObject({ term: 2, leader: 'b' });
    expect(elected.state.joint.at(-1)).toEqual({ leader: 'b', k: 1, members: ['a'], term: 2 });
    expect(orderOf(elected.actions, 'a')).toEqual({ kind: 'follow', leader: 'b', method: 'stream' });
  });

  it('sends no order of the old term to a former leader that comes back during an election', () => {
    const state = serving(['a', 'b']);
    const asked = run(state, observation([gone('p'), replicaView(state, 'a'), replicaView(state, 'b')])).state;
    const back = view('p', {
      status: status('p', { postgres: { state: 'stopped', streamingFrom: null } }),
      changedAtMs: NOW_MS - 100,
    });
    const decision = run(asked, observation([back, replicaView(asked, 'a', { done: false }), replicaView(asked, 'b')]));
    expect(decision.code).toBe('ELECTING');
    expect(orderOf(decision.actions, 'p')).toBeUndefined();
  });

  it('promotes no node when the leader was alone: the leader stays recorded, and the reason names it', () => {
    const state = serving([], { members: { p: '1:p', a: '1:a' } });
    const decision = run(state, observation([gone('p'), view('a')]));
    expect(decision.code).toBe('NO_CANDIDATE');
    expect(decision.reason).toContain('start p');
    expect(decision.state.term).toBe(1);
    expect(routeOf(decision.actions)).toMatchObject({ kind: 'held' });
  });

  it('lets a restarted leader lead again in a new term when no other node can lead', () => {
    const state = serving([]);
    const back = view('p', { status: status('p', { postgres: { state: 'stopped', streamingFrom: null } }) });
    const decision = run(state, observation([back]));
    expect(decision.code).toBe('LEADER_BACK');
    expect(decision.state).toMatchObject({ term: 2, leader: 'p', activity: { kind: 'promote' } });
  });

  it('sends no order of the old term to a leader that came back and does not serve yet', () => {
    const state = serving(['a'], { joint: [{ leader: 'p', k: 0, members: [] }] });
    const back = view('p', {
      status: status('p', { postgres: { state: 'starting', streamingFrom: null }, lead: null }),
    });
    const decision = run(state, observation([back, view('a')]));
    expect(decision.code).toBe('NO_CANDIDATE');
    expect(orderOf(decision.actions, 'p')).toBeUndefined();
  });
});

describe('the opening', () => {
  const base = serving(['a']);
  const promoting = run(base, observation([gone('p'), replicaView(base, 'a')])).state;
  const candidate = (part = {}) =>
    leaderView(promoting, { postgres: { timeline: 2 }, lead: { timeline: 2, forkLsn: '0/5000' }, ...part });
  const certificate = { node: 'a', term: 2, epoch: '1@1' };
  const ready = { haproxy: CLOSED, certificate };

  it('is recorded when the candidate is proven and the old sessions have ended; then the slot is opened', () => {
    const seen = observation([gone('p'), candidate()], ready);
    const decision = run(promoting, seen);
    expect(decision.code).toBe('OPEN');
    expect(decision.state.ledger.at(-1)).toEqual(
      entry({ term: 2, node: 'a', dataId: '1:a', timeline: 2, forkLsn: '0/5000' }),
    );
    expect(decision.state.joint).toEqual([{ leader: 'a', k: 0, members: [], term: 2 }]);
    expect(routeOf(decision.actions)).toEqual({ kind: 'open', node: 'a', address: '10.0.0.21' });
  });

  it.each([
    ['no synchronous commit was made (S9)', { certificate: null }],
    ['the commit was made in an older term', { certificate: { ...certificate, term: 1 } }],
    ['HAProxy restarted since (S15)', { haproxy: { ...CLOSED, epoch: '2@2' } }],
    ['a session is left on the old leader (S2)', { haproxy: { ...CLOSED, clean: false } }],
    ['HAProxy does not answer (S15)', { haproxy: { ...CLOSED, reachable: false } }],
    ['the scan of sessions was made for another node', { haproxy: { ...CLOSED, keeping: '10.0.0.20' } }],
  ])('waits while %s', (_why, part) => {
    const decision = run(promoting, observation([gone('p'), candidate()], { ...ready, ...part }));
    expect(decision.code).toBe('PROMOTING');
    expect(routeOf(decision.actions)).toEqual({ kind: 'closed', keep: 'a' });
  });

  it('waits while the sync configuration is not in force, or the candidate has not accepted the newest order (S4)', () => {
    const unproven = candidate({ lead: { timeline: 2, syncInForce: null } });
    expect(run(promoting, observation([gone('p'), unproven], ready)).code).toBe('PROMOTING');
    const stale = candidate({ accepted: { incarnation: 1, term: 2, seq: 1, kind: 'lead' } });
    expect(run(promoting, observation([gone('p'), stale], ready)).code).toBe('PROMOTING');
  });

  it('makes the old leader lead again when the candidate dies before it was opened, and keeps the unopened term on record (S3)', () => {
    const back = view('p', { status: status('p', { postgres: { state: 'stopped', streamingFrom: null } }) });
    const abandoned = run(promoting, observation([back, gone('a')], ready));
    expect(abandoned.code).toBe('CANDIDATE_LOST');
    expect(abandoned.state).toMatchObject({ term: 3, leader: 'p', joint: [{ leader: 'p', k: 1, members: ['a'] }] });
    const again = run(abandoned.state, observation([back, gone('a')], ready));
    expect(again.state).toMatchObject({ leader: 'p', activity: { kind: 'promote' } });
    expect(again.state.ledger.map((e) => [e.node, e.term, e.opened])).toEqual([
      ['p', 1, true],
      ['a', 2, false],
      ['p', 3, false],
    ]);
  });

  it('waits for the recorded candidate when no other node can take over', () => {
    expect(run(promoting, observation([gone('p'), gone('a')], ready)).code).toBe('PROMOTING');
  });
});

describe('the sync set', () => {
  it('is shrunk at once when a counted replica dies, recorded jointly, and proven before the old one is dropped (S17)', () => {
    const state = serving(['a']);
    const shrunk = run(state, observation([leaderView(state), gone('a')]));
    expect(shrunk.code).toBe('SYNC_CHANGE');
    expect(shrunk.state.joint).toEqual([
      { leader: 'p', k: 1, members: ['a'], term: 1 },
      { leader: 'p', k: 0, members: [], term: 1 },
    ]);
    expect(orderOf(shrunk.actions, 'p')).toEqual({ kind: 'lead', sync: { leader: 'p', k: 0, members: [], term: 1 } });
    const waiting = observation([leaderView(shrunk.state, { done: false, lead: { syncInForce: null } }), gone('a')]);
    expect(run(shrunk.state, waiting).state.joint).toHaveLength(2);
    const proven = run(shrunk.state, observation([leaderView(shrunk.state), gone('a')]));
    expect(proven.code).toBe('SYNC_PROVEN');
    expect(proven.state.joint).toEqual([{ leader: 'p', k: 0, members: [], term: 1 }]);
  });

  it('keeps a silent replica until hangTimeout', () => {
    const state = serving(['a']);
    const silent = (silentMs: number) => observation([leaderView(state), replicaView(state, 'a', {}, { silentMs })]);
    expect(run(state, silent(1_900)).code).toBe('STEADY');
    expect(run(state, silent(2_000)).code).toBe('SYNC_CHANGE');
  });

  it('never becomes empty with `block`', () => {
    const state = serving(['a']);
    const decision = run(state, observation([leaderView(state), gone('a')]), { ...POLICY, onNoReplica: 'block' });
    expect(decision.state.joint).toEqual(state.joint);
  });

  it('grows when a member streams and the leader reports that it does', () => {
    const state = { ...serving(['a']), joint: [{ leader: 'p', k: 0, members: [] }] };
    const standbys = [standbyRow('a', 'async')];
    const grown = run(state, observation([leaderView(state, { lead: { standbys } }), replicaView(state, 'a')]));
    expect(grown.state.joint.at(-1)).toEqual({ leader: 'p', k: 1, members: ['a'], term: 1 });
    const catching = run(state, observation([leaderView(state, { lead: { standbys: [] } }), replicaView(state, 'a')]));
    expect(catching.code).toBe('STEADY');
  });

  it('loses a node that the config no longer declares, before the monitor forgets that member', () => {
    const state = serving(['a', 'b']);
    const decision = run(state, observation([leaderView(state), replicaView(state, 'a')]));
    expect(decision.code).toBe('SYNC_CHANGE');
    expect(decision.state.joint.at(-1)).toEqual({ leader: 'p', k: 1, members: ['a'], term: 1 });
  });
});

describe('a leader that is told to stop', () => {
  it('shuts down cleanly, then its counted replica takes over (S18)', () => {
    const state = serving(['a']);
    const begun = run(state, observation([leaderView(state, { stopping: true }), replicaView(state, 'a')]));
    expect(begun.code).toBe('HANDING_OVER');
    expect(routeOf(begun.actions)).toEqual({ kind: 'held', node: 'p', address: '10.0.0.20' });
    expect(orderOf(begun.actions, 'p')).toEqual({ kind: 'stop', drainMs: LEAVE_MS });
    const stopping = observation([
      leaderView(state, { stopping: true, postgres: { state: 'stopping' } }),
      replicaView(state, 'a'),
    ]);
    expect(run(begun.state, stopping).code).toBe('HANDING_OVER');
    const done = run(begun.state, observation([gone('p'), replicaView(state, 'a')]));
    expect(done.code).toBe('HANDED_OVER');
    expect(done.state).toMatchObject({ term: 2, leader: 'a' });
  });

  it('serves on while no standby can take over yet', () => {
    const state = serving(['a']);
    const leaves = leaderView(state, { stopping: true });
    const seen = observation([leaves, replicaView(state, 'a', { stopping: true })]);
    const alone = run(state, seen);
    expect(alone.code).toBe('SYNC_CHANGE');
    expect(routeOf(alone.actions)).toMatchObject({ kind: 'open', node: 'p' });
    const left = observation([leaves, gone('a')]);
    expect(run(serving([]), left).code).toBe('LEADER_LEAVING');
    expect(routeOf(run(serving([]), left).actions)).toMatchObject({ kind: 'open', node: 'p' });
  });

  it('hands over to a standby that is counted in the meantime', () => {
    const lone = { ...serving(['a']), joint: [{ leader: 'p', k: 0, members: [] }] };
    const leaves = leaderView(lone, { stopping: true, lead: { standbys: [standbyRow('a', 'async')] } });
    expect(run(lone, observation([leaves, replicaView(lone, 'a')])).code).toBe('SYNC_CHANGE');
    const counted = serving(['a']);
    expect(run(counted, observation([leaderView(counted, { stopping: true }), replicaView(counted, 'a')])).code).toBe(
      'HANDING_OVER',
    );
  });

  it('stops when no standby became ready in time, and new connections are held', () => {
    const state = serving([]);
    const stops = leaderView(state, { stopping: true, postgres: { state: 'stopping' } });
    const seen = observation([stops, gone('a')]);
    expect(run(state, seen).code).toBe('LEADER_STOPPING');
    // PostgreSQL refuses new connections while it shuts down, so HAProxy holds them until a leader is back.
    expect(routeOf(run(state, seen).actions)).toMatchObject({ kind: 'held' });
  });
});

describe('members', () => {
  it('are recorded when their copy streams, and are then ordered to stream', () => {
    const base = serving([], { members: { p: '1:p' } });
    const copying = {
      ...base,
      orders: {
        ...base.orders,
        a: { term: 1, seq: 8, target: { kind: 'follow' as const, leader: 'p', method: 'copy' as const } },
      },
    };
    const decision = run(copying, observation([leaderView(copying), replicaView(copying, 'a')]));
    expect(decision.code).toBe('MEMBER_JOINED');
    expect(decision.state.members.a).toBe('1:a');
    expect(orderOf(decision.actions, 'a')).toEqual({ kind: 'follow', leader: 'p', method: 'stream' });
  });

  it('are copied again after a person promoted them by hand', () => {
    const state = { ...serving(['a']), joint: [{ leader: 'p', k: 0, members: [] }] };
    const byHand = replicaView(state, 'a', { postgres: { state: 'primary', timeline: 2, streamingFrom: null } });
    const decision = run(state, observation([leaderView(state), byHand]));
    expect(decision.code).toBe('PROMOTED_BY_HAND');
    expect(decision.state.rebuild).toEqual({ a: '1:a' });
    const copy = { kind: 'follow', leader: 'p', method: 'copy', replaces: '1:a' };
    expect(orderOf(decision.actions, 'a')).toEqual(copy);
  });
});

describe('routes', () => {
  it('reads go to streaming standbys, else to the leader', () => {
    const state = serving(['a']);
    expect(readOf(run(state, observation([leaderView(state), replicaView(state, 'a')])).actions)).toEqual(['a']);
    const behind = replicaView(state, 'a', { postgres: { replayLsn: '0/1' } });
    const policy = { ...POLICY, maxLagBytes: 100 };
    expect(readOf(run(state, observation([leaderView(state), behind]), policy).actions)).toEqual(['p']);
    const closed = { ...policy, readFallback: false };
    expect(readOf(run(state, observation([leaderView(state), behind]), closed).actions)).toEqual([]);
  });

  it('a standby on another timeline or of another leader serves no reads (S13)', () => {
    const state = serving(['a']);
    const wrong = replicaView(state, 'a', { postgres: { timeline: 2 } });
    expect(readOf(run(state, observation([leaderView(state), wrong])).actions)).toEqual(['p']);
    const other = replicaView(state, 'a', { postgres: { streamingFrom: null } });
    expect(readOf(run(state, observation([leaderView(state), other])).actions)).toEqual(['p']);
  });

  it('a restarted monitor does not touch a correct route, and makes its checks', () => {
    const state = serving(['a']);
    const decision = run(state, observation([leaderView(state), replicaView(state, 'a')], { certificate: null }));
    expect(decision.code).toBe('REOPENING');
    expect(routeOf(decision.actions)).toBeUndefined();
    expect(decision.actions).toContainEqual({ kind: 'certify', node: 'p', term: 1 });
  });

  it('a restarted HAProxy stays closed until the checks are made again (S15)', () => {
    const state = serving(['a']);
    const haproxy = { ...CLOSED, epoch: '2@2', keeping: '10.0.0.20' };
    const before = run(state, observation([leaderView(state), replicaView(state, 'a')], { haproxy }));
    expect(routeOf(before.actions)).toEqual({ kind: 'closed', keep: 'p' });
    const certificate = { node: 'p', term: 1, epoch: '2@2' };
    const after = run(state, observation([leaderView(state), replicaView(state, 'a')], { haproxy, certificate }));
    expect(routeOf(after.actions)).toMatchObject({ kind: 'open', node: 'p' });
  });
});
