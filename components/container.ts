/**
 * Settings that all containers have in common, in the form that the Docker provider reads back unchanged, so that it
 * shows no difference.
 */
import type * as docker from '@pulumi/docker';
import type * as pulumi from '@pulumi/pulumi';
import { labels } from '../stack/naming';

/**
 * Inputs of every container: a reaping init as PID 1 (S25), no capability, no way to gain one, bounded logs.
 * `always` restarts a process that crashed, while `docker stop` and `docker kill` hold until the engine starts anew. Not
 * `unless-stopped`: an engine that crashed stops what still runs, takes that for deliberate, and leaves the stack down.
 */
export function containerDefaults(stackLabel: string, role: string) {
  return {
    init: true,
    restart: 'always',
    capabilities: { drops: ['ALL'] },
    securityOpts: ['no-new-privileges:true'],
    labels: labels(stackLabel, role),
    logDriver: 'json-file',
    logOpts: { 'max-file': '3', 'max-size': '10m' },
  };
}

/**
 * Options of every container. A fixed name can exist only once, so the old container is removed before the new one is
 * created. The provider reports changes of the listed inputs as updates but does not change the container, so these
 * inputs replace it.
 */
export function containerOptions(
  parent: pulumi.Resource,
  dependsOn: pulumi.Input<pulumi.Input<pulumi.Resource>[]> = [],
): pulumi.CustomResourceOptions {
  return {
    parent,
    dependsOn,
    deleteBeforeReplace: true,
    replaceOnChanges: ['healthcheck', 'init', 'mounts', 'tmpfs'],
  };
}

/**
 * Options of every volume. A changed label would delete the volume with its data, so label changes are ignored.
 *
 * @param retain keep the volume (it holds data) when the stack is destroyed.
 */
export function volumeOptions(parent: pulumi.Resource, retain: boolean): pulumi.CustomResourceOptions {
  return { parent, retainOnDelete: retain, deleteBeforeReplace: true, ignoreChanges: ['labels'] };
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
