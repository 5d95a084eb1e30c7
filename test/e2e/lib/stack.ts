/** The end-to-end test's own stack, beside the dev stack's ports and names, so that neither disturbs the other. */

import { imageTags, removeImage } from '../../../scripts/lib/docker';
import { IMAGES, imageTag } from '../../../stack/naming';
import { docker } from '../../rig/docker';
import { OwnStack } from '../../rig/stack';

export const own = new OwnStack({
  ...{ name: 'e2e', ports: 15_000, subnet: '10.216.43' },
  config: { backendReplicas: '2' },
});
export const STACK = own.seen;
export const container = (name: string): string => own.container(name);

/** Tag that keeps the layers during the test. While it is there `destroy` takes the builds' leftovers for another stack's. */
const KEPT = 'e2e-kept-layers';

/** Keeps the images' layers under other names, so that an `up` after a `destroy` need not build them anew. */
export async function keepLayers(): Promise<void> {
  // Those of what is optional were not built.
  for (const image of IMAGES)
    for (const tag of await imageTags(imageTag(image, own.prefix, own.name)))
      await docker('tag', tag, `postgres-failover/${image}:${KEPT}`);
}

export async function dropLayers(): Promise<void> {
  for (const tag of await imageTags(`postgres-failover/*:${KEPT}`)) await removeImage(tag);
}
