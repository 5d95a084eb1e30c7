/** Runs a program on this terminal and passes signals on as Pulumi expects them. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/** Two interrupts within this time count as one, ms: a process group and a parent may both pass on the same one. */
const SAME_INTERRUPT_MS = 1_000;

let running = 0;

/** True while a program has the terminal and handles the signals. */
export function inForeground(): boolean {
  return running > 0;
}

export interface ForegroundOptions {
  cwd: string;
  env: NodeJS.ProcessEnv;
}

/**
 * Runs a program with this process's stdin, stdout and stderr and returns its exit code.
 *
 * On a terminal, Ctrl-C reaches the program directly. Elsewhere the program gets a process group of its own and exactly
 * one SIGINT for each one received here: Pulumi shuts down cleanly after the first, and stops at once after the second,
 * leaving its lock.
 */
export function runForeground(command: string, args: readonly string[], options: ForegroundOptions): Promise<number> {
  const interactive = process.stdin.isTTY === true;
  const child = spawn(command, args, { ...options, stdio: 'inherit', detached: !interactive });
  let lastInterruptMs = Number.NEGATIVE_INFINITY;
  const interrupt = () => {
    const nowMs = performance.now();
    if (!interactive && nowMs - lastInterruptMs > SAME_INTERRUPT_MS) child.kill('SIGINT');
    lastInterruptMs = nowMs;
  };
  // A request to end is passed on as an interrupt too, which lets Pulumi finish its step and release its lock.
  const terminate = () => child.kill('SIGINT');
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', terminate);
  process.on('SIGHUP', terminate);
  running++;
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(new Error(`${command} cannot be run: ${error.message}`)));
    child.on('exit', (code, signal) => {
      running--;
      process.off('SIGINT', interrupt);
      process.off('SIGTERM', terminate);
      process.off('SIGHUP', terminate);
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 1));
    });
  });
}
