/**
 * What people see and steer with, tried for real: page and pgAdmin in a browser, `doctor`, alerts.
 *
 *     npm run test:ui -- [--only page,doctor] [--fresh] [--list]
 *
 * One file after the other, each with a stack of its own where it needs one. A file that passed on the same tree is not run
 * again, so an interrupted run goes on where it was. The last line is `N passed, N failed`.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { run, runOk } from '../../scripts/lib/exec';
import { someOf } from '../../scripts/lib/options';
import { PATHS } from '../../scripts/lib/paths';
import { type Counts, fromVitest } from '../../scripts/lib/summary';
import { say, seconds } from '../../scripts/lib/terminal';

const FILE_LIMIT_MS = 40 * 60_000;
const GIT_LIMIT_MS = 30_000;
const SUFFIX = '.ui.test.ts';
const FOLDER = join(PATHS.root, 'test', 'ui');

const Passed = z.object({ tree: z.string(), files: z.record(z.string(), z.number()) });

/** Commit and whatever is not committed. */
async function testedTree(): Promise<string> {
  const git = async (...args: string[]) =>
    (await runOk('git', args, { cwd: PATHS.root, deadlineMs: GIT_LIMIT_MS })).stdout;
  const hash = createHash('sha256').update(await git('diff', 'HEAD'));
  const untracked = (await git('ls-files', '--others', '--exclude-standard', '-z')).split('\0').filter((f) => f !== '');
  for (const name of untracked) hash.update(name).update(readFileSync(join(PATHS.root, name)));
  return `${(await git('rev-parse', 'HEAD')).trim()}+${hash.digest('hex').slice(0, 8)}`;
}

async function runFile(name: string): Promise<Counts> {
  mkdirSync(PATHS.reports, { recursive: true });
  const file = join(PATHS.reports, `ui-${name}.json`);
  rmSync(file, { force: true });
  const reporters = ['--reporter=verbose', '--reporter=json', `--outputFile.json=${file}`];
  const args = ['run', `test/ui/${name}${SUFFIX}`, '--project', 'ui', '--disable-console-intercept', ...reporters];
  const result = await run('vitest', args, { cwd: PATHS.root, deadlineMs: FILE_LIMIT_MS, onLine: say });
  if (!existsSync(file)) return { passed: 0, failed: 1, skipped: 0, notes: [`${name}: no report`] };
  const counts = fromVitest(JSON.parse(readFileSync(file, 'utf8')));
  return result.code !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts;
}

function readArguments(all: readonly string[]): { names: string[]; fresh: boolean; list: boolean } {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      fresh: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
    },
  });
  return { names: someOf('only', values.only, all), fresh: values.fresh, list: values.list };
}

async function main(): Promise<void> {
  const all = readdirSync(FOLDER)
    .filter((f) => f.endsWith(SUFFIX))
    .map((f) => f.slice(0, -SUFFIX.length))
    .sort();
  const { names, fresh, list } = readArguments(all);
  if (list) return say(all.join('\n'));
  const progress = join(PATHS.reports, 'ui-passed.json');
  const tree = await testedTree();
  const before = existsSync(progress) ? Passed.safeParse(JSON.parse(readFileSync(progress, 'utf8'))) : null;
  const done = before?.success === true && before.data.tree === tree && !fresh ? before.data.files : {};
  const rows: string[] = [];
  let [passed, failed] = [0, 0];
  for (const name of names) {
    const known = done[name];
    const beganMs = performance.now();
    const counts = known === undefined ? await runFile(name) : { passed: known, failed: 0 };
    passed += counts.passed;
    failed += counts.failed;
    const took = known === undefined ? seconds(performance.now() - beganMs) : 'earlier';
    rows.push(
      `  ${name.padEnd(12)} ${String(counts.passed).padStart(4)} passed ${String(counts.failed).padStart(3)} failed  ${took}`,
    );
    if (counts.failed > 0 || counts.passed === 0) continue;
    done[name] = counts.passed;
    writeFileSync(progress, JSON.stringify({ tree, files: done }));
  }
  say(rows.join('\n'));
  say(`${passed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
