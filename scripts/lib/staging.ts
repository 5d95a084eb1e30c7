/** Stages build contexts: the files of each image, written the same way every time. See `scripts/bundle.ts`. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import type { ImageName } from '../../stack/naming';
import { SOURCES_STAMP, sourcesDigest } from '../../stack/sources';
import { bundlePage } from './page-bundle';
import { PATHS } from './paths';

/** One file of a build context. */
export interface StagedFile {
  content: Buffer;
  executable: boolean;
}

/** A build context: path inside it → file. */
export type Context = Map<string, StagedFile>;

interface ImageSource {
  /** TypeScript entry points, each bundled into one file, and that file's name. */
  bundles?: readonly { entry: string; as: string }[];
  /** The image contains the status page in the folder `page`. */
  page?: true;
  /** Files and folders of the repository that are copied under their base names. */
  copy?: readonly string[];
}

/** The images. Each contains all of `images/<name>` and the files that are listed here. */
const IMAGES: Readonly<Record<ImageName, ImageSource>> = {
  postgres: { bundles: [{ entry: 'failover/keeper/main.ts', as: 'keeper.mjs' }] },
  haproxy: {},
  monitor: {
    bundles: [
      { entry: 'failover/monitor/main.ts', as: 'monitor.mjs' },
      { entry: 'cli/inside.ts', as: 'cli.mjs' },
    ],
    page: true,
  },
  backend: { copy: ['backend/app', 'backend/pyproject.toml', 'backend/requirements.lock'] },
  prometheus: { copy: ['monitoring/alerts.yml'] },
  pgadmin: {},
  pooler: { bundles: [{ entry: 'failover/pooler/main.ts', as: 'pooler.mjs' }] },
};

/** Files that tools create beside the sources. They are never a part of an image. */
const LEFT_OUT = new Set(['__pycache__', '.pytest_cache', '.mypy_cache', '.ruff_cache', '.venv', '.DS_Store']);

/** Modes of what is staged. The containers' users read it with the permissions of "others". */
const MODES = { folder: 0o755, executable: 0o755, file: 0o644 } as const;

/** Bundled code is ESM, but some packages in it still call `require`. */
const REQUIRE_BANNER =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";

/** Target of the bundles: the Node version of the images. */
const NODE_TARGET = 'node24';

/** Stages every image that has a folder. Returns the paths that were written or removed, per image. */
export async function bundleImages(
  root: string = PATHS.root,
  target: string = PATHS.images,
): Promise<{ image: string; changed: string[] }[]> {
  const digest = sourcesDigest(root);
  const staged = await Promise.all(
    (Object.keys(IMAGES) as ImageName[]).map(async (image) => ({
      image,
      changed: await stageImage(image, join(target, image), root),
    })),
  );
  writeFileSync(join(target, SOURCES_STAMP), `${digest}\n`);
  return staged;
}

/** Stages one image into a folder, which then contains nothing else. Returns the paths that were written or removed. */
export async function stageImage(image: ImageName, folder: string, root: string = PATHS.root): Promise<string[]> {
  const source = IMAGES[image];
  const context: Context = new Map();
  addTree(context, join(root, 'images', image), '');
  for (const path of source.copy ?? []) addTree(context, join(root, path), basename(path));
  for (const { entry, as } of source.bundles ?? [])
    context.set(as, { content: await bundle(entry, root), executable: false });
  if (source.page)
    for (const [name, text] of Object.entries(await bundlePage(root)))
      context.set(join('page', name), { content: Buffer.from(text), executable: false });
  return writeContext(folder, context);
}

/**
 * Adds a file, or a folder with everything below it. A script is what begins with `#!`: the modes of a checkout depend
 * on the person's umask and on how the files came here.
 */
export function addTree(context: Context, path: string, as: string): void {
  if (LEFT_OUT.has(basename(path)) || path.endsWith('.pyc')) return;
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new Error(`${relative(PATHS.root, path)} is missing: an image is built from it`);
  if (stat.isDirectory())
    for (const name of readdirSync(path).sort()) addTree(context, join(path, name), as === '' ? name : join(as, name));
  else {
    const content = readFileSync(path);
    context.set(as, { content, executable: content.toString('latin1', 0, 2) === '#!' });
  }
}

/** Bundles an entry point and its imports into one ESM file. Templates and pages are included as text. */
export async function bundle(entry: string, root: string = PATHS.root): Promise<Buffer> {
  const text = { '.conf': 'text', '.sql': 'text', '.html': 'text', '.css': 'text', '.cfg': 'text' } as const;
  // Loaded only here: most commands stage nothing.
  const { build } = await import('esbuild');
  const result = await build({
    entryPoints: [entry],
    absWorkingDir: root,
    bundle: true,
    write: false,
    platform: 'node',
    target: NODE_TARGET,
    format: 'esm',
    // pg uses it if it is installed, and it never is.
    external: ['pg-native'],
    banner: { js: REQUIRE_BANNER },
    loader: text,
    legalComments: 'none',
    logLevel: 'silent',
  });
  const [file] = result.outputFiles;
  if (!file) throw new Error(`${entry} gave no bundle`);
  return Buffer.from(file.contents);
}

/**
 * Makes a folder contain exactly the context: writes new or different files, removes all others, and changes nothing
 * else. Every user may read what is in it, whatever the umask is, because images keep the modes and run as another
 * user. Returns the paths that it wrote or removed, sorted.
 */
export function writeContext(folder: string, context: Context): string[] {
  const changed: string[] = [];
  for (const path of existsSync(folder) ? filesBelow(folder) : [])
    if (!context.has(path)) {
      rmSync(join(folder, path));
      changed.push(path);
    }
  for (const [path, file] of context) {
    const target = join(folder, path);
    makeFolders(folder, dirname(path));
    const mode = file.executable ? MODES.executable : MODES.file;
    const stat = statSync(target, { throwIfNoEntry: false });
    if (stat?.isFile() && (stat.mode & 0o777) === mode && readFileSync(target).equals(file.content)) continue;
    // Renamed into place, so that a build that runs at the same time never reads half a file.
    const half = `${target}.${process.pid}.new`;
    writeFileSync(half, file.content);
    chmodSync(half, mode);
    renameSync(half, target);
    changed.push(path);
  }
  return changed.sort();
}

/** Makes a folder of a context. It and those above it in the context get the mode that the umask may have narrowed. */
function makeFolders(folder: string, path: string): void {
  mkdirSync(join(folder, path), { recursive: true });
  for (let inside = path; inside !== '.'; inside = dirname(inside)) {
    const target = join(folder, inside);
    if ((statSync(target).mode & 0o777) !== MODES.folder) chmodSync(target, MODES.folder);
  }
}

function filesBelow(folder: string, prefix = ''): string[] {
  return readdirSync(join(folder, prefix), { withFileTypes: true }).flatMap((entry) => {
    const path = join(prefix, entry.name);
    return entry.isDirectory() ? filesBelow(folder, path) : [path];
  });
}
