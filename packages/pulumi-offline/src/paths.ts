/** Paths of the offline kit's files, and the versions of its parts. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join, resolve } from 'node:path';

/** Version of the CLI's Go module; the same as in `cli/go.mod`. */
export const CLI_VERSION = 'v3.274.1';

export const PROJECT_DIR = resolve(__dirname, '../..');

/** Cache folder of the user, shared by all clones of the project. */
export const CACHE_DIR = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'postgres-failover');

/** The CLI and the language host beside it (elsewhere on PATH the CLI prints a warning). */
export const CLI_DIR = join(CACHE_DIR, `pulumi-${CLI_VERSION}`);

/** Bundles belong to one clone, because they depend on its sources. */
export const BUNDLE_DIR = join(PROJECT_DIR, 'build/offline');

/** A Pulumi home for this clone alone: in ~/.pulumi the kit's plugins would shadow the vendor's. */
export const HOME_DIR = join(
  CACHE_DIR,
  'homes',
  `${basename(PROJECT_DIR)}-${createHash('sha256').update(PROJECT_DIR).digest('hex').slice(0, 12)}`,
);

/** The providers in the kit. */
export const PROVIDERS = ['docker', 'command', 'random'] as const;

/** @returns the version that the package's SDK asks the engine for, e.g. `5.2.0`. */
export function pluginVersion(provider: string): string {
  const manifest: { version: string } = JSON.parse(
    readFileSync(join(PROJECT_DIR, 'node_modules/@pulumi', provider, 'package.json'), 'utf8'),
  );
  return manifest.version;
}
