import { chmodSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { run } from '../../scripts/lib/exec';
import { PATHS, requireFolders } from '../../scripts/lib/paths';
import { testFolder } from '../rig/folder';

/** A limit, not an expectation: without the look set-up would never end. */
const LIMIT_MS = 60_000;

let folder: string;
beforeEach(() => {
  folder = testFolder();
});

describe('the folders of this product', () => {
  test('may be missing, with those above them, and nothing is made by the look', () => {
    const env = { XDG_CACHE_HOME: join(folder, 'a/b'), XDG_CONFIG_HOME: join(folder, 'c') };
    expect(() => requireFolders(env)).not.toThrow();
    expect(readdirSync(folder)).toEqual([]);
  });

  test('are left as they are when they are there, also without the right to write', () => {
    const env = { XDG_CACHE_HOME: folder, XDG_CONFIG_HOME: folder };
    mkdirSync(join(folder, 'postgres-failover'));
    chmodSync(folder, 0o555);
    expect(() => requireFolders(env)).not.toThrow();
  });

  test('are refused where nobody can make one, by their name and the variable', () => {
    expect(() => requireFolders({ XDG_CACHE_HOME: '/proc', XDG_CONFIG_HOME: folder })).toThrow(
      /^\/proc\/postgres-failover cannot be made \(ENOENT.*\): set HOME or XDG_CACHE_HOME to a folder that you may write to$/,
    );
  });

  test('stop set-up in one sentence when HOME has no room for them', { timeout: 2 * LIMIT_MS }, async () => {
    const { XDG_CACHE_HOME: _cache, XDG_CONFIG_HOME: _config, ...env } = process.env;
    const start = [join(PATHS.root, 'scripts/start.mjs'), 'setup'];
    const { code, tail } = await run(process.execPath, start, { env: { ...env, HOME: '/proc' }, deadlineMs: LIMIT_MS });
    expect([code, tail.join('\n')]).toEqual([
      1,
      expect.stringMatching(/\/proc\/\.\w+\/postgres-failover cannot be made/),
    ]);
  });
});
