/**
 * Explores every history of a cluster of three nodes: `npm run sim:exhaustive -- [--k 1|2|both] [--crashes 2] [--starts
 * 1] [--cuts 0] [--promotions 2] [--changes 1] [--writes 1] [--hands 0] [--states N]`. It prints the numbers of states
 * and transitions, also when `--states` ends the search before all states were seen (about a kilobyte of memory for
 * each state). A violation is described step by step.
 */
import { parseArgs } from 'node:util';
import { wholeNumber } from '../../scripts/lib/options';
import { search } from './search';

const MOST = 1e9;

const options = {
  k: { type: 'string', default: 'both' },
  crashes: { type: 'string', default: '2' },
  starts: { type: 'string', default: '1' },
  cuts: { type: 'string', default: '0' },
  promotions: { type: 'string', default: '2' },
  changes: { type: 'string', default: '1' },
  writes: { type: 'string', default: '1' },
  hands: { type: 'string', default: '0' },
  states: { type: 'string', default: '10000000' },
  early: { type: 'boolean', default: false },
} as const;

function main(): void {
  const { values } = parseArgs({ options });
  type Bound = 'k' | 'crashes' | 'starts' | 'cuts' | 'promotions' | 'changes' | 'writes' | 'hands' | 'states';
  const whole = (name: Bound, least: number) => wholeNumber(name, values[name], least, MOST);

  for (const k of values.k === 'both' ? [1, 2] : [whole('k', 1)]) {
    const bounds = {
      k,
      crashes: whole('crashes', 0),
      starts: whole('starts', 0),
      cuts: whole('cuts', 0),
      promotions: whole('promotions', 0),
      changes: whole('changes', 0),
      writes: whole('writes', 0),
      hands: whole('hands', 0),
      early: values.early,
    };
    const begun = performance.now();
    const seconds = () => ((performance.now() - begun) / 1_000).toFixed(1);
    const result = search(bounds, {
      statesMax: whole('states', 1),
      progress: (states, depth, waiting) => {
        process.stdout.write(`  ${seconds()} s: ${states} states, depth ${depth}, ${waiting} wait\n`);
      },
    });
    const { states, transitions, depth, outside, decisions, complete, violation } = result;
    const what = `ANY ${k} of 2, ${bounds.crashes} crashes, ${bounds.starts} starts, ${bounds.cuts} cuts, ${bounds.promotions} promotions, ${bounds.changes} changes, ${bounds.writes} writes, ${bounds.hands} statements of people`;
    process.stdout.write(
      `${what}: ${states} states, ${transitions} transitions, depth ${depth}, ${decisions} decisions, ${outside} steps out of bounds, ${seconds()} s, ${Math.round(process.memoryUsage().rss / 2 ** 20)} MB, ${complete ? 'complete' : 'NOT complete'}, ${violation === null ? 0 : 1} violations\n`,
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
