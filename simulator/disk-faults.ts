/** Faults of disks: full disks, broken disks, and databases too large to be copied within a minute. */
import { type Disk, RESERVE_MB } from './disks';
import type { Fault, Faults, Nemesis } from './nemesis';
import type { SimNode } from './node';

/** Probability that a disk stays full for long. It is low, because the crash loop that follows costs many events. */
const LONG = 0.12;

function diskOf(nemesis: Nemesis, node: SimNode): Disk {
  return nemesis.world.sharedDisk ?? node.disk.room;
}

function fill(nemesis: Nemesis, node: SimNode, ms: number): void {
  const { world } = nemesis;
  const disk = diskOf(nemesis, node);
  const free = world.random.pick([0, 0.06, 0.5, 4]);
  const whose = world.sharedDisk === null ? `disk of ${node.name}` : 'disk of the machine';
  world.say(`the ${whose} is full but for ${free} MB`);
  disk.fill(free);
  nemesis.takes(ms);
  nemesis.later(ms, ms, () => {
    world.say('there is room on the disk again');
    disk.clear();
  });
}

/** Foreign data fills a node's disk or the shared disk for seconds, and now and then for a minute. */
const diskFills: Fault = (nemesis) => {
  const { random } = nemesis.world;
  const node = random.chance(0.6) ? (nemesis.leader() ?? nemesis.anyNode()) : nemesis.anyNode();
  fill(nemesis, node, random.chance(LONG) ? random.between(20_000, 60_000) : random.between(500, 6_000));
};

/** The leader has lost its replicas, and then its disk is full for a minute, so it crashes at each promotion. */
const diskFillsAlone: Fault = (nemesis) => {
  const { world } = nemesis;
  const leader = nemesis.leader();
  if (leader === undefined) return;
  for (const node of world.members) {
    if (node === leader || !node.up) continue;
    nemesis.docker('kill', node);
    nemesis.later(62_000, 70_000, () => nemesis.start(node));
  }
  nemesis.takes(62_000);
  nemesis.later(3_000, 4_000, () => fill(nemesis, leader, 50_000));
};

/** The disk that all nodes share is full for a minute, with all nodes running. */
const diskFillsLong: Fault = (nemesis) => {
  fill(nemesis, nemesis.leader() ?? nemesis.anyNode(), nemesis.world.random.between(40_000, 60_000));
};

function crashStarts({ world }: Nemesis, node: SimNode, starts: number): void {
  world.say(`the next ${starts} starts of PostgreSQL in ${node.name} end in a crash`);
  node.disk.crashes.starts = starts;
}

/** A few of a node's next starts end in a crash. */
const crashesAtStart: Fault = (nemesis) => {
  const node = nemesis.anyNode();
  crashStarts(nemesis, node, nemesis.world.random.integer(1, 5));
  nemesis.crash(node);
};

/** A standby crashes in so many starts in a row that the monitor takes its data for broken and orders a copy. */
const crashesInRow: Fault = (nemesis) =>
  nemesis.aloneWhenWell(async () => {
    const { world } = nemesis;
    const [node] = nemesis.replicas();
    if (node === undefined) return;
    crashStarts(nemesis, node, world.random.integer(6, 8));
    const disk = diskOf(nemesis, node);
    if (world.random.chance(0.3)) {
      world.say('there is no room for a copy');
      disk.fill(RESERVE_MB);
    }
    nemesis.onHeal(() => {
      node.disk.crashes.starts = 0;
      disk.clear();
    });
    nemesis.crash(node);
    // It rests for 1, 2, 4, 8, 16 and 32 s in between. Then it needs time to be copied, possibly several times.
    nemesis.takes(100_000);
    await nemesis.passes(100_000);
  });

/** The next promotions crash, whichever node is promoted, and the leader dies. */
const crashesAtPromotion: Fault = (nemesis) => {
  const { world } = nemesis;
  const promotions = world.random.integer(1, 4);
  world.say(`the next ${promotions} promotions of each node end in a crash`);
  for (const node of world.members) node.disk.crashes.promotions = promotions;
  if (world.random.chance(0.5)) nemesis.killLeader();
  else {
    const leader = nemesis.leader();
    if (leader !== undefined) nemesis.crash(leader);
  }
};

/**
 * WAL that clients write in a second, MB. With it the verification of a copy lasts longer than `wal_keep_size` keeps
 * WAL, but the copy ends before `max_slot_wal_keep_size` is reached.
 */
const WAL_MB_A_SECOND = 50;

/**
 */
