/**
 * Checks that a slow machine causes no failover. HTTP clients that repeat no request work for an hour, while processes
 * of higher priority keep all processors busy, packets between the containers come up to 500 ms late, 1 % of them are
 * lost, and the monitor is paused again and again.
 *
 *     npm run test:soak -- [--minutes 60] [--hang 5s] [--rate 6] [--only starve,jitter,loss,all] [--fresh] [--keep]
 *
 * The time is divided among the phases; a phase that is done is not repeated when an interrupted soak is started again.
 * The exit code is 1 when a request failed or a registration was lost or doubled, and, with a `hangTimeout` of 5 s or
 * more, when there was a failover. Results go to docs/results/. Needs root (packet filter, priorities) and Go.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { machineSize } from '../../scripts/lib/machine-size';
import { someOf, wholeNumber } from '../../scripts/lib/options';
import { say } from '../../scripts/lib/terminal';
import { MonitorLog } from '../rig/events';
import { HttpLoad, latencyOf } from '../rig/http-load';
import { readOptions } from '../rig/options';
import { Progress, runProgram, testedTree, today, writeResults } from '../rig/progress';
import { OwnStack } from '../rig/stack';
import { healthy } from '../rig/view';
import { disturb, type End, mend, NICE, pauses, starve } from './disturbances';

const own = new OwnStack({ name: 'soak', ports: 16_000, subnet: '10.216.46' });
const MONITOR = own.container('failover-monitor');
const [PRIMARY = '', REPLICA = ''] = own.nodes(1);
/** Packets of HAProxy are not disturbed: it gives up a connect to a node after 20 ms (S19), so none would succeed. */
const PAIRS = [
  [MONITOR, PRIMARY],
  [MONITOR, REPLICA],
  [PRIMARY, REPLICA],
].map(([a = '', b = '']) => [own.addressOf(a), own.addressOf(b)] as const);
const JITTER_MS = 500;
const LOSS = 0.01;
const PAUSE_EVERY_MS = 60_000;
const PAUSE_MS = 3_000;
const LONG_PAUSE_MS = 30_000;
/** With this `hangTimeout` or a longer one there must be no failover, ms. */
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
  /** The monitor's log line for each failover. */
  causes: z.array(z.string()),
  problems: z.array(z.string()),
});
type Result = z.infer<typeof Result>;

/** @throws Error that names what is allowed. */
function readArguments() {
  const values = readOptions({ minutes: '60', hang: '5s', rate: '6', only: null, fresh: false, keep: false });
  const phases = someOf('only', values.only, Object.keys(PHASES));
  if (!/^\d+s$/.test(values.hang)) throw new Error(`--hang ${values.hang}: allowed are whole seconds, like 5s`);
  const minutes = wholeNumber('minutes', values.minutes, 1, 1_440);
  const rate = wholeNumber('rate', values.rate, 1, 100);
  return { ...values, seconds: Math.round((minutes * 60) / phases.length), rate, phases };
}

async function phase(name: string, { seconds, rate }: ReturnType<typeof readArguments>): Promise<Result> {
  const before = await healthy(own.seen);
  const log = new MonitorLog(own.log);
  const load = new HttpLoad(own.seen, { rate, seconds });
  const ends: End[] = [];
  const ticker = setInterval(() => say(`  ${name}: ${load.answers.length} answers`), PROGRESS_MS);
  try {
    await load.begun;
    ends.push(...((await PHASES[name]?.()) ?? []));
    ends.push(await pauses(MONITOR, PAUSE_EVERY_MS, PAUSE_MS, LONG_PAUSE_MS));
    await load.ended;
  } finally {
    clearInterval(ticker);
    for (const end of ends.reverse()) await end();
  }
  const { lastFailover } = await healthy(own.seen);
  const verdict = await load.verdict();
  const lines = log.text().split('\n');
  const opened = lines.filter((line) => line.includes(' OPENED '));
  return {
    ...{ phase: name, date: new Date().toISOString(), seconds, requests: verdict.requests },
    ...{ failed: verdict.failed.length, lost: verdict.lost.length, duplicated: verdict.duplicated.length },
    ...latencyOf(load.answers),
    failovers: (lastFailover?.term ?? 0) - (before.lastFailover?.term ?? 0),
    causes: opened.map((line) => line.replace(/^.* OPENED\s+/, '')),
    problems: [...verdict.failed, ...verdict.lost, ...verdict.duplicated].slice(0, 20),
  };
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
    `Made by \`npm run test:soak\`, ${machineSize()}; ${rate} requests a second by HTTP clients that repeat no request. starve: a busy loop on each core at nice ${NICE};`,
    `jitter: packets between monitor and nodes, and between the nodes, come up to ${JITTER_MS} ms late; loss: 1 % of them are lost; all: everything at once.`,
    'The monitor is paused for 3 s each minute, and once in each phase for 30 s. Latencies are in ms, from the moment at which a request was due.',
    '',
    '| phase | minutes | failovers | requests | failed | lost | duplicated | p50 | p99 | slowest |',
    '|---|---|---|---|---|---|---|---|---|---|',
    ...results.map(
      (r) =>
        `| ${r.phase} | ${Math.round(r.seconds / 6) / 10} | ${r.failovers} | ${r.requests} | ${r.failed} | ${r.lost} | ${r.duplicated} | ${r.p50} | ${r.p99} | ${r.max} |`,
    ),
    '',
    ...results.flatMap((r) => [...r.causes, ...r.problems].map((line) => `- ${r.phase}: ${line}`)),
    '',
  ].join('\n');
}

async function main(): Promise<boolean> {
  const args = readArguments();
  const { hang, seconds, fresh, rate } = args;
  await mend();
  own.configure({ hangTimeout: hang });
  await own.up(say);
  await healthy(own.seen);
  const file = join(own.folder, `progress-${hang}-${seconds}.json`);
  const progress = new Progress(file, await testedTree(), Result, fresh);
  const { results } = progress;
  for (const name of args.phases.filter((p) => !results.some((r) => r.phase === p))) {
    say(`${name}: ${seconds} s`);
    const result = await phase(name, args);
    progress.add(result);
    say(describe(result));
  }
  const written = writeResults(`soak-${today()}-${hang}.md`, page(results, hang, rate));
  if (!args.keep) await own.down(say);
  const bad = results.filter((r) => isBad(r, Number.parseInt(hang, 10) * 1_000)).length;
  const lines = results.map(describe).join('\n');
  say(`\n${lines}\nWritten to ${written}\n${results.length - bad} passed, ${bad} failed`);
  return bad === 0;
}

runProgram(main);
