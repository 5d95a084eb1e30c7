/**
 * A small durable text in a preallocated file of two slots, overwritten in turn. One write and one data sync a change,
 * with no change of the file's size or folder, because an order is stored before it is carried out and a promotion
 * waits for that. A write that was cut off leaves the other slot as it was.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncFolder } from './durable';

/** Longest record, bytes: header and text. */
export const SLOT_BYTES = 16 * 1024;
const HEADER = /^slot (\d+) (\d+) ([0-9a-f]{64})\n/;

function checksum(n: number, text: Buffer): string {
  return createHash('sha256').update(`${n}\n`).update(text).digest('hex');
}

/** The record in a slot, or null when there is none or it is torn. */
function readSlot(slot: Buffer): { n: number; text: string } | null {
  const match = HEADER.exec(slot.subarray(0, 128).toString('latin1'));
  if (match?.[1] === undefined || match[2] === undefined) return null;
  const n = Number(match[1]);
  const text = slot.subarray(match[0].length, match[0].length + Number(match[2]));
  return checksum(n, text) === match[3] ? { n, text: text.toString('utf8') } : null;
}

export class SlotFile {
  private readonly path: string;
  private handle: FileHandle | null = null;
  private n = 0;

  constructor(path: string) {
    this.path = path;
  }

  /** The newest text, or null when none was ever saved. Throws when something is there that cannot be read. */
  async load(): Promise<string | null> {
    const handle = await this.open();
    const bytes = Buffer.alloc(2 * SLOT_BYTES);
    await handle.read(bytes, 0, bytes.length, 0);
    const slots = [bytes.subarray(0, SLOT_BYTES), bytes.subarray(SLOT_BYTES)].map(readSlot);
    const newest = slots.reduce((a, b) => (b !== null && (a === null || b.n > a.n) ? b : a), null);
    if (newest === null && bytes.some((byte) => byte !== 0)) {
      throw new Error(`${this.path} holds no readable record, although something was written`);
    }
    this.n = newest?.n ?? 0;
    return newest?.text ?? null;
  }

  /** Stores a text; resolves when it is on the disk. */
  async save(text: string): Promise<void> {
    const handle = await this.open();
    const n = this.n + 1;
    const body = Buffer.from(text, 'utf8');
    const record = Buffer.concat([Buffer.from(`slot ${n} ${body.length} ${checksum(n, body)}\n`, 'latin1'), body]);
    if (record.length > SLOT_BYTES) throw new Error(`a record of ${record.length} bytes does not fit in ${this.path}`);
    await handle.write(record, 0, record.length, (n % 2) * SLOT_BYTES);
    await handle.datasync();
    this.n = n;
  }

  private async open(): Promise<FileHandle> {
    if (this.handle !== null) return this.handle;
    let handle: FileHandle;
    try {
      handle = await open(this.path, 'r+');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      handle = await open(this.path, 'wx+', 0o600);
    }
    // Also after a crash in the middle of the first preallocation.
    const missing = 2 * SLOT_BYTES - (await handle.stat()).size;
    if (missing > 0) {
      await handle.write(Buffer.alloc(missing), 0, missing, 2 * SLOT_BYTES - missing);
      await handle.sync();
      await syncFolder(dirname(this.path));
    }
    this.handle = handle;
    return handle;
  }
}
