/**
 * Bundles the providers and the language host into one file each, so that a plugin starts in a fraction of a second.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KitPaths } from './place';

export interface Bundles {
  provider: string;
  languageHost: string;
}

/** Bundles again when a source or a locked dependency has changed. */
export async function makeBundles({ projectDir, bundleDir }: KitPaths): Promise<Bundles> {
  const bundles = { provider: join(bundleDir, 'provider.js'), languageHost: join(bundleDir, 'language-host.js') };
  const stamp = join(bundleDir, 'sources.sha256');
  const digest = sourceDigest(projectDir);
  const isFresh =
    existsSync(stamp) && readFileSync(stamp, 'utf8') === digest && Object.values(bundles).every(existsSync);
  if (isFresh) return bundles;

  // Loaded only when needed: it costs more than all the rest here.
  const { build } = await import('esbuild');
  const temporary = `${bundleDir}.${process.pid}`;
  try {
    await build({
      entryPoints: {
        provider: join(__dirname, 'provider/main.ts'),
        'language-host': join(__dirname, 'language-host/main.ts'),
      },
      outdir: temporary,
      bundle: true,
      platform: 'node',
      target: 'node22',
      // Nothing needs source maps: the sources are beside the bundles.
      sourcemap: false,
      logLevel: 'warning',
      // A daemon over SSH is not supported, and ssh2 contains machine code.
      alias: { ssh2: join(__dirname, 'no-ssh.ts') },
    });
    mkdirSync(bundleDir, { recursive: true });
    for (const file of readdirSync(temporary)) renameSync(join(temporary, file), join(bundleDir, file));
    writeFileSync(stamp, digest);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return bundles;
}

function sourceDigest(projectDir: string): string {
  const hash = createHash('sha256');
  const sources = readdirSync(__dirname, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  for (const file of [...sources.sort().map((name) => join(__dirname, name)), join(projectDir, 'package-lock.json')]) {
    hash.update(file).update(readFileSync(file));
  }
  return hash.digest('hex');
}
