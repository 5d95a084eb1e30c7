import { describe, expect, it } from 'vitest';
import type { ServerState } from '../../failover/monitor/router/haproxy-socket';
import { Wish } from '../../failover/monitor/router/wish';

const [P, A, B] = ['10.0.0.20', '10.0.0.21', '10.0.0.22'];

/** A closed slot of this backend that leads to this address. */
function slot(backend: string, address: string): ServerState {
  return { backend, backendId: '4', server: 'node1', address, port: 5432, maintenance: true, down: false };
}

describe('the sessions that have to go', () => {
  it('are on the read port those on nodes that are neither open nor may keep theirs (S13)', () => {
    const wish = new Wish({ slot: P, keep: P }, { open: [A], stay: [B] });
    const goes = (backend: string) => [P, A, B].filter((address) => wish.mustGo(slot(backend, address)));
    expect(goes('read')).toEqual([P]);
    expect(goes('write')).toEqual([A, B]);
    expect(goes('reach')).toEqual([]);
  });

  it('are none while nothing is wanted', () => {
    const wish = new Wish();
    expect(['write', 'read'].filter((backend) => wish.mustGo(slot(backend, P)))).toEqual([]);
  });
});
