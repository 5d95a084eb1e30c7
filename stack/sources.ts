/**
 * The digest of all that the images are staged from. Staging keeps it beside the contexts, and the program compares:
 * after `git pull` a plain `pulumi up` would deploy the contexts of before.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Folders and files of the repository from which images are staged, as far as they change with a release. */
const SOURCES = [
  'backend/app',
  'backend/pyproject.toml',
  'backend/requirements.lock',
  'cli',
  'failover',
  'images',
  'monitoring/alerts.yml',
  'package-lock.json',
  'scripts/lib',
  'stack',
  'templates',
];
/** By-products of tools. */
const LEFT_OUT = new Set(['__pycache__', '.pytest_cache', '.mypy_cache', '.ruff_cache', '.venv', '.DS_Store']);

/** File with the digest, in the folder of the staged images. */
export const SOURCES_STAMP = 'sources.sha256';

/** Digest of the sources below the repository's folder. */
export function sourcesDigest(root: string): string {
  const hash = createHash('sha256');
  for (const path of SOURCES)
    for (const file of filesOf(root, path)) hash.update(`${file}\0`).update(readFileSync(join(root, file)));
  return hash.digest('hex');
}

/**
 * Whether the images below `folder` were staged from other sources than those of now. False where that cannot be said:
 * without the digest, or without the sources.
 */
export function isStale(root: string, folder: string): boolean {
  const stamp = join(root, folder, SOURCES_STAMP);
  if (!existsSync(stamp) || !existsSync(join(root, 'failover'))) return false;
  return readFileSync(stamp, 'utf8').trim() !== sourcesDigest(root);
}

function filesOf(root: string, path: string): string[] {
  const stat = statSync(join(root, path), { throwIfNoEntry: false });
  if (stat === undefined) return [];
  if (!stat.isDirectory()) return path.endsWith('.pyc') ? [] : [path];
  const names = readdirSync(join(root, path)).filter((name) => !LEFT_OUT.has(name));
  return names.sort().flatMap((name) => filesOf(root, join(path, name)));
}
