import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { makeScript } from '../../scripts/lib/base-image';
import { isDebianLike } from '../../scripts/lib/debian';
import { removeStalePid } from '../../scripts/lib/engine';
import { CommandError, run, runOk } from '../../scripts/lib/exec';
import { testFolder } from '../rig/folder';

let folder: string;
beforeEach(() => {
  folder = testFolder();
});

describe('running a program', () => {
  test('gives its output, its lines as they come, and its exit code', async () => {
    const lines: string[] = [];
    const result = await run('sh', ['-c', 'echo one; echo two >&2; exit 3'], {
      deadlineMs: 10_000,
      onLine: (line) => lines.push(line),
    });
    expect(result).toMatchObject({ code: 3, stdout: 'one\n' });
    expect(lines.sort()).toEqual(['one', 'two']);
  });

  test('ends it with its children at the deadline', async () => {
    const file = join(folder, 'late');
    const result = await run('sh', ['-c', `(sleep 30; touch ${file}) & wait`], { deadlineMs: 200 });
    expect(result.code).toBe(124);
    expect(existsSync(file)).toBe(false);
  });

  test('ends it when it is not wanted any more', async () => {
    const abort = new AbortController();
    const running = run('sleep', ['30'], { deadlineMs: 60_000, signal: abort.signal });
    abort.abort();
    expect((await running).code).not.toBe(0);
  });

  test('says that a program does not exist, and shows the last lines of one that failed', async () => {
    expect((await run('scr-no-such-program', [], { deadlineMs: 10_000 })).code).toBe(127);
    const failing = runOk('sh', ['-c', 'seq 100; exit 1'], { deadlineMs: 10_000 });
    await expect(failing).rejects.toThrow(CommandError);
    await expect(failing).rejects.toThrow(/exit code 1\)\n86\n[\d\n]+\n100$/);
  });
});

describe('what a killed engine leaves', () => {
  test('is removed when the process is gone or another program has its id', () => {
    const file = join(folder, 'docker.pid');
    for (const content of [`${2 ** 22 + 1}`, `${process.pid}`, 'nonsense', '']) {
      writeFileSync(file, content);
      removeStalePid(file, 'dockerd');
      expect(existsSync(file), content).toBe(false);
    }
    removeStalePid(file, 'dockerd');
  });

  test('stays while the program runs', () => {
    const file = join(folder, 'docker.pid');
    writeFileSync(file, `${process.pid}\n`);
    removeStalePid(file, 'node');
    expect(existsSync(file)).toBe(true);
  });
});

describe('the machine', () => {
  test.each([
    ['ID=debian', true],
    ['ID=ubuntu\nID_LIKE=debian', true],
    ['NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"', true],
    ['ID=fedora', false],
    ['ID="rhel"\nID_LIKE="fedora"', false],
    ['NAME=debian', false],
  ])('with %j is told right', (release, expected) => {
    expect(isDebianLike(release)).toBe(expected);
  });

  test('that trusts certificates of its own hands them to the base image', () => {
    expect(makeScript(true)).toContain('update-ca-certificates');
    expect(makeScript(false)).not.toContain('customize-hook');
    expect(makeScript(false)).toMatch(/^umask 022 && mmdebstrap /);
    expect(makeScript(false)).toMatch(/trixie - \| docker import .* - "\$1"$/);
  });
});
