/**
 * `npm run up -- --fresh`: takes the updates of the base image and of Debian's packages. Images that have none stay as
 * they are, so their containers run on. The others are built anew here, without the builder's cache. Pulumi then finds
 * these builds in the cache, and rolls them out like any other change of an image.
 */
import { join } from 'node:path';
import { checkConfig, problemList } from '../../stack/config';
import { imageArgs, imagesOf } from '../../stack/image-args';
import { KEY_NAMES } from '../../stack/keys';
import { type ImageName, imageContext, imagePart, imageTag } from '../../stack/naming';
import { buildTopology, type Topology } from '../../stack/topology';
import { isMadeHere, renewBaseImage } from './base-image';
import { hasImage, imageId, removeUntagged } from './docker';
import { runOk } from './exec';
import { PATHS } from './paths';
import type { Ready } from './setup';
import { readState } from './state';
import { runSteps, type Step } from './steps';
import { paint, say } from './terminal';
import { type Answer, inWords, type Update, updatesOf } from './updates';

const ASK_MS = 120_000;
const BUILD_MS = 1_200_000;

export interface Renewed {
  /** Options for `pulumi up`. */
  options: string[];
  /** To be called when Pulumi has rolled the images out. @throws Error when Pulumi took other images. */
  end: () => Promise<void>;
}

interface Candidate {
  image: ImageName;
  tag: string;
  /** In Pulumi's state; undefined before the first `up`. */
  urn: string | undefined;
  /** The image that the containers have; null: there is none. */
  before: string | null;
  updates: Update[];
  /** Id of the new build. */
  built: string;
}

/**
 * Builds the images anew that have updates.
 * @throws StepFailed, after its message was shown, when Debian's archive does not answer or a build fails; Error when the
 *   config is refused. Nothing was changed in either case.
 */
export async function renewImages(ready: Ready): Promise<Renewed> {
  const topology = topologyOf(ready);
  const all = await candidates(ready, topology);
  const stale: Candidate[] = [];
  await runSteps([askArchive(all, stale)]);
  if (stale.length === 0) {
    say('  no image has an update: nothing is built anew');
    return { options: [], end: async () => undefined };
  }
  const base = topology.settings.baseImage;
  const oldBase = (await isMadeHere(base)) ? await imageId(base) : null;
  await runSteps(buildSteps(stale, topology));
  const renewed = await better(stale);
  if (renewed.some(({ image, before }) => image === 'haproxy' && before !== null))
    say(
      paint(
        'yellow',
        '  HAProxy has updates, so its container is replaced: all sessions end, see docs/config.md, "The one gap"',
      ),
    );
  return {
    options: renewed.flatMap(({ urn }) => (urn === undefined ? [] : [`--replace=${urn}`])),
    end: async () => {
      await checkTaken(renewed);
      for (const { before } of renewed) if (before !== null) await removeUntagged(before);
      if (oldBase !== null) await removeUntagged(oldBase);
    },
  };
}

function topologyOf({ info }: Ready): Topology {
  // Secrets are encrypted in the file; no image depends on one.
  const raw = KEY_NAMES.map((key) => [key, info.value(key, '')] as const).filter(([, value]) => value !== '');
  const { settings, problems } = checkConfig(Object.fromEntries(raw));
  if (settings === undefined) throw new Error(problemList(`The config of stack ${info.stack}`, problems));
  return buildTopology(settings, { project: info.project, stack: info.stack, projectRoot: PATHS.root });
}

async function candidates(ready: Ready, topology: Topology): Promise<Candidate[]> {
  const { known } = await readState(ready);
  return Promise.all(
    imagesOf(topology).map(async (image): Promise<Candidate> => {
      const inState = known.find(({ kind, name }) => kind === 'image' && name.endsWith(`-${imagePart(image)}`));
      const before = inState !== undefined && (await hasImage(inState.id)) ? inState.id : null;
      const tag = imageTag(image, topology.settings.namePrefix, topology.stack);
      return { image, tag, urn: inState?.urn, before, updates: [], built: '' };
    }),
  );
}

/** Asks which images have updates; one that is not there has to be built in any case. */
function askArchive(all: readonly Candidate[], stale: Candidate[]): Step {
  return {
    name: 'updates',
    run: async ({ progress }) => {
      progress("asking Debian's archive");
      const answers = await Promise.all(
        all.map(({ before }): Promise<Answer> | Answer =>
          before === null ? { kind: 'known', updates: [] } : updatesOf(before, ASK_MS),
        ),
      );
      for (const [index, answer] of answers.entries()) {
        const one = all[index];
        if (one === undefined) continue;
        if (answer.kind === 'unknown')
          throw new Error(
            `Debian's archive cannot be asked from a container (${answer.reason}), and --fresh needs it. Nothing was ` +
              'changed. Without --fresh, npm run up needs no archive for images that are there.',
          );
        if (one.before === null || answer.updates.length > 0) stale.push({ ...one, updates: answer.updates });
      }
      const words = stale.filter(({ updates }) => updates.length > 0);
      return {
        outcome: 'done',
        detail: words.map(({ image, updates }) => `\n      ${image}: ${inWords(updates)}`).join('') || 'none',
      };
    },
  };
}

function buildSteps(stale: readonly Candidate[], { settings }: Topology): Step[] {
  const base: Step = { name: 'new base image', run: (context) => renewBaseImage(settings.baseImage, context) };
  const builds = stale.map(
    (one): Step => ({
      name: `new image ${one.image}`,
      needs: [base.name],
      run: async ({ progress, signal }) => {
        const args = Object.entries(imageArgs(one.image, settings)).flatMap(([name, value]) => [
          '--build-arg',
          `${name}=${value}`,
        ]);
        const context = join(PATHS.root, imageContext(one.image));
        // Without a tag, so that the tag leads to what Pulumi has built.
        const { stdout } = await runOk('docker', ['build', '--no-cache', '--force-rm', ...args, context], {
          env: { ...process.env, DOCKER_BUILDKIT: '0' },
          ...{ deadlineMs: BUILD_MS, onLine: progress, signal },
        });
        const id = /^Successfully built (\w+)/m.exec(stdout)?.[1] ?? '';
        const built = await imageId(id);
        if (built === null) throw new Error(`the build of ${one.image} names no image: ${stdout.slice(-500)}`);
        one.built = built;
        return { outcome: 'done' };
      },
    }),
  );
  return [base, ...builds];
}

/**
 * Those whose new build has fewer updates to take. A base image may be behind the archive, and a package may be pinned.
 */
async function better(stale: readonly Candidate[]): Promise<Candidate[]> {
  const left = await Promise.all(stale.map(({ built }) => updatesOf(built, ASK_MS)));
  return stale.filter((one, index) => {
    const answer = left[index];
    const updates = answer?.kind === 'known' ? answer.updates : [];
    if (updates.length > 0)
      say(
        paint(
          'yellow',
          `  ${one.image}: neither the base image nor the config lets these be newer: ${inWords(updates)}`,
        ),
      );
    return one.before === null || updates.length < one.updates.length;
  });
}

async function checkTaken(renewed: readonly Candidate[]): Promise<void> {
  for (const { image, tag, built } of renewed)
    if ((await imageId(tag)) !== built)
      throw new Error(`Pulumi has built ${tag} from older layers than those of the new image ${image} (${built}).`);
}
