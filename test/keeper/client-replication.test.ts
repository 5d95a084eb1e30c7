/** When the leader lets clients of replication in. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { NodeSettings, SyncConfig } from '../../failover/contract/messages';
import { ClientReplication } from '../../failover/keeper/client-replication';
import type { AcceptedOrder } from '../../failover/keeper/keeper-state';
import type { Leadership } from '../../failover/keeper/leadership';

const LEASE_MS = 2_000;
const both: SyncConfig = { leader: 'a', k: 1, members: ['b'] };
const alone: SyncConfig = { leader: 'a', k: 0, members: [] };
const lead = (sync: SyncConfig, term = 3): AcceptedOrder => ({
  ...{ incarnation: 1, term, seq: 9, target: { kind: 'lead', sync } },
});

let nowMs: number;
let open: boolean;
let order: AcceptedOrder | null;
let leadership: { term: number; sync: { inForce: SyncConfig | null }; consumersUnder: SyncConfig | null } | null;
let settings: NodeSettings | null;
let replication: ClientReplication;
let pings: number;

/** A ping that says what the monitor says to the opened leader of this term; without one, to another node. */
function ping(term?: number, heard = pings): void {
  pings += 1;
  replication.pinged({ type: 'ping', n: pings, ...(term !== undefined && { archive: { term, heard } }) });
}

beforeEach(() => {
  [nowMs, open, pings] = [0, false, 0];
  order = lead(both);
  leadership = { term: 3, sync: { inForce: both }, consumersUnder: both };
  settings = { replication: { leaseMs: LEASE_MS } } as NodeSettings;
  const set = (is: boolean) => () => {
    open = is;
  };
  replication = new ClientReplication(
    { bootMs: () => nowMs, open: set(true), shut: set(false) },
    {
      get settings() {
        return settings;
      },
      get order() {
        return order;
      },
      leadership: () => leadership as Leadership | null,
    },
  );
});

describe('the gate', () => {
  it('opens on the opened leader, once an answer of this node was heard', () => {
    ping(3);
    expect(open).toBe(false);
    ping(3);
    expect(open).toBe(true);
  });

  it.each<[string, () => void]>([
    ['an order with other standbys', () => (order = lead(alone))],
    ['an order to follow', () => (order = { ...lead(both), target: { kind: 'freeze' } })],
    ['the end of the leadership', () => (leadership = null)],
    ['a change of the names', () => Object.assign(leadership?.sync ?? {}, { inForce: null })],
    ['sessions that may hold back too little', () => Object.assign(leadership ?? {}, { consumersUnder: alone })],
    ['the end of the lease', () => (nowMs = LEASE_MS)],
  ])('is shut at once by %s', (_, happens) => {
    ping(3);
    ping(3);
    expect(open).toBe(true);
    happens();
    replication.look();
    expect(open).toBe(false);
  });

  it('stays shut on a node that was asleep: pings that waited for it give no time', () => {
    ping(3);
    ping(3);
    nowMs = 60_000;
    ping(3, 1);
    expect(open).toBe(false);
    ping(3, 2);
    expect(open).toBe(false);
    ping(3, 3);
    expect(open).toBe(true);
  });

  it('stays shut for another term, for a leader that is not opened, and without a port for it', () => {
    ping(2);
    ping(2);
    expect(open).toBe(false);
    ping(3);
    expect(open).toBe(true);
    ping();
    expect(open).toBe(false);
    settings = {} as NodeSettings;
    ping(3);
    ping(3);
    expect(open).toBe(false);
  });
});
