/** Faults that strike at the worst moment for one rule, and small faults that are no reason to change the leader. */
import { isChanging } from '../failover/core/state/cluster';
import type { Nemesis } from './faults';
import type { SimMonitor } from './monitor-container';
import type { SimNode } from './node';
import { Stranger } from './stranger';

/** A fault strikes once. `simulate({ faults })` selects faults by name. */
export type Fault = (nemesis: Nemesis) => void;

const LOOK_MS = 5;

/** Checks the condition again and again, until it holds or the limit is over. */
export function when(
  nemesis: Nemesis,
  limitMs: number,
  holds: () => boolean,
  then: () => void,
  otherwise: () => void = () => undefined,
): void {
  const { engine } = nemesis.world;
  const endMs = engine.nowMs + limitMs;
  const look = () => {
    if (nemesis.over) return;
    if (holds()) then();
    else if (engine.nowMs < endMs) nemesis.later(LOOK_MS, LOOK_MS, look);
    else otherwise();
  };
  look();
}

/**
 * The monitor is paused, mostly when it has decided to open the slot and not done so yet, or when it is about to send
 * the command to HAProxy. A second monitor takes over and must fail over, too. Then the first monitor wakes. Its
 * leader, which is no longer the leader, wakes a moment later (S11).
 */
const staleMonitor: Fault = (nemesis) => {
  const { world } = nemesis;
  const old = world.monitor;
  if (old === null || old.process.state !== 'running' || nemesis.strangers.length > 0) return;
  const term = old.seen?.decision.state.term ?? 0;
  const take = () => {
    world.onStored = () => undefined;
    world.haproxy.onDial = () => undefined;
    if (!nemesis.over && old.process.state === 'running' && nemesis.strangers.length === 0)
      replaceMonitor(nemesis, old);
  };
  if (world.random.chance(0.1)) {
    take();
    return;
  }
  const leader = nemesis.leader();
  if (leader === undefined || !leader.up) return;
  world.say(`docker kill ${leader.name}`);
  leader.kill();
  nemesis.later(500, 2_000, () => nemesis.start(leader));
  nemesis.takes(5_000);
  const moment = world.random.pick(['stored', 'opened', 'told', 'told', 'told']);
  let left = world.random.integer(1, 4);
  let opened = false;
  world.onStored = (state) => {
    const { ledger } = state;
    left -= 1;
    const last = ledger.at(-1);
    opened = !isChanging(state) && last !== undefined && last.opened && last.term > term;
    if (moment === 'opened' ? opened : moment === 'stored' && left <= 0) take();
  };
  world.haproxy.onDial = (socket, who) => {
    const isClosed = world.haproxy.current?.routes().length === 0;
    const isTold = who === old.process && socket === 'admin.sock' && opened && isClosed;
    if (moment === 'told' && isTold) take();
  };
};

function replaceMonitor(nemesis: Nemesis, old: SimMonitor): void {
  const { world } = nemesis;
  const { engine, random } = world;
  nemesis.strangers.push(old);
  world.say(`${old.label} is paused and a second monitor is started on a copy of its volume`);
  old.process.pause();
  const second = world.startMonitor('second monitor', { ...old.disk, full: false, moved: true });
  nemesis.takes(40_000);
  const wake = () => {
    if (old.process.dead) return;
    world.say('the first monitor wakes');
    old.process.resume();
    nemesis.takes(1_500);
    nemesis.later(500, 5_000, () => {
      world.say('the first monitor is killed');
      old.process.kill();
    });
  };
  const decided = () => second.seen?.decision;
  const otherwise = () => nemesis.later(0, 0, wake);
  // A keeper drops the connection to a silent monitor after ten seconds.
  when(
    nemesis,
    20_000,
    () => world.monitor === second && world.healthy() !== null,
    () => {
      const leader = nemesis.leader();
      if (leader === undefined || !leader.up) return otherwise();
      const { term } = second.seen?.decision.state ?? { term: 0 };
      world.say(`docker pause ${leader.name}`);
      leader.pause();
      const isOpened = () => decided()?.state.ledger.some((e) => e.opened && e.term > term) === true;
      const unpause = () => nemesis.later(20, 200, () => nemesis.unpause(leader));
      when(
        nemesis,
        8_000,
        isOpened,
        () => {
          engine.after(random.between(20, 1_500), null, () => {
            wake();
            // The later the former leader wakes, the longer the first monitor may take it for the leader.
            unpause();
          });
        },
        () => {
          wake();
          unpause();
        },
      );
    },
    otherwise,
  );
}

