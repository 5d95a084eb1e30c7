/**
 * Changes a running stack under load, one change after the other, and tells what clients noticed of each.
 *
 *     npm run test:change -- [--only replicas-1-4,password] [--list] [--keep] [--fresh] [--rate 5] [--stack change]
 *
 * The stack is the test's own, with two backends. What is done for the tree that is tested is kept, so an interrupted run
 * goes on where it was; `--keep` leaves the stack up. Results go to docs/results/; the exit code is 1 when one failed.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { runOk } from '../../scripts/lib/exec';
import { machineSize } from '../../scripts/lib/machine-size';
import { someOf, wholeNumber } from '../../scripts/lib/options';
import { PATHS } from '../../scripts/lib/paths';
import { checkStackName } from '../../scripts/lib/stack';
import { say } from '../../scripts/lib/terminal';
import { BASE, CHANGES, type Change } from './changes';
import { measure, Result } from './measure';
import { page, row } from './page';
import { ChangeStack } from './stack';

/** What a result depends on. */
const TESTED = [
  'backend/app',
  'components',
  'failover',
  'images',
  'index.ts',
  'package-lock.json',
  'templates',
  'test/change',
];
const GIT_LIMIT_MS = 30_000;
const Progress = z.object({ tree: z.string(), results: z.array(Result) });

interface Arguments {
  changes: readonly Change[];
  list: boolean;
  keep: boolean;
  fresh: boolean;
  rate: number;
  stack: string;
}

/** @throws Error that names what is allowed. */
function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      list: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      fresh: { type: 'boolean', default: false },
      rate: { type: 'string', default: '5' },
      stack: { type: 'string', default: 'change' },
    },
  });
  const all = CHANGES.map(({ name }) => name);
  const wanted = someOf('only', values.only, all);
  const rate = wholeNumber('rate', values.rate, 1, 1_000);
  const { list, keep, fresh } = values;
  const changes = CHANGES.filter(({ name }) => wanted.includes(name));
  return { changes, list, keep, fresh, rate, stack: checkStackName(values.stack) };
}

/** The commit that last changed what is tested, with a hash of what is not committed. */
async function testedTree(): Promise<string> {
  const git = async (...args: string[]) =>
    (await runOk('git', args, { cwd: PATHS.root, deadlineMs: GIT_LIMIT_MS })).stdout;
  const commit = (await git('log', '-1', '--format=%h', '--', ...TESTED)).trim();
  const changes = await git('diff', 'HEAD', '--', ...TESTED);
  return changes === '' ? commit : `${commit}+${createHash('sha256').update(changes).digest('hex').slice(0, 6)}`;
}

function newStack(name: string): ChangeStack {
  return new ChangeStack(name, {
    ...BASE,
    ...{ subnet: '10.98.60.0/24', writePort: 20434, readPort: 20435, statsPort: 20000 },
    ...{ backendPort: 20080, monitorPort: 20088, backendReplicas: 2 },
    ...{ databaseName: 'change', databaseUser: 'change', switchbackAfter: '10s' },
  });
}

/** Brings the stack to where the change begins, then makes it. A failure that is not of the product's counts as one too. */
async function one(stack: ChangeStack, change: Change, rate: number): Promise<Result> {
  say(`${change.name}: ${change.title}`);
  try {
    process.env.PGPASSWORD = '';
    await stack.start({ ...BASE, ...change.before }, () => undefined);
    return await measure(stack, change, rate, say);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return {
      ...{ name: change.name, point: change.point, title: change.title, date: new Date().toISOString(), preview: [] },
      ...{ requests: 0, failed: 0, lost: 0, duplicated: 0, writes: 0, lostWrites: 0, heldMs: 0, freshMs: 0, calmMs: 0 },
      ...{ broken: 0, upMs: 0, healthyMs: 0, load: 0, problems: [problem], notes: [] },
    };
  }
}

async function main(): Promise<void> {
  const { changes, list, keep, fresh, rate, stack: name } = readArguments();
  if (list) {
    for (const change of CHANGES) say(`${change.name.padEnd(18)} ${change.title}`);
    return;
  }
  const stack = newStack(name);
  mkdirSync(stack.own.folder, { recursive: true });
  const file = join(stack.own.folder, 'progress.json');
  const tree = await testedTree();
  const before = existsSync(file) ? Progress.safeParse(JSON.parse(readFileSync(file, 'utf8'))) : null;
  const kept = before?.success === true && before.data.tree === tree && !fresh ? before.data.results : [];
  const results = kept.filter((result) => result.problems.length === 0);
  try {
    for (const change of changes) {
      if (results.some((result) => result.name === change.name)) continue;
      const result = await one(stack, change, rate);
      results.push(result);
      writeFileSync(file, JSON.stringify({ tree, results }, null, 1));
      say(row(result));
      for (const problem of result.problems) say(`  ${problem}`);
    }
  } finally {
    if (!keep) await stack.own.down(() => undefined);
  }
  const ordered = CHANGES.flatMap((change) => results.filter((result) => result.name === change.name).slice(-1));
  const target = join(PATHS.root, 'docs', 'results', `change-${new Date().toISOString().slice(0, 10)}.md`);
  writeFileSync(target, page(ordered, machineSize(), rate, tree));
  const failed = ordered.filter((result) => result.problems.length > 0);
  say(`${ordered.length - failed.length} passed, ${failed.length} failed`);
  if (failed.length > 0) process.exitCode = 1;
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
