/**
 * Writes failover.log and stdout, one line an event. Writing never blocks a decision: lines wait in a bounded queue,
 * and when the disk is too slow, the oldest are dropped and their number is logged. Rotation copies and truncates the
 * file, so that `tail -f` goes on.
 */

import { appendFile, copyFile, rename, stat, truncate } from 'node:fs/promises';
import { messageOf } from '../contract/errors';
import { formatLine } from '../contract/log-line';
import type { Log } from './ports';

const QUEUE_LINES_MAX = 2_000;

export class FileLog implements Log {
  private queue: string[] = [];
  private dropped = 0;
  private draining: Promise<void> | null = null;
  private broken = false;

  constructor(
    private readonly file: string,
    /** The file is rotated beyond this size, bytes. */
    private readonly bytesMax: number,
    /** Number of rotated files that are kept. */
    private readonly keep: number,
    private readonly stdout: (line: string) => void,
    private readonly format: typeof formatLine = formatLine,
    private readonly now = (): Date => new Date(),
  ) {}

  write(...event: Parameters<Log['write']>): void {
    const line = this.line(...event);
    this.stdout(line);
    this.queue.push(line);
    if (this.queue.length > QUEUE_LINES_MAX) {
      this.queue.shift();
      this.dropped += 1;
    }
    this.draining ??= this.drain().finally(() => {
      this.draining = null;
    });
  }

  /** Resolves when all lines so far are in the file or could not be written. */
  async flush(): Promise<void> {
    await this.draining;
  }

  private line(...event: Parameters<Log['write']>): string {
    return this.format(this.now(), ...event);
  }

  private async drain(): Promise<void> {
    while (this.queue.length > 0) {
      const lines = this.queue;
      this.queue = [];
      if (this.dropped > 0) {
        lines.unshift(this.line('WARN', 'monitor', 'LOG_DROPPED', `${this.dropped} lines were not written`));
        this.dropped = 0;
      }
      try {
        await appendFile(this.file, `${lines.join('\n')}\n`);
        this.broken = false;
        await this.rotate();
      } catch (error) {
        if (!this.broken) this.stdout(this.line('ERROR', 'monitor', 'LOG_FAILED', messageOf(error)));
        this.broken = true;
      }
    }
  }

  private async rotate(): Promise<void> {
    const { file, bytesMax, keep } = this;
    if ((await stat(file)).size <= bytesMax) return;
    for (let i = keep - 1; i >= 1; i--) await rename(`${file}.${i}`, `${file}.${i + 1}`).catch(() => undefined);
    await copyFile(file, `${file}.1`);
    await truncate(file, 0);
  }
}
