/** Slots that people made, on a standby and on a new leader, with PostgreSQL as a list of slots. */
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { ClientSlot, SlotOrder } from '../../failover/contract/client-slots';
import { ClientSlots } from '../../failover/keeper/client-slots';
import type { Leadership } from '../../failover/keeper/leadership';
import { NO_VIEW, NOTHING_SEEN, type View } from '../../failover/keeper/ports';

const STANDBY: View = { ...NO_VIEW, sql: NOTHING_SEEN };
const slot = (name: string, part: Partial<ClientSlot> = {}): ClientSlot => ({
  ...{ name, type: 'physical', plugin: null, database: null, failover: false },
  ...{ active: false, lsn: '0/500', invalidation: null },
  ...part,
});
const order = (part: Partial<SlotOrder> = {}): SlotOrder => ({ term: 3, keep: [], gone: [], ...part });
const kept = (lsn?: string | null): SlotOrder['keep'][number] => ({
  ...{ name: 'reader', type: 'physical' },
  ...(lsn !== undefined && { lsn }),
});

let nowMs: number;
let here: Map<string, ClientSlot>;
let notes: string[];
let leadership: { term: number; calm: boolean } | null;
let settled: boolean;
let madeAt: string;
let refusal: Error | null;
let slots: ClientSlots;

/** A ping, and all that follows from it. */
async function ping(slotOrder: SlotOrder, term = leadership?.term): Promise<void> {
  slots.pinged({ type: 'ping', n: 10, slots: slotOrder, ...(term && { archive: { term, heard: 9 } }) });
  await vi.advanceTimersByTimeAsync(0);
}

beforeEach(() => {
  vi.useFakeTimers();
  [nowMs, notes, settled, leadership, madeAt, refusal] = [0, [], true, null, '0/700', null];
  here = new Map();
  const set = (one: ClientSlot) => here.set(one.name, one);
  slots = new ClientSlots(
    'a',
    {
      look: async () => ({ slots: [...here.values()], more: false }),
      make: async (name, reserve) => {
        if (refusal !== null) throw refusal;
        if (here.has(name)) throw new Error(`${name} exists`);
        set(slot(name, { lsn: reserve ? madeAt : null }));
        return reserve ? madeAt : null;
      },
      advance: async (name, lsn) => void set({ ...(here.get(name) ?? slot(name)), lsn }),
      drop: async (name) => void here.delete(name),
    },
    { nowMs: () => nowMs, sleep: async () => undefined },
    {
      view: STANDBY,
      get settled() {
        return settled;
      },
      leadership: () => leadership as Leadership | null,
      note: (_level, code, message) => notes.push(`${code} ${message}`),
    },
  );
});

describe('a standby', () => {
  it('makes a copy, and moves it behind the leader’s', async () => {
    await ping(order({ keep: [kept('0/800')] }));
    expect(here.get('reader')?.lsn).toBe('0/700');
    await ping(order({ keep: [kept('0/900')] }));
    expect(here.get('reader')?.lsn).toBe('0/900');
    await ping(order({ keep: [kept('0/850')] }));
    expect(here.get('reader')?.lsn).toBe('0/900');
    expect(slots.view).toBeUndefined();
  });

  it('makes none while the leader’s position is not known, or while it is no standby yet', async () => {
    await ping(order({ keep: [kept()] }));
    settled = false;
    await ping(order({ keep: [kept('0/800')] }));
    expect(here.size).toBe(0);
  });

  it('replaces a copy that PostgreSQL gave up, and one that keeps nothing', async () => {
    here.set('reader', slot('reader', { lsn: null, invalidation: 'wal_removed' }));
    await ping(order({ keep: [kept('0/800')] }));
    expect(here.get('reader')).toMatchObject({ lsn: '0/700', invalidation: null });
    here.set('reader', slot('reader', { lsn: null }));
    await ping(order({ keep: [kept('0/801')] }));
    expect(here.get('reader')).toMatchObject({ lsn: '0/700' });
  });

  it('drops what was dropped on a leader, and leaves what is in use, logical, or of its own', async () => {
    for (const one of [slot('old'), slot('used', { active: true }), slot('log', { type: 'logical' }), slot('mine')])
      here.set(one.name, one);
    await ping(order({ gone: ['old', 'used', 'log'] }));
    expect([...here.keys()]).toEqual(['used', 'log', 'mine']);
    expect(notes).toEqual(['SLOT_DROPPED old: it was dropped on a leader, so its copy here goes too']);
  });

  it('moves the other copies on although one cannot be made', async () => {
    here.set('reader', slot('reader'));
    refusal = new Error('all replication slots are in use');
    await ping(order({ keep: [{ ...kept('0/800'), name: 'barman' }, kept('0/800')] }));
    expect(here.get('reader')?.lsn).toBe('0/800');
    expect(notes).toEqual(['SLOT_PROBLEM all replication slots are in use']);
  });

  it('says once why it cannot, and tries again after a rest that grows', async () => {
    refusal = new Error('all replication slots are in use');
    for (const atMs of [0, 1_000, 2_000, 4_000]) {
      nowMs = atMs;
      await ping(order({ keep: [kept('0/800')] }));
    }
    expect(notes).toEqual(['SLOT_PROBLEM all replication slots are in use']);
    refusal = null;
    await ping(order({ keep: [kept('0/800')] }));
    expect(here.size).toBe(0);
    nowMs = 6_000;
    await ping(order({ keep: [kept('0/800')] }));
    expect(here.size).toBe(1);
  });
});

