/**
 * Set-up step: a Docker engine that answers. It is installed and started if possible; otherwise the step explains what
 * to do.
 */
import { spawn } from 'node:child_process';
import { existsSync, openSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { canInstall, install } from './debian';
import { engineState } from './docker';
import { run } from './exec';
import type { StepContext, StepResult } from './steps';

/** Time after which a starting engine must answer, ms. */
const START_MS = 60_000;
const POLL_MS = 250;
/**
 * Packages for the client, the engine, networks and image building. `docker-cli` is a separate package since trixie.
 */
const PACKAGES = ['docker.io', 'iptables', 'ca-certificates'];
const OPTIONAL_PACKAGES = ['docker-cli'];

/** Folders of one engine; the defaults are the engine's own. */
export interface EngineFolders {
  pidFile: string;
  execRoot: string;
  logFile: string;
  /** More arguments for dockerd. */
  args: readonly string[];
}

const SYSTEM_ENGINE: EngineFolders = {
  pidFile: '/var/run/docker.pid',
  execRoot: '/var/run/docker',
  logFile: '/var/log/dockerd.log',
  args: [],
};

/**
 * Makes sure that a Docker engine answers.
 * @param dockerContext the Docker context that DOCKER_HOST was taken from; null: the person's own DOCKER_HOST, or none
 * @throws Error that says exactly what to install or start where set-up may not do it itself.
 */
export async function ensureEngine(context: StepContext, dockerContext: string | null = null): Promise<StepResult> {
  let state = await engineState();
  if (state.kind === 'answers') return { outcome: 'skipped', detail: state.version };
  const host = process.env.DOCKER_HOST;
  if (host && dockerContext !== null)
    throw new Error(
      `No Docker engine answers at ${host} (Docker context "${dockerContext}"). Start it, or take the default engine: export DOCKER_CONTEXT=default`,
    );
  if (host) throw new Error(`No Docker engine answers at DOCKER_HOST=${host}. Start it, or unset DOCKER_HOST.`);
  if (state.kind === 'denied')
    throw new Error(
      'This user may not talk to the Docker engine. Run as root, or once: sudo usermod -aG docker "$USER" (then log in again).',
    );
  if (state.kind === 'no-client' || !(await hasDockerd())) {
    if (!canInstall()) throw new Error(installHint());
    context.progress('installing docker.io');
    await install(PACKAGES, { optional: OPTIONAL_PACKAGES, ...context });
    state = await engineState();
    if (state.kind === 'answers') return { outcome: 'done', detail: `installed, ${state.version}` };
  }
  if (process.getuid?.() !== 0)
    throw new Error('The Docker engine is not running. Start it: sudo systemctl start docker (or: sudo dockerd &)');
  const version = await startEngine(context);
  return { outcome: 'done', detail: `started, ${version}` };
}

async function hasDockerd(): Promise<boolean> {
  return (await run('dockerd', ['--version'], { deadlineMs: 10_000 })).code === 0;
}

function installHint(): string {
  const packages = PACKAGES.join(' ');
  return [
    'No Docker engine was found. Set-up installs one only on Debian or Ubuntu, and only as root.',
    `  Debian, Ubuntu:  sudo apt-get update && sudo apt-get install -y ${packages}`,
    '  elsewhere:       Docker Engine 20.10 or newer, from your distribution or from Docker',
    '  then:            sudo usermod -aG docker "$USER", log in again, and run this command once more',
  ].join('\n');
}

async function startEngine(context: StepContext): Promise<string> {
  if (existsSync('/run/systemd/system')) {
    context.progress('systemctl start docker');
    await run('systemctl', ['start', 'docker'], { deadlineMs: START_MS, signal: context.signal });
    return waitForEngine(context, '(see: journalctl -u docker)');
  }
  // On a busy machine the engine may answer slowly. A second one must not be started beside it.
  const slow = isRunning(SYSTEM_ENGINE.pidFile, 'dockerd');
  context.progress(slow ? 'dockerd runs, waiting for its answer' : 'starting dockerd');
  const exited = slow ? undefined : startDockerd(SYSTEM_ENGINE);
  return waitForEngine(context, SYSTEM_ENGINE.logFile, exited);
}

/**
 * Starts dockerd in the background, with its output in a file. First it removes process id files that a killed engine
 * left (of processes that have ended, or whose ids now belong to other processes), because the engine would believe
 * them.
 * @returns a function that gives the exit code once dockerd has ended, else null
 */
export function startDockerd(folders: EngineFolders): () => number | null {
  removeStalePid(folders.pidFile, 'dockerd');
  removeStalePid(join(folders.execRoot, 'containerd', 'containerd.pid'), 'containerd');
  const log = openSync(folders.logFile, 'a', 0o600);
  const child = spawn('dockerd', folders.args, { detached: true, stdio: ['ignore', log, log], cwd: '/' });
  let exitCode: number | null = null;
  child.on('exit', (code) => {
    exitCode = code ?? 1;
  });
  child.on('error', () => {
    exitCode = 127;
  });
  child.unref();
  return () => exitCode;
}

/** Removes a process id file unless it names a running process of that program. */
export function removeStalePid(file: string, program: string): void {
  if (!isRunning(file, program)) rmSync(file, { force: true });
}

/** True when a process id file names a running process of that program. */
function isRunning(file: string, program: string): boolean {
  if (!existsSync(file)) return false;
  const pid = Number(readFileSync(file, 'utf8').trim());
  return Number.isInteger(pid) && pid > 0 && programOf(pid) === program;
}

function programOf(pid: number): string | null {
  try {
    return basename(readlinkSync(`/proc/${pid}/exe`).replace(' (deleted)', ''));
  } catch {
    return null;
  }
}

async function waitForEngine(context: StepContext, log: string, exited: () => number | null = () => null) {
  const endMs = performance.now() + START_MS;
  while (performance.now() < endMs && exited() === null && !context.signal.aborted) {
    const state = await engineState();
    if (state.kind === 'answers') return state.version;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  const last = existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n').slice(-10) : [];
  const iptables = last.some((line) => line.includes('iptables'))
    ? ['Perhaps this kernel needs the older iptables: update-alternatives --set iptables /usr/sbin/iptables-legacy']
    : [];
  throw new Error(['The Docker engine does not answer.', `Its log: ${log}`, ...last, ...iptables].join('\n'));
}
