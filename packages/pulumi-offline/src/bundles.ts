/**
 * Bundles the providers and the language host into one file each, so that a plugin starts in a fraction of a second.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BUNDLE_DIR, PROJECT_DIR } from './paths';

const SOURCE_DIR = join(PROJECT_DIR, 'scripts/offline');

export interface Bundles {
  provider: string;
  languageHost: string;
}

/** Bundles again when a source or a locked dependency has changed. */
export async function makeBundles(): Promise<Bundles> {
  const bundles = { provider: join(BUNDLE_DIR, 'provider.js'), languageHost: join(BUNDLE_DIR, 'language-host.js') };
  const stamp = join(BUNDLE_DIR, 'sources.sha256');
  const digest = sourceDigest();
  const isFresh =
    existsSync(stamp) && readFileSync(stamp, 'utf8') === digest && Object.values(bundles).every(existsSync);
  if (isFresh) return bundles;

  // Loaded only when needed: it costs more than all the rest here.
  const { build } = await import('esbuild');
  const temporary = `${BUNDLE_DIR}.${process.pid}`;
  try {
    await build({
      entryPoints: {
        provider: join(SOURCE_DIR, 'provider/main.ts'),
        'language-host': join(SOURCE_DIR, 'language-host/main.ts'),
      },
      outdir: temporary,
      bundle: true,
      platform: 'node',
      target: 'node22',
      // Nothing needs source maps: the sources are beside the bundles.
      sourcemap: false,
      logLevel: 'warning',
      // A daemon over SSH is not supported, and ssh2 contains machine code.
      alias: { ssh2: join(SOURCE_DIR, 'no-ssh.ts') },
    });
    mkdirSync(BUNDLE_DIR, { recursive: true });
    for (const file of readdirSync(temporary)) renameSync(join(temporary, file), join(BUNDLE_DIR, file));
    writeFileSync(stamp, digest);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return bundles;
}

function sourceDigest(): string {
  const hash = createHash('sha256');
  const sources = readdirSync(SOURCE_DIR, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  for (const file of [
    ...sources.sort().map((name) => join(SOURCE_DIR, name)),
    join(PROJECT_DIR, 'package-lock.json'),
  ]) {
    hash.update(file).update(readFileSync(file));
  }
  return hash.digest('hex');
}
