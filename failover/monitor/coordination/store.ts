/**
 * The monitor's store: a file of two slots (two-slot-file.ts), so that an interrupted write destroys at most the older
 * slot (S10, S11). Overwriting in place and `fdatasync` keep a write to about a millisecond.
 */
import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { link, lstat, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { NoReadableRecord, SlotFile, type SlotFormat } from '../../disk/two-slot-file';
import type { Store } from '../ports';

const SLOT_BYTES = 256 * 1024;
const HEADER_BYTES = 64;
const MAGIC = 'PGFSTORE';
const LOCK_LIMIT_MS = 500;

interface Payload {
  incarnation: number;
  state: string | null;
  /** Identity of the file that the payload was written into, see {@link homeOf}. Absent in stores of older releases. */
  home?: string;
}

/**
 * A slot has a header of 64 bytes (magic, number, length, and at byte 32 a checksum over all of it), followed by the
 * text.
 */
export const STORE_FORMAT: SlotFormat = {
  slotBytes: SLOT_BYTES,

  encode({ n, text }) {
    const body = Buffer.from(text, 'utf8');
    if (body.length > SLOT_BYTES - HEADER_BYTES)
      throw new Error(`the state has ${body.length} bytes, too many for the store`);
    const header = Buffer.alloc(HEADER_BYTES);
    header.write(MAGIC, 0, 'latin1');
    header.writeBigUInt64BE(BigInt(n), 8);
    header.writeUInt32BE(body.length, 16);
    checksum(header, body).copy(header, 32);
    return Buffer.concat([header, body]);
  },

  decode(bytes) {
    if (bytes.length < HEADER_BYTES || bytes.toString('latin1', 0, 8) !== MAGIC) return null;
    const length = bytes.readUInt32BE(16);
    if (length > bytes.length - HEADER_BYTES) return null;
    const body = bytes.subarray(HEADER_BYTES, HEADER_BYTES + length);
    if (!checksum(bytes.subarray(0, HEADER_BYTES), body).equals(bytes.subarray(32, 64))) return null;
    return { n: Number(bytes.readBigUInt64BE(8)), text: body.toString('utf8') };
  },
};

function checksum(header: Buffer, body: Buffer): Buffer {
  return createHash('sha256').update(header.subarray(0, 32)).update(body).digest();
}

export class FileStore implements Store {
  incarnation = 0;
  loaded: string | null = null;
  moved = false;
  private home: string | undefined;
  private last: Promise<void> = Promise.resolve();

  private constructor(
    private readonly file: SlotFile,
    private readonly lock: Server,
  ) {}

  /**
   * Opens or creates the store in `folder`, locks it and takes the next incarnation. Throws when another monitor has it
   * open.
   */
  static async open(folder: string): Promise<FileStore> {
    const lock = await takeLock(folder);
    const store = new FileStore(new SlotFile(join(folder, 'store'), STORE_FORMAT), lock);
    await store.load();
    await store.raiseAbove(store.incarnation);
    return store;
  }

  private async load(): Promise<void> {
    const text = await this.file.load().catch((error: unknown) => {
      // A store that cannot be read counts as empty, because the keepers remember the state (S10).
      if (error instanceof NoReadableRecord) return null;
      throw error;
    });
    if (text === null) return;
    const payload = JSON.parse(text) as Payload;
    this.incarnation = payload.incarnation;
    this.loaded = payload.state;
    const here = homeOf(await this.file.stat());
    this.home = payload.home ?? here;
    this.moved = !isSameHome(this.home, here);
  }

  async save(text: string): Promise<void> {
    this.loaded = text;
    // Only a saved state makes this file its home. Before that, the store still counts as a copy.
    this.home = homeOf(await this.file.stat());
    await this.flush();
  }

  async raiseAbove(other: number): Promise<number> {
    this.incarnation = Math.max(this.incarnation, other) + 1;
    await this.flush();
    return this.incarnation;
  }

  /** Makes the writes one after the other, each into the slot that does not hold the newest text. */
  private flush(): Promise<void> {
    const payload: Payload = { incarnation: this.incarnation, state: this.loaded, home: this.home };
    const text = JSON.stringify(payload);
    this.last = this.last.catch(() => undefined).then(() => this.file.save(text));
    return this.last;
  }

  async close(): Promise<void> {
    await this.last.catch(() => undefined);
    await this.file.close();
    this.lock.close();
  }
}

/**
 * Identity of a file. A copy or a restored backup is another file, so its state may be older than the newest that
 * existed (S10). Inode numbers are reused, so the time of birth is part of the identity, where the file system keeps
 * one.
 */
function homeOf({ ino, birthtimeMs, ctimeMs }: Stats): string {
  // If the file system keeps no time of birth, Node returns the time of the last change instead.
  return birthtimeMs > 0 && birthtimeMs < ctimeMs ? `${ino}@${birthtimeMs}` : `${ino}`;
}

/** Compares two identities. The time of birth counts only if both have one. */
function isSameHome(a: string, b: string): boolean {
  const [[inode, born], [otherInode, otherBorn]] = [a.split('@'), b.split('@')];
  return inode === otherInode && (born === undefined || otherBorn === undefined || born === otherBorn);
}

/**
 * An exclusive lock that the kernel releases when the process dies, and that works between containers: a listening
 * socket in the store's folder. The process that answers on it holds the lock.
 */
async function takeLock(folder: string): Promise<Server> {
  const path = join(folder, 'lock');
  const own = join(folder, `lock.${process.pid}.${Math.random().toString(36).slice(2, 8)}`);
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(own, resolve));
  server.unref();
  const inode = (await lstat(own)).ino;
  try {
    await link(own, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (await answers(path)) {
      server.close();
      throw new Error(`another monitor holds the store in ${folder}; stop it first`);
    }
    await rm(path, { force: true });
    await link(own, path).catch(() => undefined);
    await delay(50);
  }
  await rm(own, { force: true });
  if ((await lstat(path)).ino !== inode) {
    server.close();
    throw new Error(`another monitor took the store in ${folder} at the same moment`);
  }
  return server;
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (alive: boolean) => {
      socket.destroy();
      resolve(alive);
    };
    socket.setTimeout(LOCK_LIMIT_MS, () => end(true));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
