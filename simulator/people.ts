/**
 * What people do with SQL, as superusers or as any user who can reach a port, and what the failover must do about it.
 */
import { isChanging } from '../failover/core/state/cluster';
import { type Fault, when } from './aimed-faults';
import type { Nemesis } from './faults';
import type { SimNode } from './node';
import { HOSTILE_NAMES } from './server-words';
import type { Change } from './wal';

function sql(nemesis: Nemesis, what: Extract<Change, { kind: 'sql' }>['what']): boolean {
  const { world } = nemesis;
  const postgres = nemesis.leader()?.postgres;
  if (postgres == null || !postgres.isPrimary) return false;
  world.say(`a person's SQL: ${what}`);
  const change: Change = { kind: 'sql', what };
  postgres.insert(change, () => postgres.table.apply(change));
  return true;
}

/** A person deletes the heartbeat's row or drops its table, in a clean-up or a restore. The change replicates. */
const loseHeartbeat: Fault = (nemesis) => {
  sql(nemesis, nemesis.world.random.chance(0.5) ? 'delete heartbeat' : 'drop heartbeat');
};

/**
 * `REVOKE CONNECT ON DATABASE postgres FROM PUBLIC`. It does not affect open sessions, so it takes effect when the
 * leader changes.
 */
const revokeConnect: Fault = (nemesis) => {
  if (!sql(nemesis, 'revoke connect')) return;
  if (nemesis.world.random.chance(0.7)) nemesis.later(1_500, 5_000, () => nemesis.killLeader());
};

/** `SELECT pg_promote()` */
function promote(nemesis: Nemesis, node: SimNode): void {
  const { postgres } = node;
  if (postgres === null || postgres.isPrimary || !postgres.accepting) return;
  const { world } = nemesis;
  world.say(`a person promotes ${node.name} by hand`);
  world.engine.after(0, postgres.process, () => {
    postgres.promote().catch((error: unknown) => world.fail(String(error)));
  });
}

/** A person promotes any standby by hand. */
const promoteByHand: Fault = (nemesis) => {
  const standbys = nemesis.world.members.filter((n) => n.postgres?.isPrimary === false);
  if (standbys.length > 0) promote(nemesis, nemesis.world.random.pick(standbys));
};

/**
 * A leader hands over and is stopped. Its successor writes and is stopped, too. The former leader is started and
 * promoted by hand. Then the successor comes back, and both have a timeline of the same number (S3).
 */
const promoteFormer: Fault = (nemesis) => {
  const { world } = nemesis;
  nemesis.alone((done) => {
    when(
      nemesis,
      20_000,
      () => nemesis.isCalm && world.healthy() !== null,
      () => handOver(nemesis, done),
      done,
    );
  });
};

function handOver(nemesis: Nemesis, done: () => void): void {
  const { world } = nemesis;
  const former = nemesis.leader();
  if (former === undefined) {
    done();
    return;
  }
  const end = () => {
    for (const node of world.members) nemesis.start(node);
    done();
  };
  world.say(`docker stop ${former.name}`);
  former.stop();
  const isCalm = () => {
    const state = world.monitor?.seen?.decision.state;
    return state !== undefined && !isChanging(state);
  };
  const handedOver = () => !former.up && nemesis.leader() !== former && isCalm();
  const stopAll = () => {
    for (const node of world.members) {
      if (!node.up) continue;
      world.say(`docker stop ${node.name}`);
      node.stop();
    }
    when(nemesis, 30_000, () => world.members.every((n) => !n.up), startFormer, end);
  };
  const startFormer = () => {
    nemesis.start(former);
    when(nemesis, 10_000, () => former.postgres?.accepting === true, byHand, end);
  };
  const byHand = () => {
    promote(nemesis, former);
    if (world.random.chance(0.3)) {
      nemesis.later(800, 1_500, () => {
        world.say(`somebody promotes ${former.name} with --accept-data-loss`);
        world.monitor?.ask({ kind: 'promote', to: former.name, acceptDataLoss: true });
      });
    }
    nemesis.later(2_000, 4_000, end);
  };
  when(nemesis, 20_000, handedOver, () => nemesis.later(300, 2_000, stopAll), end);
}

export function replicas(nemesis: Nemesis): SimNode[] {
  return nemesis.world.members.filter((n) => n !== nemesis.leader() && n.postgres?.isPrimary === false);
}

/** `pg_wal_replay_pause()` on a standby, which keeps receiving and acknowledging. Replay is resumed later. */
const pauseReplay: Fault = (nemesis) => {
  const { world } = nemesis;
  const standbys = replicas(nemesis);
  if (standbys.length === 0) return;
  const node = world.random.pick(standbys);
  const { postgres } = node;
  if (postgres === null) return;
  world.say(`a person pauses replay on ${node.name}`);
  postgres.pauseReplay();
  const resume = () => {
    world.say(`a person resumes replay on ${node.name}`);
    if (!postgres.process.dead) postgres.resumeReplay();
  };
  nemesis.onHeal(() => postgres.resumeReplay());
  nemesis.later(500, 8_000, resume);
  if (world.random.chance(0.4)) nemesis.later(100, 2_000, () => nemesis.killLeader());
};

/** A client without a password connects with a user name that looks like words of PostgreSQL's log. */
const hostileName: Fault = (nemesis) => {
  const { world } = nemesis;
  const { postgres } = nemesis.anyNode();
  if (postgres === null || !postgres.accepting) return;
  const name = world.random.pick(HOSTILE_NAMES);
  world.say(`a client dials ${postgres.node} as user "${name}"`);
  postgres.log(`${name}@x FATAL:  password authentication failed for user "${name}"`);
};

/**
 * A replica's slot was invalidated and the replica was copied. Long after, its leader hands over with the old words
 * about it still in its log.
 */
const oldWords: Fault = (nemesis) => {
  const { world } = nemesis;
  nemesis.alone((done) => {
    const begin = () => nemesis.isCalm && world.healthy() !== null;
    const strike = () => {
      const leader = world.healthy();
      const away = leader === null ? undefined : replicas(nemesis)[0];
      if (leader === null || away === undefined) return done();
      world.say(`docker kill ${away.name}`);
      away.kill();
      nemesis.later(2_500, 3_500, () => {
        world.say(`${leader.name} recycles the log that ${away.name} needs`);
        leader.postgres?.removeLog(0);
        nemesis.start(away);
      });
      const switchOver = () => {
        world.monitor?.ask({ kind: 'switchover', to: null });
        nemesis.later(3_000, 5_000, done);
      };
      nemesis.later(5_000, 5_000, () => when(nemesis, 30_000, begin, switchOver, done));
    };
    when(nemesis, 20_000, begin, strike, done);
  });
};

export const PEOPLE: Readonly<Record<string, [weight: number, fault: Fault]>> = {
  loseHeartbeat: [1, loseHeartbeat],
  revokeConnect: [1, revokeConnect],
  promoteByHand: [3, promoteByHand],
  promoteFormer: [1, promoteFormer],
  pauseReplay: [3, pauseReplay],
  hostileName: [3, hostileName],
  oldWords: [1, oldWords],
};
