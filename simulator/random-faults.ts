/** The faults that strike at random times. */
import { type Fault, type Faults, type Nemesis, passing } from './nemesis';
import type { SimNode } from './node';
import { TOO_MUCH_MEMORY } from './settings';

/** The leader dies. Its successor dies before it is open, or just after. */
const killCandidate: Fault = async (nemesis) => {
  const { world } = nemesis;
  nemesis.killLeader();
  let left = 200;
  while (world.state?.activity.kind !== 'promote') {
    left -= 1;
    if (left === 0) return;
    await nemesis.passes(5);
  }
  const candidate = nemesis.leader();
  await world.engine.sleep(world.random.between(0, 60), null);
  if (candidate !== undefined) nemesis.kill(candidate);
};

const stop: Fault = (nemesis) => {
  const node = nemesis.anyNode();
  if (!node.up || node.process?.state !== 'running') return;
  nemesis.docker('stop', node);
  if (nemesis.world.random.chance(0.8)) nemesis.later(500, 15_000, () => nemesis.start(node));
};

function pause(nemesis: Nemesis, node: SimNode): (() => void) | undefined {
  if (!node.up) return undefined;
  nemesis.docker('pause', node);
  return () => nemesis.unpause(node);
}

const partition: Fault = (nemesis) => {
  const { network, nodes, random } = nemesis.world;
  const hosts = ['monitor', 'haproxy', ...nodes.map((n) => n.name)];
  const from = random.pick(hosts);
  const others = hosts.filter((h) => h !== from);
  const to = random.chance(0.3) ? others : [random.pick(others)];
  const both = random.chance(0.5);
  nemesis.world.say(`packets from ${from} to ${to.join(', ')} are lost${both ? ', and back' : ''}`);
  for (const host of to) {
    network.block(from, host);
    if (both) network.block(host, from);
  }
  nemesis.later(50, 9_000, () => nemesis.mend());
};

function slowDisk({ world }: Nemesis, node: SimNode): () => void {
  const frozen = world.random.chance(0.4);
  world.say(`the disk of ${node.name} ${frozen ? 'is frozen' : 'is slow'}`);
  node.disk.slowness = frozen ? Number.POSITIVE_INFINITY : world.random.between(5, 60);
  return () => {
    world.say(`the disk of ${node.name} is well again`);
    node.disk.slowness = 1;
  };
}

const pauseMonitor = passing(50, 6_000, ({ world }) => {
  const { monitor } = world;
  if (monitor === null || monitor.process.state !== 'running') return undefined;
  world.say(`docker pause ${monitor.label}`);
  monitor.process.pause();
  return () => {
    if (monitor.process.state !== 'paused') return;
    world.say(`docker unpause ${monitor.label}`);
    monitor.process.resume();
  };
});

/** A second monitor replaces the first one, which wakes while the second one works. */
const secondMonitor: Fault = (nemesis) => {
  const { random, storeCopies, monitor: old } = nemesis.world;
  if (old === null || old.process.state !== 'running' || nemesis.strangers.length > 0) return;
  nemesis.secondMonitor(old, random.chance(0.5) ? old.disk : random.pick(storeCopies));
  nemesis.later(500, 6_000, () => nemesis.wakeFirstMonitor(old, 100, 4_000));
};

/**
 * One replica acknowledges while the stream to the others is held up. Then its messages to the monitor are late (S1) or
 * it restarts (S6). The leader dies, or it freezes and wakes in the middle of the election.
 */
