/**
 * No false failovers: HTTP clients that send nothing twice work for an hour while the processors are busy with something
 * that goes first, packets between the containers come up to 500 ms late, 1 % of them are lost, and the monitor is paused.
 *
 *     npm run test:soak -- [--minutes 60] [--hang 5s] [--rate 6] [--only starve,jitter,loss,all] [--fresh] [--keep]
 *
 * The time is divided among the phases; a phase that is done is not repeated when an interrupted soak is started again.
 * Fails when a request failed, a registration was lost or doubled, or, with a `hangTimeout` of 5 s or more, at the first
 * failover. Results go to docs/results/. Needs root (packet filter, priorities) and Go.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { healthy, rowsOf, type Stack, stackOf } from '../rig/cluster';
import { HttpLoad, judge, latencyOf, ROWS_OF_RUN, type Row } from '../rig/http-load';
import { machineSize } from '../../scripts/lib/machine-size';
import { someOf, wholeNumber } from '../../scripts/lib/options';
import { PATHS } from '../../scripts/lib/paths';
import { say } from '../../scripts/lib/terminal';
import { OwnStack } from '../rig/stack';
import { disturb, type End, mend, NICE, pauses, starve } from './disturbances';

const SUBNET = '10.216.46.';
/** By the topology of the program. */
const ADDRESS = { monitor: `${SUBNET}11`, primary: `${SUBNET}20`, replica: `${SUBNET}21` };
/** Not HAProxy: it gives a node 20 ms for a connection, so that held clients get through at once (S19). */
const PAIRS = [
  [ADDRESS.monitor, ADDRESS.primary],
  [ADDRESS.monitor, ADDRESS.replica],
  [ADDRESS.primary, ADDRESS.replica],
] as const;
const JITTER_MS = 500;
const LOSS = 0.01;
const PAUSE_EVERY_MS = 60_000;
const PAUSE_MS = 3_000;
const LONG_PAUSE_MS = 30_000;
/** From this `hangTimeout` on there must be no failover at all. */
const CALM_HANG_MS = 5_000;
const PROGRESS_MS = 60_000;

const network = (jitterMs: number, loss: number) => disturb({ jitterMs, loss, pairs: PAIRS });
const PHASES: Record<string, () => Promise<End[]>> = {
  starve: async () => [await starve()],
  jitter: async () => [await network(JITTER_MS, 0)],
  loss: async () => [await network(0, LOSS)],
  all: async () => [await starve(), await network(JITTER_MS, LOSS)],
};

const Result = z.object({
  phase: z.string(),
  date: z.string(),
  seconds: z.number(),
  requests: z.number(),
  failed: z.number(),
  lost: z.number(),
  duplicated: z.number(),
  p50: z.number(),
  p99: z.number(),
  max: z.number(),
  failovers: z.number(),
  /** The monitor's line of each. */
  causes: z.array(z.string()),
  problems: z.array(z.string()),
});
type Result = z.infer<typeof Result>;

interface Arguments {
  seconds: number;
  hang: string;
  rate: number;
  phases: string[];
  fresh: boolean;
  keep: boolean;
}

/** @throws Error that names what is allowed. */
function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '60' },
      hang: { type: 'string', default: '5s' },
      rate: { type: 'string', default: '6' },
      only: { type: 'string' },
      fresh: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
    },
  });
  const phases = someOf('only', values.only, Object.keys(PHASES));
  if (!/^\d+s$/.test(values.hang)) throw new Error(`--hang ${values.hang}: allowed are whole seconds, like 5s`);
  const minutes = wholeNumber('minutes', values.minutes, 1, 1_440);
  const rate = wholeNumber('rate', values.rate, 1, 100);
  const { hang, fresh, keep } = values;
  return { seconds: Math.round((minutes * 60) / phases.length), hang, rate, phases, fresh, keep };
}

function ownStack(hang: string): OwnStack {
  return new OwnStack({
    name: 'soak',
    config: {
      subnet: `${SUBNET}0/24`,
      ...{ writePort: 16534, readPort: 16535, statsPort: 16500, backendPort: 16580, monitorPort: 16588 },
      ...{ databaseName: 'soak', databaseUser: 'soak', databasePassword: 'soak-12345' },
      ...{ hangTimeout: hang, switchback: 'false' },
    },
  });
}

