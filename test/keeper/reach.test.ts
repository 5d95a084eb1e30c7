import { describe, expect, it, vi } from 'vitest';
import { placeOf } from '../../failover/keeper/postgres/place';
import { reach } from '../../failover/keeper/postgres/rejoin';
import { Session } from '../../failover/keeper/postgres/session';

const PLACE = placeOf('replica-1', 'a key that is long enough for a test of its own', '/none');
const PRIMARY = { name: 'primary', address: '10.0.0.20' };

/** What is found at the address of `primary`. */
function finds(name: string, recovery: boolean): void {
  const session = { query: async () => [{ name, recovery }], [Symbol.dispose]: () => undefined };
  vi.spyOn(Session, 'open').mockResolvedValue(session as unknown as Session);
}

describe('before data is rewound or copied', () => {
  it('the leader answers by its own name', async () => {
    finds('primary', false);
    await expect(reach(PRIMARY, PLACE)).resolves.toBeUndefined();
  });

  it('another node at its address is no source (S14)', async () => {
    finds('replica-2', false);
    await expect(reach(PRIMARY, PLACE)).rejects.toThrow('the address of primary answers as replica-2');
  });

  it('a standby is no source', async () => {
    finds('primary', true);
    await expect(reach(PRIMARY, PLACE)).rejects.toThrow('primary is not a primary yet');
  });
});
