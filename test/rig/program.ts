/** A program of the tests as a process of its own, which tells what it sees in lines. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PATHS } from '../../scripts/lib/paths';

const END_LIMIT_MS = 20_000;

/** Calls `onLine` with each line of a child's output. */
export function linesOf(child: ChildProcess, onLine: (line: string) => void): void {
  if (child.stdout === null) throw new Error('the program has no output');
  createInterface({ input: child.stdout }).on('line', onLine);
}

export class Program {
  readonly child: ChildProcess;
  /** Resolves with the exit code when it has ended and all of its lines were read; null after a signal. */
  readonly ended: Promise<number | null>;

  /**
   * @param script path inside the repository
   * @param before a program that starts it, with its arguments: `nsenter …`
   */
  constructor(script: string, args: readonly string[], onLine: (line: string) => void, before: readonly string[] = []) {
    const [command = '', ...rest] = [...before, process.execPath, '--import', 'tsx', join(PATHS.root, script), ...args];
    this.child = spawn(command, rest, { cwd: PATHS.root, stdio: ['ignore', 'pipe', 'inherit'] });
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', resolve);
    });
    this.ended.catch(() => undefined);
    linesOf(this.child, onLine);
  }

  /** Tells it to end, and waits until it has; it is killed when it does not. */
  async stop(): Promise<void> {
    this.child.kill('SIGTERM');
    const hard = setTimeout(() => this.child.kill('SIGKILL'), END_LIMIT_MS);
    await this.ended.finally(() => clearTimeout(hard));
  }
}
