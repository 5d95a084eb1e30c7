/**
 * The deterministic simulator: `npm run sim -- --seeds 500 [--seed 17] [--replicas 2] [--verbose]`. The last line is
 * `N seeds, M violations`; a failing seed prints the command that replays it and what happened, in words.
 */
import { parseArgs } from 'node:util';
import { simulate } from '../test/sim/run';

const STORY_LINES = 120;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '1' },
      seed: { type: 'string', default: '1' },
      replicas: { type: 'string' },
      verbose: { type: 'boolean', default: false },
    },
  });
  const count = whole('--seeds', values.seeds, 1, 10_000_000);
  const first = whole('--seed', values.seed, 0, 2 ** 31);
  const replicas = values.replicas === undefined ? undefined : whole('--replicas', values.replicas, 1, 8);
  let violations = 0;
  const begun = performance.now();
  let acknowledged = 0;
  for (let seed = first; seed < first + count; seed++) {
    const result = await simulate({ seed, replicas });
    acknowledged += result.acknowledged;
    if (values.verbose || result.violations.length > 0) {
      const story = values.verbose ? result.story : result.story.slice(-STORY_LINES);
      process.stdout.write(`${story.join('\n')}\n`);
    }
    if (result.violations.length === 0) continue;
    violations += 1;
    const more = result.violations.length > 3 ? ` (and ${result.violations.length - 3} more)` : '';
    process.stdout.write(`seed ${seed}: ${result.violations.slice(0, 3).join(' · ')}${more}\n`);
    const shape = replicas === undefined ? '' : ` --replicas ${replicas}`;
    process.stdout.write(`replay: npm run sim -- --seed ${seed}${shape} --verbose\n`);
  }
  const seconds = (performance.now() - begun) / 1000;
  process.stdout.write(`${seconds.toFixed(1)} s, ${acknowledged} acknowledged writes\n`);
  process.stdout.write(`${count} seeds, ${violations} violations\n`);
  process.exitCode = violations === 0 ? 0 : 1;
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new Error(`${name} ${text}: a whole number from ${least} to ${most} is needed`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
});
