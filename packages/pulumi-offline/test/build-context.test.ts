import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { contextArchive, contextDigest } from '../src/provider/docker/build-context';

/** Made by the vendor's own walk, matcher and hash over the tree below. */
const VENDOR_DIGEST = '7fdfb429dc6fee5e1dfbaa99c15af462949d51af4dd1f3b77b6b52ec0cd65fab';

const start = process.cwd();
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kit-context-'));
  process.chdir(folder);
  for (const name of ['a/b', '.git', 'node_modules/x', 'empty']) mkdirSync(join('c', name), { recursive: true });
  const files: Record<string, string> = {
    Dockerfile: 'FROM x',
    'a.txt': '1',
    'a/b/f': '2',
    'a-b': '3',
    'node_modules/x/y': '4',
    '.git/z': '5',
    'a/keep.md': 'k',
    'a/drop.md': 'd',
    é: 'é',
    '.dockerignore': '# c\nnode_modules\n.git/\n**/*.md\n!a/keep.md',
  };
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join('c', name), `${content}\n`);
    chmodSync(join('c', name), 0o644);
  }
  symlinkSync('../a.txt', 'c/a/link');
  symlinkSync('a.txt', 'c/link2');
  symlinkSync('a', 'c/dirlink');
  chmodSync('c/a/b/f', 0o755);
  chmodSync('c/a-b', 0o4711);
});

afterEach(() => {
  process.chdir(start);
  rmSync(folder, { recursive: true, force: true });
});

const context = { context: 'c', dockerfile: 'c/Dockerfile' };

describe('the digest of a build context', () => {
  test("is the vendor's, with links, modes, ignored files and files taken back", () => {
    expect(contextDigest(context)).toBe(VENDOR_DIGEST);
  });

  test('follows contents, names and modes, and nothing that is ignored', () => {
    writeFileSync('c/node_modules/x/y', 'other');
    expect(contextDigest(context)).toBe(VENDOR_DIGEST);
    chmodSync('c/a.txt', 0o755);
    const withMode = contextDigest(context);
    writeFileSync('c/a/keep.md', 'other');
    expect(new Set([VENDOR_DIGEST, withMode, contextDigest(context)]).size).toBe(3);
  });
});

describe('the archive of a build context', () => {
  async function names(of: Parameters<typeof contextArchive>[0]): Promise<{ names: string[]; dockerfile: string }> {
    const { archive, dockerfile } = contextArchive(of);
    const chunks: Buffer[] = [];
    for await (const chunk of archive) chunks.push(Buffer.from(chunk));
    const tar = Buffer.concat(chunks);
    const found: string[] = [];
    for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
      const field = (from: number, length: number) =>
        tar.toString('utf8', at + from, at + from + length).replace(/\0.*$/s, '');
      if (field(156, 1) !== 'x') found.push(field(0, 100).replace(/\/$/, ''));
      at += 512 + Math.ceil(Number.parseInt(field(124, 12), 8) / 512) * 512;
    }
    return { names: found, dockerfile };
  }

  test('holds what is not ignored', async () => {
    const { names: all, dockerfile } = await names(context);
    expect(dockerfile).toBe('Dockerfile');
    expect(all).toEqual(expect.arrayContaining(['a.txt', 'a/b/f', 'a/keep.md', 'a/link', 'empty', 'Dockerfile']));
    expect(all.filter((name) => /node_modules|\.git\/|drop/.test(name))).toEqual([]);
  });

  test('holds a Dockerfile that lies elsewhere, and one that is ignored', async () => {
    writeFileSync('other.Dockerfile', 'FROM y\n');
    const outside = await names({ context: 'c', dockerfile: 'other.Dockerfile' });
    expect(outside.names).toContain(outside.dockerfile);
    writeFileSync('c/.dockerignore', 'Dockerfile\n');
    const ignored = await names(context);
    expect(ignored.names).toContain('Dockerfile');
  });
});
