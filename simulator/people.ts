/** Faults that people cause with SQL, as superusers or as any client that can reach a port. */
import { isChanging } from '../failover/core/state/cluster';
import type { Fault, Faults, Nemesis } from './nemesis';
import type { SimNode } from './node';
import { HOSTILE_NAMES } from './server-words';
import type { Change } from './wal';

function sql(nemesis: Nemesis, what: Extract<Change, { kind: 'sql' }>['what']): boolean {
  const postgres = nemesis.leader()?.postgres;
  if (postgres == null || !postgres.isPrimary) return false;
  nemesis.world.say(`a person's SQL: ${what}`);
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
function promote({ world }: Nemesis, { postgres, name }: SimNode): void {
  if (postgres === null || postgres.isPrimary || !postgres.accepting) return;
  world.say(`a person promotes ${name} by hand`);
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
const promoteFormer: Fault = (nemesis) =>
  nemesis.aloneWhenWell(async () => {
    const former = nemesis.leader();
    if (former === undefined) return;
    await handOver(nemesis, former);
    for (const node of nemesis.world.members) nemesis.start(node);
  });

async function handOver(nemesis: Nemesis, former: SimNode): Promise<void> {
  const { world } = nemesis;
  nemesis.docker('stop', former);
  const isCalm = () => world.state !== undefined && !isChanging(world.state);
  if (!(await nemesis.until(20_000, () => !former.up && nemesis.leader() !== former && isCalm()))) return;
  await nemesis.passes(300, 2_000);
  for (const node of world.members) if (node.up) nemesis.docker('stop', node);
  if (!(await nemesis.until(30_000, () => world.members.every((n) => !n.up)))) return;
  nemesis.start(former);
  if (!(await nemesis.until(10_000, () => former.postgres?.accepting === true))) return;
  promote(nemesis, former);
  if (world.random.chance(0.3)) nemesis.later(800, 1_500, () => nemesis.promote(former, true));
  await nemesis.passes(2_000, 4_000);
}

/** `pg_wal_replay_pause()` on a standby, which keeps receiving and acknowledging. Replay is resumed later. */
const pauseReplay: Fault = (nemesis) => {
  const { world } = nemesis;
  const standbys = nemesis.replicas();
  if (standbys.length === 0) return;
  const { postgres, name } = world.random.pick(standbys);
  if (postgres === null) return;
  world.say(`a person pauses replay on ${name}`);
  postgres.pauseReplay();
  nemesis.onHeal(() => postgres.resumeReplay());
  nemesis.later(500, 8_000, () => {
    world.say(`a person resumes replay on ${name}`);
    if (!postgres.process.dead) postgres.resumeReplay();
  });
  if (world.random.chance(0.4)) nemesis.later(100, 2_000, () => nemesis.killLeader());
};

/** A client without a password connects with a user name that looks like a message of PostgreSQL's log. */
const hostileName: Fault = (nemesis) => {
  const { world } = nemesis;
  const { postgres } = nemesis.anyNode();
  if (postgres === null || !postgres.accepting) return;
  const name = world.random.pick(HOSTILE_NAMES);
  world.say(`a client connects to ${postgres.node} as user "${name}"`);
  postgres.log(`${name}@x FATAL:  password authentication failed for user "${name}"`);
};

/**
 * A replica's replication slot was invalidated, and the replica was copied. Long after that the leader hands over, and
 * its log still has the old messages about it.
 */
const oldWords: Fault = (nemesis) =>
  nemesis.aloneWhenWell(async () => {
    const { world } = nemesis;
    const leader = world.healthy();
    const [away] = nemesis.replicas();
    if (leader === null || away === undefined) return;
    nemesis.docker('kill', away);
    nemesis.later(2_500, 3_500, () => {
      world.say(`${leader.name} recycles the WAL that ${away.name} needs`);
      leader.postgres?.removeLog(0);
      nemesis.start(away);
    });
    await nemesis.passes(5_000);
    if (!(await nemesis.well(30_000))) return;
    world.monitor?.ask({ kind: 'switchover', to: null });
    await nemesis.passes(3_000, 5_000);
  });

export const PEOPLE: Faults = {
  loseHeartbeat: [1, loseHeartbeat],
  revokeConnect: [1, revokeConnect],
  promoteByHand: [3, promoteByHand],
  promoteFormer: [1, promoteFormer],
  pauseReplay: [3, pauseReplay],
  hostileName: [3, hostileName],
  oldWords: [1, oldWords],
};
