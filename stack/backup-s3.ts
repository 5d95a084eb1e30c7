/** The config key `backupS3`: S3-compatible storage as a place of the backups. */
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { LONG_DURATIONS_MS, parseQuantity } from './config-values';

/** The checked value. What is absent has a default that depends on other keys. */
export interface BackupS3 {
  /** Host, and port if it is not 443. */
  readonly endpoint: string;
  readonly bucket: string;
  readonly region: string;
  readonly path?: string | undefined;
  readonly key: string;
  readonly secret: string;
  readonly uriStyle: 'host' | 'path';
  /** File with the authorities that may have signed the server's certificate; absent: those of Debian. */
  readonly caFile?: string | undefined;
  readonly fullEveryMs?: number | undefined;
  readonly everyMs?: number | undefined;
  /** True: backups are kept in S3 alone. */
  readonly only: boolean;
}

/** Folder in the bucket, for the stack of that prefix and name. */
export function s3PathOf({ path }: Pick<BackupS3, 'path'>, namePrefix: string, stack: string): string {
  return path ?? `/${namePrefix}${stack}`;
}

const HOST = '[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*';
const ENDPOINT = new RegExp(`^${HOST}(:[1-9][0-9]{0,4})?$`);
const PORT_MAX = 65_535;
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const REGION = /^[a-z0-9-]{1,64}$/;
/** No character that would begin another line or a comment in pgBackRest's config. */
const WORD = /^[\x21-\x7e]{1,256}$/;
const PATH = /^(\/[A-Za-z0-9_.-]{1,100}){1,5}$/;

export const BACKUP_S3_ALLOWED =
  'empty, or a JSON object with endpoint (HOST or HOST:PORT, always with TLS), bucket, key and secret, and if wanted ' +
  'region, path, uriStyle, caFile, fullEvery, every and only';

const every = (max: string) => (raw: string) => parseQuantity(raw, LONG_DURATIONS_MS, 600_000, days(max)) !== undefined;
const days = (text: string) => Number(text.slice(0, -1)) * 86_400_000;
const ms = (raw: string | undefined) =>
  raw === undefined ? undefined : parseQuantity(raw, LONG_DURATIONS_MS, 0, Number.MAX_SAFE_INTEGER);

/** Each part with what it may be. The texts say nothing of the value: it may be a secret. */
const Parts = z.strictObject({
  endpoint: z.string('must be HOST or HOST:PORT').superRefine((raw, context) => {
    const message = whyNotEndpoint(raw);
    if (message !== null) context.addIssue({ code: 'custom', message });
  }),
  bucket: z.string('must be the name of a bucket').regex(BUCKET, 'must be 3 to 63 of a-z, 0-9, "." and "-"'),
  region: z
    .string()
    .regex(REGION, 'must be 1 to 64 of a-z, 0-9 and "-", for example eu-central-1')
    .default('us-east-1'),
  path: z
    .string()
    .regex(PATH, 'must be a folder that begins with "/", at most five deep, of A-Z, a-z, 0-9, "_", "." and "-"')
    .refine((raw) => !raw.split('/').some((part) => part === '.' || part === '..'), 'must have no "." or ".." in it')
    .optional(),
  key: z.string('must be the id of an access key').regex(WORD, 'must be 1 to 256 characters without blanks'),
  secret: z
    .string('must be the secret of the access key; set it with --secret --path')
    .regex(WORD, 'must be 1 to 256 characters without blanks'),
  uriStyle: z.enum(['host', 'path'], 'must be host or path').default('host'),
  caFile: z
    .string()
    .refine((raw) => isAbsolute(raw) && !/[\0\n]/.test(raw), 'must be the absolute path of a PEM file on this machine')
    .optional(),
  fullEvery: z.string().refine(every('365d'), 'must be a duration from 10m to 365d, for example 30d').optional(),
  every: z.string().refine(every('60d'), 'must be a duration from 10m to 60d, for example 1d').optional(),
  only: z
    .union([z.boolean(), z.enum(['true', 'false']).transform((raw) => raw === 'true')], 'must be true or false')
    .default(false),
});

/** Where a repository is that another stack made, with what opens it. */
export const RepositoryInS3 = z.strictObject({
  ...Parts.pick({ endpoint: true, bucket: true, region: true, key: true, secret: true, uriStyle: true, caFile: true })
    .shape,
  path: Parts.shape.path.unwrap(),
});
export type RepositoryInS3 = z.infer<typeof RepositoryInS3>;

function whyNotEndpoint(raw: string): string | null {
  if (/^http:/i.test(raw)) return 'http:// is refused: pgBackRest speaks TLS with S3, and nothing else';
  if (/^https:/i.test(raw)) return 'must be HOST or HOST:PORT without https://, which is always used';
  const port = Number(raw.split(':')[1] ?? 0);
  return ENDPOINT.test(raw) && raw.length <= 253 && port <= PORT_MAX ? null : 'must be HOST or HOST:PORT';
}

/** The text that Pulumi passes. A message names the part and never its value. An empty object is undefined. */
export const BackupS3Key = z.string().transform((raw, context): BackupS3 | undefined => {
  const refuse = (message: string) => {
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  };
  let given: unknown;
  try {
    given = JSON.parse(raw);
  } catch {
    return refuse(`backupS3: (hidden) is no JSON; must be ${BACKUP_S3_ALLOWED}`);
  }
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    return refuse(`backupS3: (hidden) is no object; must be ${BACKUP_S3_ALLOWED}`);
  }
  if (Object.keys(given).length === 0) return undefined;
  const parsed = Parts.safeParse(given);
  if (!parsed.success) {
    for (const { path, message } of parsed.error.issues) {
      const part = path.length > 0 ? `backupS3.${path.join('.')}` : 'backupS3';
      const why = path.length > 0 ? message : `${message}; must be ${BACKUP_S3_ALLOWED}`;
      context.addIssue({ code: 'custom', message: `${part}: (hidden) is refused; ${why}` });
    }
    return z.NEVER;
  }
  const { fullEvery, every: often, ...rest } = parsed.data;
  return { ...rest, fullEveryMs: ms(fullEvery), everyMs: ms(often) };
});