const behind: Fault = (nemesis) => {
  const { world } = nemesis;
  const { random, network } = world;
  const leader = nemesis.leader();
  const followers = world.members.filter((n) => n !== leader);
  const ahead = followers.length < 2 ? undefined : random.pick(followers);
  if (leader === undefined || ahead === undefined) {
    nemesis.killLeader();
    return;
  }
  world.say(`only ${ahead.name} still gets the WAL of ${leader.name}`);
  for (const node of followers) if (node !== ahead) network.block(leader.name, node.name);
  const restarts = random.chance(0.6);
  const deadMs = restarts ? random.between(40, 300) : random.between(200, 1_500);
  if (restarts) {
    // Its last checkpoint is old, so replay begins far behind the end of its WAL.
    ahead.replay = { behind: random.integer(20, 100), stepMs: random.between(20, 100) };
    nemesis.later(deadMs - 40, deadMs + 40, () => nemesis.crash(ahead));
  } else {
    nemesis.later(20, 100, () => {
      world.say(`messages of ${ahead.name} to the monitor are late`);
      network.block(ahead.name, 'monitor');
    });
  }
  nemesis.later(deadMs, deadMs, () => {
    if (restarts || random.chance(0.6)) nemesis.kill(leader);
    else if (!nemesis.over) {
      nemesis.docker('pause', leader);
      nemesis.later(1_900, 2_400, () => nemesis.unpause(leader));
    }
  });
  nemesis.later(deadMs + 50, deadMs + 900, () => {
    ahead.replay = undefined;
    nemesis.mend();
  });
};

const switchover: Fault = (nemesis) => {
  const { world } = nemesis;
  const to = world.random.chance(0.5) ? null : nemesis.anyNode().name;
  world.say(`a person asks for a switchover to ${to ?? 'any node'}`);
  world.monitor?.ask({ kind: 'switchover', to });
};

/**
 * A person pauses automatic changes of the leader. Meanwhile a person may promote a node without accepting a loss, which
 * is refused unless only the pause keeps that node from leading. Later a person resumes the changes, or the pause ends by
 * itself.
 */
const pauseFailover: Fault = (nemesis) => {
  const { world } = nemesis;
  const { random } = world;
  const forMs = random.chance(0.5) ? random.between(300, 8_000) : null;
  world.say(`a person pauses automatic changes of leader${forMs === null ? '' : ` for ${forMs.toFixed(0)} ms`}`);
  const sinceWallMs = world.wallMs();
  const untilWallMs = forMs === null ? null : sinceWallMs + forMs;
  world.monitor?.ask({ kind: 'pause', pause: { reason: 'work on the disks', sinceWallMs, untilWallMs } });
  if (random.chance(0.6)) nemesis.later(50, 2_000, () => nemesis.killLeader());
  if (random.chance(0.3)) {
    nemesis.later(500, 4_000, () => {
      if (!nemesis.over) nemesis.promote(nemesis.anyNode(), false);
    });
  }
  if (random.chance(0.7)) nemesis.later(500, 9_000, () => nemesis.resume());
};

const rebuild: Fault = (nemesis) => {
  const { name } = nemesis.anyNode();
  nemesis.world.say(`a person wants ${name} copied anew`);
  nemesis.world.monitor?.ask({ kind: 'rebuild', node: name });
};

const diskFull = passing(200, 5_000, ({ world }) => {
  const { disk } = world;
  world.say('the disk of the monitor is full');
  disk.full = true;
  return () => {
    disk.full = false;
  };
});

const haproxyRestarts: Fault = (nemesis) => {
  const { world } = nemesis;
  const { haproxy, random } = world;
  world.say('docker kill haproxy');
  haproxy.kill();
  nemesis.later(20, random.chance(0.7) ? 400 : 5_000, () => {
    if (!haproxy.process.dead) return;
    world.say('docker start haproxy');
    haproxy.start();
  });
};

const haproxyReloads: Fault = ({ world }) => {
  world.say('haproxy is reloaded');
  world.haproxy.reload();
};

const haproxyFreezes = passing(50, 5_000, ({ world }) => {
  const { process } = world.haproxy;
  if (process.state !== 'running') return undefined;
  world.say('docker pause haproxy');
  process.pause();
  return () => {
    if (process.state !== 'paused') return;
    world.say('docker unpause haproxy');
    process.resume();
  };
});

const network = passing(500, 8_000, ({ world }) => {
  const { network: own, random } = world;
  own.latencyMs = random.between(1, 30);
  own.doubled = random.chance(0.5) ? 0.3 : 0;
  const orders = own.doubled > 0 ? 'some orders arrive twice' : 'no order arrives twice';
  world.say(`messages take ${own.latencyMs.toFixed(0)} ms, ${orders}`);
  return () => own.calm();
});

