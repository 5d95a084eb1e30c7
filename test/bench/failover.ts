/**
 * Measures the write outage of a fault as clients see it, through the published port of a running stack.
 *
 *     npm run bench:failover -- --runs 20 [--fault kill|stop|pause|switchover|replica-kill|replica-pause|haproxy-restart|haproxy-crash]
 *                               [--load] [--stack dev] [--json]
 *
 * The outage is the time from the last acknowledgement before the fault to the next one after it. A separate process
 * (rig/writer.ts) writes over a held and a fresh connection. Every run is reported. Results go to docs/results/, one
 * file for each fault and number of replicas.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { machineSize } from '../../scripts/lib/machine-size';
import { wholeNumber } from '../../scripts/lib/options';
import { PATHS } from '../../scripts/lib/paths';
import { DEFAULT_STACK } from '../../scripts/lib/stack';
import { say } from '../../scripts/lib/terminal';
import { columnOf, rowsOf } from '../rig/client';
import { docker } from '../rig/docker';
import { readOptions } from '../rig/options';
import { runProgram, today, writeResults } from '../rig/progress';
import { type Stack, stackOf } from '../rig/stack';
import { healthy } from '../rig/view';
import { FAULTS, type Fault, lostOf, oneRun, Run, SETTLE_MS, TABLE } from './fault-run';
import { median } from './statistics';

const RESULTS = join(PATHS.root, 'docs', 'results');

/** Number of connects that failed, and the message of the first. */
function failedConnects({ errors }: z.infer<typeof Run>): { count: number; first: string } {
  const connects = Object.entries(errors).filter(([message]) => message.includes('connect:'));
  return { count: connects.reduce((sum, [, count]) => sum + count, 0), first: connects[0]?.[0] ?? '' };
}

/** `pgbench -c 4` through the published port, started again when a failover ends it; returns how to stop it. */
async function startLoad(stack: Stack, image: string): Promise<() => Promise<void>> {
  const name = 'postgres-failover-bench-load';
  const connection = `-h ${stack.host} -p ${stack.writePort} -U ${stack.user}`;
  const script = `pgbench -i -q ${connection} ${stack.database}; while true; do pgbench -n -c 4 -T 3600 ${connection} ${stack.database}; sleep 0.1; done`;
  const args = ['run', '-d', '--rm', '--name', name, '--network', 'host', '--env', 'PGPASSWORD', '--entrypoint', 'sh'];
  process.env.PGPASSWORD = stack.password;
  await docker(...args, image, '-c', script);
  await sleep(10 * SETTLE_MS);
  return async () => {
    await docker('rm', '-f', name);
  };
}

const middle = (values: readonly number[]): number => Math.round(median(values));

const Result = z.object({
  fault: z.string(),
  load: z.boolean(),
  replicas: z.number(),
  date: z.string(),
  machine: z.string(),
  postgres: z.string(),
  lost: z.number(),
  runs: z.array(Run),
});

/** The page of all results: the newest of each fault and number of replicas. */
function page(): string {
  const results = readdirSync(RESULTS)
    .filter((file) => /^failover-.*\.json$/.test(file))
    .sort()
    .map((file) => Result.parse(JSON.parse(readFileSync(join(RESULTS, file), 'utf8'))));
  const { date, machine, postgres } = results[0] ?? { date: '', machine: '', postgres: '' };
  return [
    '# Write outage, measured',
    '',
    'Made by `npm run bench:failover`. All times are milliseconds. The outage is the time from the last write that was',
    'acknowledged before the fault took effect to the next acknowledged one. A separate process writes through the published',
    'port, over two clients: one holds its connection, the other connects for each write.',
    '',
    '- `held` and `fresh`: medians of the outage of that one client.',
    "- `beyond shutdown`: median of the outage without the time in which the leader's PostgreSQL shut down.",
    '- `connects`: new connections that failed.',
    '- `lost`: acknowledged rows that are not in the table exactly once afterwards.',
    '',
    `All runs are in the JSON files beside this page, with their dates. Last: ${date}, ${machine}, PostgreSQL ${postgres}.`,
    '',
    '| fault | replicas | runs | outage min / median / max | held | fresh | beyond shutdown | connects | lost |',
    '|---|---|---|---|---|---|---|---|---|',
    ...results.map(resultRow),
    '',
    '## Where the time goes',
    '',
    'Medians of the times that the monitor itself recorded, in milliseconds since it noticed the fault.',
    '',
    '| fault | replicas | steps |',
    '|---|---|---|',
    ...results.filter((r) => Object.keys(stepMedians(r.runs)).length > 0).map(stepRow),
    '',
  ].join('\n');
}

