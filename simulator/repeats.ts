/** Repeated faults: dozens of leaderships, and containers that their engine starts again and again. */
import { isChanging } from '../failover/core/state/cluster';
import { type Fault, type Faults, type Nemesis, passing } from './nemesis';

/** Think time of the clients during this fault, ms. They are slow because the leaderships matter, not the writes. */
const SLOW_THINK_MS = 900;
/** A ledger with this many terms is already long. */
const LONG_TERMS = 60;

/**
 * More leaderships than the ledger keeps, as in a year of upgrades: switchovers, and now and then a dead leader. The
 * first leadership is interrupted before it is open.
 */
const manyLeaderships: Fault = async (nemesis) => {
  const { world } = nemesis;
  // Once per run, because this fault is long.
  if ((world.state?.term ?? 0) > LONG_TERMS) return;
  await nemesis.alone(async () => {
    const { thinkMs } = world;
    world.thinkMs = SLOW_THINK_MS;
    const count = world.random.integer(70, 90);
    if (await nemesis.well()) {
      await interrupt(nemesis);
      for (let i = 0; i < count && (await nemesis.until(30_000, () => world.healthy() !== null)); i++) {
        await changeLeader(nemesis);
      }
    }
    world.thinkMs = thinkMs;
  });
};

/** The leader dies, and PostgreSQL crashes on its successor before the successor is open. */
async function interrupt(nemesis: Nemesis): Promise<void> {
  const { world } = nemesis;
  for (const node of world.members) if (node !== nemesis.leader()) node.disk.crashes.promotions = 1;
  nemesis.killLeader();
  if (await nemesis.until(5_000, () => world.state?.activity.kind === 'promote')) await nemesis.passes(600, 1_500);
  for (const node of world.members) node.disk.crashes.promotions = 0;
  for (const node of world.members) nemesis.start(node);
}

async function changeLeader(nemesis: Nemesis): Promise<void> {
  const { world } = nemesis;
  const term = world.state?.term ?? 0;
  const leader = nemesis.leader();
  if (world.random.chance(0.9) || leader === undefined) world.monitor?.ask({ kind: 'switchover', to: null });
  else {
    nemesis.docker('kill', leader);
    nemesis.later(100, 400, () => nemesis.start(leader));
  }
  await nemesis.until(5_000, () => world.state !== undefined && world.state.term > term && !isChanging(world.state));
}

/**
 * The keeper dies. It is its container's first process, so the container ends with it, and the engine starts it again
 * at once.
 */
const keeperDies: Fault = (nemesis) => {
  const node = nemesis.anyNode();
  if (!node.up) return;
  nemesis.world.say(`the keeper of ${node.name} dies`);
  node.restarted();
};

/** Like {@link passing}. If the fault still lasts when all faults end, it is ended then. */
function lasting(fromMs: number, toMs: number, begin: (nemesis: Nemesis) => (() => void) | undefined): Fault {
  return passing(fromMs, toMs, (nemesis) => {
    const end = begin(nemesis);
    if (end !== undefined) nemesis.onHeal(end);
    return end;
  });
}

/** The keeper is started again and again while its files cannot be read. */
const unreadable = lasting(300, 6_000, (nemesis) => {
  const node = nemesis.anyNode();
  if (!node.up) return undefined;
  nemesis.world.say(`the keeper of ${node.name} dies, and its files cannot be read`);
  node.unreadable = true;
  node.restarted();
  return () => {
    node.unreadable = false;
  };
});

/** Looks at a leader fail now and then, so the leader is shown in an earlier state (S4). */
const lateLooks = lasting(1_000, 8_000, ({ world }) => {
  world.say('looks at PostgreSQL fail now and then');
  const part = (is: number) => {
    for (const node of world.nodes) node.lateLooks = is;
  };
  part(world.random.between(0.1, 0.6));
  return () => part(0);
});

/** Thousands of clients are held while the leader dies. */
const crowd = lasting(2_000, 10_000, (nemesis) => {
  const { haproxy, random } = nemesis.world;
  haproxy.crowd = random.pick([500, 2_000, 4_000]);
  nemesis.world.say(`${haproxy.crowd} clients wait at HAProxy, and the leader dies`);
  nemesis.killLeader();
  return () => {
    haproxy.crowd = 0;
  };
});

export const REPEATS: Faults = {
  manyLeaderships: [0.3, manyLeaderships],
  keeperDies: [3, keeperDies],
  unreadable: [2, unreadable],
  lateLooks: [2, lateLooks],
  crowd: [2, crowd],
};