async function phase(name: string, { seconds, rate }: Arguments, own: OwnStack, stack: Stack): Promise<Result> {
  const before = await healthy(stack);
  const logFrom = logOf(own).length;
  const run = `soak${Date.now().toString(36)}`;
  const load = new HttpLoad({ api: stack.api, rate, seconds, run });
  const ends: End[] = [];
  const ticker = setInterval(() => say(`  ${name}: ${load.answers.length} answers`), PROGRESS_MS);
  try {
    await load.begun;
    ends.push(...((await PHASES[name]?.()) ?? []));
    ends.push(await pauses(`${own.prefix}failover-monitor`, PAUSE_EVERY_MS, PAUSE_MS, LONG_PAUSE_MS));
    await load.ended;
  } finally {
    clearInterval(ticker);
    for (const end of ends.reverse()) await end();
  }
  const after = await healthy(stack);
  const verdict = judge(load.answers, await rowsOf<Row>(stack, ROWS_OF_RUN, [run]));
  const causes = logOf(own)
    .slice(logFrom)
    .split('\n')
    .filter((line) => / OPENED /.test(line));
  const { lastFailover } = after;
  return {
    ...{ phase: name, date: new Date().toISOString(), seconds, requests: verdict.requests },
    ...{ failed: verdict.failed.length, lost: verdict.lost.length, duplicated: verdict.duplicated.length },
    ...latencyOf(load.answers),
    failovers: (lastFailover?.term ?? 0) - (before.lastFailover?.term ?? 0),
    causes: causes.map((line) => line.replace(/^.* OPENED\s+/, '')),
    problems: [...verdict.failed, ...verdict.lost, ...verdict.duplicated].slice(0, 20),
  };
}

function logOf(own: OwnStack): string {
  return existsSync(own.log) ? readFileSync(own.log, 'utf8') : '';
}

function isBad(result: Result, hangMs: number): boolean {
  return result.failed + result.lost + result.duplicated > 0 || (hangMs >= CALM_HANG_MS && result.failovers > 0);
}

function describe(r: Result): string {
  return `${r.phase}: ${r.failovers} failovers; ${r.requests} requests, ${r.failed} failed, ${r.lost} lost, ${r.duplicated} duplicated; p50 ${r.p50}, p99 ${r.p99}, slowest ${r.max} ms`;
}

function page(results: readonly Result[], hang: string, rate: number): string {
  const seconds = results.reduce((sum, r) => sum + r.seconds, 0);
  return [
    `# No false failovers: ${Math.round(seconds / 60)} minutes, hangTimeout ${hang}`,
    '',
    `Made by \`npm run test:soak\`, ${machineSize()}; ${rate} requests a second by HTTP clients that send nothing twice. starve: a busy loop a core at nice ${NICE};`,
    `jitter: packets between monitor and nodes, and between the nodes, come up to ${JITTER_MS} ms late; loss: 1 % of them are lost; all: everything at once.`,
    'The monitor is paused for 3 s each minute, once a phase for 30 s. Latencies in ms, from the moment at which a request was due.',
    '',
    '| phase | minutes | failovers | requests | failed | lost | duplicated | p50 | p99 | slowest |',
    '|---|---|---|---|---|---|---|---|---|---|',
    ...results.map(
      (r) =>
        `| ${r.phase} | ${Math.round(r.seconds / 6) / 10} | ${r.failovers} | ${r.requests} | ${r.failed} | ${r.lost} | ${r.duplicated} | ${r.p50} | ${r.p99} | ${r.max} |`,
    ),
    '',
    ...results.flatMap((r) => [...r.causes, ...r.problems].map((words) => `- ${r.phase}: ${words}`)),
    '',
  ].join('\n');
}
/** What was done before for this `hangTimeout` and length. */
class Progress {
  private readonly path: string;
  readonly results: Result[];

  constructor(own: OwnStack, { hang, seconds, fresh }: Arguments) {
    mkdirSync(own.folder, { recursive: true });
    this.path = join(own.folder, `progress-${hang}-${seconds}.json`);
    const text = existsSync(this.path) && !fresh ? readFileSync(this.path, 'utf8') : '[]';
    this.results = z.array(Result).parse(JSON.parse(text));
  }

  add(result: Result): void {
    this.results.push(result);
    writeFileSync(this.path, JSON.stringify(this.results, null, 1));
  }
}

async function main(): Promise<number> {
  const args = readArguments();
  const own = ownStack(args.hang);
  await mend();
  await own.up(say);
  const stack = stackOf(own.name);
  await healthy(stack);
  const progress = new Progress(own, args);
  for (const name of args.phases.filter((p) => !progress.results.some((r) => r.phase === p))) {
    say(`${name}: ${args.seconds} s`);
    const result = await phase(name, args, own, stack);
    progress.add(result);
    say(describe(result));
  }
  const { results } = progress;
  const file = `soak-${new Date().toISOString().slice(0, 10)}-${args.hang}.md`;
  writeFileSync(join(PATHS.root, 'docs', 'results', file), page(results, args.hang, args.rate));
  if (!args.keep) await own.down(say);
  const bad = results.filter((r) => isBad(r, Number.parseInt(args.hang, 10) * 1_000)).length;
  say(
    `\n${results.map(describe).join('\n')}\nWritten to docs/results/${file}\n${results.length - bad} passed, ${bad} failed`,
  );
  return bad === 0 ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  },
);
