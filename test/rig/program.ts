/** Child processes that print their events, one in each line. */
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

/** Command and arguments that run a program of the repository. */
export function script(path: string, args: readonly string[]): [command: string, args: string[]] {
  return [process.execPath, ['--import', 'tsx', join(PATHS.root, path), ...args]];
}

export class Program {
  readonly child: ChildProcess;
  /** Resolves with the exit code when the process has ended and all its lines were read; null after a signal. */
  readonly ended: Promise<number | null>;
  /** Resolves with the first line; rejects when the process ends without one. */
  readonly firstLine: Promise<string>;

  constructor(command: string, args: readonly string[], onLine: (line: string) => void = () => undefined) {
    this.child = spawn(command, args, { cwd: PATHS.root, stdio: ['ignore', 'pipe', 'inherit'] });
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', resolve);
    });
    const first = Promise.withResolvers<string>();
    const none = () => first.reject(new Error(`${[command, ...args].join(' ')} ended without any output`));
    this.ended.then(none, none);
    this.firstLine = first.promise;
    this.firstLine.catch(() => undefined);
    linesOf(this.child, (line) => {
      first.resolve(line);
      onLine(line);
    });
  }

  /** Sends SIGTERM and waits for the end; after {@link END_LIMIT_MS} it sends SIGKILL. */
  async stop(): Promise<void> {
    this.child.kill('SIGTERM');
    const hard = setTimeout(() => this.child.kill('SIGKILL'), END_LIMIT_MS);
    await this.ended.finally(() => clearTimeout(hard));
  }
}
