/**
 * Faults that strike alone, on a healthy cluster, and leave another node that has all data. The cluster must serve
 * again within the limit, whatever else does not answer.
 */
import { isChanging } from '../failover/core/state/cluster';
import type { Fault, Faults, Nemesis } from './nemesis';
import type { SimNode } from './node';
import type { PostgresServer } from './postgres';

const LIMIT_MS = 20_000;
/** Limit after a planned stop: well below `wal_sender_timeout`, ms. */
const STOP_LIMIT_MS = 5_000;

interface Deadline {
  /** The obstacle, for the text of the violation. */
  what: string;
  /** Fewest standbys with which the fault makes sense. */
  standbys: number;
  /** With `block` the cluster waits for a person, however many standbys there are. */
  blockWaits?: boolean;
  /** Standbys that do not answer during the fault. @default 0 */
  away?: number;
  /** The fault continues if the leader changes before the strike. */
  anyLeader?: boolean;
  /** Creates the obstacle and returns how to remove it; undefined: the fault does not fit this cluster. */
  hinder: (leader: SimNode, standbys: PostgresServer[]) => (() => void) | undefined;
  /** Time from the obstacle to the loss of the leader, ms. */
  afterMs: number;
  /** @default LIMIT_MS */
  limitMs?: number;
  strike: (leader: SimNode) => void;
}

function mustServe(
  nemesis: Nemesis,
  { what, standbys: least, blockWaits, away = 0, anyLeader, hinder, afterMs, limitMs = LIMIT_MS, strike }: Deadline,
): Promise<void> {
  const { world } = nemesis;
  const { engine, policy } = world;
  const automatic = policy.failoverMode !== 'observe' && policy.syncMode === 'synchronous';
  return nemesis.aloneWhenWell(async () => {
    const leader = world.healthy();
    const standbys = nemesis.replicas().flatMap((n) => (n.postgres === null ? [] : [n.postgres]));
    // With `block`, writes wait until `syncCount` other nodes are there to acknowledge them. That is right (S9).
    const few = standbys.length - away < 1 + policy.syncCount;
    const waits = policy.onNoReplica === 'block' && (few || blockWaits === true);
    const mustFailOver = automatic && world.state?.pause === undefined && !waits;
    if (leader === null || standbys.length < least || !mustFailOver || world.load.dataMb >= 1_000) return;
    const undo = hinder(leader, standbys);
    if (undo === undefined) return;
    nemesis.onHeal(undo);
    await nemesis.passes(afterMs, afterMs * 1.2);
    // A switchover may have begun meanwhile. Or the last standby restarts for its settings, and the leader acknowledges
    // alone. The fault would then meet another situation.
    const { state } = world;
    const isAlone = state?.joint.some((c) => c.k === 0) === true;
    const isOther = state === undefined || state.leader !== leader.name || isChanging(state);
    if (anyLeader !== true && (isOther || isAlone)) {
      undo();
      return;
    }
    strike(leader);
    const sinceMs = engine.nowMs;
    if (!(await nemesis.until(limitMs, () => world.servedSince(sinceMs)))) {
      const { decision } = world;
      world.fail(`NO FAILOVER: for ${limitMs} ms, ${what}: ${decision?.code} ${decision?.reason}`);
    }
    undo();
    nemesis.start(leader);
  });
}

/** Replay is paused on some standbys, and the leader dies. */
const pausedElection: Fault = (nemesis) => {
  const { world } = nemesis;
  return mustServe(nemesis, {
    what: 'the leader is dead, and replay is paused on a standby that has received all of it',
    standbys: 2,
    hinder: (_leader, standbys) => {
      const paused = standbys.slice(0, world.random.integer(1, standbys.length));
      for (const postgres of paused) {
        world.say(`a person pauses replay on ${postgres.node}`);
        postgres.pauseReplay();
      }
      return () => {
        for (const postgres of paused) if (!postgres.process.dead) postgres.resumeReplay();
      };
    },
    afterMs: 1_000,
    strike: (leader) => nemesis.docker('kill', leader),
  });
};

