/** What earlier releases called a cluster's parts in Pulumi: without the cluster's name. */
import type { ResourceTransformation } from '@pulumi/pulumi';

/**
 * Gives every part of the cluster its former name as an alias, so that Pulumi finds in a stack of an earlier release
 * what it made, and replaces nothing. Only a program that had its cluster then needs it, as an option of the cluster
 * (`transformations`).
 *
 * @param cluster the cluster's name.
 */
export function formerNames(cluster: string): ResourceTransformation {
  const prefix = `${cluster}-`;
  return ({ name, props, opts }) =>
    name.startsWith(prefix)
      ? { props, opts: { ...opts, aliases: [...(opts.aliases ?? []), { name: name.slice(prefix.length) }] } }
      : undefined;
}
