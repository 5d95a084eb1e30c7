/** Starts the writer and reads what it got acknowledged. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PATHS } from '../../../scripts/lib/paths';

export interface Acknowledged {
  id: number;
  atMs: number;
}

/** The writer of `writer.ts` as a process. */
export class Writer {
  readonly acknowledged: Acknowledged[] = [];
  private readonly child: ChildProcess;

  constructor(table: string) {
    const script = join(__dirname, 'writer.ts');
    this.child = spawn(process.execPath, ['--import', 'tsx', script, table], {
      cwd: PATHS.root,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (this.child.stdout)
      createInterface({ input: this.child.stdout }).on('line', (line) => {
        const [id, atMs] = line.split(' ').map(Number);
        if (id !== undefined && atMs !== undefined) this.acknowledged.push({ id, atMs });
      });
  }

  /** Ends it and returns when it has. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill('SIGTERM');
    await ended;
  }

  /** Longest time between two acknowledgements that follow each other, of those after `sinceMs` (and the last before it), ms. */
  longestGapMs(sinceMs: number): number {
    const moments = this.acknowledged.map((one) => one.atMs);
    const gaps = moments.slice(1).map((atMs, index) => (atMs > sinceMs ? atMs - (moments[index] ?? atMs) : 0));
    return Math.max(0, ...gaps);
  }
}
