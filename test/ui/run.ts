/**
 * Tests what people look at and steer with, on real stacks: the status page and pgAdmin in a browser, `doctor`, alerts.
 *
 *     npm run test:ui -- [--only page,doctor] [--fresh] [--list]
 *
 * It runs one file after the other; each file brings up the stack that it needs. A file that has passed on the same
 * tree is not run again, so an interrupted run can be continued. The last line is `N passed, N failed`.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { run } from '../../scripts/lib/exec';
import { someOf } from '../../scripts/lib/options';
import { PATHS } from '../../scripts/lib/paths';
import { type Counts, fromVitest } from '../../scripts/lib/summary';
import { say, seconds } from '../../scripts/lib/terminal';
import { readOptions } from '../rig/options';
import { Progress, runProgram, testedTree } from '../rig/progress';

const FILE_LIMIT_MS = 40 * 60_000;
const SUFFIX = '.ui.test.ts';
const FOLDER = join(PATHS.root, 'test', 'ui');

const Passed = z.object({ name: z.string(), passed: z.number() });

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

function readArguments(all: readonly string[]) {
  const values = readOptions({ only: null, fresh: false, list: false });
  return { ...values, names: someOf('only', values.only, all) };
}

async function main(): Promise<boolean> {
  const all = readdirSync(FOLDER)
    .filter((f) => f.endsWith(SUFFIX))
    .map((f) => f.slice(0, -SUFFIX.length))
    .sort();
  const { names, fresh, list } = readArguments(all);
  if (list) {
    say(all.join('\n'));
    return true;
  }
  const progress = new Progress(join(PATHS.reports, 'ui-passed.json'), await testedTree(['.']), Passed, fresh);
  const rows: string[] = [];
  let [passed, failed] = [0, 0];
  for (const name of names) {
    const known = progress.results.find((result) => result.name === name);
    const beganMs = performance.now();
    const counts = known === undefined ? await runFile(name) : { passed: known.passed, failed: 0 };
    passed += counts.passed;
    failed += counts.failed;
    const took = known === undefined ? seconds(performance.now() - beganMs) : 'earlier';
    const [good, bad] = [String(counts.passed).padStart(4), String(counts.failed).padStart(3)];
    rows.push(`  ${name.padEnd(12)} ${good} passed ${bad} failed  ${took}`);
    if (known === undefined && counts.failed === 0 && counts.passed > 0) progress.add({ name, passed: counts.passed });
  }
  say(rows.join('\n'));
  say(`${passed} passed, ${failed} failed`);
  return failed === 0;
}

runProgram(main);
