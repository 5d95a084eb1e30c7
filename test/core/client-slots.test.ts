/** What the monitor remembers of the slots that people made. */
import { expect, it } from 'vitest';
import type { ClientSlot, ClientSlotsRecord, ClientSlotsView, SlotGap } from '../../failover/contract/client-slots';
import { decide } from '../../failover/core/decide';
import { clientSlotsOf } from '../../failover/core/facts/client-slots';
import type { ClusterState, Policy } from '../../failover/core/state/cluster';
import { SlotOrders } from '../../failover/monitor/nodes/slot-orders';
import { entry, leaderView, NOW_MS, observation, POLICY, replicaView, serving, situation } from './world';

const BACKUP: Policy = { ...POLICY, backup: true };
const slot = (name: string, lsn = '0/500'): ClientSlot => ({
  ...{ name, type: 'physical', plugin: null, database: null, failover: false, active: true, lsn, invalidation: null },
});
const view = (term: number, names: string[], part: Partial<ClientSlotsView> = {}): ClientSlotsView => ({
  ...{ term, slots: names.map((name) => slot(name)), gaps: [], ...part },
});
const known = (name: string) => ({ name, type: 'physical' as const, failover: false });
const gap = (name: string, to: string | null): SlotGap => ({ name, type: 'physical', from: '0/300', to });
const record = (part: Partial<ClientSlotsRecord> = {}): ClientSlotsRecord => ({
  ...{ term: 1, known: [], gone: [], gaps: [], ...part },
});

/** The state after a cycle in which the leader has reported this. */
function after(
  slots: ClientSlotsRecord | undefined,
  seen: ClientSlotsView,
  part: Partial<ClusterState> = {},
  by = 'p',
) {
  const state = serving(['a'], { ...(slots && { slots }), ...part });
  const views = [leaderView(state), replicaView(state, 'a')];
  const nodes = views.map((one) => (one.name === by ? { ...one, clientSlots: seen } : one));
  return { before: state, ...decide(state, observation(nodes), NOW_MS, BACKUP) };
}

it('remembers what the opened leader reports, and nothing before there is a slot', () => {
  expect(after(undefined, view(1, ['reader'])).state.slots).toEqual(record({ known: [known('reader')] }));
  const { state, before } = after(undefined, view(1, []));
  expect(state.slots).toBeUndefined();
  expect(state.seq).toBe(before.seq);
});

it('does not change for a position', () => {
  const slots = record({ known: [known('reader')] });
  const { state, before } = after(slots, { ...view(1, []), slots: [slot('reader', '0/900')] });
  expect(state.seq).toBe(before.seq);
});

it.each<[string, ClientSlotsView, Partial<ClusterState>, string]>([
  ['another node', view(1, []), {}, 'a'],
  ['another leadership', view(7, []), {}, 'p'],
  ['a leader that is not opened', view(1, []), { ledger: [entry({ opened: false })] }, 'p'],
  ['a leader while the state may be an old one', view(1, []), { adopting: true }, 'p'],
])('takes no drop from %s', (_, seen, part, by) => {
  const slots = record({ known: [known('reader')] });
  const state = serving(['a'], { slots, ...part });
  const views = [leaderView(state), replicaView(state, 'a')];
  const nodes = views.map((one) => (one.name === by ? { ...one, clientSlots: seen } : one));
  expect(clientSlotsOf(situation(state, observation(nodes), NOW_MS, BACKUP))).toBe(slots);
});

it('takes a slot that is missing in the leader’s report as dropped, until one of its name is made', () => {
  const dropped = after(record({ known: [known('reader'), known('other')] }), view(1, ['other'])).state.slots;
  expect(dropped).toEqual(record({ known: [known('other')], gone: ['reader'] }));
  expect(after(dropped, view(1, ['other', 'reader'])).state.slots?.gone).toEqual([]);
  const cut = after(record({ known: [known('reader')] }), view(1, ['other'], { more: true })).state.slots;
  expect(cut?.gone).toEqual([]);
});

it('keeps a gap until its slot is dropped, and a loss until there is a slot of its name', () => {
  const names = ['reader'];
  const slots = after(undefined, view(1, names, { gaps: [gap('reader', '0/400'), gap('cdc', null)] })).state.slots;
  expect(slots?.gaps).toMatchObject([
    { name: 'reader', term: 1 },
    { name: 'cdc', term: 1 },
  ]);
  const earlier = { ...slots, gaps: slots?.gaps.map((one) => ({ ...one, term: 0 })) } as ClientSlotsRecord;
  expect(after(earlier, view(1, names)).state.slots?.gaps).toHaveLength(2);
  expect(after(earlier, view(1, ['cdc'])).state.slots?.gaps).toEqual([]);
});

it('tells the nodes what it remembers, and a standby no position of a former leader', () => {
  const orders = new SlotOrders();
  const slots = record({ known: [known('reader')], gone: ['old'] });
  const keep = (lsn?: string) => [{ name: 'reader', type: 'physical', ...(lsn && { lsn }) }];
  const leader = { node: 'p', term: 1, slots };
  expect(orders.orderFor('a', leader)).toEqual({ term: 1, keep: keep(), gone: ['old'] });
  orders.reported('a', leader, view(1, ['reader']));
  orders.reported('p', leader, view(0, ['reader']));
  expect(orders.orderFor('a', leader)).toEqual({ term: 1, keep: keep(), gone: ['old'] });
  orders.reported('p', leader, view(1, ['reader']));
  expect(orders.orderFor('a', leader)).toEqual({ term: 1, by: 'p', keep: keep('0/500'), gone: ['old'] });
  const next = { node: 'a', term: 2, slots };
  expect(orders.orderFor('a', next)).toEqual({ term: 2, by: 'p', keep: keep('0/500'), gone: ['old'] });
  expect(orders.orderFor('p', next)).toEqual({ term: 2, keep: keep(), gone: ['old'] });
});
