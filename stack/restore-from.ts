/** The config key `restoreFrom`: whose backups the first node of a new stack restores, instead of an empty database. */
import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { RestoreSource } from '../failover/contract/inputs';
import { parseTarget, TARGET_ALLOWED } from '../failover/contract/restore';
import { RepositoryInS3 } from './backup-s3';

/** Where the repository is, and what is restored of it. */
export interface RestoreFrom {
  /** What the first node mounts read-only; absent: the repository is in S3. */
  readonly mount?: { readonly type: 'volume' | 'bind'; readonly source: string };
  readonly source: RestoreSource;
  /** File with the authorities of S3, for {@link withAuthorities}; absent: those of Debian. */
  readonly caFile?: string | undefined;
}

export const RESTORE_FROM_ALLOWED =
  'a JSON object with volume (a Docker volume), folder (an absolute path on this machine) or s3 (endpoint, bucket, ' +
  'path, key, secret, and if wanted region, uriStyle and caFile), stanza, passphrase, ' +
  `timeline (a number) and to (${TARGET_ALLOWED})`;

const Volume = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/);
const Folder = z.string().refine((path) => isAbsolute(path) && !/[\0\n]/.test(path) && !path.split('/').includes('..'));

/** Numbers may come as texts: `pulumi config set --path` writes both. */
const Given = z.strictObject({
  volume: Volume.optional(),
  folder: Folder.optional(),
  s3: RepositoryInS3.optional(),
  ...RestoreSource.pick({ stanza: true, passphrase: true }).shape,
  timeline: z.coerce.number().pipe(RestoreSource.shape.timeline),
  to: z.string(),
});

/** The text that Pulumi passes. No message has the passphrase. Undefined: the stack begins with an empty database. */
export const RestoreFromKey = z.string().transform((raw, context): RestoreFrom | undefined => {
  const refuse = (message: string) => {
    context.addIssue({ code: 'custom', message: `restoreFrom: ${message}; must be ${RESTORE_FROM_ALLOWED}` });
    return z.NEVER;
  };
  const object = objectOf(raw);
  if (object === null) return refuse('(hidden) is no JSON object');
  if (Object.keys(object).length === 0) return undefined;
  const given = Given.safeParse(object);
  if (!given.success) {
    return refuse(whyRefused(given.error));
  }
  const { volume, folder, s3, to, ...source } = given.data;
  if ([volume, folder, s3].filter((place) => place !== undefined).length !== 1)
    return refuse('give either volume or folder or s3');
  const target = parseTarget(to);
  if (target === undefined) return refuse(`to: ${JSON.stringify(to)} is refused`);
  if (s3 !== undefined) {
    const { caFile, ...place } = s3;
    return { source: { ...source, target, s3: place }, caFile };
  }
  const mount =
    volume === undefined
      ? { type: 'bind' as const, source: folder ?? '' }
      : { type: 'volume' as const, source: volume };
  return { mount, source: { ...source, target } };
});

/** Names parts, never a value: it may be a secret. */
function whyRefused({ issues: [issue] }: z.ZodError): string {
  const part = issue?.path.join('.') ?? '';
  if (issue?.code !== 'unrecognized_keys') return `its ${part} is refused`;
  return `${part === '' ? 'it' : `its ${part}`} has an unknown part (${issue.keys.join(', ')})`;
}

function objectOf(raw: string): object | null {
  try {
    const value: unknown = JSON.parse(raw);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

/** The repository has to be there: Docker would make an empty volume under a wrong name. */
export function missingRepository(
  restoreFrom: RestoreFrom | undefined,
  volumes: readonly { readonly name: string }[],
  /** Volume of the first node. Once it is there, the key has acted. */
  dataVolume: string | undefined,
  folderExists: (path: string) => boolean,
): string[] {
  if (restoreFrom === undefined || volumes.some(({ name }) => name === dataVolume)) return [];
  if (restoreFrom.mount === undefined) return [];
  const { type, source } = restoreFrom.mount;
  if (type === 'volume') {
    return volumes.some(({ name }) => name === source) ? [] : [`restoreFrom: there is no Docker volume ${source}`];
  }
  return folderExists(source) ? [] : [`restoreFrom: there is no folder ${source}`];
}

/** What the first node gets: the text of the file with the authorities goes along. */
export function withAuthorities({ source, caFile }: RestoreFrom): RestoreSource {
  if (source.s3 === undefined || caFile === undefined) return source;
  return { ...source, s3: { ...source.s3, ca: readFileSync(caFile, 'utf8') } };
}
