/**
 * The deterministic simulator: `npm run sim -- --seeds 500 [--seed 17] [--replicas 2] [--faults kill,diskFills] [--jobs
 * 2] [--verbose] [--save]`. The last line of the output is `N seeds, M violations`. For a failing seed it prints the
 * story of the run, and the command that replays the seed. An interrupted long run continues where it was; `--save`
 * writes a page into docs/results.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { wholeNumber } from '../scripts/lib/options';
import { PATHS } from '../scripts/lib/paths';
import { say, seconds } from '../scripts/lib/terminal';
import { forgetProgress, loadProgress, noteDone, type Progress, saveProgress } from './progress';
import type { WorkerResult } from './worker';
import { bundleSimulator, playSeeds } from './workers';

const STORY_LINES = 120;
/** Runs of at least this many seeds are resumed after an interruption and report their progress. */
const LONG = 1_000;
const SAVE_MS = 5_000;
const TELL_MS = 30_000;

type Arguments = ReturnType<typeof readArguments>;

/** @throws Error that names the allowed arguments. */
function readArguments() {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '1' },
      seed: { type: 'string', default: '1' },
      replicas: { type: 'string' },
      faults: { type: 'string' },
      jobs: { type: 'string' },
      verbose: { type: 'boolean', default: false },
      save: { type: 'boolean', default: false },
    },
  });
  const { verbose, save } = values;
  const count = wholeNumber('seeds', values.seeds, 1, 10_000_000);
  const jobs = values.jobs === undefined ? availableParallelism() : wholeNumber('jobs', values.jobs, 1, 64);
  return {
    count,
    first: wholeNumber('seed', values.seed, 0, 2 ** 31),
    replicas: values.replicas === undefined ? undefined : wholeNumber('replicas', values.replicas, 1, 8),
    /** Names of faults, see simulator/README.md; undefined: all that strike together. */
    faults: values.faults?.split(','),
    // The stories of several workers would be mixed.
    jobs: verbose ? 1 : Math.min(jobs, count),
    verbose,
    save,
  };
}

async function main(): Promise<void> {
  const options = readArguments();
  const { count, first, replicas, faults, jobs, verbose } = options;
  const bundle = await bundleSimulator();
  const key = JSON.stringify({ bundle: bundle.hash, first, count, replicas, faults });
  const progress = (count >= LONG ? loadProgress(key) : null) ?? begun(key, first);
  const done = () => progress.next - first + progress.beyond.length;
  if (done() > 0) say(`${done()} of ${count} seeds were done before; this run goes on with them`);
  const resumedMs = progress.elapsedMs;
  const startMs = performance.now();
  const due = { saveMs: startMs + SAVE_MS, tellMs: startMs + TELL_MS };
  let seed = first - 1;
  const skip = new Set(progress.beyond);
  await playSeeds({
    bundle,
    jobs,
    next: () => {
      do seed = Math.max(seed + 1, progress.next);
      while (skip.has(seed));
      return seed < first + count ? { seed, replicas, faults, verbose } : undefined;
    },
    onResult: (result) => {
      const nowMs = performance.now();
      progress.elapsedMs = resumedMs + nowMs - startMs;
      note(progress, result, options);
      if (count < LONG) return;
      if (nowMs > due.saveMs || result.violations.length > 0) {
        due.saveMs = nowMs + SAVE_MS;
        saveProgress(progress);
      }
      if (nowMs < due.tellMs) return;
      due.tellMs = nowMs + TELL_MS;
      say(`${done()} of ${count} seeds, ${progress.violations.length} violations, ${seconds(progress.elapsedMs)}`);
    },
  });
  if (options.save) say(`written: ${savePage(options, progress)}`);
  if (count >= LONG) forgetProgress();
  say(`${seconds(progress.elapsedMs)}, ${progress.acknowledged} acknowledged writes`);
  say(`${count} seeds, ${progress.violations.length} violations`);
  process.exitCode = progress.violations.length === 0 ? 0 : 1;
}

function begun(key: string, first: number): Progress {
  return { key, next: first, beyond: [], violations: [], acknowledged: 0, elapsedMs: 0 };
}

function note(progress: Progress, result: WorkerResult, { replicas, faults, verbose }: Arguments): void {
  const { seed, violations, story } = result;
  noteDone(progress, seed);
  progress.acknowledged += result.acknowledged;
  if (story.length > 0) say((verbose ? story : story.slice(-STORY_LINES)).join('\n'));
  if (violations.length === 0) return;
  const more = violations.length > 3 ? ` (and ${violations.length - 3} more)` : '';
  const line = `seed ${seed}: ${violations.slice(0, 3).join(' · ')}${more}`;
  progress.violations.push(line);
  say(line);
  const shape = `${replicas === undefined ? '' : ` --replicas ${replicas}`}${faults === undefined ? '' : ` --faults ${faults.join()}`}`;
  say(`replay: npm run sim -- --seed ${seed}${shape} --verbose`);
}

/** Writes the page and returns its path. */
function savePage(options: Arguments, progress: Progress): string {
  const { count, first, replicas, jobs } = options;
  const git = (...args: string[]) => execFileSync('git', args, { cwd: PATHS.root, encoding: 'utf8' }).trim();
  const changed =
    git('status', '--porcelain', '--', 'failover', 'simulator', 'templates') === '' ? '' : ', with changes';
  const date = new Date().toISOString();
  const rows: [string, string][] = [
    ['date', date],
    ['commit', `${git('rev-parse', '--short', 'HEAD')}${changed}`],
    ['machine', `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB`],
    ['versions', `Node ${process.versions.node}`],
    ['seeds', `${first} to ${first + count - 1}${replicas === undefined ? '' : `, ${replicas} replicas`}`],
    ['acknowledged writes', String(progress.acknowledged)],
    ['time', `${seconds(progress.elapsedMs)} with ${jobs} processes`],
    ['violations', String(progress.violations.length)],
  ];
  const command = `npm run sim -- --seeds ${count}${first === 1 ? '' : ` --seed ${first}`}`;
  const lines = [
    `# ${count} seeds of the simulator, ${progress.violations.length} violations`,
    '',
    `Made by \`${command}${replicas === undefined ? '' : ` --replicas ${replicas}`} --save\`.`,
    '',
    '| | |',
    '|---|---|',
    ...rows.map(([name, value]) => `| ${name} | ${value} |`),
    '',
    ...progress.violations.map((line) => `- ${line}`),
  ];
  const folder = join(PATHS.root, 'docs', 'results');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `sim-${date.slice(0, 10)}.md`);
  writeFileSync(path, `${lines.join('\n').trimEnd()}\n`);
  return path;
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
});
