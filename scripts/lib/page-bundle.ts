/** Bundles the status page for a browser: one script made of its modules, beside the files that stay unchanged. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PageFiles } from '../../failover/contract/layout';
import { PATHS } from './paths';

const FOLDER = 'failover/page';

/** Bundles the page of this tree. @throws Error when it does not compile. */
export async function bundlePage(root: string = PATHS.root): Promise<PageFiles> {
  // Loaded only here: most commands bundle nothing.
  const { build } = await import('esbuild');
  const result = await build({
    entryPoints: [join(FOLDER, 'main.ts')],
    absWorkingDir: root,
    bundle: true,
    write: false,
    platform: 'browser',
    target: 'es2023',
    format: 'iife',
    legalComments: 'none',
    logLevel: 'silent',
  });
  const [script] = result.outputFiles;
  if (script === undefined) throw new Error(`${FOLDER} gave no script`);
  const read = (name: string) => readFileSync(join(root, FOLDER, name), 'utf8');
  return {
    'index.html': read('index.html'),
    'page.css': read('page.css'),
    'icon.svg': read('icon.svg'),
    'page.js': script.text,
  };
}
