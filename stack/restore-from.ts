/** The config key `restoreFrom`: whose backups the first node of a new stack restores, instead of an empty database. */
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { RestoreSource } from '../failover/contract/inputs';
import { parseTarget, TARGET_ALLOWED } from '../failover/contract/restore';

/** Where the repository is, and what is restored of it. */
export interface RestoreFrom {
  readonly mount: { readonly type: 'volume' | 'bind'; readonly source: string };
  readonly source: RestoreSource;
}

export const RESTORE_FROM_ALLOWED =
  'a JSON object with volume (a Docker volume) or folder (an absolute path on this machine), stanza, passphrase, ' +
  `timeline (a number) and to (${TARGET_ALLOWED})`;

const Volume = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/);
const Folder = z.string().refine((path) => isAbsolute(path) && !/[\0\n]/.test(path) && !path.split('/').includes('..'));

/**
 * S3 will be a third place beside volume and folder. Numbers may come as texts: `pulumi config set --path` writes both.
 */
const Given = z.strictObject({
  volume: Volume.optional(),
  folder: Folder.optional(),
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
    const [issue] = given.error.issues;
    const part = issue?.path.join('.') ?? '';
    return refuse(part === '' ? `it has an unknown part (${unknownOf(object)})` : `its ${part} is refused`);
  }
  const { volume, folder, to, ...source } = given.data;
  if ((volume === undefined) === (folder === undefined)) return refuse('give either volume or folder');
  const target = parseTarget(to);
  if (target === undefined) return refuse(`to: ${JSON.stringify(to)} is refused`);
  const mount =
    volume === undefined
      ? { type: 'bind' as const, source: folder ?? '' }
      : { type: 'volume' as const, source: volume };
  return { mount, source: { ...source, target } };
});

function unknownOf(object: object): string {
  return Object.keys(object)
    .filter((name) => !Object.hasOwn(Given.shape, name))
    .join(', ');
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
  const { type, source } = restoreFrom.mount;
  if (type === 'volume') {
    return volumes.some(({ name }) => name === source) ? [] : [`restoreFrom: there is no Docker volume ${source}`];
  }
  return folderExists(source) ? [] : [`restoreFrom: there is no folder ${source}`];
}
