/** One run of the simulator: a cluster is made, faults fall, faults end, and it has to be well again. */
import type { Policy } from '../../failover/core/types';
import { Nemesis } from './faults';
import type { DataDir } from './wal';
import { World } from './world';

export interface RunOptions {
  seed: number;
  /** Number of replicas; undefined: by the seed. */
  replicas?: number;
  /** Names of the faults that fall (see faults.ts); undefined: all of them. */
  faults?: readonly string[];
  /** None of these faults is a reason to change the leader (S28). */
  steady?: boolean;
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
const QUIET_LIMIT_MS = 20_000;

export async function simulate(options: RunOptions): Promise<RunResult> {
  const { seed } = options;
  const shape = shapeOf(seed, options.replicas);
  const world = new World({ seed, ...shape });
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
    policy: { syncCount, onNoReplica: seed % 7 === 0 ? 'block' : 'continue', switchback: seed % 3 === 0 },
  };
}

async function play(world: World, { faults, steady = false }: RunOptions): Promise<void> {
  const { engine } = world;
  world.startAll();
  world.startClients(3, 1);
  if (!(await engine.run(BUILD_LIMIT_MS, () => world.healthy() !== null))) {
    world.fail(`NOT BUILT: ${sentence(world)}`);
    return;
  }
  world.say('the cluster is built, faults begin');
  world.steady = steady;
  const nemesis = new Nemesis(world, faults);
  await nemesis.rage();
  world.say('faults end');
  nemesis.heal();
  if (!(await engine.run(engine.nowMs + HEAL_LIMIT_MS, () => world.healthy() !== null))) {
    if (!nemesis.excused()) {
      world.fail(`NOT HEALED: ${sentence(world)}`);
      return;
    }
    world.say('it stays down, as it must: no node has the newest data any more');
    // The one that had data was taken out of the stack, or all that is left was being rewound to it.
    if (usable(world).length === 0) return;
    if (!(await acceptLoss(world))) {
      world.fail(`NOT HEALED by --accept-data-loss: ${sentence(world)}`);
      return;
    }
  }
  if (!(await engine.run(engine.nowMs + HEAL_LIMIT_MS, () => world.settled() && world.healthy() !== null))) {
    world.fail(`SETTINGS NOT IN FORCE: ${sentence(world)}`);
    return;
  }
  await engine.run(engine.nowMs + 1_500);
  world.clientsEnd = true;
  world.network.far.clear();
  if (!(await engine.run(engine.nowMs + QUIET_LIMIT_MS, () => world.identical()))) {
    world.fail(`NOT IDENTICAL: the nodes do not get to the same position; ${sentence(world)}`);
    return;
  }
  world.checkIdentical();
  world.history.checkPhantoms();
}

/** Data that can lead; half rewound it is neither the one nor the other history (S12). */
function usable(world: World): { name: string; data: DataDir }[] {
  return world.members.flatMap(({ name, volume: { data, state } }) =>
    data === null || state.rewinding ? [] : [{ name, data }],
  );
}

/** A person looks who is furthest, and takes that one. */
async function acceptLoss(world: World): Promise<boolean> {
  const { engine } = world;
  const furthest = usable(world).sort(
    (a, b) => b.data.timeline - a.data.timeline || b.data.wal.length - a.data.wal.length,
  );
  for (const { name } of furthest) {
    world.say(`somebody promotes ${name} with --accept-data-loss`);
    world.monitor?.ask({ kind: 'promote', to: name, acceptDataLoss: true });
    if (await engine.run(engine.nowMs + HEAL_LIMIT_MS, () => world.healthy() !== null)) return true;
  }
  return false;
}

function sentence(world: World): string {
  const decision = world.monitor?.seen?.decision;
  return decision === undefined ? 'the monitor has decided nothing' : `${decision.code} ${decision.reason}`;
}
