import { createHash } from 'node:crypto';
import { copyFile, open, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { FileStore, STORE_FORMAT } from '../../failover/monitor/coordination/store';
import { testFolder } from '../rig/folder';

const SLOT_BYTES = 256 * 1024;
const { encode, decode } = STORE_FORMAT;
let folder = '';

beforeEach(async () => {
  folder = testFolder();
});

/** Opens, uses and closes a store, as one run of the monitor does. */
async function life<T>(work: (store: FileStore) => Promise<T>): Promise<T> {
  const store = await FileStore.open(folder);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

describe('a slot', () => {
  it('reads back what was written', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(), (text, n) => {
        expect(decode(encode({ n, text }))).toEqual({ n, text });
      }),
    );
  });

  it('is refused when any byte of it differs', () => {
    const bytes = encode({ n: 7, text: '{"state":"all of it"}' });
    fc.assert(
      fc.property(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const torn = Buffer.from(bytes);
        // Four bytes of the header are not used.
        fc.pre(at < 20 || at >= 32);
        torn[at] = (torn[at] ?? 0) ^ flip;
        expect(decode(torn)).toBeNull();
      }),
    );
  });
});

/** The bytes of a slot, as every release has written it: magic, number, length, SHA-256 of all but itself, text. */
function slotOf010(n: number, text: string): Buffer {
  const slot = Buffer.alloc(SLOT_BYTES);
  slot.write('PGFSTORE', 0);
  slot.writeUInt32BE(n, 12);
  const length = slot.write(text, 64);
  slot.writeUInt32BE(length, 16);
  createHash('sha256').update(slot.subarray(0, 32)).update(text).digest().copy(slot, 32);
  return slot;
}

describe('a store of an existing installation', () => {
  it('is read from the newer of its slots and not taken for a copy; the next change is written into the other slot', async () => {
    const [older, newer] = ['older', 'newer'].map((state, i) => JSON.stringify({ incarnation: 4 + i, state }));
    await writeFile(join(folder, 'store'), Buffer.concat([slotOf010(8, older ?? ''), slotOf010(9, newer ?? '')]));
    await life(async (store) => {
      expect(store).toMatchObject({ loaded: 'newer', incarnation: 6, moved: false });
      const bytes = await readFile(join(folder, 'store'));
      expect(bytes.subarray(SLOT_BYTES)).toEqual(slotOf010(9, newer ?? ''));
      // An earlier release can read what it writes.
      expect(bytes.subarray(0, 64)).toEqual(slotOf010(10, decode(bytes)?.text ?? '').subarray(0, 64));
    });
  });

  it('counts as empty when neither slot can be read, as in every release: the keepers have copies (S10)', async () => {
    await writeFile(join(folder, 'store'), Buffer.alloc(2 * SLOT_BYTES, 0x5a));
    await life(async (store) => {
      expect(store).toMatchObject({ loaded: null, incarnation: 1, moved: false });
      await store.save('one');
    });
    await life(async (store) => expect(store).toMatchObject({ loaded: 'one', incarnation: 2 }));
  });

  it('gets its full size when an earlier start was killed before the file had it', async () => {
    await writeFile(join(folder, 'store'), Buffer.alloc(1_000));
    await life((store) => store.save('one'));
    expect((await stat(join(folder, 'store'))).size).toBe(2 * SLOT_BYTES);
    await life(async (store) => expect(store.loaded).toBe('one'));
  });
});

describe('the store', () => {
  it('remembers the newest state and takes a higher incarnation at each start (S11)', async () => {
    const first = await life(async (store) => {
      expect(store.loaded).toBeNull();
      await store.save('one');
      await store.save('two');
      return store.incarnation;
    });
    await life(async (store) => {
      expect(store.loaded).toBe('two');
      expect(store.incarnation).toBe(first + 1);
      expect(await store.raiseAbove(40)).toBe(41);
    });
    await life(async (store) => expect(store.incarnation).toBe(42));
  });

  it('falls back to the state before when a write was cut off at any byte', async () => {
    await life(async (store) => {
      await store.save('before');
      await store.save('after');
    });
    const file = await open(join(folder, 'store'), 'r+');
    const whole = Buffer.alloc(2 * SLOT_BYTES);
    await file.read(whole, 0, whole.length, 0);
    const newest = [0, 1].find((i) => decode(whole.subarray(i * SLOT_BYTES))?.text.includes('after')) ?? 0;
    const length = encode({ n: 1, text: '{"incarnation":1,"state":"after"}' }).length;
    for (let cut = 0; cut < length; cut += 7) {
      await file.write(whole, 0, whole.length, 0);
      // The disk has the first `cut` bytes of the new record. The bytes after them are from an older record.
      await file.write(Buffer.alloc(length - cut, 0x5a), 0, length - cut, newest * SLOT_BYTES + cut);
      await life(async (store) => expect(store.loaded).toBe('before'));
    }
    await file.close();
  });

  it('can be opened by one monitor at a time, and again when that monitor has ended', async () => {
    await life(async () => {
      await expect(FileStore.open(folder)).rejects.toThrow(/another monitor holds the store/);
    });
    await life(async (store) => expect(store.loaded).toBeNull());
  });

  it('knows that it is a copy, until a state is saved in it (S10)', async () => {
    await life(async (store) => {
      await store.save('one');
      expect(store.moved).toBe(false);
    });
    await life(async (store) => expect(store.moved).toBe(false));
    await copyFile(join(folder, 'store'), join(folder, 'copy'));
    await rename(join(folder, 'copy'), join(folder, 'store'));
    await life(async (store) => expect(store.moved).toBe(true));
    await life(async (store) => {
      expect(store.moved).toBe(true);
      await store.save('two');
    });
    await life(async (store) => expect(store.moved).toBe(false));
  });

  it('refuses a state that does not fit instead of cutting it', async () => {
    await life(async (store) => {
      await store.save('small');
      await expect(store.save('x'.repeat(SLOT_BYTES))).rejects.toThrow(/too many for the store/);
    });
    await life(async (store) => expect(store.loaded).toBe('small'));
  });
});
