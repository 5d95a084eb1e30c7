/** The build arguments of the images: what the config says of their content. */
import type { Settings } from './config';
import { IMAGES, type ImageName } from './naming';
import type { Topology } from './topology';

/**
 * Build arguments of an image, by the names in its Dockerfile. An empty list is no argument, so that the image stays as
 * it was.
 */
export function imageArgs(image: ImageName, settings: Settings): Record<string, string> {
  const { baseImage, extraPackages, locales } = settings;
  const lists = image === 'postgres' ? { EXTRA_PACKAGES: extraPackages, LOCALES: locales } : {};
  const given = Object.entries(lists).filter(([, words]) => words.length > 0);
  return { BASE_IMAGE: baseImage, ...Object.fromEntries(given.map(([name, words]) => [name, words.join(' ')])) };
}

/** The images that a stack has. */
export function imagesOf({ backends, prometheus, pgadmin, pooler }: Topology): ImageName[] {
  const unused: ImageName[] = [
    ...(backends.length === 0 ? (['backend'] as const) : []),
    ...(prometheus === undefined ? (['prometheus'] as const) : []),
    ...(pgadmin === undefined ? (['pgadmin'] as const) : []),
    ...(pooler === undefined ? (['pooler'] as const) : []),
  ];
  return IMAGES.filter((image) => !unused.includes(image));
}
