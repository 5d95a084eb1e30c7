/**
 * A small durable text in a preallocated file. The file has two halves, called slots, which are overwritten in turn. So
 * an interrupted write damages only one slot, and the other one keeps the former text. A save costs one write and one
 * data sync, and changes neither the file's size nor its folder. It has to be cheap, because later steps wait for it:
 * an order is stored before it is carried out, and a decision before it is acted on.
 */
import { createHash } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncFolder } from './durable';

/** Content of a slot: the number of the save, and the text. */
export interface Slot {
  n: number;
  text: string;
}

/** Format of a slot. */
export interface SlotFormat {
  /** Size of a slot, bytes. */
  slotBytes: number;
  /** May throw an error of its own when the text does not fit. */
  encode(slot: Slot): Buffer;
  /** Null when the slot is empty, incompletely written or of another format. */
  decode(bytes: Buffer): Slot | null;
}

/** Longest record of a keeper, bytes, including the header. */
export const SLOT_BYTES = 16 * 1024;
const HEADER = /^slot (\d+) (\d+) ([0-9a-f]{64})\n/;

function checksum(n: number, text: Buffer): string {
  return createHash('sha256').update(`${n}\n`).update(text).digest('hex');
}

/** The text, after a line with number, length and checksum. */
const LINE_FORMAT: SlotFormat = {
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

/** The file is not empty, but neither slot can be read. The caller may save a new text. */
export class NoReadableRecord extends Error {}

export class SlotFile {
  private handle: FileHandle | null = null;
  private isClosed = false;
  private n = 0;

  constructor(
    private readonly path: string,
    private readonly format: SlotFormat = LINE_FORMAT,
  ) {}

  /** Returns the newest text, or null when none was ever saved. Throws {@link NoReadableRecord}. */
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

  /** File information of the open file, also when another file has got its name meanwhile. */
  async stat(): Promise<Stats> {
    return (await this.open()).stat();
  }

  /** Closes the file for good: another process may use it from then on. */
  async close(): Promise<void> {
    this.isClosed = true;
    await this.handle?.close();
    this.handle = null;
  }

  private async open(): Promise<FileHandle> {
    if (this.isClosed) throw new Error(`${this.path} is closed`);
    if (this.handle !== null) return this.handle;
    const handle = await open(this.path, constants.O_RDWR | constants.O_CREAT, 0o600);
    // The file may be too short after a crash during its first preallocation.
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
