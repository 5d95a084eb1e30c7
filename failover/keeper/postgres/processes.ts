/** Inspects and signals the processes of this container, and runs programs with a time limit. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { KeeperError } from '../ports';
import { timelineOfFile } from './timelines';

/** Command line of a process; null when it has ended. */
export async function commandLine(pid: number): Promise<string | null> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => null);
  return text?.replaceAll('\0', ' ').trim() ?? null;
}

/** The fields of `/proc/PID/stat` from the state on. The name before it may contain any characters (proc(5)). */
export function statFields(text: string): string[] {
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** Index of the line of `postmaster.pid` with the postmaster's state, from 0 (pidfile.h, LOCK_FILE_LINE_PM_STATUS). */
const READY_LINE = 7;
/** Process states in which a process runs or waits to be woken (proc(5), /proc/pid/stat). */
const RUNS = new Set(['R', 'S', 'I']);

/** Text of a small file, read at once; '' when it cannot be read. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/**
 * Whether the kernel shows a process running or waiting: not stopped, not ended, and not in a call that cannot be
 * interrupted.
 */
export function seemsToRun(pid: number): boolean {
  return RUNS.has(statFields(textOf(`/proc/${pid}/stat`))[0] ?? '');
}

/** Whether a process has a handler for a signal (proc(5), SigCgt). Without one, the signal mostly ends the process. */
export function handles(pid: number, signal: NodeJS.Signals): boolean {
  const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(textOf(`/proc/${pid}/status`))?.[1] ?? '0';
  return ((BigInt(`0x${caught}`) >> BigInt(constants.signals[signal] - 1)) & 1n) === 1n;
}

/**
 * Whether the postmaster's lock file says that it is ready (pg_ctl reads the same line). A postmaster in a smart
 * shutdown, which waits for the clients to leave, writes that it is stopping and lets existing sessions go on.
 */
export function isReady(data: string): boolean {
  const status = textOf(join(data, 'postmaster.pid')).split('\n')[READY_LINE]?.trim();
  return status === 'ready' || status === 'standby';
}

/** PostgreSQL's processes in this container: the postmaster and its children. */
export async function serverProcesses(): Promise<{ pid: number; title: string }[]> {
  const found: { pid: number; title: string }[] = [];
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const title = await commandLine(pid);
    if (title !== null && /^(\S*\/)?postgres(:| )/.test(title)) found.push({ pid, title });
  }
  return found;
}

/** The startup process of this node's server; undefined: there is none. */
export async function startupProcess(node: string): Promise<{ pid: number; title: string } | undefined> {
  return (await serverProcesses()).find(({ title }) => isStartup(title, node));
}

/** Number of connections to a port that the kernel has accepted and the server has not taken yet. */
export async function waitingConnections(port: number): Promise<number> {
  const texts = await Promise.all(['tcp', 'tcp6'].map((file) => readFile(`/proc/net/${file}`, 'utf8').catch(() => '')));
  return texts.reduce((sum, text) => sum + backlogOf(text, port), 0);
}

/** Reads `/proc/net/tcp`. For a socket that listens (state 0A), rx_queue is the number of connections that wait. */
export function backlogOf(text: string, port: number): number {
  const ending = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return text
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => state === '0A' && local?.endsWith(ending) === true)
    .reduce((sum, [, , , , queues]) => sum + Number.parseInt(queues?.split(':')[1] ?? '0', 16), 0);
}

const LEFT_LOOK_MS = 20;
/** The logger ends by itself right after the last of the other processes, ms. */
const LEFT_SOON_MS = 2;
const LEFT_SOON_LOOKS = 5;

/** Waits until no server process is left. Kills processes that stay longer than the limit. */
export async function noServerLeft(limitMs: number): Promise<void> {
  const deadline = performance.now() + limitMs;
  for (let looks = 0; ; looks++) {
    const left = await serverProcesses();
    if (left.length === 0) return;
    if (performance.now() > deadline) {
      for (const { pid } of left) signalProcess(pid, 'SIGKILL');
    }
    await delay(looks < LEFT_SOON_LOOKS ? LEFT_SOON_MS : LEFT_LOOK_MS);
  }
}

/** Sends a signal. It is no error if the process has ended. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // The process has ended meanwhile.
  }
}

/** Gives a process a lower scheduling priority. It is no error if it has ended. */
function lower(pid: number, nice: number): void {
  try {
    setPriority(pid, nice);
  } catch {
    // The process has ended meanwhile.
  }
}