/** One standby is minutes behind with replay and also lacks the newest WAL. Another one has all of it. */
const backlog: Fault = (nemesis) => {
  const { world } = nemesis;
  return mustServe(nemesis, {
    what: 'the leader is dead, and a standby that is not needed still replays',
    standbys: 2,
    // The slow standby acknowledges nothing before its backlog is applied, so with `block` another standby is needed.
    away: 1,
    hinder: (leader, standbys) => {
      const slow = world.random.pick(standbys);
      world.say(`${slow.node} replays more slowly than it receives`);
      slow.slowReplay(1_500);
      nemesis.later(3_000, 3_400, () => world.network.block(leader.name, slow.node));
      return () => {
        world.network.heal();
        if (!slow.process.dead) slow.slowReplay(null);
      };
    },
    afterMs: 3_800,
    strike: (leader) => nemesis.docker('kill', leader),
  });
};

/** The leader's disk is frozen: the leader answers, and commits nothing (S27). */
const wedged: Fault = (nemesis) =>
  mustServe(nemesis, {
    what: 'the disk of the leader stands still',
    standbys: 1,
    hinder: (leader) => () => {
      leader.disk.slowness = 1;
    },
    afterMs: 100,
    strike: (leader) => {
      nemesis.world.say(`the disk of ${leader.name} stands still`);
      leader.disk.slowness = Number.POSITIVE_INFINITY;
    },
  });

/** A standby hangs, and the leader is told to stop. The leader must not wait for that standby (S18). */
const stopWithHungStandby: Fault = (nemesis) =>
  mustServe(nemesis, {
    what: 'the leader was told to stop while a standby hangs',
    standbys: 2,
    away: 1,
    hinder: (_leader, standbys) => {
      const node = nemesis.world.node(standbys.at(-1)?.node);
      if (node === undefined) return undefined;
      nemesis.docker('pause', node);
      return () => node.unpause();
    },
    // By then the standby has left the sync configuration.
    afterMs: 3_000,
    limitMs: STOP_LIMIT_MS,
    strike: (leader) => nemesis.docker('stop', leader),
  });

/** The leader restarts in place for a lower setting, or comes back after a crash, and dies before it is open again. */
const restartThenDeath: Fault = (nemesis) => {
  const { world } = nemesis;
  return mustServe(nemesis, {
    what: 'the leader had stopped cleanly, was to lead again and died before it was open',
    standbys: 1,
    // All standbys were told to follow the leader before it was open, because otherwise it could not have been opened.
    // They may have taken over a history that was never opened (S3), so a person has to decide which data counts.
    blockWaits: true,
    anyLeader: true,
    hinder: (leader) => {
      // With `block`, the standby is ordered to follow the leader before the leader is open. It may then take over a
      // history that was never opened (S3).
      if (world.policy.onNoReplica === 'block') return undefined;
      nemesis.configure({ max_connections: '60' });
      nemesis.killMonitor();
      nemesis.startMonitor();
      const again = () => world.state?.activity.kind === 'promote' && nemesis.leader() === leader;
      nemesis.when(9_000, again, () => nemesis.docker('kill', leader));
      return () => undefined;
    },
    afterMs: 10_000,
    strike: (leader) => {
      if (leader.up) nemesis.docker('kill', leader);
    },
  });
};

/** A person has configured an archive that does not answer, and the leader dies (S26). */
const archiveHangs: Fault = (nemesis) => {
  for (const node of nemesis.world.nodes) node.disk.archiveHangs = true;
  nemesis.killLeader();
};

export const DEADLINES: Faults = {
  pausedElection: [1, pausedElection],
  backlog: [1, backlog],
  wedged: [1, wedged],
  stopWithHungStandby: [1, stopWithHungStandby],
  restartThenDeath: [1, restartThenDeath],
  archiveHangs: [1, archiveHangs],
};
