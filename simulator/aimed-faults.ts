/** Faults that strike at the worst moment for one rule, and long ones that are no reason to change the leader. */
import { isChanging } from '../failover/core/state/cluster';
import type { SimMonitor } from './monitor-container';
import { type Fault, type Faults, type Nemesis, passing } from './nemesis';
import { Stranger } from './stranger';

/**
 * The monitor is paused, mostly just after it stored the decision to open the write slot, or just before it sends the
 * command to HAProxy. A second monitor takes over. Then the leader is paused, so the second monitor has to fail over.
 * The first monitor wakes, and a moment later the former leader wakes, too (S11).
 */
const staleMonitor: Fault = (nemesis) => {
  const { world } = nemesis;
  const old = world.monitor;
  if (old === null || old.process.state !== 'running' || nemesis.strangers.length > 0) return undefined;
  const term = old.seen?.decision.state.term ?? 0;
  const take = async () => {
    world.onStored = () => undefined;
    world.haproxy.onDial = () => undefined;
    if (nemesis.over || old.process.state !== 'running' || nemesis.strangers.length > 0) return;
    await replaceMonitor(nemesis, old);
  };
  if (world.random.chance(0.1)) return take();
  const leader = nemesis.leader();
  if (leader === undefined || !leader.up) return undefined;
  nemesis.docker('kill', leader);
  nemesis.later(500, 2_000, () => nemesis.start(leader));
  nemesis.takes(5_000);
  const moment = world.random.pick(['stored', 'opened', 'sending', 'sending', 'sending']);
  let left = world.random.integer(1, 4);
  let opened = false;
  return new Promise<void>((resolve, reject) => {
    const taken = () => void take().then(resolve, reject);
    world.onStored = (state) => {
      const last = state.ledger.at(-1);
      left -= 1;
      opened = !isChanging(state) && last !== undefined && last.opened && last.term > term;
      if (moment === 'opened' ? opened : moment === 'stored' && left <= 0) taken();
    };
    world.haproxy.onDial = (socket, who) => {
      const isClosed = world.haproxy.current?.routes().length === 0;
      const isSending = who === old.process && socket === 'admin.sock' && opened && isClosed;
      if (moment === 'sending' && isSending) taken();
    };
  });
};

async function replaceMonitor(nemesis: Nemesis, old: SimMonitor): Promise<void> {
  const { world } = nemesis;
  const { engine, random } = world;
  const second = nemesis.secondMonitor(old, old.disk);
  nemesis.takes(40_000);
  const wake = () => {
    if (!old.process.dead) nemesis.takes(1_500);
    nemesis.wakeFirstMonitor(old, 500, 5_000);
  };
  // A keeper drops the connection to a silent monitor after ten seconds.
  const isWell = await nemesis.until(20_000, () => world.monitor === second && world.healthy() !== null);
  const leader = nemesis.leader();
  if (!isWell || leader === undefined || !leader.up) {
    await nemesis.passes(0);
    wake();
    return;
  }
  const { term } = second.seen?.decision.state ?? { term: 0 };
  nemesis.docker('pause', leader);
  const isOpened = () => second.seen?.decision.state.ledger.some((e) => e.opened && e.term > term) === true;
  if (await nemesis.until(8_000, isOpened)) await engine.sleep(random.between(20, 1_500), null);
  wake();
  // The later the former leader wakes, the longer the first monitor may take it for the leader.
  nemesis.later(20, 200, () => nemesis.unpause(leader));
}

/**
 * A replica comes back. As soon as it counts as synchronous again, it gets no more WAL of the leader, and the leader
 * dies (S4).
 */
const killAtGrowth: Fault = async (nemesis) => {
  const { world } = nemesis;
  const { random, engine, network } = world;
  const leader = nemesis.leader();
  const replicas = world.members.filter((n) => n !== leader && n.up);
  if (leader === undefined || replicas.length === 0) return;
  const joint = () => world.state?.joint ?? [];
  for (const node of replicas) nemesis.docker('kill', node);
  const back = random.pick(replicas);
  if (!(await nemesis.until(3_000, () => joint().length === 1 && joint()[0]?.k === 0))) return;
  nemesis.start(back);
  const counts = () => joint().some((c) => c.members.includes(back.name));
  const counted = nemesis.until(6_000, counts);
  for (const node of replicas) nemesis.later(6_000, 9_000, () => nemesis.start(node));
  if (!(await counted) || !(await nemesis.until(3_000, () => joint().length === 1 && counts()))) return;
  world.say(`${back.name} gets no more WAL of ${leader.name}`);
  network.block(leader.name, back.name);
  engine.after(random.between(10, 150), null, () => nemesis.kill(leader));
  engine.after(600, null, () => network.heal());
};

