import { expect, it } from 'vitest';
import { slotWords } from '../../failover/contract/slot-words';

const bytes = (n: number) => `${n} B`;
const reader = {
  ...{ name: 'barman', type: 'physical' as const, plugin: null, database: null, failover: false },
  ...{ active: true, lsn: '0/500', invalidation: null },
};

it('says of each slot what it is and how far it holds the leader back', () => {
  const of = (part: Partial<typeof reader> | { invalidation: string }, lsn: string | null = '0/600') =>
    slotWords({ slots: [{ ...reader, ...part }], gaps: [] }, lsn, bytes).slots[0];
  expect(of({})).toEqual({ name: 'barman', words: 'physical, in use, keeps all from 0/500 (256 B)', isBad: false });
  expect(of({ active: false })?.words).toContain('not in use');
  expect(of({}, null)?.words).toMatch(/keeps all from 0\/500$/);
  // The status of the leader may be older than the report of its slots.
  expect(of({}, '0/400')?.words).toContain('(0 B)');
  expect(of({ invalidation: 'wal_removed' })).toMatchObject({
    words: expect.stringContaining('given up: wal_removed'),
    isBad: true,
  });
  expect(slotWords({ slots: [{ ...reader, lsn: null }], gaps: [] }, '0/600', bytes).slots[0]?.words).toContain(
    'keeps nothing',
  );
});

it('says what may be missing and what is lost', () => {
  const gaps = [
    { name: 'barman', type: 'physical' as const, from: '0/100', to: '0/200' },
    { name: 'young', type: 'physical' as const, from: null, to: '0/200' },
    { name: 'cdc', type: 'logical' as const, from: '0/100', to: null },
  ];
  expect(slotWords({ slots: [], gaps }, null, bytes).bad).toEqual([
    'The slot barman has a possible gap from 0/100 to 0/200: make a new base backup.',
    'The slot young has a possible gap from an unknown position to 0/200: make a new base backup.',
    'The slot cdc is lost: its reader has to begin anew.',
  ]);
});
