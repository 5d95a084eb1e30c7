/**
 * One run of the simulator: a cluster is created, faults strike, the faults end, and the cluster must become healthy
 * again.
 */
import type { Policy } from '../failover/core/state/cluster';
import { nemesisOf } from './faults';
import { emptyVolume } from './node';
import { findWayOut, hasLostAll } from './way-out';
import { World } from './world';

export interface RunOptions {
  seed: number;
  /** Number of replicas; undefined: the seed decides. */
  replicas?: number;
  /** Names of the faults that strike (see faults.ts); undefined: all of them. */
  faults?: readonly string[];
  /**
   * True: none of these faults is a reason to open a new term (S28). `'leader'`: none is a reason to change the leader.
   */
  steady?: boolean | 'leader';
  /** Parts of the policy that the caller sets; the seed decides the others. */
  policy?: Partial<Policy>;
}

export interface RunResult {
  seed: number;
  replicas: number;
  violations: string[];
  story: string[];
  acknowledged: number;
  tasks: number;
}

const BUILD_LIMIT_MS = 60_000;
const HEAL_LIMIT_MS = 180_000;
/** Longer than `hangTimeout`, ms. Any problem of a leader is detected by then. */
const SETTLED_MS = 2_600;
const ARCHIVE_LIMIT_MS = 120_000;
const QUIET_LIMIT_MS = 90_000;
const CONSUMER_LIMIT_MS = 20_000;

export async function simulate(options: RunOptions): Promise<RunResult> {
  const { seed } = options;
  const shape = shapeOf(seed, options.replicas);
  const policy = { ...shape.policy, ...options.policy };
  const world = new World({ seed, ...shape, policy, sharedDisk: seed % 3 !== 0 });
  try {
    await play(world, options);
  } catch (error) {
    world.fail(`the run broke: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
  return {
    seed,
    replicas: shape.replicas,
    violations: world.violations,
    story: world.story,
    acknowledged: world.history.count,
    tasks: world.engine.tasks,
  };
}

function shapeOf(seed: number, replicas: number | undefined): { replicas: number; policy: Partial<Policy> } {
  const dice = seed % 10;
  const count = replicas ?? (dice < 5 ? 1 : dice < 8 ? 2 : dice < 9 ? 3 : 1);
  const syncCount = count >= 2 && seed % 4 === 0 ? 2 : 1;
  return {
    replicas: count,
    policy: {
      syncCount,
      onNoReplica: seed % 7 === 0 ? 'block' : 'continue',
      switchback: seed % 3 === 0,
      reportReplicas: replicas === undefined && count >= 2 && Math.floor(seed / 10) % 2 === 1 ? 1 : 0,
      syncMode: seed % 19 === 5 ? 'asynchronous' : 'synchronous',
      ...(seed % 23 === 7 ? { failoverMode: 'observe' as const } : {}),
    },
  };
}

async function play(world: World, { faults, steady = false }: RunOptions): Promise<void> {
  const { engine } = world;
  world.startAll();
  world.startClients(3, 1);
  if (!(await reaches(world, 'NOT BUILT', BUILD_LIMIT_MS, () => world.healthy() !== null))) return;
  world.startReplicationClients();
  world.say('the cluster is built, faults begin');
  world.steady = steady;
  const nemesis = nemesisOf(world, faults);
  await nemesis.rage();
  world.say('faults end');
  nemesis.heal();
  // Work that a fault delayed until now may still be taken for a hang.
  await engine.run(engine.nowMs + world.policy.hangTimeoutMs);
  const stuck = await findWayOut(world);
  if (stuck !== null) {
    if (!hasLostAll(world)) world.fail(stuck);
    return;
  }
  const isWell = () => world.settled() && world.healthy() !== null;
  if (!(await reaches(world, 'NOT HEALED', HEAL_LIMIT_MS, () => world.healthy() !== null))) return;
  if (!(await reaches(world, 'SETTINGS NOT IN FORCE', HEAL_LIMIT_MS, isWell))) return;
  world.settledDown = true;
  await engine.run(engine.nowMs + SETTLED_MS);
  world.settledDown = false;
  world.clientsEnd = true;
  world.network.far.clear();
  if (!(await reaches(world, 'NOT IDENTICAL', QUIET_LIMIT_MS, () => world.identical()))) return;
  world.checkIdentical();
  if (world.policy.backup === true) await checkArchive(world);
  await checkConsumer(world);
  world.history.checkPhantoms();
}

/** A consumer of a logical slot has the leader's history, with nothing missing and nothing besides. */
async function checkConsumer(world: World): Promise<void> {
  const { consumer, engine } = world;
  const difference = () => {
    const data = world.healthy()?.volume.data;
    return consumer === null ? null : data == null ? 'there is no leader' : consumer.difference(data);
  };
  const isWhole = await engine.run(engine.nowMs + CONSUMER_LIMIT_MS, () => difference() === null);
  if (!isWhole) world.fail(`NOT CONSUMED: a consumer of a logical slot differs from the leader: ${difference()}`);
}

/** Every file of the leader's history must be in the repository, or written down as missing. */
async function checkArchive(world: World): Promise<void> {
  const missing = () => {
    const { data, gaps } = world.healthy()?.volume ?? emptyVolume();
    return data === null ? 'the leader' : world.repository.missing(data, gaps);
  };
  const isWhole = await world.engine.run(world.engine.nowMs + ARCHIVE_LIMIT_MS, () => missing() === null);
  if (!isWhole) world.fail(`NOT ARCHIVED: ${missing()}`);
}

/** Runs until the condition holds. At the limit it reports the violation, with the monitor's sentence. */
async function reaches(world: World, violation: string, limitMs: number, holds: () => boolean): Promise<boolean> {
  const held = await world.engine.run(world.engine.nowMs + limitMs, holds);
  if (!held) world.fail(`${violation}: ${world.sentence}`);
  return held;
}
