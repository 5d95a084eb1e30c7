/** Disk space for a copy. The volumes of several nodes are often on one disk, and a full disk ends the leader first. */
import { lstat, readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { KeeperError } from '../ports';
import type { Place } from './place';

const MB = 1024 * 1024;
/** Unit of `blocks` in the result of `stat`, bytes. */
const BLOCK_BYTES = 512;
const RESERVE_MIN_BYTES = 128 * MB;
const RESERVE_SHARE = 0.05;
/** Interval at which the free space is checked, ms. It is short, because a copy may write some hundred MB a second. */
const LOOK_MS = 200;

export function inBytes(bytes: number): string {
  return `${bytes} bytes (${Math.ceil(bytes / MB)} MB)`;
}

/** Disk space that must stay free while a copy of this size is made, bytes. */
export function reserveFor(sizeBytes: number): number {
  return Math.max(RESERVE_MIN_BYTES, Math.ceil(sizeBytes * RESERVE_SHARE));
}

/** Free space in the file system of a folder, bytes. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** Disk space that a folder takes, bytes. Files that disappear meanwhile do not count. */
export async function usedBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  let bytes = 0;
  for (const entry of entries) {
    if (entry.isFile()) bytes += (await lstat(join(entry.parentPath, entry.name)).catch(() => null))?.blocks ?? 0;
  }
  return bytes * BLOCK_BYTES;
}

const tooSmall = (message: string) => new KeeperError('DISK_TOO_SMALL', message);

/** Removes the old data when the disk is too small for both; null: the old data must stay. */
export type Removal = (() => Promise<void>) | null;

/**
 * Makes sure that the disk has space for a copy of this size beside the old data, plus the reserve, plus the same
 * amount again for the WAL of the meantime. If it has not, `removeOld` may make space. Throws DISK_TOO_SMALL with the
 * needed and the free space, before anything is removed.
 */
export async function makeRoom(source: string, sizeBytes: number, place: Place, removeOld: Removal): Promise<void> {
  const [needed, free] = [sizeBytes + 2 * reserveFor(sizeBytes), await freeBytes(place.volume)];
  if (free >= needed) return;
  const old = await usedBytes(place.data);
  const room = `${inBytes(free)} are free in the volume of ${place.node}`;
  const copy = `the copy of ${source} needs ${inBytes(needed)}`;
  if (free + old < needed)
    throw tooSmall(`${copy}, ${room} and the old data takes ${inBytes(old)}: make the disk larger`);
  if (removeOld !== null) await removeOld();
  else throw tooSmall(`${copy} beside the old data, ${room}; make the disk larger, or allow rebuildInPlace`);
}

/** Calls `onFull` once, as soon as the free space falls below the reserve. Ends with the signal. */
export function watchRoom(
  source: string,
  place: Place,
  reserveBytes: number,
  signal: AbortSignal,
  onFull: (error: KeeperError) => void,
): void {
  const look = async () => {
    const free = await freeBytes(place.volume).catch(() => Number.POSITIVE_INFINITY);
    if (signal.aborted || free >= reserveBytes) return;
    clearInterval(timer);
    const needed = `it needs ${inBytes(reserveBytes)} that stay free`;
    const room = `${inBytes(free)} are free in the volume of ${place.node}`;
    onFull(tooSmall(`the copy of ${source} was stopped: ${needed}, ${room}; make the disk larger`));
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  signal.addEventListener('abort', () => clearInterval(timer));
}
