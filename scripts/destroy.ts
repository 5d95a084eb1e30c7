/**
 * `npm run destroy [-- --stack NAME] [--volumes]`: removes the stack and the images that were built for it. The data
 * stays unless `--volumes` is given, and the command names what stays. Only objects with the stack's label or tag are
 * touched.
 */
import { IMAGES, imageTag } from '../stack/naming';
import { asksForHelp, splitStack, takeFlag } from './lib/arguments';
import { isMadeHere } from './lib/base-image';
import { runCommand } from './lib/command';
import {
  hasImage,
  imageTags,
  removeBuildContainers,
  removeImage,
  removeUntaggedImages,
  removeVolume,
  volumesOf,
} from './lib/docker';
import { clearHalfMade, unlock } from './lib/mend';
import { runPulumi } from './lib/run-pulumi';
import { setUp } from './lib/setup';
import { optionOf, type StackInfo, stackLabel } from './lib/stack';
import { paint, say } from './lib/terminal';

async function main(args: string[]): Promise<number> {
  const { stack, rest: all } = splitStack(args);
  const { isGiven: withVolumes, rest } = takeFlag(all, '--volumes');
  const ready = await setUp(stack, 'destroy');
  await unlock(ready);
  await clearHalfMade(ready);
  const volumes = await volumesOf(stackLabel(ready.info));
  if (withVolumes && volumes.length > 0)
    say(paint('yellow', `These volumes are removed with the stack, and their data is lost: ${volumes.join(', ')}`));
  const code = await runPulumi(ready, ['destroy', '--stack', stack, '--yes', '--skip-preview', ...rest]);
  if (code !== 0 || asksForHelp(rest)) return code;
  await removeBuildContainers();
  await removeImages(ready.info);
  if (withVolumes) await removeData(ready.info);
  else await nameWhatStays(ready.info);
  return 0;
}

/** Removes the stack's images and, when no other stack has images, the untagged images of their builds. */
async function removeImages(info: StackInfo): Promise<void> {
  const prefix = info.value('namePrefix', '');
  for (const image of IMAGES) {
    const tag = imageTag(image, prefix, info.stack);
    if ((await hasImage(tag)) && !(await removeImage(tag)))
      say(paint('yellow', `${tag} stays: another container or image uses it.`));
  }
  if (!(await othersHaveImages())) await removeUntaggedImages();
}

async function othersHaveImages(): Promise<boolean> {
  return (await imageTags('postgres-failover/*')).length > 0;
}

/** Removes the volumes. Also removes the base image, if set-up made it and no other stack uses it. */
async function removeData(info: StackInfo): Promise<void> {
  const removed = await volumesOf(stackLabel(info));
  for (const volume of removed) await removeVolume(volume);
  const base = info.value('baseImage', 'debian:trixie-slim');
  const made = !(await othersHaveImages()) && (await isMadeHere(base));
  if (made && (await removeImage(base))) removed.push(base);
  say(removed.length > 0 ? `Removed: ${removed.join(', ')}` : 'Nothing was left to remove.');
}

async function nameWhatStays(info: StackInfo): Promise<void> {
  const volumes = await volumesOf(stackLabel(info));
  if (volumes.length === 0) return;
  const option = optionOf(info);
  say(`The data stays: ${volumes.join(', ')}`);
  say(`\`npm run up\` finds it again; to remove it too: npm run destroy --${option} --volumes`);
}

void runCommand(main);
