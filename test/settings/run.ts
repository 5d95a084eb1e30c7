/**
 * Groups of extreme settings of PostgreSQL, each through a kill of the leader and a switchover, under a writer.
 *
 *     npm run test:settings -- [--only g01,g07] [--list] [--keep] [--fresh] [--stack settingsx]
 *
 * The stack is the test's own. All groups take about 10 minutes on two idle cores: 16 groups of 20 to 45 s. A group
 * that has passed with the same values is not run again, so an interrupted run goes on where it was, also after a mend:
 * the page names the commit of each group, and `--fresh` runs all of them again. `--keep` leaves the stack up. Results
 * go to docs/results/; the exit code is 1 when a group failed.
 */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { machineSize } from '../../scripts/lib/machine-size';
import { someOf } from '../../scripts/lib/options';
import { checkStackName } from '../../scripts/lib/stack';
import { say } from '../../scripts/lib/terminal';
import { readOptions } from '../rig/options';
import { PRODUCT, Progress, runProgram, testedTree, today, writeResults } from '../rig/progress';
import { OwnStack } from '../rig/stack';
import { healthy } from '../rig/view';
import { EXTREMES } from './extremes';
import { type Group, groupsOf } from './groups';
import { measure, prepare, Result } from './measure';
import { page, row } from './page';

/** How long a stack that was left running may take to say that all is well, ms. */
const RUNS_LIMIT_MS = 10_000;
/** Results of other commits are kept, because the page names the commit of each result. */
const ANY_TREE = 'any';

/** @throws Error that names what is allowed. */
function readArguments() {
  const values = readOptions({ only: null, list: false, keep: false, fresh: false, stack: 'settingsx' });
  const all = groupsOf(EXTREMES);
  const names = all.map(({ name }) => name);
  const wanted = someOf('only', values.only, names);
  return {
    ...values,
    all,
    groups: all.filter(({ name }) => wanted.includes(name)),
    stack: checkStackName(values.stack),
  };
}

const isOf =
  ({ name, settings }: Group) =>
  (result: Result) =>
    result.name === name && isDeepStrictEqual(result.settings, { ...settings });

/** Brings the stack up, unless an earlier run has left it running. */
async function begin(own: OwnStack): Promise<void> {
  const runs = await healthy(own.seen, RUNS_LIMIT_MS).then(
    () => true,
    () => false,
  );
  if (!runs) await own.up(() => undefined);
  await prepare(own);
}

async function main(): Promise<boolean> {
  const { all, groups, list, keep, fresh, stack: name } = readArguments();
  if (list) {
    for (const group of groups) {
      say(
        `${group.name}: ${Object.entries(group.settings)
          .map(([key, value]) => `${key} = ${value}`)
          .join(', ')}`,
      );
    }
    return true;
  }
  const config = { replicas: 1, backend: 'false' };
  const own = new OwnStack({ name, ports: 18_000, subnet: '10.98.72', config });
  const progress = new Progress(join(own.folder, 'progress.json'), ANY_TREE, Result, fresh);
  const open = groups.filter((group) => !progress.results.some((r) => isOf(group)(r) && r.problems.length === 0));
  try {
    if (open.length > 0) await begin(own);
    for (const group of open) {
      const tree = await testedTree([...PRODUCT, 'stack']);
      say(`${group.name}: ${Object.keys(group.settings).length} settings`);
      const result = await measure(group, own, tree, (line) => say(`  ${line}`));
      progress.add(result);
      say(row(result));
      for (const problem of result.problems) say(`  ${problem}`);
    }
  } finally {
    if (!keep) await own.down(() => undefined);
  }
  // What failed and was tried again counts as it went the last time.
  const ordered = all.flatMap((group) => progress.results.findLast(isOf(group)) ?? []);
  say(writeResults(`settings-${today()}.md`, page(ordered, all.length, machineSize())));
  const failed = ordered.filter((result) => result.problems.length > 0);
  say(`${ordered.length - failed.length} of ${all.length} groups passed, ${failed.length} failed`);
  return failed.length === 0;
}

runProgram(main);
