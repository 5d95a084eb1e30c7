/** Repeated faults: dozens of leaderships, and containers that their engine starts again and again. */
import { isChanging } from '../failover/core/state/cluster';
import { type Fault, when } from './aimed-faults';
import type { Nemesis } from './faults';

/** Think time of the clients during this fault, ms. They are slow because the leaderships matter, not the writes. */
const SLOW_THINK_MS = 900;
/** A ledger with this many terms is already long. */
const LONG_TERMS = 60;

/**
 * More leaderships than the ledger keeps, as in a year of upgrades: switchovers, and now and then a dead leader. The
 * first leadership is interrupted before it is open.
 */
const manyLeaderships: Fault = (nemesis) => {
  const { world } = nemesis;
  // Once per run, because this fault is long.
  if ((world.monitor?.seen?.decision.state.term ?? 0) > LONG_TERMS) return;
  nemesis.alone((done) => {
    const { thinkMs } = world;
    world.thinkMs = SLOW_THINK_MS;
    const end = () => {
      world.thinkMs = thinkMs;
      done();
    };
    const left = world.random.integer(70, 90);
    when(
      nemesis,
      20_000,
      () => nemesis.isCalm && world.healthy() !== null,
      () => interrupt(nemesis, () => next(nemesis, left, end)),
      end,
    );
  });
};

/** The leader dies, and PostgreSQL crashes on its successor before the successor is open. */
function interrupt(nemesis: Nemesis, then: () => void): void {
  const { world } = nemesis;
  const state = () => world.monitor?.seen?.decision.state;
  for (const node of world.members) if (node !== nemesis.leader()) node.disk.crashes.promotions = 1;
  nemesis.killLeader();
  const promoted = () => state()?.activity.kind === 'promote';
  const forget = () => {
    for (const node of world.members) node.disk.crashes.promotions = 0;
    for (const node of world.members) nemesis.start(node);
    then();
  };
  when(nemesis, 5_000, promoted, () => nemesis.later(600, 1_500, forget), forget);
}

function next(nemesis: Nemesis, left: number, end: () => void): void {
  const { world } = nemesis;
  const { random } = world;
  if (left === 0) {
    end();
    return;
  }
  const ready = () => {
    const term = world.monitor?.seen?.decision.state.term ?? 0;
    const leader = nemesis.leader();
    const changed = () => {
      const state = world.monitor?.seen?.decision.state;
      return state !== undefined && state.term > term && !isChanging(state);
    };
    if (random.chance(0.9) || leader === undefined) world.monitor?.ask({ kind: 'switchover', to: null });
    else {
      world.say(`docker kill ${leader.name}`);
      leader.kill();
      nemesis.later(100, 400, () => nemesis.start(leader));
    }
    when(
      nemesis,
      5_000,
      changed,
      () => next(nemesis, left - 1, end),
      () => next(nemesis, left - 1, end),
    );
  };
  when(nemesis, 30_000, () => world.healthy() !== null, ready, end);
}

/**
 * The keeper dies. It is its container's first process, so the container ends with it, and the engine starts it again
 * at once.
 */
const keeperDies: Fault = (nemesis) => {
  const { world } = nemesis;
  const node = nemesis.anyNode();
  if (!node.up) return;
  world.say(`the keeper of ${node.name} dies`);
  node.restarted();
};

/** The keeper is started again and again while its files cannot be read. */
const unreadable: Fault = (nemesis) => {
  const { world } = nemesis;
  const node = nemesis.anyNode();
  if (!node.up) return;
  world.say(`the keeper of ${node.name} dies, and its files cannot be read`);
  node.unreadable = true;
  node.restarted();
  const readable = () => {
    node.unreadable = false;
  };
  nemesis.onHeal(readable);
  nemesis.later(300, 6_000, readable);
};

/** Looks at a leader fail now and then, so the leader is shown in an earlier state (S4). */
const lateLooks: Fault = (nemesis) => {
  const { world } = nemesis;
  world.say('looks at PostgreSQL fail now and then');
  const part = (is: number) => {
    for (const node of world.nodes) node.lateLooks = is;
  };
  part(world.random.between(0.1, 0.6));
  nemesis.onHeal(() => part(0));
  nemesis.later(1_000, 8_000, () => part(0));
};

/** Thousands of clients are held while the leader dies. */
const crowd: Fault = (nemesis) => {
  const { world } = nemesis;
  world.haproxy.crowd = world.random.pick([500, 2_000, 4_000]);
  world.say(`${world.haproxy.crowd} clients wait at HAProxy, and the leader dies`);
  nemesis.killLeader();
  const leave = () => {
    world.haproxy.crowd = 0;
  };
  nemesis.onHeal(leave);
  nemesis.later(2_000, 10_000, leave);
};

export const REPEATS: Readonly<Record<string, [weight: number, fault: Fault]>> = {
  manyLeaderships: [0.3, manyLeaderships],
  keeperDies: [3, keeperDies],
  unreadable: [2, unreadable],
  lateLooks: [2, lateLooks],
  crowd: [2, crowd],
};
