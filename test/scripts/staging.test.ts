import { chmodSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addTree, bundleImages, type Context, writeContext } from '../../scripts/lib/staging';
import { testFolder } from '../rig/folder';

const file = (text: string, executable = false) => ({ content: Buffer.from(text), executable });

let folder: string;
beforeEach(() => {
  folder = testFolder();
});
const umask = process.umask();
afterEach(() => {
  process.umask(umask);
});

const modeOf = (path: string): number => statSync(join(folder, path)).mode & 0o777;

describe('a build context', () => {
  const context: Context = new Map([
    ['Dockerfile', file('FROM scratch\n')],
    ['app/run', file('#!/bin/sh\n', true)],
  ]);

  test('is written with fixed modes, whatever the umask', () => {
    process.umask(0o077);
    expect(writeContext(folder, context)).toEqual(['Dockerfile', 'app/run']);
    expect(modeOf('Dockerfile')).toBe(0o644);
    expect(modeOf('app/run')).toBe(0o755);
    expect(modeOf('app')).toBe(0o755);
  });

  test('gets its folders opened that were made with a narrow umask', () => {
    writeContext(folder, context);
    chmodSync(join(folder, 'app'), 0o700);
    expect(writeContext(folder, context)).toEqual([]);
    expect(modeOf('app')).toBe(0o755);
  });

  test('takes scripts for programs, whatever the modes of the checkout are', () => {
    writeFileSync(join(folder, 'script'), '#!/bin/sh\n', { mode: 0o600 });
    writeFileSync(join(folder, 'text'), 'text\n', { mode: 0o700 });
    const found: Context = new Map();
    addTree(found, folder, '');
    expect(found.get('script')?.executable).toBe(true);
    expect(found.get('text')?.executable).toBe(false);
  });

  test('is left untouched when nothing changed', () => {
    writeContext(folder, context);
    const past = new Date(0);
    utimesSync(join(folder, 'Dockerfile'), past, past);
    expect(writeContext(folder, context)).toEqual([]);
    expect(statSync(join(folder, 'Dockerfile')).mtimeMs).toBe(0);
  });

  test('loses what does not belong to it and gets back what was changed by hand', () => {
    writeContext(folder, context);
    writeFileSync(join(folder, 'app/stray'), 'x');
    writeFileSync(join(folder, 'Dockerfile'), 'FROM elsewhere\n');
    chmodSync(join(folder, 'app/run'), 0o600);
    expect(writeContext(folder, context)).toEqual(['Dockerfile', 'app/run', 'app/stray']);
    expect(readFileSync(join(folder, 'Dockerfile'), 'utf8')).toBe('FROM scratch\n');
    expect(writeContext(folder, context)).toEqual([]);
  });
});

describe('the staged images', () => {
  test('are byte for byte the same when they are made twice, and hold no path of this machine', async () => {
    const [first, second] = [join(folder, 'a'), join(folder, 'b')];
    const staged = await bundleImages(undefined, first);
    await bundleImages(undefined, second);
    const images = ['backend', 'haproxy', 'monitor', 'pgadmin', 'pooler', 'postgres', 'prometheus'];
    expect(staged.map(({ image }) => image).sort()).toEqual(images);
    for (const { image, changed } of staged)
      for (const path of changed) {
        const content = readFileSync(join(first, image, path));
        expect(content.equals(readFileSync(join(second, image, path))), `${image}/${path}`).toBe(true);
        expect(content.includes(process.cwd()), `${image}/${path}`).toBe(false);
      }
  });

  test('can be read and run by every user, scripts and nothing else as programs', async () => {
    process.umask(0o077);
    await bundleImages(undefined, folder);
    const below = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => path.includes('/'));
    expect(below).toEqual(expect.arrayContaining(['backend/app/database', 'monitor/page', 'postgres/keeper-health']));
    for (const path of below) {
      const file = join(folder, path);
      const isProgram = statSync(file).isDirectory() || readFileSync(file, 'latin1').startsWith('#!');
      expect(modeOf(path).toString(8), path).toBe(isProgram ? '755' : '644');
    }
  });
});
