/**
 * Explores every history of a cluster of three nodes: `npm run sim:exhaustive -- [--k 1|2|both] [--crashes 2] [--starts
 * 1] [--cuts 0] [--promotions 2] [--changes 1] [--writes 1] [--hands 0] [--states N]`. It prints the numbers of states
 * and transitions, also when `--states` ends the search before all states were seen (about a kilobyte of memory for
 * each state). A violation is described step by step.
 */
import { parseArgs } from 'node:util';
import { wholeNumber } from '../../scripts/lib/options';
import { search } from './search';
import { worldOf } from './steps';

const MOST = 1e9;

/** The bounds that arguments set, with their defaults. */
const COUNTS = { crashes: 2, starts: 1, cuts: 0, promotions: 2, changes: 1, writes: 1, hands: 0 };

const options = {
  k: { type: 'string', default: 'both' },
  states: { type: 'string', default: '10000000' },
  early: { type: 'boolean', default: false },
  ...countOptions(),
} as const;

function countOptions(): Record<string, { type: 'string'; default: string }> {
  const entries = Object.entries(COUNTS).map(([name, count]) => [name, { type: 'string', default: String(count) }]);
  return Object.fromEntries(entries) as Record<string, { type: 'string'; default: string }>;
}

function main(): void {
  const { values } = parseArgs({ options });
  const asked: Record<string, unknown> = values;
  const counts = { ...COUNTS };
  for (const name of Object.keys(COUNTS) as (keyof typeof COUNTS)[]) {
    counts[name] = wholeNumber(name, String(asked[name]), 0, MOST);
  }
  const statesMax = wholeNumber('states', values.states, 1, MOST);

  for (const k of values.k === 'both' ? [1, 2] : [wholeNumber('k', values.k, 1, MOST)]) {
    const bounds = { k, ...counts, early: values.early };
    const begun = performance.now();
    const seconds = () => ((performance.now() - begun) / 1_000).toFixed(1);
    const result = search(bounds, {
      statesMax,
      progress: (states, depth, waiting) => {
        process.stdout.write(`  ${seconds()} s: ${states} states, depth ${depth}, ${waiting} wait\n`);
      },
    });
    const { states, transitions, depth, outside, decisions, complete, violation } = result;
    process.stdout.write(
      `${worldOf(bounds)}: ${states} states, ${transitions} transitions, depth ${depth}, ${decisions} decisions, ${outside} steps out of bounds, ${seconds()} s, ${Math.round(process.memoryUsage().rss / 2 ** 20)} MB, ${complete ? 'complete' : 'NOT complete'}, ${violation === null ? 0 : 1} violations\n`,
    );
    if (violation === null) continue;
    process.stdout.write(`${violation.path.map((step, i) => `${String(i + 1).padStart(4)}  ${step}`).join('\n')}\n`);
    process.stdout.write(`      ${violation.words}\n`);
    process.exitCode = 1;
  }
}

try {
  main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
