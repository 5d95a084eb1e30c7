import { join } from 'node:path';
import { build, type Metafile } from 'esbuild';

/** What a bundle of a program of the repository is made of; packages stay imports. */
export async function metafileOf(entry: string): Promise<Metafile> {
  const { metafile } = await build({
    ...{ entryPoints: [entry], absWorkingDir: join(__dirname, '../..'), bundle: true, write: false, metafile: true },
    ...{ packages: 'external', platform: 'node', format: 'cjs', target: 'node24', logLevel: 'silent' },
    loader: { '.conf': 'text', '.sql': 'text', '.html': 'text', '.css': 'text', '.cfg': 'text' },
  });
  return metafile;
}