export interface ToolOptions {
  /** Time limit, ms. */
  limitMs: number;
  signal?: AbortSignal;
  /** What errors call it. @default the command */
  name?: string;
  /** Scheduling priority (nice(1)). @default 0 */
  nice?: number;
  /** Called with each piece of standard error, for progress. */
  onError?: (text: string) => void;
  /** How much of the end of its output is returned, characters. @default 64 k */
  outputMax?: number;
}

const OUTPUT_MAX = 64 * 1024;

/**
 * Runs a program and resolves with its output. Throws TOOL_FAILED with a few lines of its standard error. The
 * program has always ended by then, and so has each process that it started: pg_basebackup has a second one, which
 * would keep the connection of the first open.
 */
export function run(command: string, args: string[], options: ToolOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...process.env, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.limitMs,
      killSignal: 'SIGKILL',
      signal: options.signal,
      // A process group of its own, which can be ended as a whole.
      detached: true,
    });
    if (child.pid !== undefined && options.nice !== undefined) lower(child.pid, options.nice);
    let [output, errors] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-(options.outputMax ?? OUTPUT_MAX));
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-OUTPUT_MAX);
      options.onError?.(text);
    });
    child.on('exit', () => {
      if (child.pid !== undefined) signalProcess(-child.pid, 'SIGKILL');
    });
    // The program may still run when it is aborted.
    child.on('error', (error) => {
      if (child.pid === undefined) reject(error);
      else child.on('exit', () => reject(error));
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve(output);
      else {
        const { name = command, limitMs } = options;
        // What is aborted was rejected above.
        const how = child.killed ? `did not end within ${limitMs / 1_000} s` : `ended with ${code ?? signal}`;
        reject(new KeeperError('TOOL_FAILED', `${name} ${how}: ${lastWords(errors)}`));
      }
    });
  });
}

/** What a program said of its failure: from its first error on (pgBackRest lists hints after it), or its last lines. */
function lastWords(errors: string): string {
  const lines = errors.trim().split('\n');
  const first = lines.findIndex((line) => /^(P\d+ +)?ERROR:/.test(line));
  const words = first < 0 ? lines.slice(-5) : lines.slice(first, first + 5);
  const text = words.map((line) => line.trim()).join(' ');
  return first < 0 ? text.slice(-1_000) : text.slice(0, 1_000);
}

// The titles that PostgreSQL gives its processes (`update_process_title`, `cluster_name`). A client's title is
// `postgres: NODE: USER DATABASE HOST(PORT) ACTIVITY`. The client chooses user and database, and may use line breaks in
// them. So only the parts that PostgreSQL itself writes are read: the beginning up to the node, and the end.

/** True for a backend that no view shows yet. */
export function isConnecting(title: string): boolean {
  return /^postgres: .*\(\d+\) (initializing|authentication|startup)$/s.test(title);
}

/** True for the postmaster, and for a child of it that has not set its own title yet. */
export function isUnnamed(title: string): boolean {
  return /^(\S*\/)?postgres /.test(title);
}

/**
 * True for a walsender that sends WAL. An ordinary session's title never ends like this, whatever its user is called.
 */
export function isWalsender(title: string): boolean {
  return /^postgres: .*\(\d+\) (streaming [0-9A-F]+\/[0-9A-F]+|START_REPLICATION)$/s.test(title);
}

/** True for the archiver, whose title ends with the file that it archives or was last busy with. */
export function isArchiver(title: string, node: string): boolean {
  const head = `postgres: ${node}: archiver`;
  return title.startsWith(head) && /^( (archiving|last was|failed on) \S+)?$/.test(title.slice(head.length));
}

/** True for the logger. No other process of this node has a title without its activity and a client's address. */
export function isLogger(title: string, node: string): boolean {
  return title === `postgres: ${node}: logger`;
}

/** True for the startup process. Only its title ends with its activity and has no client address. */
export function isStartup(title: string, node: string): boolean {
  const head = `postgres: ${node}: startup`;
  return title.startsWith(head) && /^( (recovering|waiting for) [0-9A-F]{24})?$/.test(title.slice(head.length));
}

/** Name of the WAL file that the startup process reads or waits for, from its title; null: the title shows none. */
export function walFileIn(title: string): string | null {
  return /: startup (?:recovering|waiting for) ([0-9A-F]{24})$/.exec(title)?.[1] ?? null;
}

/** Timeline of that file. */
export function timelineOf(title: string): number | null {
  const file = walFileIn(title);
  return file === null ? null : timelineOfFile(file);
}
