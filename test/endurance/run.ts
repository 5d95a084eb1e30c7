/**
 * Shows that nothing grows without a bound. Each part makes within minutes as many heartbeats, failovers, copies, log
 * lines or API clients as a stack has in months, and compares the figures at its beginning with those at its end.
 *
 *     npm run test:endurance -- [--only beats,life] [--list] [--fresh]
 *
 * The parts make nodes and stacks of their own. What is done for the tree that is tested is kept, so an interrupted run
 * goes on where it was. Results go to docs/results/; the exit code is 1 when something grew.
 */
import { join } from 'node:path';
import { messageOf } from '../../failover/contract/errors';
import { machineSize } from '../../scripts/lib/machine-size';
import { someOf } from '../../scripts/lib/options';
import { PATHS } from '../../scripts/lib/paths';
import { say } from '../../scripts/lib/terminal';
import { readOptions } from '../rig/options';
import { loadAverage, Progress, runProgram, testedTree, today, writeResults } from '../rig/progress';
import { BACKEND_PART } from './part-backend';
import { BEATS_PART } from './part-beats';
import { CLIENTS_PART } from './part-clients';
import { COPIES_PART } from './part-copies';
import { LIFE_PART } from './part-life';
import { LOGS_PART } from './part-logs';
import { NODES_PART } from './part-nodes';
import { type Part, Report, Result } from './report';

const PARTS: readonly Part[] = [BEATS_PART, LIFE_PART, NODES_PART, LOGS_PART, CLIENTS_PART, BACKEND_PART, COPIES_PART];

/** @throws Error that names what is allowed. */
function readArguments() {
  const values = readOptions({ only: null, list: false, fresh: false });
  const wanted = someOf(
    'only',
    values.only,
    PARTS.map(({ name }) => name),
  );
  return { ...values, parts: PARTS.filter(({ name }) => wanted.includes(name)) };
}

async function one({ name, title, run }: Part): Promise<Result> {
  say(`${name}: ${title}`);
  const report = new Report();
  const fromMs = performance.now();
  await run(report, (line) => say(`  ${line}`)).catch((error: unknown) => report.problems.push(messageOf(error)));
  const seconds = Math.round((performance.now() - fromMs) / 1_000);
  return { name, seconds, load: loadAverage(), rows: report.rows, notes: report.notes, problems: report.problems };
}

function page(results: readonly Result[], tree: string): string {
  const failed = results.reduce((sum, { problems }) => sum + problems.length, 0);
  const sections = PARTS.flatMap(({ name, title }) => {
    const result = results.find((one) => one.name === name);
    if (result === undefined) return [];
    const { rows, notes, problems, seconds, load } = result;
    return [
      `## ${name}: ${title}`,
      '',
      `${seconds} s, load average ${load} at the end.`,
      '',
      ...['| | at the beginning | at the end |', '|---|---|---|'],
      ...rows.map(({ what, first, last }) => `| ${what} | ${first} | ${last} |`),
      '',
      ...notes.map((words) => `- ${words}`),
      ...problems.map((words) => `- **${words}**`),
      '',
    ];
  });
  return [
    `# What does not grow, ${today()}: ${failed === 0 ? 'all of it stays bounded' : `${failed} ${failed === 1 ? 'problem' : 'problems'}`}`,
    '',
    `Made by \`npm run test:endurance\` on tree ${tree}, ${machineSize()}. A row with a bound has the largest value.`,
    '',
    ...sections,
  ]
    .join('\n')
    .trimEnd()
    .concat('\n');
}

async function main(): Promise<boolean> {
  const { parts, list, fresh } = readArguments();
  if (list) {
    for (const { name, title } of PARTS) say(`${name.padEnd(10)} ${title}`);
    return true;
  }
  const tree = await testedTree();
  const progress = new Progress(join(PATHS.root, 'state', 'endurance', 'progress.json'), tree, Result, fresh);
  const { results } = progress;
  for (const part of parts) {
    if (results.some(({ name, problems }) => name === part.name && problems.length === 0)) continue;
    const result = await one(part);
    progress.add(result);
    for (const { what, first, last } of result.rows) say(`  ${what}: ${first} → ${last}`);
    for (const words of [...result.notes, ...result.problems.map((problem) => `!!! ${problem}`)]) say(`  ${words}`);
  }
  const newest = PARTS.flatMap(({ name }) => results.findLast((result) => result.name === name) ?? []);
  say(`written: ${writeResults(`endurance-${today()}.md`, page(newest, tree))}`);
  return newest.every(({ problems }) => problems.length === 0);
}

runProgram(main);
