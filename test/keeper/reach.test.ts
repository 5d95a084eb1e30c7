import { describe, expect, it, vi } from 'vitest';
import { type RejoinContext, reach } from '../../failover/keeper/postgres/rejoin';
import { Session } from '../../failover/keeper/postgres/session';

const CONTEXT: RejoinContext = {
  node: 'replica-1',
  clusterKey: 'a key that is long enough for a test of its own',
  port: 5432,
  passfile: '/none',
  volume: '/none',
  data: '/none',
  fresh: '/none',
  wal: '/none',
  configFile: '/none',
};
const PRIMARY = { name: 'primary', address: '10.0.0.20' };

/** What is found at the address of `primary`. */
function finds(name: string, recovery: boolean): void {
  const session = { query: async () => [{ name, recovery }], destroy: () => undefined };
  vi.spyOn(Session, 'open').mockResolvedValue(session as unknown as Session);
}

describe('before data is rewound or copied', () => {
  it('the leader answers by its own name', async () => {
    finds('primary', false);
    await expect(reach(PRIMARY, CONTEXT)).resolves.toBeUndefined();
  });

  it('another node at its address is no source (S14)', async () => {
    finds('replica-2', false);
    await expect(reach(PRIMARY, CONTEXT)).rejects.toThrow('the address of primary answers as replica-2');
  });

  it('a standby is no source', async () => {
    finds('primary', true);
    await expect(reach(PRIMARY, CONTEXT)).rejects.toThrow('primary is not a primary yet');
  });
});
