/** Two faults, found by the simulator, in which a cluster stayed down for ever. */
import { describe, expect, it } from 'vitest';
import { compareOrders } from '../../failover/contract/messages';
import { decide } from '../../failover/core/decide';
import { type Action, emptyState } from '../../failover/core/state/cluster';
import { printState } from '../../failover/core/state/stored';
import { entry, leaderView, NOW_MS, observation, POLICY, replicaView, serving, status, view } from './world';

const ordersFor = (actions: Action[], node: string) =>
  actions.flatMap((a) => (a.kind === 'order' && a.node === node ? [a.order] : []));

describe('a promotion under `block`', () => {
  const state = serving(['a'], {
    term: 2,
    leader: 'a',
    joint: [
      { leader: 'p', k: 1, members: ['a'] },
      { leader: 'a', k: 1, members: ['p'] },
    ],
    ledger: [entry(), entry({ term: 2, node: 'a', dataId: '1:a', timeline: null, opened: false })],
    activity: { kind: 'promote', cause: 'LEADER_DEAD' },
    orders: {
      a: { term: 2, seq: 10, target: { kind: 'lead', sync: { leader: 'a', k: 1, members: ['p'] } } },
      p: { term: 1, seq: 9, target: { kind: 'lead', sync: { leader: 'p', k: 1, members: ['a'] } } },
    },
  });
  const candidate = leaderView(state, { done: false, lead: { syncInForce: null, standbys: [] } });
  const seen = (postgres: 'stopped' | 'starting') => {
    const back = view('p', { status: status('p', { postgres: { state: postgres, streamingFrom: null } }) });
    return observation([back, candidate], {
      haproxy: { reachable: true, epoch: '1@1', slot: null, closed: true, keeping: '10.0.0.21', clean: true },
      certificate: null,
    });
  };

  it('orders the former leader to follow the candidate: the opening waits for this only standby', () => {
    const decision = decide(state, seen('stopped'), NOW_MS, { ...POLICY, onNoReplica: 'block' });
    expect(decision.code).toBe('PROMOTING');
    expect(ordersFor(decision.actions, 'p')[0]?.target).toEqual({ kind: 'follow', leader: 'a', method: 'rewind' });
  });

  it('gives the former leader no order to follow while its state is unknown', () => {
    const decision = decide(state, seen('starting'), NOW_MS, { ...POLICY, onNoReplica: 'block' });
    expect(ordersFor(decision.actions, 'p')[0]?.target).toMatchObject({ kind: 'wait' });
  });
});

describe('orders after an adoption', () => {
  it('are all newer than every order that a keeper accepted during the adoption', () => {
    const known = serving(['a']);
    const recall = { term: known.term, seq: known.seq, blob: printState(known) };
    // The monitor had no store, and ordered both nodes to wait, in many small steps that raised the seq.
    const waited = { incarnation: 2, term: 0, seq: 40 };
    const searching = { ...emptyState(), seq: waited.seq };
    const seen = observation([
      leaderView(known, { accepted: { ...waited, kind: 'wait' } }, { recall }),
      replicaView(known, 'a', { accepted: { ...waited, kind: 'wait' } }, { recall }),
    ]);
    const decision = decide(searching, seen, NOW_MS, POLICY);
    expect(decision.code).toBe('ADOPTED');
    for (const node of ['p', 'a']) {
      const [order] = ordersFor(decision.actions, node);
      expect(order?.target.kind).toBe(node === 'p' ? 'lead' : 'follow');
      expect(order?.seq).toBeGreaterThan(waited.seq);
    }
  });

  it('are newer also in the same term, where only the seq differs', () => {
    const known = serving(['a'], { adopting: true, seq: 40, suspectSeq: 10 });
    const seen = observation([
      leaderView(known, { accepted: { incarnation: 1, term: 1, seq: 40, kind: 'wait' } }, { recall: null }),
      replicaView(known, 'a', { accepted: { incarnation: 1, term: 1, seq: 40, kind: 'wait' } }, { recall: null }),
    ]);
    const decision = decide(known, seen, NOW_MS, POLICY);
    expect(decision.code).toBe('ADOPTED');
    for (const order of [...ordersFor(decision.actions, 'p'), ...ordersFor(decision.actions, 'a')]) {
      expect(compareOrders({ incarnation: 1, ...order }, { incarnation: 1, term: 1, seq: 40 })).toBeGreaterThan(0);
    }
  });
});
