/**
 * Stages the build contexts of all images in `build/images/<name>`: the folder's own files and what the image carries
 * besides, nothing else. Content and modes depend on the sources alone, and a file is written only when it changed, so
 * that an image is built anew exactly when something in it is new.
 */
import { bundleImages } from './lib/staging';
import { say } from './lib/terminal';

async function main(): Promise<void> {
  const staged = await bundleImages();
  for (const { image, changed } of staged) say(`${image}: ${changed.length === 0 ? 'unchanged' : changed.join(', ')}`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
