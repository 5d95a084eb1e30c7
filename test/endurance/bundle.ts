/** Programs that run inside a container. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle } from '../../scripts/lib/staging';
import { docker } from '../rig/docker';

/** Bundles `test/endurance/<name>.ts` and puts it into a container as `/tmp/<name>.mjs`. */
export async function putProgram(container: string, name: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'endurance-'));
  try {
    const outfile = join(folder, `${name}.mjs`);
    writeFileSync(outfile, await bundle(`test/endurance/${name}.ts`));
    await docker('cp', outfile, `${container}:/tmp/${name}.mjs`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
