/**
 * A second Docker engine, for faults of the engine itself. It has its own data, containerd and network namespace, so
 * the machine's engine is not disturbed. The whole matrix then runs inside this namespace.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run, runOk } from '../../../scripts/lib/exec';
import { docker } from '../../rig/docker';
import { waitFor } from '../../rig/wait';
import { FOLDER } from './stack';

const RUNTIME = '/run/chaos-engine';
const PID_FILE = `${RUNTIME}.pid`;
const DATA = join(FOLDER, 'engine');
/** DOCKER_HOST of the clients of this engine. */
export const ENGINE_HOST = `unix://${RUNTIME}.sock`;
/** Images that are copied into the second engine: they contain every layer that the matrix's stack needs. */
const COPIED = /^(debian|postgres-failover\/(postgres|haproxy|monitor|backend)):/;
/** Label of the Dockerfiles' first build stage, which contains Node. */
const STAGE = 'org.opencontainers.image.title=postgres-failover: build stage';
const ANSWER_LIMIT_MS = 60_000;
const COPY_LIMIT_MS = 600_000;
const POLL_MS = 100;
/** Environment variable of the program that runs inside the namespace. */
const INSIDE = 'CHAOS_INSIDE_ENGINE';

export const isInside = (): boolean => process.env[INSIDE] === '1';

/** Starts the engine in the network namespace of this process and waits until it answers. */
export async function startEngine(): Promise<void> {
  mkdirSync(DATA, { recursive: true });
  const log = openSync(join(DATA, 'dockerd.log'), 'a');
  const args = ['--data-root', DATA, '--exec-root', RUNTIME, '--pidfile', PID_FILE, '-H', ENGINE_HOST];
  spawn('dockerd', args, { detached: true, stdio: ['ignore', log, log] }).unref();
  const version = ['-H', ENGINE_HOST, 'version'];
  const answers = async () => (await run('docker', version, { deadlineMs: ANSWER_LIMIT_MS })).code === 0;
  await waitFor(`an answer of the second engine; see ${DATA}/dockerd.log`, ANSWER_LIMIT_MS, answers, POLL_MS);
}

function enginePid(): number | null {
  const pid = existsSync(PID_FILE) ? Number(readFileSync(PID_FILE, 'utf8')) : 0;
  return pid > 1 && existsSync(`/proc/${pid}`) ? pid : null;
}

/** Ends the engine by a signal and waits until its process has ended. */
export async function endEngine(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const pid = enginePid();
  if (pid === null) return;
  process.kill(pid, signal);
  const hasEnded = () => !existsSync(`/proc/${pid}`) || isZombie(pid);
  await waitFor('the second engine to end', 2 * ANSWER_LIMIT_MS, hasEnded, POLL_MS);
  rmSync(PID_FILE, { force: true });
}

function isZombie(pid: number): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return true;
  }
}

/**
 * Copies the images and the image of each of their layers into the second engine. A build there has no network, so it
 * must find everything in the cache.
 * @throws Error when there is nothing to copy
 */
async function copyImages(): Promise<void> {
  const lines = async (...args: string[]) => (await docker(...args)).split('\n').filter((line) => line !== '');
  const all = await lines('image', 'ls', '--format', '{{.Repository}}:{{.Tag}}');
  const names = all.filter((name) => COPIED.test(name));
  if (names.length === 0)
    throw new Error('--engine copies the images of a stack, and there is none: `npm run up` first');
  // Layers of a build stage are not in the final image's history, so these images are copied, too.
  const stages = await lines('image', 'ls', '--quiet', '--no-trunc', '--filter', `label=${STAGE}`);
  const built = [...names, ...stages];
  const layers = await Promise.all(built.map((name) => lines('history', '--quiet', '--no-trunc', name)));
  const ids = new Set(layers.flat().filter((id) => id !== '<missing>'));
  const command = `docker save ${[...built, ...ids].join(' ')} | docker -H ${ENGINE_HOST} load --quiet`;
  await runOk('sh', ['-c', command], { deadlineMs: COPY_LIMIT_MS });
}

/**
 * Runs this program again, with the same arguments, inside a new network namespace.
 * @returns the exit code of that run
 */
export async function runInside(args: readonly string[]): Promise<number> {
  const script = process.argv[1] ?? '';
  const inside = ['-n', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
  const program = [process.execPath, '--import', 'tsx', script, ...args];
  const env = { ...process.env, [INSIDE]: '1' };
  const child: ChildProcess = spawn('unshare', [...inside, ...program], { stdio: 'inherit', env });
  return new Promise((resolve) => child.once('close', (code) => resolve(code ?? 1)));
}

/** Starts the second engine and copies the images into it. From then on `docker` talks to this engine. */
export async function enterEngine(): Promise<void> {
  await startEngine();
  await copyImages();
  process.env.DOCKER_HOST = ENGINE_HOST;
}

/** Ends the second engine and removes its data. */
export async function leaveEngine(): Promise<void> {
  await endEngine('SIGTERM');
  // A killed engine leaves its data folder mounted on itself. Otherwise `umount` fails, which does no harm.
  await run('umount', ['--recursive', DATA], { deadlineMs: ANSWER_LIMIT_MS });
  rmSync(DATA, { recursive: true, force: true });
  rmSync(RUNTIME, { recursive: true, force: true });
}
