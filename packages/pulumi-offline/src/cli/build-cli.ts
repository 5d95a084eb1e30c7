/** Builds the Pulumi CLI from its Go module, once per user. */
import { type ExecFileException, execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { withLock } from '../file-lock';
import { CLI_VERSION, type KitPaths } from '../place';
import { findGo, type GoToolchain } from './go-toolchain';

const run = promisify(execFile);
const GO_PACKAGE = 'github.com/pulumi/pulumi/pkg/v3/cmd/pulumi';
const VERSION_VARIABLE = 'github.com/pulumi/pulumi/sdk/v3/go/common/version.Version';
const BUILD_LIMIT_MS = 40 * 60_000;
const PROGRESS_EVERY_MS = 15_000;
/** The compiler writes one line for each of about a thousand packages. */
const OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024;
const LAST_LINES = 20;

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
      await run(temporary, ['version'], { env: { ...process.env, PULUMI_SKIP_UPDATE_CHECK: 'true' }, timeout: 60_000 });
      renameSync(temporary, cli);
    } finally {
      rmSync(temporary, { force: true });
    }
    for (const folder of toolchain.disposable) rmSync(folder, { recursive: true, force: true });
  });
  return cli;
}

/** @throws Error with the compiler's last lines */
async function goBuild(
  toolchain: GoToolchain,
  output: string,
  onProgress: (line: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  const startMs = Date.now();
  const ldflags = `-s -w -X ${VERSION_VARIABLE}=${CLI_VERSION}`;
  const flags = ['-v', '-trimpath', '-buildvcs=false', '-mod=readonly', '-ldflags', ldflags, '-o', output];
  const env = { ...process.env, ...toolchain.env, GOTOOLCHAIN: 'local', CGO_ENABLED: '0' };
  const limits = { timeout: BUILD_LIMIT_MS, killSignal: 'SIGINT', signal, maxBuffer: OUTPUT_LIMIT_BYTES } as const;
  onProgress(`building the Pulumi CLI ${CLI_VERSION} from its Go module; this happens once and takes some minutes`);
  const building = run(toolchain.go, ['build', ...flags, GO_PACKAGE], { cwd: __dirname, env, ...limits });
  // The rest of the set-up runs at the same time.
  if (building.child.pid !== undefined) setPriority(building.child.pid, 5);

  // `-v` prints each package that is compiled, and errors as they come.
  let packages = 0;
  const lines = building.child.stderr && createInterface(building.child.stderr);
  lines?.on('line', (line) => {
    if (/^[\w.-]+(\/[\w.~-]+)*$/.test(line)) packages += 1;
  });
  const timer = setInterval(() => {
    const seconds = Math.round((Date.now() - startMs) / 1000);
    onProgress(`building the Pulumi CLI: ${packages} packages compiled after ${seconds} s`);
  }, PROGRESS_EVERY_MS);
  try {
    await building;
  } catch (error) {
    if (signal?.aborted) throw error;
    const { code, signal: killed, stderr, message } = error as ExecFileException;
    const lastLines = stderr?.trimEnd().split('\n').slice(-LAST_LINES).join('\n') || message;
    throw new Error(`the Pulumi CLI could not be built (${killed ?? `exit ${code}`}):\n${lastLines}`);
  } finally {
    clearInterval(timer);
  }
}
