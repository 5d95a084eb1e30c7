/**
 * One life of the shipped monitor with many failovers, in the simulator's world: each time the leader is killed and
 * comes back, every fifth time without its data, so that it is copied. Prints a line of JSON after each block of them.
 * Needs `--expose-gc`.
 */
import { decide } from '../../failover/core/decide';
import { printState } from '../../failover/core/state/stored';
import { Outside } from '../../failover/monitor/outside/outside';
import type { DataDir, WalRecord } from '../../simulator/wal';
import { World } from '../../simulator/world';
import { MONITOR_CONFIG } from './config';
import { medianOf } from './figures';

const [COUNT, BLOCK] = [Number(process.argv[2] ?? 1_000), Number(process.argv[3] ?? 200)];
const STEP_LIMIT_MS = 120_000;
/** A copy instead of a rejoin, every so many kills. */
const WIPE_EVERY = 5;
const DECISIONS = 2_000;

/** What is measured of a block of failovers. */
export interface Block {
  failovers: number;
  /** Largest stored state, bytes. */
  stateBytes: number;
  ledger: number;
  /** Heap without the simulated WAL, after a collection of garbage, bytes. */
  heapBytes: number;
  /** Median time of a decision, µs. */
  decideUs: number;
  /** Lines of the monitor's log for each failover. */
  lines: number;
  /** Median simulated time from the kill to the open leader, ms. */
  openMs: number;
  /** Median simulated time from the start of the killed node to the healthy cluster, ms. */
  rejoinMs: number;
}

const world = new World({ seed: 1, replicas: 2, calm: true, sharedDisk: false });
const { engine } = world;
engine.tasksMax = Number.POSITIVE_INFINITY;
const outside = new Outside(
  { ...MONITOR_CONFIG, policy: world.policy },
  { nowMs: () => engine.nowMs },
  { write: () => undefined },
  () => {
    throw new Error('no person asks');
  },
);
let lines = 0;
let stateBytes = 0;
world.onLog = (subject, code, message) => {
  lines += 1;
  outside.write('INFO', subject, code as 'OPENED', message);
};
world.onStored = (state) => {
  stateBytes = Math.max(stateBytes, printState(state).length);
};
world.onDecision = () => {
  const { seen } = world.monitor ?? {};
  if (seen) outside.decided(seen.decision, seen.observation);
};

async function until(what: string, holds: () => boolean): Promise<number> {
  const fromMs = engine.nowMs;
  if (!(await engine.run(fromMs + STEP_LIMIT_MS, holds)))
    throw new Error(`not within the limit: ${what}; ${world.sentence}`);
  if (world.violations.length > 0) throw new Error(world.violations.join('; '));
  return engine.nowMs - fromMs;
}

/** Heap after a collection of garbage. The simulated WAL grows with time and is put outside of the heap meanwhile. */
function heap(): number {
  engine.sweep();
  const dirs = world.nodes.flatMap(({ volume: { data, fresh } }) => [data, fresh]).filter((dir) => dir !== null);
  const texts = dirs.map((dir) => Buffer.from(JSON.stringify(dir.wal)));
  for (const dir of dirs) dir.wal = [];
  for (let i = 0; i < 3; i++) globalThis.gc?.();
  const bytes = process.memoryUsage().heapUsed;
  const known = new Map<number, WalRecord>();
  dirs.forEach((dir: DataDir, i) => {
    for (const record of JSON.parse(texts[i]?.toString() ?? '[]') as WalRecord[]) {
      const same = known.get(record.id) ?? record;
      known.set(record.id, same);
      dir.wal.push(same);
    }
  });
  return bytes;
}

function decideUs(): number {
  const { seen } = world.monitor ?? {};
  if (!seen) throw new Error('the monitor has decided nothing');
  const times = Array.from({ length: DECISIONS }, () => {
    const fromMs = performance.now();
    decide(seen.decision.state, seen.observation, engine.nowMs, world.policy);
    return (performance.now() - fromMs) * 1_000;
  });
  return Math.round(medianOf(times) * 10) / 10;
}

async function failover(number: number): Promise<{ openMs: number; rejoinMs: number }> {
  const leader = world.healthy();
  if (leader === null) throw new Error('not healthy');
  const term = world.state?.term ?? 0;
  leader.kill();
  const wiped = number % WIPE_EVERY === 0;
  if (wiped) leader.wipe();
  const isOpen = () => {
    const entry = world.state?.ledger.at(-1);
    return entry !== undefined && entry.term > term && entry.opened && world.haproxy.current?.routes().length === 1;
  };
  const openMs = await until('a new leader', isOpen);
  leader.start();
  // What was under way when the container died stays in the simulated network until somebody mends the network.
  world.network.heal();
  const rejoinMs = await until('a healthy cluster', () => world.healthy() !== null);
  const { term: newTerm = 0, leader: node } = world.state ?? {};
  const steps = [{ name: 'opened', ms: Math.round(openMs) }];
  outside.failover({ at: '', from: leader.name, node: node ?? '', term: newTerm, cause: 'LEADER_DEAD', steps });
  return { openMs, rejoinMs };
}

async function main(): Promise<void> {
  world.startAll();
  await until('a healthy cluster', () => world.healthy() !== null);
  for (let done = 0; done < COUNT; ) {
    const times: { openMs: number; rejoinMs: number }[] = [];
    [lines, stateBytes] = [0, 0];
    for (let i = 0; i < BLOCK; i++, done++) times.push(await failover(done + 1));
    await engine.run(engine.nowMs + 2_000);
    const block: Block = {
      ...{ failovers: done, stateBytes, ledger: world.state?.ledger.length ?? 0 },
      ...{ decideUs: decideUs(), heapBytes: heap(), lines: lines / BLOCK },
      openMs: Math.round(medianOf(times.map((t) => t.openMs))),
      rejoinMs: Math.round(medianOf(times.map((t) => t.rejoinMs))),
    };
    process.stdout.write(`${JSON.stringify(block)}\n`);
  }
  process.exit(0);
}

main().catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`);
  process.exit(1);
});
