/** pgBackRest's config for reading a repository of another cluster, which is mounted or in S3. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { RestoreSource } from '../../contract/inputs';
import { PATHS } from '../../contract/layout';
import { writeWhole } from '../../disk/durable';
import { KeeperError } from '../ports';
import { CA_FILE, S3_STEP_LIMIT_S, s3Options, whyNoS3 } from './repositories';

const CONFIG = 'restore.conf';

/** What opens a repository. */
export type RepositoryKeys = Pick<RestoreSource, 'passphrase' | 's3'>;

/** The config. It holds the passphrase, and the key of S3. `folder` has S3's authorities where `s3.ca` is given. */
export function renderRestoreConf({ passphrase, s3 }: RepositoryKeys, repository: string, folder: string): string {
  const place = s3 === undefined ? { path: repository } : s3Options(s3, folder);
  const values = {
    ...Object.fromEntries(Object.entries(place).map(([name, value]) => [`repo1-${name}`, value])),
    'repo1-cipher-type': 'aes-256-cbc',
    'repo1-cipher-pass': passphrase,
    ...(s3 && { 'io-timeout': String(S3_STEP_LIMIT_S) }),
    'process-max': '2',
    'lock-path': join(PATHS.archiveRun, 'restore-lock'),
    'log-level-file': 'off',
    'log-level-console': 'off',
    'log-level-stderr': 'warn',
  };
  return ['[global]', ...Object.entries(values).map(([name, value]) => `${name}=${value}`), ''].join('\n');
}

/**
 * Writes the config, and what it names, into a folder of its own in memory; only this user may read it. Returns its path.
 * @throws KeeperError TOOL_FAILED when S3 does not answer: pgBackRest itself would repeat for minutes before it says so.
 */
export async function writeRestoreConf(folder: string, keys: RepositoryKeys, repository: string): Promise<string> {
  const { s3 } = keys;
  const why = s3 === undefined ? null : await whyNoS3(s3);
  if (why !== null) throw new KeeperError('TOOL_FAILED', why);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if (s3?.ca !== undefined) await writeWhole(folder, CA_FILE, s3.ca, 0o600, false);
  await writeWhole(folder, CONFIG, renderRestoreConf(keys, repository, folder), 0o600, false);
  return join(folder, CONFIG);
}
