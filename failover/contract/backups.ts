/**
 * Backups as keeper, monitor, API and command line name them. The repository is the truth: what is known of backups
 * comes from `pgbackrest info`, so no state of the failover can be lost.
 */
import { z } from 'zod';
import { Lsn } from './lsn-schema';

/** Most backups that are reported, the newest ones. */
export const BACKUPS_MAX = 100;
/** Most damaged files that are named. */
export const DAMAGED_MAX = 20;

/** Most gaps that are listed; beyond it the oldest are joined. */
export const GAPS_MAX = 20;

/** `full`: all data. `diff`: what changed since the last full one. `incr`: since the last one of any type. */
export const BackupType = z.enum(['full', 'diff', 'incr']);
export type BackupType = z.infer<typeof BackupType>;

/** What a job does: make a backup, or read the whole repository and compare its checksums (`verify`). */
export const JobKind = z.enum([...BackupType.options, 'verify']);
export type JobKind = z.infer<typeof JobKind>;

/** Where backups are. `local`: a volume or folder of the machine with the data. `s3`: S3-compatible storage. */
export const RepositoryName = z.enum(['local', 's3']);
export type RepositoryName = z.infer<typeof RepositoryName>;

/** S3-compatible storage as a node needs it (pgBackRest manual, `repo-s3-*`). TLS is always used and always checked. */
export const S3Settings = z.object({
  /** Host, and port if it is not 443. */
  endpoint: z.string().max(260),
  bucket: z.string().max(63),
  region: z.string().max(64),
  /** Folder in the bucket, beginning with `/`. */
  path: z.string().max(512),
  key: z.string().max(512),
  /** The secret of the key. */
  secret: z.string().max(512),
  /** `host`: the bucket is a part of the host name. `path`: it is the first part of the path. */
  uriStyle: z.enum(['host', 'path']),
  /** PEM text of the authorities that may have signed the certificate; absent: those of Debian. */
  ca: z.string().max(262_144).optional(),
});
export type S3Settings = z.infer<typeof S3Settings>;

const WallMs = z.number().int();
const Segment = z.string().regex(/^[0-9A-F]{24}$/);

/** Write-ahead log that is in no backup: its first and its last file. */
export const Gap = z.object({ from: Segment, to: Segment });
export type Gap = z.infer<typeof Gap>;

/** One backup of the repository. */
export const Backup = z.object({
  /** pgBackRest's name of it, for example `20260131-120000F`. */
  label: z.string().max(64),
  type: BackupType,
  /** Wall time, ms. A restore can reach each moment from `stopMs` on. */
  startMs: WallMs,
  stopMs: WallMs,
  startLsn: Lsn.nullable(),
  stopLsn: Lsn.nullable(),
  /** First and last file of write-ahead log that a restore of this backup needs at least. */
  walStart: Segment.nullable(),
  walStop: Segment.nullable(),
  /** Size of the database, and what the repository stores for this backup alone, bytes. */
  sizeBytes: z.number().min(0),
  storedBytes: z.number().min(0),
  /** PostgreSQL's checksums of some pages were wrong when it was made. */
  hasErrors: z.boolean(),
  /**
   * A restore of it reaches the end of the window: the repository has all write-ahead log from its beginning on, and no
   * gap is behind it.
   */
  usable: z.boolean(),
});
export type Backup = z.infer<typeof Backup>;

/** The job that is under way. */
export const Job = z.object({
  id: z.string().max(64),
  kind: JobKind,
  sinceMs: WallMs,
  /** What is done, 0 to 1; null: not known. */
  progress: z.number().min(0).max(1).nullable(),
});
export type Job = z.infer<typeof Job>;

/** How the last job ended. */
export const JobEnd = z.object({
  id: z.string().max(64),
  kind: JobKind,
  /** `stopped`: the leadership ended meanwhile, so the next leader repeats it. */
  result: z.enum(['done', 'failed', 'stopped']),
  message: z.string().max(1_000),
  endedMs: WallMs,
  tookMs: z.number().min(0),
  /** Files of the repository that `verify` found damaged or missing; absent: none. */
  damaged: z.array(z.string().max(300)).max(DAMAGED_MAX).optional(),
});
export type JobEnd = z.infer<typeof JobEnd>;

/** What the repository holds. */
export const Repository = z.object({
  /** The newest {@link BACKUPS_MAX}, oldest first. */
  backups: z.array(Backup).max(BACKUPS_MAX),
  /** How many older ones are left out. */
  leftOut: z.number().int().min(0),
  /** Free bytes where the repository is; null: not known. */
  freeBytes: z.number().min(0).nullable(),
});
export type Repository = z.infer<typeof Repository>;

/** The backups as the leader sees them. Small, because it is in each status. */
export const BackupView = z.object({
  job: Job.nullable(),
  last: JobEnd.nullable(),
  /** All that was written before this wall time is in the repository, ms; null: not known. */
  archivedMs: WallMs.nullable(),
  /** Why the repository cannot be read; absent: it can. */
  problem: z.string().max(1_000).optional(),
  /** Rises with each change of {@link Repository}, which the status has only then. */
  version: z.number().int(),
  repository: Repository.optional(),
});
export type BackupView = z.infer<typeof BackupView>;

/** The monitor's order for one job. It is repeated with each ping until the keeper reports its end. */
export const JobOrder = z.object({ id: z.string().max(64), kind: JobKind });
export type JobOrder = z.infer<typeof JobOrder>;

/** What a restore brings back. */
export const RestoreTarget = z.discriminatedUnion('kind', [
  /** All that the archive has. */
  z.strictObject({ kind: z.literal('latest') }),
  /** The last state before this wall time, ms. */
  z.strictObject({ kind: z.literal('time'), atMs: WallMs.positive() }),
  /** The end of one backup. */
  z.strictObject({
    kind: z.literal('backup'),
    label: z.string().regex(/^[0-9]{8}-[0-9]{6}F(_[0-9]{8}-[0-9]{6}[DI])?$/),
  }),
]);
export type RestoreTarget = z.infer<typeof RestoreTarget>;

/** The places of the backups: the first, and the second if there is one. */
export function partsOf<T extends object>(backup: T & { readonly second?: T | undefined }): T[] {
  return backup.second === undefined ? [backup] : [backup, backup.second];
}
