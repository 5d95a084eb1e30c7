/** A restore as people ask for it, and what a repository answers. */
import { z } from 'zod';
import { BackupType, RestoreTarget } from './backups';

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

/** Input of the keeper's command `look-at-repository`. */
export const RepositoryQuestion = z.strictObject({ passphrase: z.string().min(1), target: RestoreTarget });
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
