/**
 * Writes failover.log and stdout, one line an event. Writing never blocks a decision: lines wait in a bounded queue,
 * and when the disk is too slow the oldest are dropped, with a note. Rotation copies and truncates the file, so that
 * `tail -f` goes on.
 */

import { appendFile, copyFile, rename, stat, truncate } from 'node:fs/promises';
import type { LogCode } from '../contract/codes';
import { messageOf } from '../contract/errors';
import { formatLine, type Level } from '../contract/log-line';
import type { Log } from './ports';

const QUEUE_LINES_MAX = 2_000;

export interface LogOptions {
  /** Path of the file; null writes to stdout only. */
  file: string | null;
  /** @default formatLine */
  format?: typeof formatLine;
  /** The file is rotated beyond this size, bytes. */
  bytesMax: number;
  /** Number of rotated files that are kept. */
  keep: number;
  stdout: (line: string) => void;
  now: () => Date;
}

export class FileLog implements Log {
  private readonly options: LogOptions;
  private queue: string[] = [];
  private dropped = 0;
  private draining: Promise<void> | null = null;
  private broken = false;

  constructor(options: LogOptions) {
    this.options = options;
  }

  write(level: Level, subject: string, code: LogCode, message: string, rule?: string): void {
    const line = this.line(level, subject, code, message, rule);
    this.options.stdout(line);
    if (this.options.file === null) return;
    this.queue.push(line);
    if (this.queue.length > QUEUE_LINES_MAX) {
      this.queue.shift();
      this.dropped += 1;
    }
    this.draining ??= this.drain(this.options.file).finally(() => {
      this.draining = null;
    });
  }

  /** Resolves when all lines so far are in the file or could not be written. */
  async flush(): Promise<void> {
    await this.draining;
  }

  private line(level: Level, subject: string, code: LogCode, message: string, rule?: string): string {
    const { format = formatLine, now } = this.options;
    return format(now(), level, subject, code, message, rule);
  }

  private async drain(file: string): Promise<void> {
    while (this.queue.length > 0) {
      const lines = this.queue;
      this.queue = [];
      if (this.dropped > 0) {
        lines.unshift(this.line('WARN', 'monitor', 'LOG_DROPPED', `${this.dropped} lines were not written`));
        this.dropped = 0;
      }
      try {
        await appendFile(file, `${lines.join('\n')}\n`);
        this.broken = false;
        await this.rotate(file);
      } catch (error) {
        if (!this.broken) {
          const words = messageOf(error);
          this.options.stdout(this.line('ERROR', 'monitor', 'LOG_FAILED', words));
        }
        this.broken = true;
      }
    }
  }

  private async rotate(file: string): Promise<void> {
    const { bytesMax, keep } = this.options;
    if ((await stat(file)).size <= bytesMax) return;
    for (let i = keep - 1; i >= 1; i--) await rename(`${file}.${i}`, `${file}.${i + 1}`).catch(() => undefined);
    await copyFile(file, `${file}.1`);
    await truncate(file, 0);
  }
}
