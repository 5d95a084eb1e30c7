import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { isStale, SOURCES_STAMP, sourcesDigest } from '../../stack/sources';
import { testFolder } from '../rig/folder';

let root: string;
beforeEach(() => {
  root = testFolder();
  for (const folder of ['failover/keeper', 'build/images']) mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, 'failover/keeper/main.ts'), 'one');
  writeFileSync(join(root, 'build/images', SOURCES_STAMP), `${sourcesDigest(root)}\n`);
});

const stale = () => isStale(root, 'build/images');

it('notices staged images of other sources, as after git pull', () => {
  expect(stale()).toBe(false);
  writeFileSync(join(root, 'failover/keeper/main.ts'), 'two');
  expect(stale()).toBe(true);
  writeFileSync(join(root, 'failover/keeper/main.ts'), 'one');
  expect(stale()).toBe(false);
  writeFileSync(join(root, 'failover/keeper/new.ts'), '');
  expect(stale()).toBe(true);
});

it('says nothing without the digest, or without the sources', () => {
  rmSync(join(root, 'failover'), { recursive: true });
  expect(stale()).toBe(false);
  mkdirSync(join(root, 'failover'));
  rmSync(join(root, 'build/images', SOURCES_STAMP));
  expect(stale()).toBe(false);
});

it('takes no by-product of a tool for a source', () => {
  mkdirSync(join(root, 'failover/__pycache__'));
  writeFileSync(join(root, 'failover/__pycache__/x.pyc'), '');
  expect(stale()).toBe(false);
});
