/**
 * Builds the images before the first test that needs Docker, and keeps their layers until the last one has ended. Each
 * file builds its images as ever and removes them at its end; without these tags the layers would go with them, and the
 * next file would fetch and install Debian's packages anew.
 */
import { join } from 'node:path';
import { removeImage } from '../../scripts/lib/docker';
import { runOk } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';
import { bundleImages } from '../../scripts/lib/staging';
import { checkConfig } from '../../stack/config';
import { imageArgs } from '../../stack/image-args';
import type { ImageName } from '../../stack/naming';

/** Not a name of a stack's image: `destroy` looks at those to find out whether another stack needs what it removes. */
const REPOSITORY = 'postgres-failover-kept';
const BUILD_LIMIT_MS = 600_000;

interface Kept {
  tag: string;
  image: ImageName;
  /** A build stage; without it the whole image. Nothing but a tag keeps a stage. */
  stage?: string;
  args?: Readonly<Record<string, string>>;
}

/**
 * What is kept, in the order in which one build uses the layers of another. The lists are independent of each other.
 */
function kept(): Kept[][] {
  const { settings } = checkConfig({});
  if (settings === undefined) throw new Error('the defaults of the config are refused');
  return [
    [
      { tag: 'node', image: 'postgres', stage: 'node' },
      { tag: 'postgres', image: 'postgres' },
      // A stack's own: the config's default has locales.
      { tag: 'postgres-stack', image: 'postgres', args: imageArgs('postgres', settings) },
      { tag: 'monitor', image: 'monitor' },
    ],
    [{ tag: 'haproxy', image: 'haproxy' }],
    [
      { tag: 'packages', image: 'backend', stage: 'packages' },
      { tag: 'backend', image: 'backend' },
    ],
  ];
}

async function build({ tag, image, stage, args = {} }: Kept): Promise<void> {
  const options = [
    ...(stage === undefined ? [] : ['--target', stage]),
    ...Object.entries(args).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
  ];
  await runOk('docker', ['build', '-q', '-t', `${REPOSITORY}:${tag}`, ...options, join(PATHS.images, image)], {
    // The classic builder, as the stacks and the tests use.
    env: { ...process.env, DOCKER_BUILDKIT: '0' },
    deadlineMs: BUILD_LIMIT_MS,
  });
}

/** Called by vitest before the first file. @throws CommandError with the builder's last lines */
export async function setup(): Promise<void> {
  await bundleImages();
  await Promise.all(
    kept().map(async (list) => {
      for (const one of list) await build(one);
    }),
  );
}

/** Called by vitest after the last file. */
export async function teardown(): Promise<void> {
  for (const { tag } of kept().flat().reverse()) await removeImage(`${REPOSITORY}:${tag}`);
}
