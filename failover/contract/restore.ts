/**
 * A restore as people ask for it, what a repository answers, and a restore in place as monitor, keeper, API and command
 * line name it: the leader's data are replaced by data of the backups, and the data from before are kept until a person
 * confirms or undoes the restore.
 */
import { z } from 'zod';
import { BackupType, RestoreTarget, S3Settings } from './backups';

export const TARGET_ALLOWED =
  'latest, the label of a backup, or a time with its zone, for example 2026-01-31 12:00:05+07';

const TIME = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?) ?(Z|[+-]\d\d(?::?\d\d)?)$/;

/** Reads a target as people write it; undefined: it is none. A time without a zone is none. */
export function parseTarget(text: string): RestoreTarget | undefined {
  const trimmed = text.trim();
  if (trimmed === 'latest') return { kind: 'latest' };
  const backup = RestoreTarget.safeParse({ kind: 'backup', label: trimmed });
  if (backup.success) return backup.data;
  const [, day, clock, zone = ''] = TIME.exec(trimmed) ?? [];
  if (day === undefined || clock === undefined) return undefined;
  const [, sign, hours, minutes = '00'] = /^([+-])(\d\d):?(\d\d)?$/.exec(zone) ?? [];
  const offset = sign === undefined ? 'Z' : `${sign}${hours}:${minutes}`;
  const time = RestoreTarget.safeParse({ kind: 'time', atMs: Date.parse(`${day}T${clock}${offset}`) });
  return time.success ? time.data : undefined;
}

/** A target as people write it. */
export function printTarget(target: RestoreTarget): string {
  if (target.kind === 'time') return new Date(target.atMs).toISOString().replace('T', ' ').replace('Z', '+00');
  return target.kind === 'latest' ? 'latest' : target.label;
}

/** Input of the keeper's command `look-at-repository`. Without `s3` the repository is the mounted one. */
export const RepositoryQuestion = z.strictObject({
  passphrase: z.string().min(1),
  target: RestoreTarget,
  s3: S3Settings.strict().optional(),
});
export type RepositoryQuestion = z.infer<typeof RepositoryQuestion>;

/** Its answer. */
export const RepositoryLook = z.object({
  stanza: z.string(),
  backups: z.array(z.object({ label: z.string(), type: BackupType, stopMs: z.number(), sizeBytes: z.number().min(0) })),
  timelines: z.array(z.object({ timeline: z.number().int(), archivedMs: z.number().nullable() })),
  /** When the newest file of write-ahead log came into the repository, ms; null: there is none. */
  archivedMs: z.number().nullable(),
  /** Free on the engine's disk, bytes; null: not known. */
  freeBytes: z.number().min(0).nullable(),
  /** The timeline that a restore to the target follows. */
  timeline: z.number().int(),
});
export type RepositoryLook = z.infer<typeof RepositoryLook>;

/** What was restored, for people and for the command that asked for it. */
export const Restored = z.object({
  stanza: z.string(),
  target: RestoreTarget,
  timeline: z.number().int(),
  /** Time of the last commit that the data has (UTC); null: there was none after the backup. */
  lastCommit: z.string().nullable(),
  lsn: z.string(),
});
export type Restored = z.infer<typeof Restored>;

const Id = z.string().max(64);

/** Where the data come from. `timeline`: the one on which the target lies. `kept`: the data from before that restore. */
export const RestoreSource = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('backup'), target: RestoreTarget, timeline: z.number().int().min(1) }),
  z.object({ kind: z.literal('kept'), id: Id }),
]);
export type RestoreSource = z.infer<typeof RestoreSource>;

/** The last data that a restore put in the place of a node's data. */
export const RestoredView = z.object({
  id: Id,
  /** When PostgreSQL was down for it, wall time, ms. */
  atMs: z.number().int(),
  /** Size of the data from before, which are kept; null: none are. */
  keptBytes: z.number().min(0).nullable(),
});
export type RestoredView = z.infer<typeof RestoredView>;

/** What a person or a log calls the target. */
export function targetWords(target: RestoreTarget): string {
  if (target.kind === 'latest') return 'the end of the archive';
  if (target.kind === 'backup') return `backup ${target.label}`;
  return new Date(target.atMs).toISOString().replace(/\.000Z$/, 'Z');
}