/** The leader dies, and for a while its successor's address belongs to another cluster's leader (S14). */
const stranger: Fault = async (nemesis) => {
  const { world } = nemesis;
  nemesis.killLeader();
  const activity = () => world.state?.activity.kind;
  if (!(await nemesis.until(4_000, () => activity() === 'elect' || activity() === 'promote'))) return;
  const leader = nemesis.leader();
  const candidate = activity() === 'promote' ? leader : world.members.find((n) => n !== leader && n.up);
  // After the monitor has checked the node, it cannot notice a change of the address any more.
  if (candidate === undefined || candidate.postgres?.isPrimary === true || Stranger.isThere(world)) return;
  if (world.haproxy.workers.some((worker) => worker.routes().includes(candidate.address))) return;
  world.say(`the address of ${candidate.name}, ${candidate.address}, now belongs to another cluster's leader`);
  const wrong = new Stranger(world, candidate.address);
  nemesis.onHeal(() => wrong.leave());
  nemesis.later(500, 4_000, () => wrong.leave());
};

/** A node is killed in the middle of its rewind, and again in the middle of the next rewind (S12). */
const killRewinding: Fault = async (nemesis) => {
  const { world } = nemesis;
  const { random, engine } = world;
  const leader = nemesis.leader();
  if (leader === undefined || !leader.up) return;
  // No other node gets what this leader writes from now on, so the leader must be rewound later.
  for (const node of world.members) if (node !== leader) world.network.block(leader.name, node.name);
  world.say(`no standby gets the WAL of ${leader.name}`);
  nemesis.later(150, 400, () => {
    nemesis.kill(leader);
    world.network.heal();
  });
  nemesis.later(900, 2_500, () => nemesis.start(leader));
  await engine.sleep(1_000, null);
  const isRewound = () => leader.volume.state.rewinding || leader.volume.data?.broken === true;
  for (const isLast of [false, true]) {
    if (!(await nemesis.until(15_000, isRewound))) return;
    await engine.sleep(random.between(5, 200), null);
    if (!leader.up || nemesis.over) return;
    world.say(`docker kill ${leader.name}, in the middle of its rewind`);
    leader.kill();
    nemesis.later(50, 800, () => nemesis.start(leader));
    if (!isLast) await nemesis.passes(1_000);
  }
};

/** Readers stay in their transactions while a table is changed, and the leader dies (S16). */
const readers: Fault = async (nemesis) => {
  const { world } = nemesis;
  world.say('readers stay in their transactions, writers change tables');
  world.holds = 0.4;
  await nemesis.passes(1_000, 4_000);
  nemesis.killLeader();
  await nemesis.passes(1_000, 3_000);
  world.holds = 0.02;
};

/** Clients cancel commits that wait, other clients see the cancelled writes, and the leader dies with them (S7). */
const cancels: Fault = (nemesis) => {
  const { world } = nemesis;
  const leader = nemesis.leader();
  if (leader === undefined || !leader.up) return;
  world.say(`clients cancel commits that wait, and no standby gets the WAL of ${leader.name}`);
  world.cancelling += 1;
  for (const node of world.members) if (node !== leader) world.network.block(leader.name, node.name);
  nemesis.later(300, 1_500, () => {
    nemesis.kill(leader);
    world.cancelling -= 1;
    world.network.heal();
  });
};

/** A new leader is elected. Then the monitor's store is replaced by an older one, and the new leader dies (S10). */
const oldStore: Fault = async (nemesis) => {
  const { world } = nemesis;
  const old = { ...world.disk, full: false, moved: true };
  const ledger = () => world.state?.ledger ?? [];
  const term = ledger().at(-1)?.term ?? 0;
  nemesis.killLeader();
  if (!(await nemesis.until(6_000, () => ledger().some((entry) => entry.opened && entry.term > term)))) return;
  const leader = nemesis.leader();
  nemesis.restoreStore(old, 500);
  if (leader?.up === true) nemesis.later(0, 1_500, () => nemesis.kill(leader));
};

