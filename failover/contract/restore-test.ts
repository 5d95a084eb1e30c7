/** The test of a restore, as its container and the command line name it. */
import { z } from 'zod';
import { RepositoryName } from './backups';

/** What the container reads from its standard input. It holds passphrase and keys, so it is in no argument. */
export const RestoreTestInput = z.strictObject({
  repository: RepositoryName,
  /** pgBackRest's config with this one place, as a node has it. */
  config: z.string().max(65_536),
  /** Authorities of S3, PEM; absent: those of Debian. */
  ca: z.string().max(262_144).optional(),
  /** All that was written before this wall time is in the archive, ms; null: not known. */
  promisedMs: z.number().nullable(),
});
export type RestoreTestInput = z.infer<typeof RestoreTestInput>;

const MESSAGE_MAX = 2_000;

/** Cuts a message to what a result may have. */
export const resultMessage = (message: string): string => message.slice(0, MESSAGE_MAX);

/** How it ended: one JSON object, the last line of its standard output. */
export const RestoreTestResult = z.object({
  repository: RepositoryName,
  result: z.enum(['done', 'failed']),
  /** One sentence; of a failure the cause, for example the damaged file. */
  message: z.string().max(MESSAGE_MAX),
  /** The backup that was restored; null: none was chosen yet. */
  label: z.string().nullable(),
  sizeBytes: z.number().nullable(),
  /**
   * Time of the newest commit in the restored copy; a leader's heartbeat commits ten times a second. Null: not known.
   */
  newest: z.string().nullable(),
  ended: z.iso.datetime(),
  tookMs: z.number(),
});
export type RestoreTestResult = z.infer<typeof RestoreTestResult>;
