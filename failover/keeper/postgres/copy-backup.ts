/**
 * Makes a standby's data from the newest backup in place of a base backup of the leader: pgBackRest restores it, and the
 * archive gives the write-ahead log up to the position from which the copy receives from the leader itself. Only what lies
 * on the leader's own history is taken (S3).
 */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseLsn } from '../../contract/lsn';
import { KeeperError } from '../ports';
import { WAL_TIMELINE } from './look';
import type { Place } from './place';
import { throttled } from './receive-wal';
import { type Repositories, stanzaOf, whyNoS3, writePgbackrestConf } from './repositories';
import { backupsIn, commonArgs, lookIn, type Pgbackrest, pgbackrest } from './repository-look';
import { chooseBackup, getArgs } from './restore';
import { type ArchivedTimeline, archivedTimelines } from './restore-timeline';
import { inBytes } from './room';
import { literal, type Session } from './session';
import { historyFile, type Stretch, segmentFile, segmentStart, timelineOfFile } from './timelines';

const CONFIG = 'copy.conf';
const RESTORE_LIMIT_MS = 24 * 3_600_000;
const FILE_LIMIT_MS = 60_000;
/** How many files of the archive are fetched at once. */
const AT_ONCE = 4;
/** Limit for the last file to come into the archive, ms. A leader hands over each finished file at once. */
const LAST_FILE_MS = 30_000;
const LAST_FILE_LOOK_MS = 500;
/** A small database may have this much log since its backup, bytes; a larger one as much as its own size. */
const LOG_MIN_BYTES = 1024 ** 3;
const LATEST = { kind: 'latest' } as const;

/** What a copy will be made of. */
export interface BackupCopy {
  readonly stanza: string;
  readonly configPath: string;
  readonly label: string;
  /** First file of write-ahead log that the backup needs. */
  readonly walStart: string;
  /** The leader's. */
  readonly history: readonly Stretch[];
  readonly segmentBytes: bigint;
  /** Write-ahead log since the backup began, bytes. */
  readonly walBytes: number;
}

interface Leader {
  systemId: string;
  timeline: number;
  segmentBytes: string;
  lsn: string;
  sizeBytes: number;
  tablespaces: number;
}

const LEADER = `SELECT system_identifier::text AS "systemId", ${WAL_TIMELINE} AS timeline,
    pg_size_bytes(current_setting('wal_segment_size'))::text AS "segmentBytes", pg_current_wal_flush_lsn()::text AS lsn,
    (SELECT sum(pg_database_size(oid)) FROM pg_database)::float8 AS "sizeBytes",
    (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global'))::int AS tablespaces
  FROM pg_control_system()`;

/**
 * Chooses the backup. `session`: on the leader.
 * @throws KeeperError RESTORE_IMPOSSIBLE or TOOL_FAILED with the reason why no backup can be used.
 */
export async function planBackupCopy(
  session: Session,
  place: Place,
  repositories: Repositories,
  folder: string,
  signal: AbortSignal,
  tool: Pgbackrest = pgbackrest,
): Promise<BackupCopy> {
  const leader = await session.askOne<Leader>('what a copy needs to know', LEADER);
  if (leader.tablespaces > 0) refuse('the leader has tablespaces');
  const places = repositories.first();
  const why = places.s3 === undefined ? null : await whyNoS3(places.s3);
  if (why !== null) refuse(why);
  const stanza = stanzaOf(leader.systemId);
  const configPath = await writePgbackrestConf(folder, CONFIG, { ...place, data: place.fresh }, stanza, places);
  const look = lookIn({ configPath, stanza, signal }, tool);
  const known = await archivedTimelines(stanza, look);
  return { stanza, configPath, ...choose(leader, known, await backupsIn(look)) };
}

type Facts = Awaited<ReturnType<typeof backupsIn>>;

