/**
 * The store: one preallocated file with two slots that are overwritten in turn, so that a torn write destroys at most the
 * slot that was not the newest (S10, S11). Overwriting in place and `fdatasync` keep a write to about a millisecond.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, link, lstat, open, rename, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Store } from '../ports';

const SLOT_BYTES = 256 * 1024;
const HEADER_BYTES = 64;
const MAGIC = 'PGFSTORE';
const LOCK_LIMIT_MS = 500;

interface Slot {
  generation: number;
  payload: string;
}

interface Payload {
  incarnation: number;
  state: string | null;
  /** The file that this was written into, see {@link homeOf}; absent in stores of before. */
  home?: string;
}

/** Magic, generation, length, checksum over all of it. */
export function encodeSlot(generation: number, payload: string): Buffer {
  const body = Buffer.from(payload, 'utf8');
  if (body.length > SLOT_BYTES - HEADER_BYTES)
    throw new Error(`the state has ${body.length} bytes, too many for the store`);
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, 0, 'latin1');
  header.writeBigUInt64BE(BigInt(generation), 8);
  header.writeUInt32BE(body.length, 16);
  checksum(header, body).copy(header, 32);
  return Buffer.concat([header, body]);
}

/** Null when the slot is empty, torn or foreign. */
export function decodeSlot(bytes: Buffer): Slot | null {
  if (bytes.length < HEADER_BYTES || bytes.toString('latin1', 0, 8) !== MAGIC) return null;
  const length = bytes.readUInt32BE(16);
  if (length > bytes.length - HEADER_BYTES) return null;
  const body = bytes.subarray(HEADER_BYTES, HEADER_BYTES + length);
  if (!checksum(bytes.subarray(0, HEADER_BYTES), body).equals(bytes.subarray(32, 64))) return null;
  return { generation: Number(bytes.readBigUInt64BE(8)), payload: body.toString('utf8') };
}

function checksum(header: Buffer, body: Buffer): Buffer {
  return createHash('sha256').update(header.subarray(0, 32)).update(body).digest();
}

export class FileStore implements Store {
  incarnation = 0;
  loaded: string | null = null;
  moved = false;
  private home: string | undefined;
  private readonly file: FileHandle;
  private readonly lock: Server | null;
  private generation = 0;
  private state: string | null = null;
  private last: Promise<void> = Promise.resolve();

  private constructor(file: FileHandle, lock: Server | null) {
    this.file = file;
    this.lock = lock;
  }

  /** Opens or creates the store in `folder`, locks it and takes the next incarnation. Throws when another monitor has it. */
  static async open(folder: string): Promise<FileStore> {
    const lock = await takeLock(folder);
    const file = await openFile(join(folder, 'store'));
    const store = new FileStore(file, lock);
    await store.load();
    await store.raiseAbove(store.incarnation);
    return store;
  }

  private async load(): Promise<void> {
    const slots = [await this.readSlot(0), await this.readSlot(1)].filter((s) => s !== null);
    const newest = slots.sort((a, b) => b.generation - a.generation)[0];
    if (newest === undefined) return;
    const payload = JSON.parse(newest.payload) as Payload;
    this.generation = newest.generation;
    this.incarnation = payload.incarnation;
    this.state = payload.state;
    this.loaded = payload.state;
    const here = await homeOf(this.file);
    this.home = payload.home ?? here;
    this.moved = !isSameHome(this.home, here);
  }

  private async readSlot(index: number): Promise<Slot | null> {
    const bytes = Buffer.alloc(SLOT_BYTES);
    const { bytesRead } = await this.file.read(bytes, 0, SLOT_BYTES, index * SLOT_BYTES);
    return decodeSlot(bytes.subarray(0, bytesRead));
  }

  async save(text: string): Promise<void> {
    this.state = text;
    // Until a state is saved here the file goes on saying that it is a copy.
    this.home = await homeOf(this.file);
    await this.flush();
  }

  async raiseAbove(other: number): Promise<number> {
    this.incarnation = Math.max(this.incarnation, other) + 1;
    await this.flush();
    return this.incarnation;
  }

  /** One write after the other; each goes to the slot that does not hold the newest. */
  private flush(): Promise<void> {
    const payload: Payload = { incarnation: this.incarnation, state: this.state, home: this.home };
    const text = JSON.stringify(payload);
    const write = async () => {
      const generation = this.generation + 1;
      const bytes = encodeSlot(generation, text);
      await this.file.write(bytes, 0, bytes.length, (generation % 2) * SLOT_BYTES);
      await this.file.datasync();
      this.generation = generation;
    };
    const written = this.last.catch(() => undefined).then(write);
    this.last = written;
    return written;
  }

  async close(): Promise<void> {
    await this.last.catch(() => undefined);
    await this.file.close();
    this.lock?.close();
  }
}

/**
 * Identity of a file. A copy or a restored backup is another file, so the state in it may be older than the newest that
 * existed (S10). Inode numbers are used again, hence the time of birth too, where the file system keeps one.
 */
async function homeOf(file: FileHandle): Promise<string> {
  const { ino, birthtimeMs, ctimeMs } = await file.stat();
  // Without a time of birth Node shows that of the last change.
  return birthtimeMs > 0 && birthtimeMs < ctimeMs ? `${ino}@${birthtimeMs}` : `${ino}`;
}

/** The time of birth counts where both know it. */
function isSameHome(a: string, b: string): boolean {
  const [[inode, born], [otherInode, otherBorn]] = [a.split('@'), b.split('@')];
  return inode === otherInode && (born === undefined || otherBorn === undefined || born === otherBorn);
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r+');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const fresh = `${path}.new`;
  const file = await open(fresh, 'w+', 0o600);
  await file.write(Buffer.alloc(2 * SLOT_BYTES), 0, 2 * SLOT_BYTES, 0);
  await file.sync();
  await rename(fresh, path);
  const folder = await open(join(path, '..'), 'r');
  await folder.sync();
  await folder.close();
  return file;
}

/**
 * An exclusive lock that the kernel gives back when the process dies, and that works between containers: a listening
 * socket in the store's folder. Whoever answers on it holds the lock.
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