const freezePostmaster = passing(500, 6_000, (nemesis) => {
  const { postgres, name } = nemesis.anyNode();
  if (postgres === null) return undefined;
  nemesis.world.say(`the postmaster of ${name} is stopped`);
  postgres.postmasterFrozen = true;
  return () => {
    postgres.postmasterFrozen = false;
  };
});

const wipe: Fault = (nemesis) => {
  const node = nemesis.anyNode();
  // No rule can protect against the removal of all data.
  const others = nemesis.world.members.filter((n) => n !== node && n.volume.data !== null);
  if (!node.up || others.length === 0) return;
  nemesis.wipe(node);
  nemesis.later(50, 6_000, () => nemesis.start(node));
};

const everything: Fault = (nemesis) => {
  const { world } = nemesis;
  world.say('the machine is switched off: all nodes and the monitor');
  nemesis.restartMonitor();
  for (const node of world.nodes) {
    if (!node.up) continue;
    node.kill();
    if (world.random.chance(0.75)) nemesis.later(50, 6_000, () => nemesis.start(node));
  }
};

/** The leader loses its replicas and crashes, and is killed when clients are connected to it again. */
const badMinute: Fault = (nemesis) => {
  const { world } = nemesis;
  const leader = nemesis.leader();
  if (leader === undefined) return;
  world.say(`packets between ${leader.name} and the other nodes are lost`);
  for (const other of world.nodes) if (other !== leader) world.network.cut(leader.name, other.name);
  nemesis.later(50, 1_200, () => nemesis.crash(leader));
  nemesis.later(1_200, 2_500, () => nemesis.kill(leader));
  nemesis.later(1_000, 5_000, () => nemesis.mend());
};

/** The leader and another node's PostgreSQL die at the same moment. */
const twoAtOnce: Fault = (nemesis) => {
  const other = nemesis.anyNode();
  if (nemesis.world.random.chance(0.5)) nemesis.crash(other);
  else {
    nemesis.kill(other);
    nemesis.later(50, 1_500, () => nemesis.start(other));
  }
  nemesis.killLeader();
};

/** The machine lacks CPU, so everything is late while the fault lasts (S28). */
function starve({ world }: Nemesis): () => void {
  const { engine, random } = world;
  engine.cpuMs = random.between(0.5, 8);
  world.say(`the machine is starved of CPU: everything takes ${engine.cpuMs.toFixed(1)} ms more`);
  return () => {
    world.say('the machine has its CPU again');
    engine.cpuMs = 0;
  };
}

/** The whole machine is suspended, and then all processes continue at once. */
function stall(toMs: number): Fault {
  return ({ world }) => {
    const { engine, random, monitor, haproxy, nodes } = world;
    const processes = [monitor?.process, haproxy.process, ...nodes.flatMap((n) => [n.postgres?.process, n.process])];
    const running = processes.filter((p) => p?.state === 'running');
    const ms = random.between(100, toMs);
    world.say(`the machine stands still for ${ms.toFixed(0)} ms`);
    for (const process of running) process?.pause();
    engine.after(ms, null, () => {
      for (const process of running) process?.resume();
    });
  };
}

/**
 * A replica misses what the leader writes alone. The leader dies, and a person accepts the loss and promotes the
 * replica.
 */
const acceptLoss: Fault = (nemesis) => {
  const { world } = nemesis;
  const { random } = world;
  const leader = nemesis.leader();
  const to = nemesis.anyNode();
  if (leader === undefined || to === leader) return;
  for (const node of random.chance(0.7) ? world.nodes : [to]) {
    if (node !== leader && node.up) nemesis.docker('kill', node);
  }
  const leaderMs = random.between(300, 2_500);
  nemesis.later(leaderMs, leaderMs, () => nemesis.kill(leader));
  nemesis.later(leaderMs, leaderMs + 500, () => nemesis.start(to));
  for (const node of world.nodes) nemesis.later(leaderMs + 1_000, leaderMs + 9_000, () => nemesis.start(node));
  for (let i = 0; i < 3; i++) nemesis.later(leaderMs + 400, leaderMs + 3_500, () => nemesis.promote(to, true));
};

