import { createHash } from 'node:crypto';
import { open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SLOT_BYTES, SlotFile } from '../../failover/disk/two-slot-file';
import { suiteFolder } from '../rig/folder';

const folder = suiteFolder();

/** A keeper keeps its file open as long as it lives; a test has many. */
async function closed<T>(file: SlotFile, work: (file: SlotFile) => Promise<T>): Promise<T> {
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

describe('a file that was closed', () => {
  it('is written no more: another process may have taken it over', async () => {
    const path = join(folder, 'closed');
    const file = new SlotFile(path);
    await file.save('before');
    await file.close();
    await expect(file.save('after')).rejects.toThrow('is closed');
    expect(await closed(new SlotFile(path), (next) => next.load())).toBe('before');
  });
});

describe('what a keeper must not forget', () => {
  it('is the last text or the one before, wherever the last write was torn and whatever lies behind (S5)', async () => {
    let n = 0;
    const texts = fc.array(fc.string({ maxLength: 60, unit: 'grapheme' }), { minLength: 2, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(texts, fc.nat({ max: 400 }), fc.uint8Array({ maxLength: 40 }), async (saved, cut, rest) => {
        const path = join(folder, `state-${++n}`);
        await closed(new SlotFile(path), async (file) => {
          for (const text of saved) await file.save(text);
        });
        // The disk got the first `cut` bytes of the last record; behind them is what was there, or rubbish.
        const at = (saved.length % 2) * SLOT_BYTES;
        const disk = await open(path, 'r+');
        if (rest.length > 0) await disk.write(rest, 0, rest.length, at + cut);
        await disk.close();
        const [last, before] = [saved.at(-1), saved.at(-2)];
        expect([last, before]).toContain(await closed(new SlotFile(path), (file) => file.load()));
        await rm(path);
      }),
      { numRuns: 30 },
    );
  });

  it('is never mistaken for nothing: a file without a readable record is an error', async () => {
    const path = join(folder, 'broken');
    await closed(new SlotFile(path), (file) => file.save('only'));
    const disk = await open(path, 'r+');
    await disk.write(Buffer.from('x'), 0, 1, SLOT_BYTES + 3);
    await disk.close();
    await expect(closed(new SlotFile(path), (file) => file.load())).rejects.toThrow(/no readable record/);
  });

  it('is read from a file of an existing installation, and goes on there', async () => {
    const record = (n: number, text: string) => {
      const hash = createHash('sha256').update(`${n}\n${text}`).digest('hex');
      return `slot ${n} ${Buffer.byteLength(text)} ${hash}\n${text}`.padEnd(SLOT_BYTES, '\0');
    };
    const path = join(folder, 'existing');
    await writeFile(path, record(6, '{"term":6}') + record(5, '{"term":5}'));
    await closed(new SlotFile(path), async (file) => {
      expect(await file.load()).toBe('{"term":6}');
      await file.save('{"term":7}');
    });
    expect((await readFile(path, 'latin1')).trimEnd()).toBe(
      (record(6, '{"term":6}') + record(7, '{"term":7}')).trimEnd(),
    );
  });
});
