/** Runs a program on this terminal, with the signals handed on as Pulumi expects them. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/** Two interrupts closer than this are one: a process group and a parent may both pass the same one on, ms. */
const SAME_INTERRUPT_MS = 1_000;

let running = 0;

/** True while a program has the terminal: signals are its business then. */
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
 * On a terminal Ctrl-C reaches it by itself. Elsewhere it gets a process group of its own and exactly one SIGINT for
 * each one received here: Pulumi winds down after the first and gives up at once after the second, leaving its lock.
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