/** The newest backup of the leader's history, if all that leads from it to the leader is in the archive. Pure. */
export function choose(
  { timeline, lsn, segmentBytes: bytes, sizeBytes }: Omit<Leader, 'systemId' | 'tablespaces'>,
  known: readonly ArchivedTimeline[],
  backups: Facts,
): Omit<BackupCopy, 'stanza' | 'configPath'> {
  const segmentBytes = BigInt(bytes);
  const own = known.find((one) => one.timeline === timeline);
  if (own === undefined) return refuse(`the archive has nothing of the leader’s timeline ${timeline} yet`);
  const { label, walStart } = chooseBackup(backups, LATEST, own);
  if (walStart === null) return refuse(`backup ${label} does not say which log it needs`);
  // A standby looks for one history file after the other, and would stop at a number that is missing.
  for (let next = timelineOfFile(walStart) + 1; next <= timeline; next++)
    if (!known.some((one) => one.timeline === next)) refuse(`the archive has no history of timeline ${next}`);
  const walBytes = Number(parseLsn(lsn) - segmentStart(walStart, segmentBytes));
  if (walBytes > Math.max(sizeBytes, LOG_MIN_BYTES))
    refuse(`backup ${label} is too old: ${inBytes(walBytes)} of write-ahead log came since`);
  return { label, walStart, history: own.history, segmentBytes, walBytes };
}

function refuse(why: string): never {
  throw new KeeperError('RESTORE_IMPOSSIBLE', why);
}

/** Where the slot begins to keep the leader's write-ahead log. */
export async function slotBegin(session: Session, slot: string): Promise<bigint> {
  const sql = `SELECT restart_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = ${literal(slot)}`;
  return parseLsn((await session.askOne<{ lsn: string }>('the slot of the copy', sql)).lsn);
}

/**
 * Files of the archive from the backup's first one up to the segment in which `end` lies, without that one, each under
 * the timeline that a standby looks for: that of a fork has the new timeline's name.
 */
export function filesUpTo({ walStart, history, segmentBytes }: BackupCopy, end: bigint): string[] {
  const names: string[] = [];
  const last = end - (end % segmentBytes);
  for (let at = segmentStart(walStart, segmentBytes); at < last; at += segmentBytes) {
    const stretch = history.findLast(({ begin }) => begin !== null && begin < at + segmentBytes);
    names.push(segmentFile(stretch?.timeline ?? timelineOfFile(walStart), at, segmentBytes));
  }
  return names;
}

interface Progress {
  progress: (text: string) => void;
  signal: AbortSignal;
}

/**
 * Fills `place.fresh` with the backup, and `place.wal` with the log of the archive. `end`: from where the leader's log is
 * received. @throws KeeperError TOOL_FAILED
 */
export async function copyBackup(
  plan: BackupCopy,
  end: bigint,
  place: Place,
  { progress, signal }: Progress,
  tool: Pgbackrest = pgbackrest,
): Promise<void> {
  const { label, history, walStart } = plan;
  progress(`restores backup ${label}`);
  const options = [`--pg1-path=${place.fresh}`, `--set=${label}`, '--type=standby'];
  await tool([...commonArgs(plan), ...options, 'restore'], { limitMs: RESTORE_LIMIT_MS, signal });
  const get = (name: string) =>
    tool(getArgs(plan, place.fresh, name, join(place.wal, name)), { limitMs: FILE_LIMIT_MS, signal });
  const later = history.map(({ timeline }) => timeline).filter((timeline) => timeline > timelineOfFile(walStart));
  for (const timeline of later) await get(historyFile(timeline));
  const files = filesUpTo(plan, end);
  const tell = throttled(progress);
  const [last, left] = [files.at(-1), files.slice(0, -1).reverse()];
  const worker = async () => {
    for (let name = left.pop(); name !== undefined; name = left.pop()) {
      await get(name);
      tell(`${left.length} files of the archive are still to be fetched`);
    }
  };
  // All of them end before this fails: the caller then removes the folder into which they write.
  const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker));
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
  if (last !== undefined) await patiently(() => get(last), signal);
}

/** The leader may be about to archive it. */
async function patiently(work: () => Promise<unknown>, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + LAST_FILE_MS;
  for (;;) {
    try {
      await work();
      return;
    } catch (error) {
      if (signal.aborted || performance.now() > deadline) throw error;
      await delay(LAST_FILE_LOOK_MS, undefined, { signal });
    }
  }
}
