/**
 * HAProxy's announcement that it is about to stop (images/haproxy/entrypoint): two files in the folder of its sockets.
 * The monitor keeps `pooled` there while a pooler is connected. HAProxy then makes `leaving` when it is told to stop,
 * and goes on serving until the monitor has removed that file, for 1.5 s at most.
 */
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export class HaproxyLeaves {
  private readonly pooled: string;
  private readonly leaving: string;

  constructor(folder: string) {
    this.pooled = join(folder, 'pooled');
    this.leaving = join(folder, 'leaving');
  }

  /** Tells HAProxy whether there is a pooler for which it has to announce its stop. */
  tellPooled(isPooled: boolean): void {
    try {
      if (isPooled) writeFileSync(this.pooled, '');
      else rmSync(this.pooled, { force: true });
    } catch {
      // Without the file HAProxy stops at once: its clients see what they see without a pooler.
    }
  }

  /** True while HAProxy waits with its stop. */
  waits(): boolean {
    return existsSync(this.leaving);
  }

  /** HAProxy may stop now. */
  release(): void {
    try {
      rmSync(this.leaving, { force: true });
    } catch {
      // It stops by itself a moment later.
    }
  }
}
