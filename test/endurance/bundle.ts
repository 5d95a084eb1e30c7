/** Programs that run inside a container. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { PATHS } from '../../scripts/lib/paths';
import { docker } from '../rig/docker';

/** Bundles `test/endurance/<name>.ts` and puts it into a container as `/tmp/<name>.mjs`. */
export async function putProgram(container: string, name: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'endurance-'));
  try {
    const outfile = join(folder, `${name}.mjs`);
    const js =
      "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";
    await build({
      ...{ entryPoints: [join(PATHS.root, 'test/endurance', `${name}.ts`)], outfile, bundle: true, platform: 'node' },
      ...{ format: 'esm', target: 'node24', external: ['pg-native'], loader: { '.conf': 'text', '.sql': 'text' } },
      ...{ banner: { js }, logLevel: 'silent' },
    });
    await docker('cp', outfile, `${container}:/tmp/${name}.mjs`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