/**
 * A replica has come back. The leader dies, with the WAL that it sent, at the moment when the replica counts as
 * synchronous again (S4).
 */
const killAtGrowth: Fault = (nemesis) => {
  const { world } = nemesis;
  const { random, engine } = world;
  const leader = nemesis.leader();
  const replicas = world.members.filter((n) => n !== leader && n.up);
  if (leader === undefined || replicas.length === 0) return;
  const joint = () => world.monitor?.seen?.decision.state.joint ?? [];
  for (const node of replicas) {
    world.say(`docker kill ${node.name}`);
    node.kill();
  }
  const back = random.pick(replicas);
  const alone = () => joint().length === 1 && joint()[0]?.k === 0;
  when(nemesis, 3_000, alone, () => {
    nemesis.start(back);
    const counts = () => joint().some((c) => c.members.includes(back.name));
    when(nemesis, 6_000, counts, () => {
      const proven = () => joint().length === 1 && counts();
      when(nemesis, 3_000, proven, () => {
        world.say(`nothing of what ${leader.name} writes from now on gets to ${back.name}`);
        world.network.block(leader.name, back.name);
        engine.after(random.between(10, 150), null, () => nemesis.kill(leader));
        engine.after(600, null, () => world.network.heal());
      });
    });
    for (const node of replicas) nemesis.later(6_000, 9_000, () => nemesis.start(node));
  });
};

/** The leader dies, and for a while its successor's address belongs to another cluster's leader (S14). */
const stranger: Fault = (nemesis) => {
  const { world } = nemesis;
  nemesis.killLeader();
  const activity = () => world.monitor?.seen?.decision.state.activity.kind;
  when(
    nemesis,
    4_000,
    () => activity() === 'elect' || activity() === 'promote',
    () => {
      const leader = nemesis.leader();
      const candidate = activity() === 'promote' ? leader : world.members.find((n) => n !== leader && n.up);
      // After the monitor has checked the node, it cannot notice a change of the address any more.
      if (candidate === undefined || candidate.postgres?.isPrimary === true || Stranger.isThere(world)) return;
      if (world.haproxy.workers.some((worker) => worker.routes().includes(candidate.address))) return;
      world.say(`${candidate.address} belongs to a stranger: it was ${candidate.name}'s`);
      const wrong = new Stranger(world, candidate.address);
      nemesis.onHeal(() => wrong.leave());
      nemesis.later(500, 4_000, () => wrong.leave());
    },
  );
};

/** A node is killed in the middle of its rewind (S12). */
const killRewinding: Fault = (nemesis) => {
  const { world } = nemesis;
  const { random, engine } = world;
  const leader = nemesis.leader();
  if (leader === undefined || !leader.up) return;
  // Only this leader has what it writes from now on, so it must be rewound later.
  for (const node of world.members) if (node !== leader) world.network.block(leader.name, node.name);
  world.say(`nobody gets the log of ${leader.name}`);
  nemesis.later(150, 400, () => {
    nemesis.kill(leader);
    world.network.heal();
  });
  nemesis.later(900, 2_500, () => nemesis.start(leader));
  const isRewound = () => leader.volume.state.rewinding || leader.volume.data?.broken === true;
  const strike = (left: number) =>
    when(nemesis, 15_000, isRewound, () => {
      engine.after(random.between(5, 200), null, () => {
        if (!leader.up || nemesis.over) return;
        world.say(`docker kill ${leader.name}, in the middle of its rewind`);
        leader.kill();
        nemesis.later(50, 800, () => nemesis.start(leader));
        if (left > 0) nemesis.later(1_000, 1_000, () => strike(left - 1));
      });
    });
  engine.after(1_000, null, () => strike(1));
};

