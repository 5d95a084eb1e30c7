/** A build context: its files, their digest in the vendor's format, and their archive. */
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync, type Stats } from 'node:fs';
import { isAbsolute, join, posix, relative, sep } from 'node:path';
import ignore, { type Ignore } from '@balena/dockerignore';
import { pack } from 'tar-stream';

interface Entry {
  /** Relative to the context, with slashes. */
  name: string;
  path: string;
  stats: Stats;
}

export interface BuildContext {
  context: string;
  /** Relative to the working directory, as in the program. */
  dockerfile: string;
}

/**
 * The digest that the vendor's provider calls `contextDigest`. It covers the Dockerfile and then, for each file that is
 * not ignored, its name, its mode as Go writes it, the hash of its content (of a link's target), and a zero byte.
 */
export function contextDigest({ context, dockerfile }: BuildContext): string {
  const all = createHash('sha256');
  const add = (name: string, mode: string, content: Buffer | string) => {
    all.update(name).update(mode).update(createHash('sha256').update(content).digest()).update('\0');
  };
  add('Dockerfile', goFileMode(0), readFileSync(dockerfile));
  for (const { name, path, stats } of entries({ context, dockerfile })) {
    if (stats.isDirectory()) continue;
    add(
      name,
      goFileMode(stats.mode),
      stats.isSymbolicLink() ? resolvedLink(path) : stats.isFile() ? readFileSync(path) : '',
    );
  }
  return all.digest('hex');
}

/** @returns the archive for the daemon, and the Dockerfile's name in it */
export function contextArchive({ context, dockerfile }: BuildContext): {
  archive: NodeJS.ReadableStream;
  dockerfile: string;
} {
  const archive = pack();
  const inContext = relativeTo(context, dockerfile);
  const outside = inContext.startsWith('../');
  const content = readFileSync(dockerfile);
  const name = outside ? `.dockerfile.${createHash('sha256').update(content).digest('hex').slice(0, 20)}` : inContext;
  const owned = { uid: 0, gid: 0 };
  const added = new Set<string>();
  for (const entry of entries({ context, dockerfile })) {
    const { stats } = entry;
    const header = { name: entry.name, mode: stats.mode & 0o7777, mtime: stats.mtime, ...owned };
    if (stats.isDirectory()) archive.entry({ ...header, type: 'directory' });
    else if (stats.isSymbolicLink()) archive.entry({ ...header, type: 'symlink', linkname: readlinkSync(entry.path) });
    else if (stats.isFile()) archive.entry(header, readFileSync(entry.path));
    added.add(entry.name);
  }
  // The daemon needs the Dockerfile even if it is ignored or outside of the context.
  if (!added.has(name)) archive.entry({ name, mode: 0o644, mtime: new Date(0), ...owned }, content);
  archive.finalize();
  return { archive, dockerfile: name };
}

/** @returns the Dockerfile's path relative to the context, with slashes */
export function relativeTo(context: string, dockerfile: string): string {
  return relative(context, dockerfile).split(sep).join('/');
}

/** All entries that are not ignored, in the order of a walk that sorts each folder's names by their bytes. */
function entries({ context, dockerfile }: BuildContext): Entry[] {
  const ignored = ignoreRules(context, dockerfile);
  const result: Entry[] = [];
  const walk = (folder: string, prefix: string) => {
    for (const child of readdirSync(folder).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
      const name = prefix + child;
      const path = join(folder, child);
      const stats = lstatSync(path);
      // An ignored folder is searched all the same, because a later `!` may include one of its files again.
      if (!ignored.ignores(name)) result.push({ name, path, stats });
      if (stats.isDirectory()) walk(path, `${name}/`);
    }
  };
  walk(context, '');
  return result;
}

function ignoreRules(context: string, dockerfile: string): Ignore {
  const rules = ignore();
  const file = [`${dockerfile}.dockerignore`, join(context, '.dockerignore')].find((path) => existsSync(path));
  if (file) rules.add(readFileSync(file, 'utf8').split('\n'));
  return rules;
}

function resolvedLink(path: string): string {
  const target = realpathSync(path);
  return isAbsolute(path) ? target : posix.normalize(relativeTo(process.cwd(), target));
}

/** Writes a mode as Go's `fs.FileMode` does: letters for everything but a plain file, then the nine permissions. */
function goFileMode(mode: number): string {
  const type = mode & 0o170000;
  const letters = [
    type === 0o040000 && 'd',
    type === 0o120000 && 'L',
    type === 0o060000 && 'D',
    type === 0o010000 && 'p',
    type === 0o140000 && 'S',
    mode & 0o4000 && 'u',
    mode & 0o2000 && 'g',
    type === 0o020000 && 'Dc',
    mode & 0o1000 && 't',
  ].filter(Boolean);
  const permissions = 'rwxrwxrwx'.split('').map((letter, bit) => (mode & (1 << (8 - bit)) ? letter : '-'));
  return `${letters.join('') || '-'}${permissions.join('')}`;
}
