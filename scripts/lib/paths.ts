/** Where the commands find and put things. */
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

export const ROOT = dirname(dirname(__dirname));
export const PATHS = {
  root: ROOT,
  bin: join(ROOT, 'node_modules', '.bin'),
  /** Staged build contexts, one folder an image. */
  images: join(ROOT, 'build', 'images'),
  /** What the test phases write: reports and logs. */
  reports: join(ROOT, 'build', 'reports'),
} as const;

/** The user's cache folder of this product. Throwing it away costs time, never data. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'postgres-failover');
}

/** The user's config folder of this product: passphrases live here. */
export function configFolder(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'postgres-failover');
}
