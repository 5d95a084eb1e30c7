/**
 * pgBackRest's config of a node (pgBackRest manual, "Configuration Reference"). Each place of the backups has a file of its
 * own for the archive: `archive-push` writes to every repository of its config, and takes no `--repo`, so with one file a
 * dead repository would stop the other one.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import type { RepositoryName, S3Settings } from '../../contract/backups';
import { messageOf } from '../../contract/errors';
import { PATHS } from '../../contract/layout';
import { KEEPER_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { writeWhole } from '../../disk/durable';
import { KeeperError } from '../ports';
import { SOCKETS } from './own-sessions';
import type { Place } from './place';

/** pgBackRest's number of each repository. It does not depend on which repositories are in use. */
export const REPOSITORY_NUMBER = { local: 1, s3: 2 } as const satisfies Record<RepositoryName, number>;
/** File with the authorities of S3, beside the config that names it. */
export const CA_FILE = 's3-ca.pem';
/** Largest value of `repo-retention-full`: pgBackRest then removes no backup. */
const RETENTION_ALL = 9_999_999;
/** Limit for one step of a transfer, s: shorter than that of a whole file, so that pgBackRest itself says what is wrong. */
export const S3_STEP_LIMIT_S = 20;
const S3_PORT = '443';
/** Limit for a TLS connection to S3, ms. */
const REACH_LIMIT_MS = 5_000;

/** The places that a config names. */
export interface Places {
  readonly local: boolean;
  readonly s3?: S3Settings | undefined;
}

/** The only place in a release without `backupS3`. */
export const LOCAL_ONLY: Places = { local: true };

/** Name of the repository's stanza: one for each database cluster, so that no other data ever meets in it. */
export function stanzaOf(systemId: string): string {
  return `c${systemId}`;
}

/** pgBackRest's config of a node. It holds the passphrase, and the key of S3. */
export function renderPgbackrestConf(
  { clusterKey, ...place }: Pick<Place, 'data' | 'port' | 'clusterKey'>,
  stanza: string,
  places: Places = LOCAL_ONLY,
  folder: string = PATHS.archiveRun,
): string {
  return renderFor(derivedPassword(clusterKey, 'backup'), place, stanza, places, folder);
}

/** The same with the passphrase in place of the cluster key. */
export function renderFor(
  passphrase: string,
  place: Pick<Place, 'data' | 'port'>,
  stanza: string,
  { local, s3 }: Places,
  folder: string,
): string {
  const values = {
    ...(local && repository(REPOSITORY_NUMBER.local, passphrase, { path: PATHS.backupVolume })),
    ...(s3 && repository(REPOSITORY_NUMBER.s3, passphrase, s3Options(s3, folder))),
    ...(s3 && { 'io-timeout': String(S3_STEP_LIMIT_S) }),
    'compress-type': 'zst',
    'process-max': '1',
    'start-fast': 'y',
    'lock-path': join(PATHS.archiveRun, 'lock'),
    'log-level-file': 'off',
    'log-level-console': 'off',
    'log-level-stderr': 'warn',
  };
  const database = {
    'pg1-path': place.data,
    'pg1-port': String(place.port),
    'pg1-socket-path': SOCKETS,
    'pg1-user': KEEPER_ROLE,
    'pg1-database': 'postgres',
  };
  const lines = (section: Record<string, string>) => Object.entries(section).map(([name, value]) => `${name}=${value}`);
  // After a change of leader a file may be there already; pgBackRest compares it and warns.
  const push = { 'log-level-stderr': 'error' };
  // pgBackRest would refuse a PostgreSQL whose archive_mode is off. Its files come from the keeper.
  const backup = { 'archive-check': 'n' };
  const sections = { global: values, 'global:archive-push': push, 'global:backup': backup, [stanza]: database };
  return Object.entries(sections)
    .map(([name, section]) => [`[${name}]`, ...lines(section), ''].join('\n'))
    .join('\n');
}

/** What every repository has, and its own options, under its number. */
function repository(number: number, passphrase: string, own: Record<string, string>): Record<string, string> {
  const options = {
    ...own,
    'cipher-type': 'aes-256-cbc',
    'cipher-pass': passphrase,
    bundle: 'y',
    block: 'y',
    // Without `retention-full` pgBackRest warns. `backup` gets the stack's number; other commands must remove nothing.
    'retention-full': String(RETENTION_ALL),
  };
  return Object.fromEntries(Object.entries(options).map(([name, value]) => [`repo${number}-${name}`, value]));
}

/** Options of a repository in S3, without its number. `folder` has {@link CA_FILE} where `ca` is given. */
export function s3Options({ endpoint, bucket, region, path, key, secret, uriStyle, ca }: S3Settings, folder: string) {
  const [host = endpoint, port = S3_PORT] = endpoint.split(':');
  return {
    ...{ type: 's3', path },
    ...{ 's3-endpoint': host, 's3-bucket': bucket, 's3-region': region, 's3-uri-style': uriStyle },
    ...{ 's3-key': key, 's3-key-secret': secret, 'storage-port': port, 'storage-verify-tls': 'y' },
    ...(ca !== undefined && { 'storage-ca-file': join(folder, CA_FILE) }),
  };
}

/** Settings of the backups' places that came from the monitor; archive and backups of a node share them. */
export class Repositories {
  /** There are backups on the machine with the data. */
  local = true;
  s3: S3Settings | undefined;
  /** Of what a standby is made that has to be copied. */
  replicaFrom: 'leader' | 'backup' = 'leader';

  /** The config of one place alone. @throws KeeperError when its settings did not come yet. */
  only(name: RepositoryName): Places {
    if (name === 'local') return LOCAL_ONLY;
    if (this.s3 === undefined) throw new KeeperError('TOOL_FAILED', 'the settings of S3 are not known yet');
    return { local: false, s3: this.s3 };
  }

  /** The config of the place that a restore in place, or a copy from a backup, reads. @throws KeeperError as {@link only} */
  first(): Places {
    return this.only(this.local ? 'local' : 's3');
  }
}

/**
 * Why S3 cannot be reached; null: it can. pgBackRest repeats each step of a command for minutes before it says
 * anything.
 */
export function whyNoS3({ endpoint, ca }: S3Settings, limitMs = REACH_LIMIT_MS): Promise<string | null> {
  const [host = endpoint, port = S3_PORT] = endpoint.split(':');
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port), servername: host, ...(ca !== undefined && { ca }) });
    const end = (why: string | null) => {
      socket.destroy();
      resolve(why === null ? null : `${endpoint} does not answer: ${why}`);
    };
    socket.setTimeout(limitMs, () => end(`nothing within ${limitMs / 1_000} s`));
    socket.once('secureConnect', () => end(null)).once('error', (error) => end(messageOf(error)));
  });
}

/** The last write of any config. */
let written: Promise<unknown> = Promise.resolve();

/**
 * Writes the config, and what it names, into a folder in memory; only this user may read it. Returns its path. Archive,
 * jobs and looks may run at once; the files are written by one at a time.
 */
export function writePgbackrestConf(
  folder: string,
  file: string,
  place: Pick<Place, 'data' | 'port' | 'clusterKey'>,
  stanza: string,
  places: Places,
): Promise<string> {
  const write = async () => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const { ca } = places.s3 ?? {};
    if (ca !== undefined) await writeWhole(folder, CA_FILE, ca, 0o600, false);
    await writeWhole(folder, file, renderPgbackrestConf(place, stanza, places, folder), 0o600, false);
    return join(folder, file);
  };
  const writing = written.then(write, write);
  written = writing;
  return writing;
}
