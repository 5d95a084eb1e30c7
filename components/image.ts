/**
 * Images are built from the staged folders `build/images/<name>` on the local engine and never pushed. The classic
 * builder is used because it needs no plugin and sees base images that exist on this engine only.
 */
import * as docker from '@pulumi/docker';
import type * as pulumi from '@pulumi/pulumi';
import { type ImageName, imageContext, imageTag } from '../stack/naming';
import type { Topology } from '../stack/topology';

/**
 * Builds one image. Containers refer to its `repoDigest` (for an unpushed image the local image id), never to the
 * tag, so that they are replaced when the content changes and only then.
 *
 * @param platform the engine's own, for example `linux/arm64`; unset, the provider warns on every run.
 */
export function buildImage(
  image: ImageName,
  topology: Topology,
  platform: string,
  opts: pulumi.CustomResourceOptions,
): docker.Image {
  return new docker.Image(
    `${image}-image`,
    {
      imageName: imageTag(image, topology.prefix, topology.stack),
      skipPush: true,
      build: {
        context: imageContext(image),
        args: { BASE_IMAGE: topology.baseImage },
        builderVersion: docker.BuilderVersion.BuilderV1,
        platform,
      },
    },
    opts,
  );
}
