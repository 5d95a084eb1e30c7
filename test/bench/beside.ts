/**
 * Measures what a part of the config costs a failover: kill and switchover with it beside without it, in turn.
 *
 *     npm run bench:beside -- --name tls-and-pooler --with '{"tls":"on","pooler":"true"}' --without '{"tls":"off"}' [--runs 40]
 *                             [--faults kill,switchover] [--tls-clients] [--pooled-clients] [--keep]
 *
 * Two stacks of the same tree run side by side; the one that is not measured is idle. `--tls-clients`: the clients of
 * the stack with the config encrypt. `--pooled-clients`: they come through the pooler. The page in docs/results/ has
 * every run.
 */
import { z } from 'zod';
import { machineSize } from '../../scripts/lib/machine-size';
import { someOf, wholeNumber } from '../../scripts/lib/options';
import { say } from '../../scripts/lib/terminal';
import { rowsOf } from '../rig/client';
import { readOptions } from '../rig/options';
import { loadAverage, PRODUCT, runProgram, testedTree, today, writeResults } from '../rig/progress';
import { type Config, OwnStack, type Stack } from '../rig/stack';
import { healthy } from '../rig/view';
import { lostOf, oneRun, type Run, TABLE } from './fault-run';
import { differenceInterval, median } from './statistics';

const BesideConfig = z.record(z.string(), z.union([z.string(), z.number()]));
const ALLOWED = ['kill', 'stop', 'switchover', 'pause'] as const;
type Allowed = (typeof ALLOWED)[number];

interface Side {
  readonly name: 'with' | 'without';
  readonly own: OwnStack;
  readonly seen: () => Stack;
  readonly runs: (Run & { fault: Allowed })[];
}

function readArguments() {
  const values = readOptions({
    name: 'config',
    with: '{}',
    without: '{}',
    runs: '40',
    faults: 'kill,switchover',
    'tls-clients': false,
    'pooled-clients': false,
    keep: false,
  });
  if (!/^[a-z0-9-]{1,40}$/.test(values.name)) throw new Error(`--name ${values.name}: allowed are a-z, 0-9 and "-"`);
  const faults = someOf('faults', values.faults, ALLOWED);
  const config = (text: string): Config => BesideConfig.parse(JSON.parse(text));
  const configs = { with: config(values.with), without: config(values.without) };
  return {
    ...values,
    configs,
    faults: ALLOWED.filter((f) => faults.includes(f)),
    runs: wholeNumber('runs', values.runs, 1, 1_000),
  };
}

type Arguments = ReturnType<typeof readArguments>;

function sideOf(name: Side['name'], args: Arguments): Side {
  const isWith = name === 'with';
  const config = { replicas: 1, backend: 'false', ...args.configs[name] };
  const own = new OwnStack({
    name: `beside-${name}`,
    ports: isWith ? 26_000 : 25_000,
    subnet: isWith ? '10.98.76' : '10.98.75',
    config,
  });
  const seen = () => {
    const stack = { ...own.seen, tls: isWith && args['tls-clients'] };
    return isWith && args['pooled-clients'] ? { ...stack, writePort: stack.poolPort } : stack;
  };
  return { name, own, seen, runs: [] };
}

function rowsFor(fault: Allowed, [without, with_]: readonly [Side, Side]): string[] {
  const outages = ({ runs }: Side) => runs.filter((run) => run.fault === fault).map(({ outage }) => outage);
  const [a, b] = [outages(without), outages(with_)];
  const { low, high } = differenceInterval(a, b);
  const difference = median(b) - median(a);
  const row = (side: Side, values: readonly number[]) =>
    `| ${fault} | ${side.name} | ${values.length} | ${median(values)} | ${Math.max(...values)} | ${values.join(' ')} |`;
  return [row(without, a), row(with_, b), `| ${fault} | difference | | **${difference}** [${low}, ${high}] | | |`];
}

function stepMedians(fault: Allowed, { runs }: Side): string {
  const all = runs.filter((run) => run.fault === fault).map(({ steps }) => steps);
  const names = Object.keys(all[0] ?? {});
  return names.map((name) => `${name} ${median(all.flatMap((steps) => steps[name] ?? []))}`).join(', ');
}

function page(args: Arguments, sides: readonly [Side, Side], lost: readonly number[], head: string): string {
  const clients = [
    ...(args['tls-clients'] ? ['clients of the stack "with" encrypt'] : []),
    ...(args['pooled-clients'] ? ['clients of the stack "with" come through the pooler'] : []),
  ];
  const errors = sides.map(({ runs }) =>
    runs.flatMap((run) => Object.entries(run.errors)).filter(([text]) => text.includes('connect:')),
  );
  return [
    `# A failover with a config beside one without it: ${args.name}`,
    '',
    `Made by \`npm run bench:beside\` on ${head}.`,
    `With: \`${JSON.stringify(args.configs.with)}\`. Without: \`${JSON.stringify(args.configs.without)}\`.`,
    ...(clients.length > 0 ? [`${clients.join('; ')}.`] : []),
    'Outage of a fault as clients see it, ms: from the last acknowledgement before it to the next one of either client.',
    'The runs alternate. "Difference": of the medians, with a 95 % interval (bootstrap).',
    '',
    `Acknowledged rows that are lost: ${lost[0]} without, ${lost[1]} with. Failed connects: ${errors[0]?.length ?? 0} without, ${errors[1]?.length ?? 0} with.`,
    '',
    '| fault | stack | runs | median | worst | all runs |',
    '|---|---|---|---|---|---|',
    ...args.faults.flatMap((fault) => rowsFor(fault, sides)),
    '',
    'Medians of the steps that the monitor recorded, ms since it noticed the fault:',
    '',
    ...args.faults.flatMap((fault) => sides.map((side) => `- ${fault} ${side.name}: ${stepMedians(fault, side)}`)),
    '',
  ].join('\n');
}

async function main(): Promise<number> {
  const args = readArguments();
  const sides = [sideOf('without', args), sideOf('with', args)] as const;
  try {
    for (const { own, seen } of sides) {
      await own.up(say);
      await healthy(seen());
      await rowsOf(seen(), `CREATE TABLE IF NOT EXISTS ${TABLE} (id text)`);
      await rowsOf(seen(), `TRUNCATE ${TABLE}`);
    }
    const loadBefore = loadAverage();
    for (let round = 0; round < args.runs; round++) {
      for (const fault of args.faults) {
        for (const side of round % 2 === 0 ? sides : [...sides].reverse()) {
          const run = await oneRun(side.seen(), fault);
          side.runs.push({ ...run, fault });
          say(`${round + 1} ${fault} ${side.name}: ${run.outage} ms (held ${run.held}, fresh ${run.fresh})`);
        }
      }
    }
    const lost = [];
    for (const { seen, runs } of sides) lost.push(await lostOf(seen(), runs));
    const tree = await testedTree([...PRODUCT, 'stack', 'test/bench']);
    const head = `${today()} at ${tree}: ${machineSize()}, load average ${loadBefore} before and ${loadAverage()} after`;
    const text = page(args, sides, lost, head);
    say(text);
    say(writeResults(`beside-${args.name}-${today()}.md`, text));
    return lost.every((count) => count === 0) ? 0 : 1;
  } finally {
    if (!args.keep) for (const { own } of sides) await own.remove();
  }
}

runProgram(main);