function resultRow(result: z.infer<typeof Result>): string {
  const { runs, replicas, lost } = result;
  const outages = runs.map((r) => r.outage);
  const [held, fresh] = [middle(runs.map((r) => r.held)), middle(runs.map((r) => r.fresh))];
  const beyond = runs.flatMap((r) => (r.shutdown === null ? [] : [r.outage - r.shutdown]));
  const connects = runs.reduce((sum, run) => sum + failedConnects(run).count, 0);
  const outage = `${Math.min(...outages)} / **${middle(outages)}** / ${Math.max(...outages)}`;
  const rest = beyond.length === 0 ? '–' : middle(beyond);
  return `| ${faultName(result)} | ${replicas} | ${runs.length} | ${outage} | ${held} | ${fresh} | ${rest} | ${connects} | ${lost} |`;
}

function stepRow(result: z.infer<typeof Result>): string {
  const steps = Object.entries(stepMedians(result.runs)).map(([name, ms]) => `${name} ${ms}`);
  return `| ${faultName(result)} | ${result.replicas} | ${steps.join(', ')} |`;
}

function faultName({ fault, load }: { fault: string; load: boolean }): string {
  return load ? `${fault}, pgbench -c 4` : fault;
}

/** Median time of each step, ms, sorted by it. */
function stepMedians(runs: readonly { steps: Record<string, number> }[]): Record<string, number> {
  const names = [...new Set(runs.flatMap((r) => Object.keys(r.steps)))];
  const medians = names.map((name): [string, number] => [name, middle(runs.flatMap((r) => r.steps[name] ?? []))]);
  return Object.fromEntries(medians.sort(([, a], [, b]) => a - b));
}

function describe(index: number, run: Run): string {
  const steps = Object.entries(run.steps).map(([name, ms]) => `${name} ${ms}`);
  const shutdown = run.shutdown === null ? '' : `  shutdown ${run.shutdown}`;
  const { count, first } = failedConnects(run);
  const failed = count === 0 ? '' : `  ${count} failed to connect (${first})`;
  return `${String(index).padStart(3)}  outage ${run.outage} ms (held ${run.held}, fresh ${run.fresh})${shutdown}  ${steps.join(', ')}${failed}`;
}

/** @throws Error that names what is allowed. */
function readArguments() {
  const values = readOptions({ runs: '20', fault: 'kill', load: false, stack: DEFAULT_STACK, json: false });
  const names = Object.keys(FAULTS) as Fault[];
  const fault = names.find((f) => f === values.fault);
  if (fault === undefined) throw new Error(`--fault ${values.fault}: allowed are ${names.join(', ')}`);
  const count = wholeNumber('runs', values.runs, 1, 1_000);
  return { count, fault, load: values.load, stack: stackOf(values.stack), json: values.json };
}

async function main(): Promise<number> {
  const { count, fault, load, stack, json } = readArguments();
  const { leader, nodes } = await healthy(stack);
  const image = await docker('inspect', '--format', '{{.Image}}', leader ?? '');
  await rowsOf(stack, `CREATE TABLE IF NOT EXISTS ${TABLE} (id text)`);
  await rowsOf(stack, `TRUNCATE ${TABLE}`);
  const endLoad = load ? await startLoad(stack, image) : async () => undefined;
  const runs: Run[] = [];
  try {
    while (runs.length < count) {
      const run = await oneRun(stack, fault);
      runs.push(run);
      if (!json) say(describe(runs.length, run));
    }
  } finally {
    await endLoad();
  }
  await healthy(stack);
  const [postgres] = await columnOf(stack, "SELECT current_setting('server_version')");
  const replicas = nodes.length - 1;
  const lost = await lostOf(stack, runs);
  const result = Result.parse({ fault, load, replicas, date: today(), machine: machineSize(), postgres, lost, runs });
  writeResults(`failover-${fault}${load ? '-load' : ''}-${replicas}.json`, `${JSON.stringify(result, null, 1)}\n`);
  writeResults('failover.md', page());
  const outages = runs.map((r) => r.outage);
  const [min, max] = [Math.min(...outages), Math.max(...outages)];
  const summary = `outage min ${min} / median ${middle(outages)} / max ${max} ms, ${result.lost} acknowledged rows lost`;
  say(json ? JSON.stringify(result) : summary);
  return 0;
}

runProgram(main);