/** Readers stay in their transactions while a table is changed, and the leader dies (S16). */
const readers: Fault = (nemesis) => {
  const { world } = nemesis;
  world.say('readers stay in their transactions, writers change tables');
  world.holds = 0.4;
  nemesis.later(1_000, 4_000, () => {
    nemesis.killLeader();
    nemesis.later(1_000, 3_000, () => {
      world.holds = 0.02;
    });
  });
};

/** Clients cancel commits that wait, other clients see the cancelled writes, and the leader dies with them (S7). */
const cancels: Fault = (nemesis) => {
  const { world } = nemesis;
  const leader = nemesis.leader();
  if (leader === undefined || !leader.up) return;
  world.say(`clients cancel commits that wait, and nobody gets the log of ${leader.name}`);
  world.cancelling += 1;
  for (const node of world.members) if (node !== leader) world.network.block(leader.name, node.name);
  nemesis.later(300, 1_500, () => {
    nemesis.kill(leader);
    world.cancelling -= 1;
    world.network.heal();
  });
};

/** A leader was elected. The monitor's store is replaced by an older one, and the new leader dies (S10). */
const oldStore: Fault = (nemesis) => {
  const { world } = nemesis;
  const old = { ...world.disk, full: false, moved: true };
  const ledger = () => world.monitor?.seen?.decision.state.ledger ?? [];
  const term = ledger().at(-1)?.term ?? 0;
  nemesis.killLeader();
  const isOpened = () => ledger().some((entry) => entry.opened && entry.term > term);
  when(nemesis, 6_000, isOpened, () => {
    const leader = nemesis.leader();
    nemesis.restoreStore(old, 500);
    if (leader?.up === true) nemesis.later(0, 1_500, () => nemesis.kill(leader));
  });
};

/**
 * The leader is cut off from all hosts but HAProxy. Its clients cancel commits that wait, and others see the cancelled
 * writes. Another leader is elected, and readers must no longer be shown the old leader's history (S13).
 */
const cutOff: Fault = (nemesis) => {
  const { world } = nemesis;
  const leader = nemesis.leader();
  if (leader === undefined || !leader.up) return;
  world.say(`${leader.name} is cut off from everybody but HAProxy, and clients cancel commits that wait`);
  world.cancelling += 1;
  for (const other of ['monitor', ...world.nodes.filter((n) => n !== leader).map((n) => n.name)]) {
    world.network.cut(leader.name, other);
  }
  nemesis.later(3_000, 9_000, () => {
    world.say('the network is whole again');
    world.network.heal();
    world.cancelling -= 1;
  });
};

/**
 * Duration of faults that end long before `hangTimeout`. Each one strikes alone, and no leader may lose the lead
 * because of it (S28).
 */
const SHORT_MS = 1_300;

function shortly(nemesis: Nemesis, begin: () => void, end: () => void): void {
  begin();
  nemesis.later(100, SHORT_MS, end);
}

const slowCpu: Fault = (nemesis) => {
  const { engine, random } = nemesis.world;
  shortly(
    nemesis,
    () => {
      engine.cpuMs = random.between(0.5, 8);
      nemesis.world.say(`the machine is starved of CPU: everything takes ${engine.cpuMs.toFixed(1)} ms more`);
    },
    () => {
      engine.cpuMs = 0;
    },
  );
};

const slowDiskShortly: Fault = (nemesis) => {
  const { world } = nemesis;
  const node = nemesis.anyNode();
  shortly(
    nemesis,
    () => {
      node.disk.slowness = world.random.chance(0.4) ? Number.POSITIVE_INFINITY : world.random.between(5, 60);
      world.say(`the disk of ${node.name} is slow or frozen`);
    },
    () => {
      node.disk.slowness = 1;
    },
  );
};

const lateMessages: Fault = (nemesis) => {
  const { world } = nemesis;
  shortly(
    nemesis,
    () => {
      world.say('messages are late by up to half a second');
      world.network.jitterMs = 500;
    },
    () => {
      world.network.jitterMs = 0;
    },
  );
};

