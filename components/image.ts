/**
 * Images are built from the staged folders `build/images/<name>` on the local engine and never pushed. The classic
 * builder is used because it needs no plugin and sees base images that exist on this engine only.
 */
import * as docker from '@pulumi/docker';
import type * as pulumi from '@pulumi/pulumi';

export interface BuiltImageArgs {
  /** Tag of the image. */
  readonly tag: string;
  /** Folder with the Dockerfile and all that it copies; relative to the program's folder. */
  readonly context: string;
  /** Build arguments, by the names in the Dockerfile; `imageArgs` gives them. */
  readonly args: Readonly<Record<string, string>>;
  /** The engine's own platform, for example `linux/arm64`; unset, the provider warns on every run. */
  readonly platform: string;
}

/**
 * Builds one image. Containers refer to its `repoDigest` (for an unpushed image the local image id), never to the
 * tag, so that they are replaced when the content changes and only then.
 */
export function buildImage(name: string, args: BuiltImageArgs, opts: pulumi.CustomResourceOptions): docker.Image {
  return new docker.Image(
    name,
    {
      imageName: args.tag,
      skipPush: true,
      build: {
        context: args.context,
        args: { ...args.args },
        builderVersion: docker.BuilderVersion.BuilderV1,
        platform: args.platform,
      },
    },
    opts,
  );
}
