/**
 * Measures what HTTP clients notice of a failover. Clients that repeat no request register, log in and read their own
 * user at a steady rate while the primary (or a backend) fails.
 *
 *     npm run bench:backend -- [--fault none|kill|stop|pause|switchover|backend-kill|backend-stop|all] [--rate N]
 *                              [--seconds 30] [--backends N] [--stack dev] [--json]
 *
 * Without `--rate` it looks for a rate that keeps all processors together below 70 %, the clients' work included. Each
 * acknowledged registration is compared with the table. Results go to docs/results/; the exit code is 1 when a request
 * failed, or a registration was lost or duplicated.
 */
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterStatus } from '../../failover/contract/api';
import { machineSize } from '../../scripts/lib/machine-size';
import { wholeNumber } from '../../scripts/lib/options';
import { DEFAULT_STACK } from '../../scripts/lib/stack';
import { say } from '../../scripts/lib/terminal';
import { columnOf } from '../rig/client';
import { docker } from '../rig/docker';
import { HttpLoad, latencyOf } from '../rig/http-load';
import { readOptions } from '../rig/options';
import { loadAverage, runProgram, today, writeResults } from '../rig/progress';
import { type Stack, stackOf } from '../rig/stack';
import { healthy } from '../rig/view';
import { epochMs, waitFor } from '../rig/wait';
import { type FaultRun, page, problemsOf, row } from './backend-page';

const FAULTS = ['none', 'kill', 'stop', 'pause', 'switchover', 'backend-kill', 'backend-stop'] as const;
type Fault = (typeof FAULTS)[number];

const READY_LIMIT_MS = 60_000;
/** The fault happens after this part of the load's time. */
const FAULT_AT = 1 / 3;
/** A backend that was ended is started again after this time, ms. */
const BACKEND_AWAY_MS = 1_000;

/** The search for a rate: first guess, highest and wanted busy part, and number and length of the measurements. */
const PROBE_RATE = 12;
const BUSY_MAX = 0.7;
const BUSY_GOAL = 0.66;
const BUSY_QUIET_MAX = 0.4;
const PROBE_SECONDS = 8;
const PROBES = 5;

/** Measures the part of all processors' time that was not idle since the object was made, 0 to 1. */
class Busy {
  private readonly before = Busy.times();

  private static times(): { idle: number; all: number } {
    const times = cpus().map((cpu) => cpu.times);
    const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
    return { idle: sum(times.map((t) => t.idle)), all: sum(times.flatMap((t) => Object.values(t))) };
  }

  part(): number {
    const now = Busy.times();
    return 1 - (now.idle - this.before.idle) / Math.max(1, now.all - this.before.all);
  }
}

const percent = (part: number): string => `${Math.round(part * 100)} %`;

/** Busy part of the machine under a load of this rate without a fault, 0 to 1. */
async function busyAt(stack: Stack, rate: number): Promise<number> {
  const load = new HttpLoad(stack, { rate, seconds: PROBE_SECONDS });
  await load.begun;
  const busy = new Busy();
  await load.ended;
  return busy.part();
}

/** The highest measured rate that keeps the processors below 70 %. @throws Error when other work keeps them busy. */
async function findRate(stack: Stack): Promise<number> {
  const idle = new Busy();
  await sleep(PROBE_SECONDS * 500);
  const quiet = idle.part();
  const reason = `the processor is ${percent(quiet)} busy without any load; wait for a quiet machine or give --rate`;
  if (quiet > BUSY_QUIET_MAX) throw new Error(reason);
  let rate = PROBE_RATE;
  let best = 0;
  for (let probe = 0; probe < PROBES; probe++) {
    const busy = await busyAt(stack, rate);
    say(`${rate} requests a second: processor ${percent(busy)} busy (${percent(quiet)} without load)`);
    if (busy <= BUSY_MAX) best = Math.max(best, rate);
    const next = Math.max(3, Math.floor((rate * (BUSY_GOAL - quiet)) / Math.max(0.02, busy - quiet)));
    if (best > 0 && Math.abs(next - rate) <= 2) break;
    rate = next > rate && best > 0 ? Math.min(next, best * 3) : next;
  }
  if (best === 0) throw new Error('no rate keeps the processor under 70 %; give --rate');
  return best;
}

