import { describe, expect, it } from 'vitest';
import type { ClusterState, Decision } from '../../failover/core/state/cluster';
import { Requests } from '../../failover/monitor/requests';
import { leaderView, NOW_MS, observation, POLICY, replicaView, serving } from '../core/world';

function requestsWith(newId: () => string): Requests {
  return new Requests({ nowMs: () => NOW_MS }, POLICY, { wake: () => undefined }, newId);
}

describe('requests of people', () => {
  it('ends a request that cannot end by itself when a promotion is asked for', async () => {
    const requests = requestsWith(() => 'one');
    const first = requests.ask({ kind: 'switchover', to: 'a' });
    const refused = await requests.ask({ kind: 'rebuild', node: 'a' });
    expect(refused.message).toBe('another request is being carried out; ask again later');
    void requests.ask({ kind: 'promote', to: 'b', acceptDataLoss: true });
    expect(await first).toMatchObject({ done: false, message: 'a later request took its place: promote b' });
  });

  it('does not pass a request to the core a second time when an adopted state does not contain it', async () => {
    const requests = requestsWith(() => 'one');
    const state = serving(['b']);
    const seen = observation([leaderView(state), replicaView(state, 'b')]);
    void requests.ask({ kind: 'switchover', to: 'b' });
    expect(requests.before(state, seen, NOW_MS)).toMatchObject({ id: 'one', kind: 'switchover' });
    const begun: ClusterState = { ...state, request: { id: 'one', kind: 'switchover', node: 'b', from: 'p', term: 1 } };
    requests.after({ state: begun, reason: 'b takes over' } as Decision, seen, NOW_MS);
    expect(requests.before(state, seen, NOW_MS)).toBeNull();
  });

  it('gives each request a new id, also when the adopted state has a request of an earlier monitor', () => {
    let count = 0;
    const requests = requestsWith(() => `id ${++count}`);
    const former = {
      id: 'id 0',
      kind: 'switchover',
      node: 'b',
      from: 'p',
      term: 1,
      ended: { done: true, message: '' },
    } as const;
    const state: ClusterState = { ...serving(['b']), request: former };
    const seen = observation([leaderView(state), replicaView(state, 'b')]);
    void requests.ask({ kind: 'switchover', to: 'b' });
    expect(requests.before(state, seen, NOW_MS)).toMatchObject({ id: 'id 1' });
  });
});
