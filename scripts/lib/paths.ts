/** Paths that the commands use. */
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

export const ROOT = dirname(dirname(__dirname));
export const PATHS = {
  root: ROOT,
  bin: join(ROOT, 'node_modules', '.bin'),
  /** Staged build contexts, one folder per image. */
  images: join(ROOT, 'build', 'images'),
  /** Reports and logs of the test phases. */
  reports: join(ROOT, 'build', 'reports'),
} as const;

/** The user's cache folder for this product. Deleting it costs time, never data. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'postgres-failover');
}

/** The user's config folder for this product. It contains the passphrases. */
export function configFolder(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'postgres-failover');
}
