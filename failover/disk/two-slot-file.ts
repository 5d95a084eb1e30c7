/**
 * A small durable text in a preallocated file of two slots, overwritten in turn. One write and one data sync a change,
 * with no change of the file's size or folder, because what follows from a change waits for it: an order is stored before
 * it is carried out, a decision before it is done. A write that was cut off leaves the other slot as it was.
 */
import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncFolder } from './durable';

/** What a slot holds: the number of the change, and the text. */
export interface Slot {
  n: number;
  text: string;
}

/** How a slot is written. */
export interface SlotFormat {
  /** Size of a slot, bytes. */
  slotBytes: number;
  /** May throw when the text does not fit, in words of its own. */
  encode(slot: Slot): Buffer;
  /** Null when the slot is empty, torn or foreign. */
  decode(bytes: Buffer): Slot | null;
}

/** Longest record of a keeper, bytes: header and text. */
export const SLOT_BYTES = 16 * 1024;
const HEADER = /^slot (\d+) (\d+) ([0-9a-f]{64})\n/;

function checksum(n: number, text: Buffer): string {
  return createHash('sha256').update(`${n}\n`).update(text).digest('hex');
}

/** A line with number, length and checksum, and the text behind it. */
export const LINE_FORMAT: SlotFormat = {
  slotBytes: SLOT_BYTES,

  encode({ n, text }) {
    const body = Buffer.from(text, 'utf8');
    return Buffer.concat([Buffer.from(`slot ${n} ${body.length} ${checksum(n, body)}\n`, 'latin1'), body]);
  },

  decode(bytes) {
    const match = HEADER.exec(bytes.subarray(0, 128).toString('latin1'));
    if (match?.[1] === undefined || match[2] === undefined) return null;
    const n = Number(match[1]);
    const text = bytes.subarray(match[0].length, match[0].length + Number(match[2]));
    return checksum(n, text) === match[3] ? { n, text: text.toString('utf8') } : null;
  },
};

/** Something was written, and none of it can be read. The file can be written anew. */
export class NoReadableRecord extends Error {}

export class SlotFile {
  private readonly path: string;
  private readonly format: SlotFormat;
  private handle: FileHandle | null = null;
  private isClosed = false;
  private n = 0;

  constructor(path: string, format: SlotFormat = LINE_FORMAT) {
    this.path = path;
    this.format = format;
  }

  /** The newest text, or null when none was ever saved. Throws {@link NoReadableRecord}. */
  async load(): Promise<string | null> {
    const { slotBytes, decode } = this.format;
    const handle = await this.open();
    const bytes = Buffer.alloc(2 * slotBytes);
    await handle.read(bytes, 0, bytes.length, 0);
    const slots = [bytes.subarray(0, slotBytes), bytes.subarray(slotBytes)].map(decode);
    const newest = slots.reduce((a, b) => (b !== null && (a === null || b.n > a.n) ? b : a), null);
    if (newest === null && bytes.some((byte) => byte !== 0)) {
      throw new NoReadableRecord(`${this.path} holds no readable record, although something was written`);
    }
    this.n = newest?.n ?? 0;
    return newest?.text ?? null;
  }

  /** Stores a text; resolves when it is on the disk. One call at a time. */
  async save(text: string): Promise<void> {
    const handle = await this.open();
    const n = this.n + 1;
    const record = this.format.encode({ n, text });
    const { slotBytes } = this.format;
    if (record.length > slotBytes) throw new Error(`a record of ${record.length} bytes does not fit in ${this.path}`);
    await handle.write(record, 0, record.length, (n % 2) * slotBytes);
    await handle.datasync();
    this.n = n;
  }

  /** What the file system knows of the file that is open, also when another one has got its name. */
  async stat(): Promise<Stats> {
    return (await this.open()).stat();
  }

  /** After that nothing is read or written: another process may have taken the file over. */
  async close(): Promise<void> {
    this.isClosed = true;
    await this.handle?.close();
    this.handle = null;
  }

  private async open(): Promise<FileHandle> {
    if (this.isClosed) throw new Error(`${this.path} is closed`);
    if (this.handle !== null) return this.handle;
    let handle: FileHandle;
    try {
      handle = await open(this.path, 'r+');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      handle = await open(this.path, 'wx+', 0o600);
    }
    // Also after a crash in the middle of the first preallocation.
    const size = 2 * this.format.slotBytes;
    const missing = size - (await handle.stat()).size;
    if (missing > 0) {
      await handle.write(Buffer.alloc(missing), 0, missing, size - missing);
      await handle.sync();
      await syncFolder(dirname(this.path));
    }
    this.handle = handle;
    return handle;
  }
}
