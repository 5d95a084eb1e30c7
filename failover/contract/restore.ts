/**
 * A restore in place, as monitor, keeper, API and command line name it: the leader's data are replaced by data of the
 * backups, and the data from before are kept until a person confirms or undoes the restore.
 */
import { z } from 'zod';
import { RestoreTarget } from './backups';

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
