/** `docker.Image`: built by the daemon's first builder from a local context, and never pushed. */

import { existsSync } from 'node:fs';
import { posix } from 'node:path';
import { createInterface } from 'node:readline';
import { within } from '../operations';
import type { Operation, ResourceKind } from '../resource-kind';
import { flag, hasUnknown, object, type Props, text, textMap } from '../values';
import { contextArchive, contextDigest, relativeTo } from './build-context';
import { ask, askMaybe, daemon } from './daemon';

/** Lines of a failed build that are shown with its error. */
const ERROR_LINES = 20;

export const image: ResourceKind = {
  type: 'docker:index/image:Image',
  // A change of any of these inputs rebuilds the image in place. Containers follow the digest.
  rules: { imageName: {}, build: { exact: true }, skipPush: {}, buildOnPreview: {}, registry: {} },
  deleteBeforeReplace: () => false,
  secretOutputs: ['__inputs'],
  check,
  inputsOf: (outputs) => object(outputs, '__inputs'),
  create: async (inputs, operation) => ({ id: nameOf(inputs), outputs: await build(inputs, operation) }),
  read,
  update: (_id, _olds, news, operation) => build(news, operation),
  changedByUpdate: ['repoDigest', '__inputs'],
  // The vendor's provider does not remove images either, because other containers may use them.
  remove: async () => undefined,
};

/** Adds the inputs that the vendor's provider adds, above all the digest of the context. */
async function check(inputs: Props): Promise<Props> {
  const build = object(inputs, 'build') ?? {};
  if (hasUnknown(build.context) || hasUnknown(build.dockerfile)) return inputs;
  if (inputs.registry) throw new Error('registry: the offline kit does not push images');
  if (flag(inputs, 'skipPush') !== true) throw new Error('skipPush must be true: the offline kit does not push images');
  if (text(build, 'builderVersion') !== 'BuilderV1') {
    throw new Error('build.builderVersion must be BuilderV1: the offline kit has no other builder');
  }
  const context = text(build, 'context') ?? '.';
  const dockerfile = text(build, 'dockerfile') ?? posix.join(context, 'Dockerfile');
  if (!existsSync(context)) throw new Error(`build.context: there is no folder ${context}`);
  if (!existsSync(dockerfile)) throw new Error(`build.dockerfile: there is no file ${dockerfile}`);
  const platform = text(build, 'platform') ?? `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`;
  const complete = { ...build, context, dockerfile, platform, contextDigest: contextDigest({ context, dockerfile }) };
  return { ...inputs, build: complete, buildOnPreview: flag(inputs, 'buildOnPreview') ?? false };
}

function nameOf(inputs: Props): string {
  const name = text(inputs, 'imageName');
  if (name === undefined) throw new Error('imageName must be given');
  return name;
}

async function build(inputs: Props, operation: Operation): Promise<Props> {
  const name = nameOf(inputs);
  const options = object(inputs, 'build') ?? {};
  const context = text(options, 'context') ?? '.';
  const path = text(options, 'dockerfile') ?? posix.join(context, 'Dockerfile');
  const doing = `build the image ${name}`;
  const { archive, dockerfile } = contextArchive({ context, dockerfile: path });
  const output = await ask(
    doing,
    daemon().buildImage(archive, {
      t: name,
      dockerfile,
      buildargs: textMap(options, 'args'),
      target: text(options, 'target'),
      networkmode: text(options, 'network'),
      platform: text(options, 'platform'),
      // Otherwise each step leaves a stopped container.
      rm: true,
      forcerm: true,
      abortSignal: operation.signal,
    }),
  );
  await within(operation.signal, follow(output, doing, operation));
  const built = await ask(`look at the image ${name}`, daemon().getImage(name).inspect());
  return {
    baseImageName: name,
    context,
    dockerfile: relativeTo(context, path),
    imageName: name,
    platform: text(options, 'platform') ?? '',
    registryServer: '',
    repoDigest: built.Id,
    __inputs: inputs,
  };
}

/** Shows the builder's output. @throws with its last lines when it fails */
async function follow(output: NodeJS.ReadableStream, doing: string, operation: Operation): Promise<void> {
  const lines: string[] = [];
  for await (const message of createInterface(output)) {
    if (message.trim() === '') continue;
    const { stream, status, error }: { stream?: string; status?: string; error?: string } = JSON.parse(message);
    if (error !== undefined) throw new Error(`cannot ${doing}: ${error}\n${lines.join('\n')}`);
    for (const line of (stream ?? status ?? '').split(/[\r\n]+/).filter((part) => part.trim() !== '')) {
      lines.push(line);
      if (lines.length > ERROR_LINES) lines.shift();
      operation.progress(line);
    }
  }
}

/**
 * If a person moved the tag to another image, the image counts as removed. It is built again, and the other image is
 * not adopted.
 */
async function read(_id: string, outputs: Props, operation: Operation): Promise<Props | undefined> {
  const name = text(outputs, 'imageName') ?? '';
  const found = await within(
    operation.signal,
    askMaybe(`look at the image ${name}`, daemon().getImage(name).inspect()),
  );
  return found?.Id === outputs.repoDigest ? outputs : undefined;
}
