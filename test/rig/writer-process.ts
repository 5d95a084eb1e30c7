/** `writer.ts` as a process of its own, and what it printed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PATHS } from '../../scripts/lib/paths';
import type { Stack } from './cluster';

export type WriterKind = 'held' | 'fresh';

export interface Ack {
  kind: WriterKind;
  /** ms since the epoch. */
  atMs: number;
  id: string;
}

export interface Failure {
  kind: WriterKind;
  atMs: number;
  /** They begin with `connect:` when no connection could be made. */
  words: string;
}

export type Target = Pick<Stack, 'host' | 'writePort' | 'user' | 'database'>;

export interface WriterOptions {
  table: string;
  /** Times the pace of writer.ts. @default 1 */
  slower?: number;
  /** @default PGPASSWORD of this process */
  password?: string;
}

/** One held and one fresh connection that send nothing twice. */
export class WriterProcess {
  readonly acks: Ack[] = [];
  readonly failures: Failure[] = [];
  private readonly child: ChildProcess;
  private readonly ended: Promise<void>;

  constructor({ host, writePort, user, database }: Target, { table, slower = 1, password }: WriterOptions) {
    const script = join(__dirname, 'writer.ts');
    const args = [script, host, String(writePort), user, database, table, String(slower)];
    this.child = spawn(process.execPath, ['--import', 'tsx', ...args], {
      cwd: PATHS.root,
      env: password === undefined ? process.env : { ...process.env, PGPASSWORD: password },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (this.child.stdout === null) throw new Error('the writer has no output');
    createInterface(this.child.stdout).on('line', (line) => this.take(line));
    this.ended = new Promise((resolve) => this.child.once('close', () => resolve()));
  }

  private take(line: string): void {
    const [what, kind, at, ...rest] = line.split(' ');
    if (kind !== 'held' && kind !== 'fresh') return;
    if (what === 'ack') this.acks.push({ kind, atMs: Number(at), id: rest.join(' ') });
    else this.failures.push({ kind, atMs: Number(at), words: rest.join(' ') });
  }

  async stop(): Promise<void> {
    this.child.kill('SIGTERM');
    await this.ended;
  }
}