/**
 * The monitor is frozen until the keepers have dropped their connections, and then messages are late for a while (S11).
 */
const frozenMonitor: Fault = (nemesis) => {
  const { world } = nemesis;
  const process = world.monitor?.process;
  if (process?.state !== 'running' || world.network.jitterMs > 0) return;
  world.say('messages are late by up to half a second, and the monitor stands still');
  world.network.jitterMs = 500;
  process.pause();
  nemesis.takes(40_000);
  nemesis.later(11_000, 25_000, () => {
    world.say('the monitor goes on');
    process.resume();
    nemesis.later(5_000, 10_000, () => {
      world.say('messages are in time');
      world.network.jitterMs = 0;
    });
  });
};

const pauseShortly: Fault = (nemesis) => {
  const { world } = nemesis;
  const node: SimNode = nemesis.anyNode();
  shortly(
    nemesis,
    () => {
      world.say(`docker pause ${node.name}`);
      node.pause();
    },
    () => nemesis.unpause(node),
  );
};

/** The faults of this file that also strike in a run with all faults, with their weights. */
export const AIMED: Readonly<Record<string, [weight: number, fault: Fault]>> = {
  staleMonitor: [3, staleMonitor],
  killAtGrowth: [3, killAtGrowth],
  stranger: [2, stranger],
  killRewinding: [3, killRewinding],
  readers: [2, readers],
  cancels: [2, cancels],
  oldStore: [2, oldStore],
  cutOff: [2, cutOff],
};

/** Faults that are no reason to change the leader. */
export const STARVATION: Readonly<Record<string, Fault>> = {
  slowCpu,
  slowDiskShortly,
  lateMessages,
  pauseShortly,
  stallShortly: (nemesis) => nemesis.stall(100, SHORT_MS),
};

/** Also no reason to change the leader, but too long to strike together with another fault. */
export const FROZEN: Readonly<Record<string, Fault>> = { frozenMonitor };

/** The leader keeps working and is cut off only from the monitor (S21). */
const apart: Fault = (nemesis) => {
  const { world } = nemesis;
  const leader = nemesis.leader();
  if (leader === undefined) return;
  world.say(`${leader.name} and the monitor do not hear each other`);
  world.network.cut('monitor', leader.name);
  nemesis.later(3_000, 8_000, () => {
    world.say('the network is whole again');
    world.network.heal();
  });
};

/**
 * Length of the observation, ms. The monitor waits for five seconds before it gives the lead back, then for ten, twenty
 * and forty. More changes in this time are too many (S25).
 */
const FLAPPING_MS = 60_000;
const RETURNS_MAX = 5;

/** The preferred node dies each time after it got the lead back. */
const preferredDies: Fault = (nemesis) => {
  const { world } = nemesis;
  const preferred = world.members[0];
  if (preferred === undefined || !world.policy.switchback) return;
  nemesis.alone((done) => {
    const { onDecision } = world;
    const endMs = world.engine.nowMs + FLAPPING_MS;
    let returns = 0;
    world.onDecision = (code) => {
      if (code === 'SWITCHBACK') returns += 1;
    };
    const leads = () => nemesis.leader() === preferred && world.healthy() === preferred;
    const end = () => {
      world.onDecision = onDecision;
      if (returns > RETURNS_MAX) world.fail(`FLAPPING: ${preferred.name} was given the lead back ${returns} times`);
      done();
    };
    const again = () => {
      const leftMs = endMs - world.engine.nowMs;
      when(nemesis, Math.max(0, leftMs), leads, die, end);
    };
    const die = () => {
      world.say(`docker kill ${preferred.name}`);
      preferred.kill();
      nemesis.later(400, 800, () => nemesis.start(preferred));
      nemesis.later(1_000, 1_000, again);
    };
    again();
  });
};

/** Faults that are no reason to make another node the leader. */
export const APART: Readonly<Record<string, Fault>> = { apart };

/** A long fault, only for clusters in which the preferred node gets the lead back. */
export const FLAPPING: Readonly<Record<string, Fault>> = { preferredDies };
