/** Set-up step: the base image of all images. It is pulled, or made from Debian's own packages. */
import { existsSync, readdirSync } from 'node:fs';
import { messageOf } from '../../failover/contract/errors';
import { canInstall, install } from './debian';
import { hasImage, imageId, imageLabel } from './docker';
import { run, runOk } from './exec';
import type { StepContext, StepResult } from './steps';

/** Label of a base image that set-up made, so that `destroy --volumes` may remove it. */
const BASE_LABEL = 'postgres-failover.base';
/**
 * A registry that sends nothing for this time counts as unreachable, ms. A slow one that sends something gets more
 * time.
 */
const PULL_SILENCE_MS = 8_000;
const PULL_MS = 300_000;
const MAKE_MS = 600_000;
const CERTIFICATES = '/usr/local/share/ca-certificates';
/** The suite that the images are written for. */
const SUITE = 'trixie';

/**
 * Makes sure that the engine has the base image.
 * @throws Error when it can neither be pulled nor be made here.
 */
export async function ensureBaseImage(image: string, context: StepContext): Promise<StepResult> {
  if (await hasImage(image)) return { outcome: 'skipped', detail: image };
  context.progress(`pulling ${image}`);
  const pullError = await pull(image, context);
  if (pullError === null) return { outcome: 'done', detail: `${image} pulled` };
  if (!isMakeable(image)) throw new Error(`The base image ${image} (config baseImage) cannot be pulled:\n${pullError}`);
  await make(image, context);
  return { outcome: 'done', detail: `${image} made with mmdebstrap, because it could not be pulled` };
}

const isMakeable = (image: string) => image.startsWith(`debian:${SUITE}`);

/** Whether set-up made the image of this name. An image that a person built on it has its label, too. */
export async function isMadeHere(image: string): Promise<boolean> {
  return isMakeable(image) && (await imageLabel(image, BASE_LABEL)) !== '';
}

/**
 * Takes a newer base image: pulls it, or makes it again where set-up had made it. Where neither is possible the present
 * one stays, and the step says why.
 */
export async function renewBaseImage(image: string, context: StepContext): Promise<StepResult> {
  const before = await imageId(image);
  context.progress(`pulling ${image}`);
  const pullError = await pull(image, context);
  if (pullError === null)
    return (await imageId(image)) === before
      ? { outcome: 'skipped', detail: `${image} is the registry's newest` }
      : { outcome: 'done', detail: `${image} pulled` };
  const stays = (why: string): StepResult => ({ outcome: 'done', detail: `${image} stays as it is (${why})` });
  if (!(await isMadeHere(image))) return stays(`it cannot be pulled: ${pullError}`);
  try {
    await make(image, context);
  } catch (error) {
    return stays(`it cannot be made again: ${messageOf(error)}`);
  }
  return { outcome: 'done', detail: `${image} made anew with mmdebstrap` };
}

/** Pulls an image. Returns null, or the reason of the failure. Gives up early when the registry sends nothing. */
async function pull(image: string, context: StepContext): Promise<string | null> {
  const silence = new AbortController();
  const signal = AbortSignal.any([silence.signal, context.signal]);
  let timer = setTimeout(() => silence.abort(), PULL_SILENCE_MS);
  let heard = false;
  const result = await run('docker', ['pull', image], {
    deadlineMs: PULL_MS,
    signal,
    onLine: (line) => {
      context.progress(line);
      // Once layers arrive, only the overall limit applies.
      if (/Pulling fs layer|Already exists|Download/.test(line)) heard = true;
      clearTimeout(timer);
      if (!heard) timer = setTimeout(() => silence.abort(), PULL_SILENCE_MS);
    },
  });
  clearTimeout(timer);
  if (result.code === 0) return null;
  return silence.signal.aborted ? 'the registry does not answer' : result.tail.join('\n');
}

async function make(image: string, context: StepContext): Promise<void> {
  if ((await run('mmdebstrap', ['--version'], { deadlineMs: 10_000 })).code !== 0) {
    if (!canInstall())
      throw new Error(
        `The base image ${image} cannot be pulled. It can be made here with mmdebstrap: sudo apt-get install -y mmdebstrap, then run this command once more.`,
      );
    context.progress('installing mmdebstrap');
    await install(['mmdebstrap', 'debian-archive-keyring'], context);
  }
  context.progress('mmdebstrap');
  const options = { deadlineMs: MAKE_MS, onLine: context.progress, signal: context.signal };
  await runOk('bash', ['-o', 'pipefail', '-c', makeScript(hasCertificates()), 'bash', image], options);
}

/**
 * The shell pipeline that makes the image named by `$1`. With `certificates` the image trusts the certificates that
 * this machine trusts, for example a proxy's.
 */
export function makeScript(certificates: boolean): string {
  const hook = `mkdir -p "$1${CERTIFICATES}" && cp -rL ${CERTIFICATES}/. "$1${CERTIFICATES}/" && chroot "$1" update-ca-certificates`;
  const bootstrap = [
    'mmdebstrap --variant=minbase --include=ca-certificates',
    ...(certificates ? [`--customize-hook='${hook}'`] : []),
    // Ubuntu's own keyring does not know Debian's keys.
    ...(existsSync('/usr/share/keyrings/debian-archive-keyring.gpg')
      ? ['--keyring=/usr/share/keyrings/debian-archive-keyring.gpg']
      : []),
    `${SUITE} -`,
  ].join(' ');
  // The image keeps the modes of the files that are made here.
  return `umask 022 && ${bootstrap} | docker import --change 'CMD ["bash"]' --change 'LABEL ${BASE_LABEL}=made' - "$1"`;
}

function hasCertificates(): boolean {
  return existsSync(CERTIFICATES) && readdirSync(CERTIFICATES).length > 0;
}
