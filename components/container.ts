/**
 * Settings that all containers have in common, in the form that the Docker provider reads back unchanged, so that it
 * shows no difference.
 */
import * as docker from '@pulumi/docker';
import type * as pulumi from '@pulumi/pulumi';
import { labels } from '../stack/naming';

/** Arguments that every component with a container takes. */
export interface ContainerArgs {
  /** Container name. */
  readonly name: string;
  /** Image reference that changes with the content (`repoDigest`). */
  readonly image: pulumi.Input<string>;
  /** Value of the label on everything that belongs to the stack: `<project>/<stack>`. */
  readonly stackLabel: string;
}

/** A port that a component publishes on the host. */
export interface PublishedPortArgs {
  /** Host address on which the component publishes its ports. */
  readonly bindAddress: string;
  /** Host port. */
  readonly port: number;
}

interface OwnInputs extends Omit<docker.ContainerArgs, 'image' | 'name' | 'labels'> {
  /** Value of the label with the container's purpose. */
  readonly role: string;
  /** How long Docker waits for the process to end, seconds. */
  readonly stopSeconds: number;
  /** Resources that must be there before. */
  readonly after?: readonly pulumi.Resource[];
}

/**
 * A container, with what all have in common: a reaping init as PID 1 (S25), no capability, no way to gain one, bounded
 * logs. `always` restarts a process that crashed, while `docker stop` and `docker kill` hold until the engine restarts.
 * Not `unless-stopped`: an engine that crashed stops what still runs, takes that for deliberate, and leaves the stack
 * down.
 *
 * A fixed name can exist only once, so the old container is removed before the new one is created. The provider reports
 * changes of the inputs in `replaceOnChanges` as updates but does not change the container, so they replace it; it
 * would change the memory limit, but a program takes its memory by the limit at its start.
 */
export function makeContainer(
  parent: pulumi.Resource,
  name: string,
  args: ContainerArgs,
  { role, stopSeconds, after = [], ...inputs }: OwnInputs,
): docker.Container {
  return new docker.Container(
    name,
    {
      name: args.name,
      image: args.image,
      init: true,
      restart: 'always',
      capabilities: { drops: ['ALL'] },
      securityOpts: ['no-new-privileges:true'],
      labels: labels(args.stackLabel, role),
      logDriver: 'json-file',
      logOpts: { 'max-file': '3', 'max-size': '10m' },
      stopTimeout: stopSeconds,
      destroyGraceSeconds: stopSeconds,
      ...inputs,
    },
    {
      parent,
      dependsOn: [...after],
      deleteBeforeReplace: true,
      replaceOnChanges: ['healthcheck', 'init', 'memory', 'mounts', 'tmpfs'],
      // The daemon chooses it when there is a limit of the memory.
      ignoreChanges: ['memorySwap'],
    },
  );
}

/**
 * A volume. A changed label would delete the volume with its data, so label changes are ignored. `keep`: it holds data,
 * so it stays when the stack is destroyed.
 */
export function makeVolume(
  parent: pulumi.Resource,
  part: string,
  { keep, ...args }: docker.VolumeArgs & { readonly keep: boolean },
): docker.Volume {
  return new docker.Volume(part, args, {
    parent,
    retainOnDelete: keep,
    deleteBeforeReplace: true,
    ignoreChanges: ['labels'],
  });
}

/** A port of a container, published on the host. */
export function publishedPort(internal: number, { bindAddress, port }: PublishedPortArgs) {
  return { internal, external: port, ip: bindAddress, protocol: 'tcp' };
}

/** A volume in a container. */
export function volumeMount(volume: docker.Volume, target: string) {
  return { type: 'volume', source: volume.name, target };
}

/**
 * A secret file in a container. The daemon stores uploads with root as the owner, and the process runs as another user.
 * So the file is readable to all inside the container, which runs one process under one user.
 */
export function secretFile(file: string, content: pulumi.Input<string>) {
  return { file, content, permissions: '0444' };
}
