/** Where `restore` reads the backups of a stack: its volume or folder on this machine, or S3. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { RepositoryName } from '../failover/contract/backups';
import { jsonOf } from '../failover/contract/json';
import { allVolumes } from '../scripts/lib/docker';
import { run } from '../scripts/lib/exec';
import { PATHS } from '../scripts/lib/paths';
import { BackupS3Key, RepositoryInS3, s3PathOf } from '../stack/backup-s3';
import { EXIT, Failed } from './exit';
import { type BackupsHere, backupsHere } from './restore-plan';
import type { Target } from './target';

/** A place of the backups, as `restoreFrom` names it. */
export type BackupsAt = BackupsHere | { readonly s3: RepositoryInS3 };

/** A place, and what opens it. */
export interface Backups {
  readonly at: BackupsAt;
  readonly passphrase: string;
  /** Why this place was taken, for people; empty: it was the first one. */
  readonly because: string;
}

const PULUMI_MS = 60_000;
const KEEP = 'Give place, key and passphrase by --s3-stdin: docs/backups.md, "From S3".';

/** What a restore on another machine needs: the JSON object of `--s3-stdin`, which `backup keys` prints. */
const KeptKeys = z.strictObject({ ...RepositoryInS3.shape, passphrase: z.string().regex(/^[^\r\n\0]{1,1024}$/) });
export type KeptKeys = z.infer<typeof KeptKeys>;

/** Reads the object of `--s3-stdin`. No message has a value of it. @throws Failed (usage) */
export function keptBackups(text: string): Backups {
  const kept = KeptKeys.safeParse(jsonOf(text));
  if (!kept.success) {
    const allowed = 'must be the JSON object that "npm run -s failover -- backup keys" prints';
    const parts = kept.error.issues.map(({ path, message }) => `${path.join('.') || 'all'}: ${message}`);
    throw new Failed(EXIT.usage, `--s3-stdin: (hidden) is refused; ${allowed}. ${parts.join('; ')}`);
  }
  const { passphrase, ...s3 } = kept.data;
  return { at: { s3 }, passphrase, because: '' };
}

/** What the stack's config says of S3. */
type InConfig = 'none' | 'second' | 'only';

/** Which place is read, and why, if it is not the one that was asked for. @throws Failed (usage) */
export function choosePlace(
  wanted: string | undefined,
  inConfig: InConfig,
  here: { words: string; isThere: boolean },
): { name: RepositoryName; because: string } {
  const has = { none: ['local'], second: ['local', 's3'], only: ['s3'] }[inConfig];
  if (wanted !== undefined) {
    const name = RepositoryName.safeParse(wanted);
    if (name.success && has.includes(name.data)) return { name: name.data, because: '' };
    const words = `--repository: ${JSON.stringify(wanted)} is refused; this stack has ${has.join(' or ')}`;
    throw new Failed(EXIT.usage, words);
  }
  if (inConfig === 'only') return { name: 's3', because: 'the stack has its backups in S3 alone' };
  if (inConfig === 'none' || here.isThere) return { name: 'local', because: '' };
  return { name: 's3', because: `there is no ${here.words} on this machine` };
}

/** The place that a restore reads. `passphrase`: asked for where the place is known. @throws Failed */
export async function backupsOf(
  old: Target,
  wanted: string | undefined,
  passphrase: () => Promise<string>,
): Promise<Backups> {
  const here = backupsHere(old.info.value('namePrefix', ''), old.info.value('backupFolder', ''));
  const words = 'volume' in here ? `Docker volume ${here.volume}` : `folder ${here.folder}`;
  const isThere = 'volume' in here ? (await allVolumes()).has(here.volume) : existsSync(here.folder);
  const { name, because } = choosePlace(wanted, s3InConfig(old), { words, isThere });
  if (name === 's3') return { at: { s3: await repositoryInS3(old) }, passphrase: await passphrase(), because };
  if (!isThere)
    throw new Failed(EXIT.failed, `There is no ${words}, where the backups of stack ${old.stack} would be. ${KEEP}`);
  return { at: here, passphrase: await passphrase(), because };
}

function s3InConfig({ stack, info }: Target): InConfig {
  const file = join(PATHS.root, `Pulumi.${stack}.yaml`);
  const config: unknown = existsSync(file) ? parse(readFileSync(file, 'utf8'))?.config : undefined;
  return s3Of(typeof config === 'object' && config !== null ? config : {}, info.project);
}

/** From the `config` of the stack's file, whose secrets are encrypted. */
export function s3Of(config: object, project: string): InConfig {
  const value = (config as Record<string, unknown>)[`${project}:backupS3`];
  if (typeof value !== 'object' || value === null || Object.keys(value).length === 0) return 'none';
  return String((value as Record<string, unknown>).only) === 'true' ? 'only' : 'second';
}

/** The stack's place in S3 with its keys. Pulumi decrypts them, and they come by a pipe. @throws Failed */
export async function repositoryInS3({ stack, info }: Target): Promise<RepositoryInS3> {
  // Loaded only here, because it needs much.
  const { setUp } = await import('../scripts/lib/setup.js');
  const ready = await setUp(stack, 'state', { silent: true });
  const args = ['config', 'get', 'backupS3', '--stack', stack, '--non-interactive'];
  const options = { cwd: PATHS.root, env: ready.env, deadlineMs: PULUMI_MS };
  const { code, stdout, tail } = await run(ready.cli.command, args, options);
  if (code !== 0)
    throw new Failed(EXIT.failed, `backupS3 of stack ${stack} cannot be read (${tail.join(' ').trim()}). ${KEEP}`);
  const parsed = BackupS3Key.safeParse(stdout);
  if (!parsed.success) throw new Failed(EXIT.usage, parsed.error.issues.map(({ message }) => message).join('; '));
  if (parsed.data === undefined) throw new Failed(EXIT.usage, `Stack ${stack} has no backups in S3 (backupS3).`);
  const { endpoint, bucket, region, key, secret, uriStyle, caFile } = parsed.data;
  const path = s3PathOf(parsed.data, info.value('namePrefix', ''), stack);
  return { endpoint, bucket, region, path, key, secret, uriStyle, ...(caFile !== undefined && { caFile }) };
}

/** The place in words, without anything secret. */
export function placeWords(at: BackupsAt): string {
  if ('s3' in at) return `bucket ${at.s3.bucket}, folder ${at.s3.path}, at ${at.s3.endpoint}`;
  return 'volume' in at ? `volume ${at.volume}` : `folder ${at.folder}`;
}

/** The parts of `restoreFrom` in the new stack's file, by path: `plain` in plain text, `secrets` encrypted. */
export function restoreFromParts({ at, passphrase }: Backups): {
  plain: Readonly<Record<string, unknown>>;
  secrets: Readonly<Record<string, string>>;
} {
  if (!('s3' in at)) return { plain: at, secrets: { passphrase } };
  const { key, secret, ...plain } = at.s3;
  return { plain: { s3: plain }, secrets: { passphrase, 's3.key': key, 's3.secret': secret } };
}
