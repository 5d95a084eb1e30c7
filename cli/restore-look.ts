/** Asks a repository what it can bring back, in a container of its own, which needs nothing of a stack that runs. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { RestoreTarget } from '../failover/contract/backups';
import { messageOf } from '../failover/contract/errors';
import { PATHS as INSIDE } from '../failover/contract/layout';
import { RepositoryLook, type RepositoryQuestion } from '../failover/contract/restore';
import { hasImage, imageTags } from '../scripts/lib/docker';
import { run } from '../scripts/lib/exec';
import { imageTag, STACK_LABEL } from '../stack/naming';
import { EXIT, Failed } from './exit';
import { type Backups, type BackupsAt, placeWords } from './restore-from';
import type { Target } from './target';

/** Reading the lists of a large repository takes a while, ms. */
const LOOK_MS = 300_000;

/** Docker's arguments. Nothing in them is secret: passphrase and keys come by standard input. */
export function lookArgs(at: BackupsAt, image: string, name: string, label: string): string[] {
  const mount = (type: string, source: string) => [
    ...['--network', 'none'],
    ...['--mount', `type=${type},source=${source},target=${INSIDE.restoreVolume},readonly`],
  ];
  return [
    ...['run', '--rm', '--interactive', '--init', '--read-only', '--cap-drop', 'ALL'],
    ...['--security-opt', 'no-new-privileges', '--label', label, '--name', name],
    ...['--tmpfs', '/tmp:rw,size=64m,mode=1777'],
    // Only S3 needs a network.
    ...('s3' in at ? [] : 'volume' in at ? mount('volume', at.volume) : mount('bind', at.folder)),
    ...[image, 'node', '/app/keeper.mjs', 'look-at-repository'],
  ];
}

/** The question, with the text of the authorities. @throws Failed when their file cannot be read */
export function questionFor({ at, passphrase }: Backups, target: RestoreTarget): RepositoryQuestion {
  if (!('s3' in at)) return { passphrase, target };
  const { caFile, ...s3 } = at.s3;
  try {
    const ca = caFile === undefined ? undefined : readFileSync(caFile, 'utf8');
    return { passphrase, target, s3: { ...s3, ...(ca !== undefined && { ca }) } };
  } catch (error) {
    throw new Failed(EXIT.failed, `caFile: ${caFile} cannot be read (${messageOf(error)})`);
  }
}

/** @throws Failed when the repository cannot be read. */
export async function lookAt(
  { stack, info }: Target,
  backups: Backups,
  target: RestoreTarget,
): Promise<RepositoryLook> {
  const image = await nodeImage(stack, info.value('namePrefix', ''));
  const name = `postgres-failover-look-${randomUUID().slice(0, 8)}`;
  const args = lookArgs(backups.at, image, name, `${STACK_LABEL}=${info.project}/${stack}`);
  const input = JSON.stringify(questionFor(backups, target));
  const { code, stdout, tail } = await run('docker', args, { deadlineMs: LOOK_MS, input });
  const why = tail.join(' ').replace(/^.*cannot go on: /, '');
  if (code !== 0) throw new Failed(EXIT.failed, `The repository in ${placeWords(backups.at)} cannot be read: ${why}`);
  return RepositoryLook.parse(JSON.parse(stdout));
}

/** The old stack's image; without it, that of any other stack on this machine. */
async function nodeImage(stack: string, prefix: string): Promise<string> {
  const own = imageTag('postgres', prefix, stack);
  if (await hasImage(own)) return own;
  const [other] = await imageTags('postgres-failover/postgres:*');
  if (other !== undefined) return other;
  throw new Failed(EXIT.failed, `There is no image ${own}. Any stack of this release that was up once leaves one.`);
}
