import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { placeOf } from '../../failover/keeper/postgres/place';
import { reach } from '../../failover/keeper/postgres/rejoin';
import { Session } from '../../failover/keeper/postgres/session';
import { testFolder } from '../rig/folder';

const PLACE = placeOf('replica-1', 'a key that is long enough for a test of its own', '/none');
const PRIMARY = { name: 'primary', address: '10.0.0.20' };

/** What is found at the address of `primary`, with tablespaces in these folders. */
function finds(name: string, recovery: boolean, ...folders: string[]): void {
  const session = {
    askOne: async () => ({ name, recovery }),
    ask: async () => folders.map((location) => ({ name: 'far', location })),
    [Symbol.dispose]: () => undefined,
  };
  vi.spyOn(Session, 'open').mockResolvedValue(session as unknown as Session);
}

describe('before data is rewound or copied', () => {
  it('the leader answers by its own name', async () => {
    finds('primary', false);
    await expect(reach(PRIMARY, PLACE)).resolves.toBeUndefined();
  });

  it('the folders of its tablespaces are made, where that is possible', async () => {
    const volume = testFolder();
    await writeFile(join(volume, 'file'), '');
    finds('primary', false, join(volume, 'spaces/one'), join(volume, 'file/two'));
    await reach(PRIMARY, PLACE);
    expect((await stat(join(volume, 'spaces/one'))).isDirectory()).toBe(true);
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