/** Makes the fault; returns a function that undoes it, to be called when the load has ended. */
async function breakIt(fault: Fault, stack: Stack, before: ClusterStatus): Promise<() => Promise<unknown>> {
  const leader = before.leader ?? '';
  const backend = `${stack.prefix}backend`;
  switch (fault) {
    case 'none':
      return async () => undefined;
    case 'kill':
    case 'stop':
      await docker(fault, leader);
      return () => docker('start', leader);
    case 'pause':
      await docker('pause', leader);
      return () => docker('unpause', leader);
    case 'switchover': {
      const next = before.nodes.find((node) => node.name !== leader)?.name ?? '';
      await docker('exec', `${stack.prefix}failover-monitor`, 'switchover', next);
      return async () => undefined;
    }
    case 'backend-kill':
    case 'backend-stop':
      await docker(fault === 'backend-kill' ? 'kill' : 'stop', backend);
      await sleep(BACKEND_AWAY_MS);
      await docker('start', backend);
      return async () => undefined;
  }
}

/** Waits until the backend's `/ready` says that it can write. */
async function ready({ api }: Stack): Promise<void> {
  const look = async () => (await fetch(`${api}/ready`, { signal: AbortSignal.timeout(5_000) })).ok;
  await waitFor(`an answer of ${api}/ready`, READY_LIMIT_MS, look);
}

async function oneRun(stack: Stack, fault: Fault, rate: number, seconds: number): Promise<FaultRun> {
  const before = await healthy(stack);
  await ready(stack);
  const load = new HttpLoad(stack, { rate, seconds });
  const beginMs = await load.begun;
  const busy = new Busy();
  await sleep(Math.max(0, beginMs + seconds * 1_000 * FAULT_AT - epochMs()));
  const faultMs = epochMs();
  const undo = await breakIt(fault, stack, before);
  await load.ended;
  const part = busy.part();
  const average = loadAverage();
  await undo();
  const after = await healthy(stack);
  const { answers } = load;
  return {
    fault,
    rate,
    seconds,
    busy: Number(part.toFixed(2)),
    loadAverage: average,
    leaders: [before.leader ?? '?', after.leader ?? '?'],
    verdict: await load.verdict(),
    before: latencyOf(answers.filter(({ dueMs, latencyMs }) => dueMs + latencyMs < faultMs)),
    after: latencyOf(answers.filter(({ dueMs, latencyMs }) => dueMs + latencyMs >= faultMs)),
  };
}

/** @throws Error that names what is allowed. */
function readArguments() {
  const values = readOptions({
    fault: 'all',
    rate: null,
    seconds: '30',
    backends: null,
    stack: DEFAULT_STACK,
    json: false,
  });
  const faults = FAULTS.filter((fault) => values.fault === 'all' || fault === values.fault);
  if (faults.length === 0) throw new Error(`--fault ${values.fault}: allowed are ${FAULTS.join(', ')}, all`);
  return {
    faults,
    rate: values.rate === null ? null : wholeNumber('rate', values.rate, 1, 10_000),
    seconds: wholeNumber('seconds', values.seconds, 6, 3_600),
    backends: values.backends === null ? null : wholeNumber('backends', values.backends, 1, 8),
    stack: stackOf(values.stack),
    json: values.json,
    /** End of the result's file name when only one fault is tried. */
    suffix: values.fault === 'all' ? '' : `-${values.fault}`,
  };
}

/** Number of running backends. @throws Error when it differs from the wanted number. */
async function backendsOf(stack: Stack, wanted: number | null): Promise<number> {
  const names = (await docker('ps', '--format', '{{.Names}}')).split('\n');
  const isBackend = (name: string) => /^backend(-\d)?$/.test(name.slice(stack.prefix.length));
  const count = names.filter((name) => name.startsWith(stack.prefix) && isBackend(name)).length;
  if (wanted === null || wanted === count) return count;
  const set = `npm run pulumi -- config set backendReplicas ${wanted}`;
  throw new Error(`--backends ${wanted}: the stack runs ${count}; change it first (${set}, then npm run up)`);
}

async function main(): Promise<number> {
  const { faults, stack, seconds, json, suffix, ...options } = readArguments();
  await healthy(stack);
  await ready(stack);
  const backends = await backendsOf(stack, options.backends);
  const rate = options.rate ?? (await findRate(stack));
  const runs: FaultRun[] = [];
  for (const fault of faults) {
    const run = await oneRun(stack, fault, rate, seconds);
    runs.push(run);
    if (!json) say(row(run));
    if (!json) for (const line of problemsOf(run.verdict)) say(`  ${line}`);
  }
  const [postgres = '?'] = await columnOf(stack, "SELECT current_setting('server_version')");
  const rateGiven = options.rate !== null;
  const result = { date: today(), machine: machineSize(), postgres, backends, rateGiven, runs };
  writeResults(`backend-${result.date}${suffix}.md`, page(result));
  if (json) say(JSON.stringify(result));
  const bad = runs.filter(({ verdict }) => verdict.failed.length + verdict.lost.length + verdict.duplicated.length > 0);
  if (bad.length > 0) throw new Error(`not passed: ${bad.map((run) => run.fault).join(', ')}`);
  return 0;
}

runProgram(main);
