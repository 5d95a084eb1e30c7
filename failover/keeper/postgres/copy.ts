/**
 * Makes a base backup beside the old data while WAL is received without a pause; see
 * docs/decisions/0018-a-copy-receives-wal-all-the-time.md.
 */
import { openAsBlob, readdirSync, rmSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { PATHS } from '../../contract/layout';
import { parseLsn } from '../../contract/lsn';
import { copySlotName, slotName } from '../../contract/naming';
import { exists, syncFolder } from '../../disk/durable';
import { KeeperError, type Source } from '../ports';
import { conninfo } from './config-files';
import { copyBackup, planBackupCopy, slotBegin } from './copy-backup';
import type { Place } from './place';
import { run } from './processes';
import { receivedUpTo, throttled, WalReceiver } from './receive-wal';
import { openSource } from './rejoin';
import type { Repositories } from './repositories';
import { makeRoom, type Removal, reserveFor, watchRoom } from './room';
import { type Session, within } from './session';
import { dropSlot, handOver, reserveSlot } from './slots';
import { askTablespaces, claimTablespaces, locationsOf, makeFolders } from './tablespaces';

const DAY_MS = 86_400_000;
/**
 * Limit of the wait for the last segment that a backup needs, ms. It arrives quickly, because the leader switches to a
 * new segment after the backup.
 */
const LAST_SEGMENT_LIMIT_MS = 60_000;
const LAST_SEGMENT_LOOK_MS = 50;
/** Number of bytes to read from the manifest's end. The range of WAL is there and is far shorter. */
const MANIFEST_TAIL_BYTES = 4_096;
/**
 * How long the leader waits for a sign of life of the backup's own WAL stream. A break of that stream ends the copy, so
 * the disk of this node may stall for longer than that of a standby.
 */
const BACKUP_OPTIONS = '-c wal_sender_timeout=5min';
/** Marker file in a data directory that must replay WAL which the leader may no longer have. */
export const CATCHING_UP = 'keeper.catching_up';

const SIZE = 'SELECT sum(pg_database_size(oid))::float8 AS "sizeBytes" FROM pg_database';

/** End of the WAL that a backup needs, read from its manifest. */
export async function endOfBackup(folder: string): Promise<string> {
  const manifest = await openAsBlob(join(folder, 'backup_manifest'));
  const tail = await manifest.slice(-MANIFEST_TAIL_BYTES).text();
  const end = [...tail.matchAll(/"End-LSN":\s*"([0-9A-F]+\/[0-9A-F]+)"/g)].at(-1)?.[1];
  if (end === undefined) throw new Error('the manifest of the backup has no range of write-ahead log');
  return end;
}

interface CopyOptions {
  progress: (text: string) => void;
  signal: AbortSignal;
  removeOld: Removal;
  /** The newest backup of these places is copied, in place of the leader's data. */
  backups?: Repositories | null;
}

/**
 * Makes a verified base backup in `place.fresh`, or restores a backup there. Its `pg_wal` contains all WAL since the backup began, and the node's
 * own slot on the leader keeps the WAL that follows. Resolves with the disk space that has to stay free, bytes. Throws
 * DISK_TOO_SMALL, TABLESPACE_IN_USE, or TOOL_FAILED with the tool's own message; the caller then removes the files of
 * the unfinished copy.
 */
export async function copyData(source: Source, place: Place, options: CopyOptions): Promise<number> {
  const { fresh, wal, volume, data, node } = place;
  const withSource = <T>(use: (session: Session) => Promise<T>) => within(openSource(source, place), use);
  const { sizeBytes } = await withSource((session) => session.askOne<{ sizeBytes: number }>('size', SIZE));
  const tablespaces = await withSource(askTablespaces);
  const { removeOld, backups = null } = options;
  const plan =
    backups &&
    (await withSource((session) => planBackupCopy(session, place, backups, PATHS.archiveRun, options.signal)));
  const oldGoes = await claimTablespaces(tablespaces, place, removeOld !== null);
  await makeRoom(source.name, sizeBytes + (plan?.walBytes ?? 0), place, oldGoes ? async () => undefined : removeOld);
  if (oldGoes) await removeOld?.();

  const stop = new AbortController();
  const fail = (error: KeeperError) => stop.abort(error);
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const reserveBytes = reserveFor(sizeBytes);
  // While the old data exists, the node's own slot keeps the WAL that it needs. So the copy uses a slot of its own
  // then.
  const hasOld = await exists(join(data, 'PG_VERSION'));
  const slot = hasOld ? copySlotName(node) : slotName(node);
  const receiver = new WalReceiver(source, place, wal, slot, fail);
  try {
    watchRoom(source.name, place, reserveBytes, signal, fail);
    await withSource((session) => reserveSlot(session, slot));
    await mkdir(wal, { mode: 0o700 });
    receiver.begin();
    if (plan === null) await baseBackup(source, place, options.progress, signal);
    else {
      const begin = await withSource((session) => slotBegin(session, slot));
      await copyBackup(plan, begin, place, { progress: options.progress, signal });
    }
    await receiver.end();
    if (signal.aborted) throw new Error('aborted');
    if (hasOld) await withSource((session) => handOver(session, slot, slotName(node)));
    await rm(join(fresh, 'pg_wal'), { recursive: true, force: true });
    await rename(wal, join(fresh, 'pg_wal'));
    await writeFile(join(fresh, CATCHING_UP), '');
    await syncFolder(fresh);
    await syncFolder(volume);
    return reserveBytes;
  } catch (error) {
    const hasFailed = stop.signal.aborted;
    stop.abort();
    await receiver.end();
    // This may fail: the leader drops an idle slot of a copy by itself.
    if (hasOld) withSource((session) => dropSlot(session, slot)).catch(() => undefined);
    if (hasFailed) stop.signal.throwIfAborted();
    throw error;
  } finally {
    stop.abort();
  }
}

/** Fills `place.fresh` with the leader's data, and verifies them. */
async function baseBackup(
  source: Source,
  place: Place,
  progress: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const { fresh, wal, node } = place;
  const tool = progressOf(progress, signal);
  const connection = conninfo(place, source.address, `${node}-basebackup`, {}, BACKUP_OPTIONS);
  // Without a WAL stream of its own, the backup would wait at its end for the leader's archive.
  const backup = ['--checkpoint=fast', '--wal-method=stream', '--no-password', '--sync-method=syncfs'];
  const meanwhile = () => dropStreamed(join(fresh, 'pg_wal'));
  await tool(`base backup of ${source.name}`, 'pg_basebackup', ['-d', connection, '-D', fresh, ...backup], meanwhile);
  // A tablespace that was made meanwhile is linked, and the folder that its WAL needs may be missing.
  await makeFolders(await locationsOf(fresh));
  await lastSegment(await endOfBackup(fresh), wal, signal);
  await tool(`verifying the copy of ${source.name}`, 'pg_verifybackup', [`--wal-directory=${wal}`, fresh]);
}

/**
 * Returns a function that runs a tool with `--progress` and reports its last percentage as the progress of `what`. It
 * calls `meanwhile` with each progress, about once a second.
 */
function progressOf(progress: (text: string) => void, signal: AbortSignal) {
  return async (what: string, command: string, args: string[], meanwhile?: () => void): Promise<void> => {
    const tell = throttled(progress);
    const onError = (text: string) => {
      const percent = [...text.matchAll(/\((\d+)%\)/g)].at(-1)?.[1];
      if (percent !== undefined) tell(`${what}: ${percent} %`);
      meanwhile?.();
    };
    await run(command, ['--progress', ...args], { limitMs: DAY_MS, signal, onError });
  };
}

/**
 * Removes the segments that pg_basebackup has received as a whole: all WAL is received into `data.wal`, too, and would
 * need twice the room. It is synchronous, so that nothing is removed any more once pg_basebackup has ended.
 */
export function dropStreamed(wal: string): void {
  const marks = join(wal, 'archive_status');
  try {
    for (const mark of readdirSync(marks)) {
      rmSync(join(wal, basename(mark, '.done')), { force: true });
      rmSync(join(marks, mark), { force: true });
    }
  } catch {
    // The folder is not there yet, or pg_basebackup has failed and removes it.
  }
}

/** Waits until the segment that ends the backup's WAL at `end` was received as a whole. */
async function lastSegment(end: string, wal: string, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + LAST_SEGMENT_LIMIT_MS;
  for (;;) {
    const { received } = await receivedUpTo(wal);
    if (received !== null && received >= parseLsn(end)) return;
    if (signal.aborted) throw new Error('aborted');
    if (performance.now() > deadline) {
      throw new KeeperError('WAL_MISSING', `the write-ahead log of the base backup was not received up to ${end}`);
    }
    await delay(LAST_SEGMENT_LOOK_MS);
  }
}
