import { join } from 'node:path';
import { build, type Metafile } from 'esbuild';

/** Bundles a program of the repository in memory and describes the bundle. Packages stay imports. */
export async function metafileOf(entry: string): Promise<Metafile> {
  const { metafile } = await build({
    ...{ entryPoints: [entry], absWorkingDir: join(__dirname, '../..'), bundle: true, write: false, metafile: true },
    ...{ packages: 'external', platform: 'node', format: 'cjs', target: 'node24', logLevel: 'silent' },
    loader: { '.conf': 'text', '.sql': 'text', '.html': 'text', '.css': 'text', '.cfg': 'text' },
  });
  return metafile;
}
