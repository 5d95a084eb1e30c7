/**
 * The fault matrix on real containers.
 *
 *     npm run test:chaos -- [--only a,b] [--runs N] [--replicas N] [--list] [--fresh] [--keep] [--engine]
 *
 * Brings up a stack of its own, runs every fault under load, checks everything after each (see lib/trial.ts), and goes
 * on where it was when it is started again on the same tree. `--engine`: the faults of the Docker engine, on one of its
 * own. Results go to docs/results/. Exit code 1 when anything failed.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { REPLICAS_MAX } from '../../failover/contract/limits';
import { endAll } from '../../scripts/lib/exec';
import { someOf, wholeNumber } from '../../scripts/lib/options';
import { say } from '../../scripts/lib/terminal';
import { docker } from '../rig/docker';
import { readOptions } from '../rig/options';
import { removeRules } from '../rig/packet-rules';
import { Progress, runProgram, testedTree, today, writeResults } from '../rig/progress';
import { healthy } from '../rig/view';
import { FAULTS } from './cases/all';
import { ENGINE_FAULTS } from './cases/engine';
import { heal, local } from './lib/docker';
import { enterEngine, isInside, leaveEngine, runInside } from './lib/engine';
import { buildChecker } from './lib/linearizability';
import { Result } from './lib/progress';
import { lastLine, page, table } from './lib/report';
import { undoUnfinished } from './lib/scene';
import { bringUp, FOLDER, HAPROXY, own, STACK, takeDown } from './lib/stack';
import { trial } from './lib/trial';

const RUNS_MAX = 1_000;
const REPAIR_LIMIT_MS = 30_000;
const START_LIMIT_MS = 180_000;
const END_LIMIT_MS = 30_000;

/** @throws Error that names what is allowed. */
function readArguments() {
  const values = readOptions({
    only: null,
    runs: '1',
    replicas: '1',
    list: false,
    fresh: false,
    keep: false,
    engine: false,
  });
  const replicas = wholeNumber('replicas', values.replicas, 1, REPLICAS_MAX);
  const known = values.engine ? ENGINE_FAULTS : FAULTS;
  const names = known.map(({ name }) => name);
  const wanted = someOf('only', values.only, names);
  const faults = known.filter(({ name }) => wanted.includes(name));
  return { ...values, faults, replicas, runs: wholeNumber('runs', values.runs, 1, RUNS_MAX) };
}

/** Brings the stack up and waits until it is healthy, whatever an interrupted run left. */
async function ready(tree: string, replicas: number): Promise<void> {
  await removeRules(STACK.name);
  await bringUp(tree, replicas, say);
  await heal();
  await healthy(STACK, START_LIMIT_MS);
}

/** A stack that a fault has left broken would fail all that follows: they get a new one. */
async function renewUnlessHealthy(tree: string, replicas: number): Promise<void> {
  const well = await healthy(STACK, REPAIR_LIMIT_MS).then(
    () => true,
    () => false,
  );
  if (well) return;
  say('The stack does not recover; a new one is brought up for what follows.');
  await takeDown(say);
  await ready(tree, replicas);
}

function describe(result: Result): string {
  const verdict = result.violations.length === 0 ? '✓' : '✗';
  const figures = `held ${result.heldMs} ms, fresh ${result.freshMs} ms, recovered in ${result.recoveredMs} ms`;
  const counts = `${result.acknowledged} acked, ${result.failed} failed, ${result.unknown} unknown, ${result.lost} lost`;
  const more = `${result.operations} register operations, ${result.failovers} failovers`;
  return [
    `  ${verdict} ${result.run}: ${figures}; ${counts}; ${more}`,
    ...result.violations.map((v) => `      ${v}`),
  ].join('\n');
}

async function versions(): Promise<string> {
  const leader = (await healthy(STACK, START_LIMIT_MS)).leader ?? '';
  const [postgres = ''] = await local(leader, 'SHOW server_version');
  const haproxy = (await docker('exec', HAPROXY, 'haproxy', '-v')).split('\n')[0] ?? '';
  const engine = await docker('version', '--format', '{{.Server.Version}}');
  return `PostgreSQL ${postgres}, ${haproxy.replace(/ - .*/, '')}, Docker ${engine}`;
}

async function main(): Promise<number> {
  const options = readArguments();
  const { faults, list, engine } = options;
  if (list) {
    for (const fault of faults) say(`${fault.name.padEnd(28)} ${fault.about}`);
    return 0;
  }
  if (engine && !isInside()) return runInside(process.argv.slice(2));
  if (!engine) return matrix(options);
  try {
    await enterEngine();
    return await matrix(options);
  } finally {
    await leaveEngine();
  }
}

async function matrix({
  faults,
  runs,
  replicas,
  fresh,
  keep,
  engine,
}: ReturnType<typeof readArguments>): Promise<number> {
  const tree = await testedTree();
  const kind = `${replicas}${engine ? '-engine' : ''}`;
  const progress = new Progress(join(FOLDER, `progress-${kind}.json`), tree, Result, fresh);
  const checker = await buildChecker();
  await ready(tree, replicas);
  const total = faults.length * runs;
  let count = 0;
  for (let round = 1; round <= runs; round++) {
    for (const fault of faults) {
      count += 1;
      if (progress.results.filter(({ name }) => name === fault.name).length >= round) continue;
      say(`[${count}/${total}] ${fault.name}: ${fault.about}`);
      const run = `${fault.name}-${round}`;
      const folder = join(FOLDER, 'runs', run);
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
      const result = await trial({ fault, run: `${run}-${Date.now()}`, nodes: own.nodes(replicas), folder, checker });
      progress.add(result);
      say(describe(result));
      if (result.violations.length > 0) await renewUnlessHealthy(tree, replicas);
    }
  }
  const results = progress.results;
  const date = today();
  const text = page({ results, tree, date, replicas, versions: await versions() });
  const suffix = `${replicas === 1 ? '' : `-${replicas}-replicas`}${engine ? '-engine' : ''}`;
  const file = writeResults(`chaos-${date}${suffix}.md`, text);
  if (!keep || engine) await takeDown(say);
  say(`\n${table(results)}\n\nWritten to ${file}\n${lastLine(results)}`);
  return results.every((r) => r.violations.length === 0) ? 0 : 1;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    endAll();
    setTimeout(() => process.exit(130), END_LIMIT_MS);
    void undoUnfinished().finally(() => process.exit(130));
  });

runProgram(main);
