/** Worker processes that play the simulator's seeds, from one bundle of shipped code and models. */
import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { PATHS } from '../scripts/lib/paths';
import type { WorkerResult, WorkerTask } from './worker';

/** Limit for a seed, ms. A seed takes a fraction of a second; one that takes this long hangs. */
const SEED_LIMIT_MS = 300_000;

export interface Bundle {
  file: string;
  /** Identifies code and models. The same hash means the same histories. */
  hash: string;
}

/**
 * Bundles the worker into `build/sim`, in a folder named after its hash, so that concurrent runs do not disturb each
 * other.
 */
export async function bundleSimulator(): Promise<Bundle> {
  const { outputFiles } = await build({
    entryPoints: [join(PATHS.root, 'simulator', 'worker.ts')],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    // Declared in failover/keeper/postgres/bundled.ts: templates are part of the bundle.
    loader: { '.conf': 'text', '.sql': 'text' },
    logLevel: 'warning',
    write: false,
  });
  const content = outputFiles[0]?.contents;
  if (content === undefined) throw new Error('the simulator was not bundled');
  const hash = createHash('sha256').update(content).digest('hex').slice(0, 16);
  // The folder has the same depth as that of the keeper's template.ts, which finds the templates by a relative path.
  const folder = join(PATHS.root, 'build', 'sim', hash);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'worker.cjs');
  writeFileSync(file, content);
  return { file, hash };
}

export interface WorkerOptions {
  bundle: Bundle;
  jobs: number;
  /** Called for the next seed whenever a worker is free; undefined: there is none. */
  next: () => WorkerTask | undefined;
  onResult: (result: WorkerResult) => void;
}

/** Plays seeds until `next` returns none. Rejects when a worker dies or hangs, with the seed that it played. */
export async function playSeeds(options: WorkerOptions): Promise<void> {
  const children: ChildProcess[] = [];
  try {
    await Promise.all(
      Array.from({ length: options.jobs }, () => {
        const child = fork(options.bundle.file, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
        children.push(child);
        return feed(child, options);
      }),
    );
  } finally {
    for (const child of children) child.kill();
  }
}

function feed(child: ChildProcess, { next, onResult }: WorkerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    let limit: NodeJS.Timeout | undefined;
    let seed: number | null = null;
    const give = () => {
      clearTimeout(limit);
      const task = next();
      if (task === undefined) {
        child.disconnect();
        resolve();
        return;
      }
      seed = task.seed;
      limit = setTimeout(() => reject(new Error(`seed ${seed} hangs`)), SEED_LIMIT_MS);
      child.send(task);
    };
    child.on('message', (result: WorkerResult) => {
      onResult(result);
      give();
    });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      clearTimeout(limit);
      reject(new Error(`the worker that played seed ${seed} ended: ${signal ?? `exit code ${code}`}`));
    });
    give();
  });
}
