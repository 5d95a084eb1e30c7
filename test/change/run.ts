/**
 * Changes a running stack under load, one change after the other, and reports what clients noticed of each.
 *
 *     npm run test:change -- [--only replicas-1-4,password] [--list] [--keep] [--fresh] [--rate 5] [--stack change]
 *
 * The stack is the test's own, with two backends. Results for the tested tree are kept, so an interrupted run can be
 * continued. `--keep` leaves the stack running. Results go to docs/results/; the exit code is 1 when a change failed.
 */
import { join } from 'node:path';
import { messageOf } from '../../failover/contract/errors';
import { machineSize } from '../../scripts/lib/machine-size';
import { someOf, wholeNumber } from '../../scripts/lib/options';
import { checkStackName } from '../../scripts/lib/stack';
import { say } from '../../scripts/lib/terminal';
import { readOptions } from '../rig/options';
import { PRODUCT, Progress, runProgram, testedTree, today, writeResults } from '../rig/progress';
import { OwnStack } from '../rig/stack';
import { BASE, CHANGES, type Change } from './changes';
import { measure, Result } from './measure';
import { page, row } from './page';
import { ChangeStack } from './stack';

/** @throws Error that names what is allowed. */
function readArguments() {
  const values = readOptions({ only: null, list: false, keep: false, fresh: false, rate: '5', stack: 'change' });
  const all = CHANGES.map(({ name }) => name);
  const wanted = someOf('only', values.only, all);
  const rate = wholeNumber('rate', values.rate, 1, 1_000);
  const changes = CHANGES.filter(({ name }) => wanted.includes(name));
  return { ...values, changes, rate, stack: checkStackName(values.stack) };
}

function newStack(name: string): ChangeStack {
  const config = { ...BASE, backendReplicas: 2, switchback: 'true', switchbackAfter: '10s' };
  return new ChangeStack(new OwnStack({ name, ports: 20_000, subnet: '10.98.60', config }));
}

/** Brings the stack to the config before the change, then makes the change. Any exception makes it fail. */
async function one(stack: ChangeStack, change: Change, rate: number): Promise<Result> {
  say(`${change.name}: ${change.title}`);
  try {
    await stack.start({ ...BASE, ...change.before }, () => undefined);
    return await measure(change, rate, stack, say);
  } catch (error) {
    const problem = messageOf(error);
    return {
      ...{ name: change.name, point: change.point, title: change.title, date: new Date().toISOString(), preview: [] },
      ...{ requests: 0, failed: 0, lost: 0, duplicated: 0, writes: 0, lostWrites: 0, heldMs: 0, freshMs: 0, calmMs: 0 },
      ...{ broken: 0, upMs: 0, healthyMs: 0, load: 0, problems: [problem], notes: [] },
    };
  }
}

async function main(): Promise<boolean> {
  const { changes, list, keep, fresh, rate, stack: name } = readArguments();
  if (list) {
    for (const change of CHANGES) say(`${change.name.padEnd(18)} ${change.title}`);
    return true;
  }
  const stack = newStack(name);
  const tree = await testedTree([...PRODUCT, 'test/change']);
  const progress = new Progress(join(stack.own.folder, 'progress.json'), tree, Result, fresh);
  const { results } = progress;
  try {
    for (const change of changes) {
      if (results.some(({ name, problems }) => name === change.name && problems.length === 0)) continue;
      const result = await one(stack, change, rate);
      progress.add(result);
      say(row(result));
      for (const problem of result.problems) say(`  ${problem}`);
    }
  } finally {
    if (!keep) await stack.own.down(() => undefined);
  }
  // A change that was made several times counts with its last result.
  const ordered = CHANGES.flatMap((change) => results.findLast((result) => result.name === change.name) ?? []);
  writeResults(`change-${today()}.md`, page(ordered, machineSize(), rate, tree));
  const failed = ordered.filter((result) => result.problems.length > 0);
  say(`${ordered.length - failed.length} passed, ${failed.length} failed`);
  return failed.length === 0;
}

runProgram(main);