const largeDatabase: Fault = (nemesis) => {
  const { world } = nemesis;
  const { engine, random, load } = world;
  const away = random.pick(world.members);
  const data = nemesis.leader()?.volume.data;
  if (load.dataMb > 1_000 || data == null || !away.up || away === nemesis.leader()) return;
  const before = data.wal.length;
  nemesis.takes(45_000);
  nemesis.later(2_000, 2_000, () => {
    const records = Math.max(20, data.wal.length - before) / 2;
    Object.assign(load, { dataMb: random.between(2_500, 4_000), recordMb: WAL_MB_A_SECOND / records });
    world.say(`the database has ${load.dataMb.toFixed(0)} MB, and clients write ${WAL_MB_A_SECOND} MB a second`);
    const checkpoints = () => {
      for (const { postgres } of world.nodes) if (postgres?.process.state === 'running') postgres.recycle();
      if (!world.clientsEnd) engine.after(2_500, null, checkpoints);
    };
    checkpoints();
    if (!away.up) return;
    nemesis.docker('kill', away);
    nemesis.later(1_000, 2_000, () => {
      world.say(`${away.name} was away for so long that its replication slot is invalidated`);
      for (const { postgres } of world.nodes) if (postgres?.process.state === 'running') postgres.removeLog(0);
      nemesis.later(600, 2_000, () => nemesis.start(away));
    });
  });
};

/** Longer than an order takes to reach a keeper and a copy takes to end, ms. */
const BOTH_COPY_MS = 500;

/** Two nodes lose their volumes. The shared disk has space for one copy, or for none. */
const twoCopies: Fault = (nemesis) =>
  nemesis.aloneWhenWell(async () => {
    const { world } = nemesis;
    const { engine, sharedDisk: disk } = world;
    const leader = nemesis.leader();
    const others = world.members.filter((n) => n !== leader && n.up).slice(0, 2);
    if (disk === null || others.length < 2 || leader?.up !== true) return;
    world.load.dataMb = 600;
    for (const node of others) nemesis.wipe(node);
    disk.fill(world.random.pick([RESERVE_MB, 600 + 2 * RESERVE_MB + 40]));
    nemesis.takes(30_000);
    const over = nemesis.passes(20_000, 30_000);
    nemesis.later(100, 200, () => {
      for (const node of others) nemesis.start(node);
    });
    let bothSinceMs: number | null = null;
    const both = () => {
      const copy = others.every((n) => n.keeper?.lives.activity === 'copying');
      bothSinceMs = copy ? (bothSinceMs ?? engine.nowMs) : null;
      return bothSinceMs !== null && engine.nowMs - bothSinceMs >= BOTH_COPY_MS;
    };
    nemesis.when(20_000, both, () => {
      world.fail(`TWO COPIES: ${others.map((n) => n.name).join(' and ')} are copied at the same time`);
    });
    await over;
    disk.clear();
  });

/**
 * Writes wait for the only other synchronous node, whose replication slot was invalidated. When this node is about to
 * be copied, the leader is lost together with its volume. But the node's old data is complete, so it must still be
 * there.
 */
const lastCopyThenLoss: Fault = (nemesis) =>
  nemesis.aloneWhenWell(async () => {
    const { world } = nemesis;
    const leader = world.healthy();
    const [other, ...more] = world.members.filter((n) => n !== leader);
    if (leader === null || other === undefined || more.length > 0 || world.policy.onNoReplica !== 'block') return;
    nemesis.docker('stop', other);
    if (!(await nemesis.until(20_000, () => !other.up))) return;
    await nemesis.passes(500, 1_000);
    world.say(`a long transaction fills the WAL of ${leader.name}, and its beginning is recycled`);
    leader.postgres?.removeLog(0);
    const disk = diskOf(nemesis, other);
    disk.fill(2 * RESERVE_MB);
    nemesis.onHeal(() => disk.clear());
    nemesis.start(other);
    const copies = () => leader.up && other.up && other.postgres === null && other.keeper?.lives.activity === 'copying';
    if (!(await nemesis.until(6_000, copies))) return;
    await nemesis.passes(0, 200);
    const counts = world.state?.joint.some((c) => c.members.includes(other.name));
    if (counts === true && other.volume.data === null) {
      world.fail(`LOST: writes wait for ${other.name}, and its data was given up before there was a whole copy`);
    }
    nemesis.wipe(leader);
    await nemesis.passes(2_000, 4_000);
    nemesis.start(leader);
  });

export const DISK_FAULTS: Faults = {
  diskFills: [4, diskFills],
  diskFillsAlone: [0.3, diskFillsAlone],
  diskFillsLong: [0.3, diskFillsLong],
  crashesAtStart: [2, crashesAtStart],
  crashesInRow: [0.3, crashesInRow],
  crashesAtPromotion: [2, crashesAtPromotion],
  largeDatabase: [0.4, largeDatabase],
  twoCopies: [1, twoCopies],
  lastCopyThenLoss: [1, lastCopyThenLoss],
};
