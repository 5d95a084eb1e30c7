/**
 * Progress of a long run of the simulator. It is kept in a small file, so that the run continues where it was
 * interrupted.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { PATHS } from '../scripts/lib/paths';

const FILE = join(PATHS.root, 'state', 'sim.json');

const Progress = z.strictObject({
  /** Hash of the bundle, and arguments. Other code or other seeds begin a new run. */
  key: z.string(),
  /** Every seed below this one is done. */
  next: z.number().int(),
  /** Seeds from `next` on that are done, too. */
  beyond: z.array(z.number().int()),
  /** One line per failed seed. */
  violations: z.array(z.string()),
  acknowledged: z.number().int(),
  elapsedMs: z.number(),
});
export type Progress = z.infer<typeof Progress>;

/** The saved progress of exactly this run; null when there is none. */
export function loadProgress(key: string, file = FILE): Progress | null {
  try {
    const progress = Progress.parse(JSON.parse(readFileSync(file, 'utf8')));
    return progress.key === key ? progress : null;
  } catch {
    return null;
  }
}

export function saveProgress(progress: Progress, file = FILE): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(progress));
  renameSync(`${file}.new`, file);
}

export function forgetProgress(file = FILE): void {
  rmSync(file, { force: true });
}

/** Records that a seed is done. */
export function noteDone(progress: Progress, seed: number): void {
  const beyond = new Set([...progress.beyond, seed]);
  while (beyond.delete(progress.next)) progress.next += 1;
  progress.beyond = [...beyond];
}
