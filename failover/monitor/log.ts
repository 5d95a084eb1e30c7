/**
 * Writes failover.log and stdout, one line an event. Writing never blocks a decision: lines wait in a bounded queue
 * while the file cannot be written, and when there are too many, the oldest are dropped, with a note. Rotation copies
 * and truncates the file, so that `tail -f` goes on.
 */

import { copyFile, open, rename, writeFile } from 'node:fs/promises';
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
    this.dropped += this.queue.splice(0, this.queue.length - QUEUE_LINES_MAX).length;
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
    try {
      while (this.queue.length > 0) if ((await this.append()) > this.bytesMax) await this.rotate();
      this.broken = false;
    } catch (error) {
      if (!this.broken) this.stdout(this.line('ERROR', 'monitor', 'LOG_FAILED', messageOf(error)));
      this.broken = true;
    }
  }

  /**
   * Appends the lines that wait and returns the file's size. Where that fails, the file is as it was before, and the
   * lines wait for the next attempt, which comes with the next line.
   */
  private async append(): Promise<number> {
    const [lines, { dropped }] = [[...this.queue], this];
    const note = this.line('WARN', 'monitor', 'LOG_DROPPED', `${dropped} lines were not written`);
    const text = Buffer.from([...(dropped === 0 ? [] : [note]), ...lines, ''].join('\n'));
    await using file = await open(this.file, 'a');
    const { size } = await file.stat();
    await file.appendFile(text).catch(async (error: unknown) => {
      await file.truncate(size).catch(() => undefined);
      throw error;
    });
    // Some of these lines may have been dropped from the queue while they were written.
    const left = lines.length - (this.dropped - dropped);
    this.queue.splice(0, left);
    this.dropped = Math.max(0, -left);
    return size + text.length;
  }

  /**
   * The copy is complete before an older file moves, so that a failed one destroys none. Where there is no room for it,
   * the file itself moves. Where that fails, too, the content is given up: otherwise the file would grow for ever.
   */
  private async rotate(): Promise<void> {
    const { file, keep } = this;
    const kept = copyFile(file, `${file}.0`).catch(() => rename(file, `${file}.0`));
    await kept.catch(() => undefined);
    for (let i = keep - 1; i >= 0; i--) await rename(`${file}.${i}`, `${file}.${i + 1}`).catch(() => undefined);
    await writeFile(file, '');
    await kept;
  }
}
