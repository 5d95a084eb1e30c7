/** Paths that the commands use. */
import { existsSync, mkdtempSync, rmdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { messageOf } from '../../failover/contract/errors';

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

/**
 * Checks that the folders of this product exist or can be made. Node's own `mkdir` with `recursive` never ends under a
 * HOME such as /proc, where making a folder fails with the error that it does not exist.
 * @throws Error that names the folder, the reason and the variables that choose it.
 */
export function requireFolders(env: NodeJS.ProcessEnv = process.env): void {
  for (const [folder, variable] of [
    [cacheFolder(env), 'XDG_CACHE_HOME'],
    [configFolder(env), 'XDG_CONFIG_HOME'],
  ] as const) {
    if (existsSync(folder)) continue;
    let above = dirname(folder);
    while (!existsSync(above)) above = dirname(above);
    try {
      rmdirSync(mkdtempSync(join(above, '.postgres-failover-')));
    } catch (error) {
      throw new Error(
        `${folder} cannot be made (${messageOf(error)}): set HOME or ${variable} to a folder that you may write to`,
      );
    }
  }
}
