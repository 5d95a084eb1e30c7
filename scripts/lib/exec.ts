/** Runs other programs, always with a deadline. When a program fails, its last lines are available. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** How many of the last lines an error shows. */
const TAIL_LINES = 15;
/** Amount of output that is kept, bytes. Further output goes only to `onLine`. */
const OUTPUT_BYTES_MAX = 8 * 1024 * 1024;
/** Time between SIGTERM and SIGKILL, ms. */
const KILL_AFTER_MS = 3_000;

export interface RunOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Limit of the whole run, ms. After it the program and its children are ended. */
  deadlineMs: number;
  /** Called with each line of stdout and stderr as it comes. */
  onLine?: (line: string) => void;
  /** A file that gets all output as well. */
  logFile?: string;
  /** Text for the program's stdin. Without it, stdin is empty. */
  input?: string;
  /** Ends the program early, for example because another step failed. */
  signal?: AbortSignal;
}

export interface RunResult {
  /** Exit code; 127 when the program does not exist, 124 at the deadline, 128 + n after signal n. */
  code: number;
  stdout: string;
  /** Last lines of both outputs, for people. */
  tail: string[];
}

/** The error of a program that failed, with its last lines. */
export class CommandError extends Error {
  constructor(command: string, result: RunResult) {
    const how = result.code === 124 ? 'did not end in time' : `failed (exit code ${result.code})`;
    super([`${command} ${how}`, ...result.tail].join('\n'));
    this.name = 'CommandError';
  }
}

const running = new Set<ChildProcess>();

/** Resolves when a child has ended; it may have ended before the call. */
export function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else child.once('close', () => resolve());
  });
}

/** Signals a child and all processes that it started; each child leads a process group of its own. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended already.
  }
}

/** Ends all programs that still run. Called when this process ends early. */
export function endAll(): void {
  for (const child of running) signalGroup(child, 'SIGTERM');
}

/** Runs a program to its end. Does not throw when it fails: see {@link runOk}. */
export function run(command: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    detached: true,
  });
  // A program that ends without reading it all breaks the pipe. Its exit code says more.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(options.input);
  return follow(child, options);
}

function follow(child: ChildProcess, options: RunOptions): Promise<RunResult> {
  const tail: string[] = [];
  const stdout: Buffer[] = [];
  let bytes = 0;
  const log = options.logFile ? createWriteStream(options.logFile, { flags: 'a' }) : null;
  const onLine = (line: string) => {
    tail.push(line);
    if (tail.length > TAIL_LINES) tail.shift();
    log?.write(`${line}\n`);
    options.onLine?.(line);
  };
  child.stdout?.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= OUTPUT_BYTES_MAX) stdout.push(chunk);
  });
  for (const stream of [child.stdout, child.stderr]) if (stream) eachLine(stream, onLine);

  return new Promise((resolve) => {
    let timedOut = false;
    const timers: NodeJS.Timeout[] = [];
    const stop = () => {
      signalGroup(child, 'SIGTERM');
      timers.push(setTimeout(() => signalGroup(child, 'SIGKILL'), KILL_AFTER_MS));
    };
    const finish = (code: number) => {
      for (const timer of timers) clearTimeout(timer);
      options.signal?.removeEventListener('abort', stop);
      running.delete(child);
      log?.end();
      resolve({ code, stdout: Buffer.concat(stdout).toString(), tail });
    };
    timers.push(
      setTimeout(() => {
        timedOut = true;
        stop();
      }, options.deadlineMs),
    );
    if (options.signal?.aborted) stop();
    options.signal?.addEventListener('abort', stop);
    running.add(child);
    child.on('error', (error) => {
      tail.push(error.message);
      finish(127);
    });
    child.on('close', (code) => finish(timedOut ? 124 : (code ?? 128)));
  });
}

/** Splits a stream into lines; a carriage return counts as a line end too (progress bars). */
function eachLine(stream: Readable, onLine: (line: string) => void): void {
  const lines = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
  lines.on('line', (line) => {
    for (const part of line.split('\r')) if (part.trim() !== '') onLine(part.trimEnd());
  });
}

/**
 * Runs a program that has to succeed.
 * @throws CommandError with its last lines when it does not.
 */
export async function runOk(command: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const result = await run(command, args, options);
  if (result.code !== 0) throw new CommandError([command, ...args].join(' '), result);
  return result;
}