describe('a new leader', () => {
  beforeEach(() => {
    leadership = { term: 3, calm: true };
  });

  it('reports nothing before it is the opened leader of this term and its clients have had their moment', async () => {
    await ping(order(), 2);
    leadership = { term: 3, calm: false };
    await ping(order());
    leadership = { term: 3, calm: true };
    await ping(order({ term: 2 }));
    expect(slots.view).toBeUndefined();
    await ping(order());
    expect(slots.view).toEqual({ term: 3, slots: [], gaps: [] });
  });

  it('has its copy from before, without a gap', async () => {
    here.set('reader', slot('reader'));
    await ping(order({ by: 'b', keep: [kept('0/600')] }));
    expect(slots.view).toMatchObject({ slots: [{ name: 'reader', lsn: '0/500' }], gaps: [] });
    expect(notes).toEqual([]);
  });

  it('makes a missing slot again, and tells the gap until the slot is dropped', async () => {
    await ping(order({ by: 'b', keep: [kept('0/600')] }));
    const gap = { name: 'reader', type: 'physical', from: '0/600', to: '0/700' };
    expect(slots.view).toMatchObject({ slots: [{ name: 'reader' }], gaps: [gap] });
    expect(notes).toEqual(['SLOT_GAP reader: write-ahead log from 0/600 to 0/700 may be missing for its reader']);
    here.delete('reader');
    nowMs = 2_000;
    await ping(order({ by: 'b', keep: [kept('0/600')] }));
    expect(slots.view).toMatchObject({ slots: [], gaps: [] });
    expect(here.size).toBe(0);
  });

  it('tells a gap from a position that is not known', async () => {
    await ping(order({ keep: [kept()] }));
    expect(slots.view?.gaps).toEqual([{ name: 'reader', type: 'physical', from: null, to: '0/700' }]);
  });

  it('tells the gap of a copy that was too young, but not of its own slot', async () => {
    here.set('reader', slot('reader', { lsn: '0/700' }));
    await ping(order({ by: 'b', keep: [kept('0/600')] }));
    expect(slots.view?.gaps).toMatchObject([{ from: '0/600', to: '0/700' }]);
    leadership = { term: 4, calm: true };
    await ping(order({ term: 4, by: 'a', keep: [kept('0/600')] }));
    expect(slots.view).toMatchObject({ term: 4, gaps: [] });
  });

  it('makes no logical slot: it says that it is lost, until one of its name is there', async () => {
    const lost = order({ by: 'b', keep: [{ name: 'cdc', type: 'logical', lsn: '0/600' }] });
    await ping(lost);
    expect(slots.view?.gaps).toEqual([{ name: 'cdc', type: 'logical', from: '0/600', to: null }]);
    expect(notes.join()).toContain('SLOT_LOST cdc: without failover = true');
    here.set('cdc', slot('cdc', { type: 'logical' }));
    nowMs = 2_000;
    await ping(lost);
    expect(slots.view?.gaps).toEqual([]);
  });

  it('says so when it cannot make a slot, and makes the others', async () => {
    refusal = new Error('all replication slots are in use');
    here.set('other', slot('other'));
    await ping(order({ by: 'b', keep: [kept('0/600'), { name: 'other', type: 'physical', lsn: '0/600' }] }));
    expect(slots.view?.gaps).toEqual([{ name: 'reader', type: 'physical', from: '0/600', to: null }]);
    expect(notes[0]).toBe('SLOT_PROBLEM reader: all replication slots are in use');
    expect(notes[1]).toContain('SLOT_LOST reader');
  });
});