/**
 * The leader is cut off from all hosts but HAProxy. Its clients cancel commits that wait, and other clients see the
 * cancelled writes. Another leader is elected, and from then on no reader may see the old leader's history (S13), nor
 * may one that keeps its session.
 */
const cutOff = passing(3_000, 9_000, (nemesis) => {
  const { world } = nemesis;
  const leader = nemesis.leader();
  if (leader === undefined || !leader.up) return undefined;
  world.say(`${leader.name} is cut off from all hosts but HAProxy, and clients cancel commits that wait`);
  world.cancelling += 1;
  world.readersStay = true;
  world.network.cut(leader.name, 'monitor');
  for (const other of world.nodes) if (other !== leader) world.network.cut(leader.name, other.name);
  return () => {
    nemesis.mend();
    world.cancelling -= 1;
    world.readersStay = false;
  };
});

/** The faults of this file that also strike in a run with all faults. */
export const AIMED: Faults = {
  staleMonitor: [3, staleMonitor],
  killAtGrowth: [3, killAtGrowth],
  stranger: [2, stranger],
  killRewinding: [3, killRewinding],
  readers: [2, readers],
  cancels: [2, cancels],
  oldStore: [2, oldStore],
  cutOff: [2, cutOff],
};

/**
 * The monitor is frozen until the keepers have dropped their connections, and then messages are late for a while (S11).
 */
const frozenMonitor: Fault = async (nemesis) => {
  const { world } = nemesis;
  const process = world.monitor?.process;
  if (process?.state !== 'running' || world.network.jitterMs > 0) return;
  world.say('messages are late by up to half a second, and the monitor stands still');
  world.network.jitterMs = 500;
  process.pause();
  nemesis.takes(40_000);
  await nemesis.passes(11_000, 25_000);
  world.say('the monitor goes on');
  process.resume();
  await nemesis.passes(5_000, 10_000);
  world.say('messages are in time');
  world.network.jitterMs = 0;
};

/** This fault is no reason to change the leader either, but it is too long to strike together with another fault. */
export const FROZEN: Faults = { frozenMonitor: [1, frozenMonitor] };

/** The leader keeps working and is cut off only from the monitor (S21). */
const apart = passing(3_000, 8_000, (nemesis) => {
  const leader = nemesis.leader();
  if (leader === undefined) return undefined;
  nemesis.world.say(`${leader.name} and the monitor do not hear each other`);
  nemesis.world.network.cut('monitor', leader.name);
  return () => nemesis.mend();
});

/** Faults that are no reason to make another node the leader. */
export const APART: Faults = { apart: [1, apart] };

/** Time for which the switchbacks are counted, ms. */
const FLAPPING_MS = 60_000;
/** More switchbacks in this time are too many, because the monitor waits 5, 10, 20 and 40 s before them (S25). */
const RETURNS_MAX = 5;

/** The preferred node dies each time after it got the lead back. */
const preferredDies: Fault = async (nemesis) => {
  const { world } = nemesis;
  const { engine, onDecision } = world;
  const preferred = world.members[0];
  if (preferred === undefined || !world.policy.switchback) return;
  await nemesis.alone(async () => {
    const endMs = engine.nowMs + FLAPPING_MS;
    let returns = 0;
    world.onDecision = (code) => {
      if (code === 'SWITCHBACK') returns += 1;
    };
    const leads = () => nemesis.leader() === preferred && world.healthy() === preferred;
    while (await nemesis.until(Math.max(0, endMs - engine.nowMs), leads)) {
      nemesis.docker('kill', preferred);
      nemesis.later(400, 800, () => nemesis.start(preferred));
      await nemesis.passes(1_000);
    }
    world.onDecision = onDecision;
    if (returns > RETURNS_MAX) world.fail(`FLAPPING: ${preferred.name} was given the lead back ${returns} times`);
  });
};

/** A long fault, only for clusters in which the preferred node gets the lead back. */
export const FLAPPING: Faults = { preferredDies: [1, preferredDies] };
