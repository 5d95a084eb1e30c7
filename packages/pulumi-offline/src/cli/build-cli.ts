/** Builds the Pulumi CLI from its Go module, once per user. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { withLock } from '../file-lock';
import { CLI_VERSION, type KitPaths } from '../place';
import { findGo, type GoToolchain } from './go-toolchain';

const GO_PACKAGE = 'github.com/pulumi/pulumi/pkg/v3/cmd/pulumi';
const VERSION_VARIABLE = 'github.com/pulumi/pulumi/sdk/v3/go/common/version.Version';
const BUILD_LIMIT_MS = 40 * 60_000;
const PROGRESS_EVERY_MS = 15_000;

/**
 * Builds the CLI if it is missing. This takes minutes the first time and no time afterwards. Two concurrent calls build
 * it once.
 * @param onProgress gets a line now and then
 * @param signal ends the compiler, for when another step failed meanwhile; Go's cache keeps what was compiled
 * @returns the path of the CLI
 * @throws with the compiler's last lines when it cannot be built
 */
export async function buildCli(
  { cacheDir, cliDir }: KitPaths,
  onProgress: (line: string) => void = () => undefined,
  signal?: AbortSignal,
): Promise<string> {
  const cli = join(cliDir, 'pulumi');
  if (existsSync(cli)) return cli;
  const onWait = (pid: number) => onProgress(`process ${pid} is building the Pulumi CLI already: waiting for it`);
  await withLock(`${cliDir}.lock`, { limitMs: BUILD_LIMIT_MS, onWait }, async () => {
    if (existsSync(cli)) return;
    mkdirSync(cliDir, { recursive: true });
    const toolchain = await findGo(cacheDir, onProgress);
    // The files that a killed build left are as large as the CLI itself.
    for (const left of readdirSync(cliDir).filter((file) => file.startsWith('pulumi.'))) rmSync(join(cliDir, left));
    const temporary = join(cliDir, `pulumi.${process.pid}`);
    try {
      await goBuild(toolchain, temporary, onProgress, signal);
      execFileSync(temporary, ['version'], {
        env: { ...process.env, PULUMI_SKIP_UPDATE_CHECK: 'true' },
        timeout: 60_000,
      });
      renameSync(temporary, cli);
    } finally {
      rmSync(temporary, { force: true });
    }
    for (const folder of toolchain.disposable) rmSync(folder, { recursive: true, force: true });
  });
  return cli;
}

function goBuild(
  toolchain: GoToolchain,
  output: string,
  onProgress: (line: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  const startMs = Date.now();
  const ldflags = `-s -w -X ${VERSION_VARIABLE}=${CLI_VERSION}`;
  const args = [
    'build',
    '-v',
    '-trimpath',
    '-buildvcs=false',
    '-mod=readonly',
    '-ldflags',
    ldflags,
    '-o',
    output,
    GO_PACKAGE,
  ];
  const env = { ...process.env, ...toolchain.env, GOTOOLCHAIN: 'local', CGO_ENABLED: '0' };
  onProgress(`building the Pulumi CLI ${CLI_VERSION} from its Go module; this happens once and takes some minutes`);
  const child = spawn(toolchain.go, args, {
    cwd: __dirname,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: BUILD_LIMIT_MS,
    signal,
    killSignal: 'SIGINT',
  });
  // The rest of the set-up runs at the same time.
  if (child.pid !== undefined) setPriority(child.pid, 5);

  // `-v` prints each package that is compiled, and errors as they come.
  let packages = 0;
  const lastLines: string[] = [];
  createInterface(child.stderr).on('line', (line) => {
    if (/^[\w.-]+(\/[\w.~-]+)*$/.test(line)) packages += 1;
    lastLines.push(line);
    if (lastLines.length > 20) lastLines.shift();
  });
  const timer = setInterval(() => {
    const seconds = Math.round((Date.now() - startMs) / 1000);
    onProgress(`building the Pulumi CLI: ${packages} packages compiled after ${seconds} s`);
  }, PROGRESS_EVERY_MS);

  return new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve();
      else
        reject(new Error(`the Pulumi CLI could not be built (${signal ?? `exit ${code}`}):\n${lastLines.join('\n')}`));
    });
  }).finally(() => clearInterval(timer));
}
