import { describe, expect, it } from 'vitest';
import { Requests } from '../../failover/monitor/requests';
import { POLICY } from '../core/world';

describe('requests of people', () => {
  it('lets a promotion take the place of a request that cannot end', async () => {
    const requests = new Requests({ clock: { nowMs: () => 0 }, policy: POLICY, incarnation: 1, wake: () => undefined });
    const first = requests.ask({ kind: 'switchover', to: 'a' });
    const refused = await requests.ask({ kind: 'rebuild', node: 'a' });
    expect(refused.message).toBe('another request is being carried out; ask again later');
    void requests.ask({ kind: 'promote', to: 'b', acceptDataLoss: true });
    expect(await first).toMatchObject({ done: false, message: 'a later request took its place: promote b' });
  });
});
