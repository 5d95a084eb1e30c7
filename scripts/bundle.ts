/**
 * Stages the build contexts of all images in `build/images/<name>`: the image's own folder and the other files that the
 * image contains, nothing else. Content and modes depend only on the sources, and a file is written only when it
 * changed. So an image is rebuilt exactly when one of its files is new.
 */
import { messageOf } from '../failover/contract/errors';
import { bundleImages } from './lib/staging';
import { say } from './lib/terminal';

async function main(): Promise<void> {
  const staged = await bundleImages();
  for (const { image, changed } of staged) say(`${image}: ${changed.length === 0 ? 'unchanged' : changed.join(', ')}`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
});
