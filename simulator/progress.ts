/** What a long run of the simulator has done so far, kept in a small file so that it goes on where it was interrupted. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { PATHS } from '../scripts/lib/paths';

const FILE = join(PATHS.root, 'state', 'sim.json');

const Progress = z.strictObject({
  /** Bundle's hash and arguments: another code or other seeds begin anew. */
  key: z.string(),
  /** Every seed below this one is done. */
  next: z.number().int(),
  /** Seeds from `next` on that are done, too. */
  beyond: z.array(z.number().int()),
  /** One line a failed seed. */
  violations: z.array(z.string()),
  acknowledged: z.number().int(),
  elapsedMs: z.number(),
});
export type Progress = z.infer<typeof Progress>;

/** The saved progress of this very run; null when there is none. */
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

/** Notes that a seed is done. */
export function noteDone(progress: Progress, seed: number): void {
  const beyond = new Set([...progress.beyond, seed]);
  while (beyond.delete(progress.next)) progress.next += 1;
  progress.beyond = [...beyond];
}