/** A replica is away for so long that the other nodes remove the WAL that it needs. */
const fallOff: Fault = (nemesis) => {
  const { world } = nemesis;
  const { random } = world;
  const away = nemesis.anyNode();
  if (random.chance(0.5)) nemesis.kill(away);
  else passing(50, 7_000, () => pause(nemesis, away))(nemesis);
  nemesis.later(300, 3_000, () => {
    const kept = random.integer(0, 30);
    world.say(`every node removes its WAL except for the last ${kept} records`);
    for (const { postgres } of world.nodes) if (postgres?.process.state === 'running') postgres.removeLog(kept);
  });
};

/** Some of the changed settings need a restart, and one needs more memory than any machine has. */
const changeSettings: Fault = (nemesis) => {
  const { random } = nemesis.world;
  const settings: Record<string, string> = {};
  if (random.chance(0.7)) settings.max_connections = String(random.pick([180, 220, 300]));
  if (random.chance(0.3)) settings.max_locks_per_transaction = '128';
  if (random.chance(0.15)) settings.shared_buffers = TOO_MUCH_MEMORY;
  nemesis.configure(settings);
  nemesis.restartMonitor();
};

export const RANDOM: Faults = {
  kill: [14, (nemesis) => nemesis.kill(nemesis.anyNode())],
  killLeader: [6, (nemesis) => nemesis.killLeader()],
  killCandidate: [5, killCandidate],
  stop: [5, stop],
  pause: [8, passing(50, 7_000, (nemesis) => pause(nemesis, nemesis.anyNode()))],
  crash: [6, (nemesis) => nemesis.crash(nemesis.anyNode())],
  partition: [8, partition],
  switchover: [8, switchover],
  slowDisk: [4, passing(100, 6_000, (nemesis) => slowDisk(nemesis, nemesis.anyNode()))],
  restartMonitor: [7, (nemesis) => nemesis.restartMonitor()],
  pauseMonitor: [4, pauseMonitor],
  restoreStore: [4, (nemesis) => nemesis.restoreStore()],
  secondMonitor: [3, secondMonitor],
  diskFull: [2, diskFull],
  haproxyRestarts: [5, haproxyRestarts],
  haproxyReloads: [3, haproxyReloads],
  haproxyFreezes: [3, haproxyFreezes],
  network: [3, network],
  freezePostmaster: [2, freezePostmaster],
  wipe: [3, wipe],
  everything: [4, everything],
  twoAtOnce: [5, twoAtOnce],
  badMinute: [5, badMinute],
  starve: [4, passing(500, 8_000, starve)],
  stall: [3, stall(5_000)],
  resize: [4, (nemesis) => nemesis.resize()],
  acceptLoss: [3, acceptLoss],
  fallOff: [4, fallOff],
  changeSettings: [6, changeSettings],
  behind: [7, behind],
  pauseFailover: [5, pauseFailover],
  rebuild: [3, rebuild],
};

/** Time within which the small faults end, long before `hangTimeout`, ms. */
const SHORT_MS = 1_300;

const lateMessages = passing(100, SHORT_MS, ({ world }) => {
  world.say('messages are late by up to half a second');
  world.network.jitterMs = 500;
  return () => {
    world.network.jitterMs = 0;
  };
});

/** Small faults that strike one at a time. No leader may lose the lead because of one of them (S28). */
export const STARVATION: Faults = {
  slowCpu: [1, passing(100, SHORT_MS, starve)],
  slowDiskShortly: [1, passing(100, SHORT_MS, (nemesis) => slowDisk(nemesis, nemesis.anyNode()))],
  lateMessages: [1, lateMessages],
  pauseShortly: [1, passing(100, SHORT_MS, (nemesis) => pause(nemesis, nemesis.anyNode()))],
  stallShortly: [1, stall(SHORT_MS)],
};
