/**
 * A second Docker engine for the faults of the engine itself: its own data, its own containerd and a network namespace of
 * its own, so that it touches nothing of the machine's engine. The whole matrix runs inside that namespace then.
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
/** What a client of this engine sets as DOCKER_HOST. */
export const ENGINE_HOST = `unix://${RUNTIME}.sock`;
/** Images that the stack of the matrix is built from, whatever stack they were built for. */
const COPIED = /^(debian|postgres-failover\/(postgres|haproxy|monitor|backend)):/;
/** By this label the Dockerfiles mark the stage that brings Node. */
const STAGE = 'org.opencontainers.image.title=postgres-failover: build stage';
const ANSWER_LIMIT_MS = 60_000;
const COPY_LIMIT_MS = 600_000;
const POLL_MS = 100;
/** Set for the matrix that runs inside. */
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

/** Ends the engine, politely or not, and waits until it is gone. */
export async function endEngine(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const pid = enginePid();
  if (pid === null) return;
  process.kill(pid, signal);
  const gone = () => !existsSync(`/proc/${pid}`) || isZombie(pid);
  await waitFor('the second engine to end', 2 * ANSWER_LIMIT_MS, gone, POLL_MS);
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
 * Copies the stacks' images and the image of each of their layers, so that a build there, which has no network, finds all
 * that it would have to fetch.
 * @throws Error when there is nothing to copy
 */
async function copyImages(): Promise<void> {
  const lines = async (...args: string[]) => (await docker(...args)).split('\n').filter((line) => line !== '');
  const all = await lines('image', 'ls', '--format', '{{.Repository}}:{{.Tag}}');
  const names = all.filter((name) => COPIED.test(name));
  if (names.length === 0)
    throw new Error('--engine copies the images of a stack, and there is none: `npm run up` first');
  // What a stage leaves is in no image's history.
  const stages = await lines('image', 'ls', '--quiet', '--no-trunc', '--filter', `label=${STAGE}`);
  const built = [...names, ...stages];
  const layers = await Promise.all(built.map((name) => lines('history', '--quiet', '--no-trunc', name)));
  const ids = new Set(layers.flat().filter((id) => id !== '<missing>'));
  const command = `docker save ${[...built, ...ids].join(' ')} | docker -H ${ENGINE_HOST} load --quiet`;
  await runOk('sh', ['-c', command], { deadlineMs: COPY_LIMIT_MS });
}

/**
 * Runs this program again with the same arguments inside a network namespace with an engine of its own.
 * @returns its exit code
 */
export async function runInside(args: readonly string[]): Promise<number> {
  const script = process.argv[1] ?? '';
  const inside = ['-n', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
  const program = [process.execPath, '--import', 'tsx', script, ...args];
  const env = { ...process.env, [INSIDE]: '1' };
  const child: ChildProcess = spawn('unshare', [...inside, ...program], { stdio: 'inherit', env });
  return new Promise((resolve) => child.once('close', (code) => resolve(code ?? 1)));
}

/** Starts the engine and gives it the images; from here on `docker` means this engine. */
export async function enterEngine(): Promise<void> {
  await startEngine();
  await copyImages();
  process.env.DOCKER_HOST = ENGINE_HOST;
}

/** Ends the engine and removes all that it kept. */
export async function leaveEngine(): Promise<void> {
  await endEngine('SIGTERM');
  // One that was killed has left its folder mounted on itself; there is nothing to undo when it was not.
  await run('umount', ['--recursive', DATA], { deadlineMs: ANSWER_LIMIT_MS });
  rmSync(DATA, { recursive: true, force: true });
  rmSync(RUNTIME, { recursive: true, force: true });
}
