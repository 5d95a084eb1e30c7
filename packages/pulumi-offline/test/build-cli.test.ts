/** The build of the CLI with a compiler of the test's own. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { buildCli } from '../src/cli/build-cli';
import { type KitPaths, kitPaths } from '../src/place';

/** Answers as a Go that is new enough; `build` is the rest of the script, with the output's path in $output. */
function putGoOnPath(folder: string, build: string): void {
  const find = 'while [ "$1" != -o ]; do shift; done; output=$2';
  const script = `#!/bin/sh\nif [ "$1" = env ]; then echo go99.0; exit 0; fi\n${find}\n${build}\n`;
  writeFileSync(join(folder, 'go'), script, { mode: 0o755 });
  vi.stubEnv('PATH', `${folder}${delimiter}${process.env.PATH}`);
}

describe('the build of the CLI', () => {
  let folder: string;
  let paths: KitPaths;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'kit-build-'));
    mkdirSync(join(folder, 'cache'));
    paths = kitPaths({ projectDir: folder, cacheDir: join(folder, 'cache') });
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true, force: true });
  });

  test('puts the CLI into the cache folder once it has answered, and builds it once', async () => {
    putGoOnPath(
      folder,
      `echo >> ${join(folder, 'builds')}; printf '#!/bin/sh\\necho v3\\n' > $output; chmod +x $output`,
    );
    const both = await Promise.all([buildCli(paths), buildCli(paths)]);
    expect(both).toEqual([join(paths.cliDir, 'pulumi'), join(paths.cliDir, 'pulumi')]);
    expect(readdirSync(paths.cliDir)).toEqual(['pulumi']);
    expect(await buildCli(paths)).toBe(both[0]);
    expect(readFileSync(join(folder, 'builds'), 'utf8')).toBe('\n');
  });

  test('leaves nothing of a CLI that does not run', async () => {
    putGoOnPath(folder, `printf '#!/bin/sh\\nexit 1\\n' > $output; chmod +x $output`);
    await expect(buildCli(paths)).rejects.toThrow('version');
    expect(readdirSync(paths.cliDir)).toEqual([]);
  });

  test('fails with the last lines of the compiler', async () => {
    putGoOnPath(folder, 'i=0; while [ $i -lt 30 ]; do echo "line $i" >&2; i=$((i+1)); done; exit 2');
    const lines = Array.from({ length: 20 }, (_, i) => `line ${i + 10}`).join('\n');
    await expect(buildCli(paths)).rejects.toThrow(`the Pulumi CLI could not be built (exit 2):\n${lines}`);
    expect(existsSync(`${paths.cliDir}.lock`)).toBe(false);
  });

  test('ends the compiler when the caller gives up', async () => {
    putGoOnPath(folder, `echo $$ > ${join(folder, 'pid')}; exec sleep 60`);
    const abort = new AbortController();
    const build = buildCli(paths, undefined, abort.signal);
    await vi.waitFor(() => expect(readFileSync(join(folder, 'pid'), 'utf8')).toMatch(/\n/), { timeout: 10_000 });
    abort.abort();
    await expect(build).rejects.toThrow('aborted');
    const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'));
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow('ESRCH'), { timeout: 10_000 });
  });
});
