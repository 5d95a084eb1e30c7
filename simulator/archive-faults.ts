/** Faults of the backups' repository. They strike only where they are named: most stacks of the simulator have no backups. */
import type { Fault, Faults } from './nemesis';

/**
 * The repository takes nothing until the leader has let write-ahead log go. Then the leader dies, mostly with its volume,
 * and the repository takes files again.
 */
const archiveRefuses: Fault = async (nemesis) => {
  const { world } = nemesis;
  const { repository, random } = world;
  const leader = nemesis.leader();
  if (leader === undefined || repository.refuses) return;
  world.say('the repository takes nothing');
  repository.refuses = true;
  const takes = () => {
    if (repository.refuses) world.say('the repository takes files again');
    repository.refuses = false;
  };
  nemesis.onHeal(takes);
  nemesis.takes(LET_GO_MS + 10_000);
  if (!(await nemesis.until(LET_GO_MS, () => leader.volume.gaps.length > 0))) return;
  world.say(`${leader.name} let write-ahead log go: ${JSON.stringify(leader.volume.gaps)}`);
  await nemesis.passes(0, 8_000);
  // Every acknowledged write is on another node.
  const { joint = [] } = world.state ?? {};
  const isSafe = joint.length > 0 && joint.every(({ k }) => k > 0);
  if (isSafe && random.chance(0.7)) nemesis.wipe(leader);
  else nemesis.killLeader();
  nemesis.later(50, 6_000, () => nemesis.start(leader));
  nemesis.later(0, 4_000, takes);
};

/** Limit for the time until the queue is too long, ms. */
const LET_GO_MS = 120_000;
/** A node looks at its slot of the archive once in 5 s. */
const SLOTS_MS = 6_000;

/**
 * The repository takes nothing for a few seconds. Every node writes a checkpoint, which removes all write-ahead log that
 * no slot keeps, and then the leader is lost with its volume. The repository takes files again.
 */
const leaderIsLost: Fault = (nemesis) =>
  nemesis.aloneWhenWell(async () => {
    const { world } = nemesis;
    const { repository } = world;
    await nemesis.passes(SLOTS_MS, SLOTS_MS + 3_000);
    const leader = nemesis.leader();
    const { joint = [] } = world.state ?? {};
    const isSafe = joint.length > 0 && joint.every(({ k }) => k > 0) && world.healthy() === leader;
    const haveAll = world.members.every(({ volume: { data, gaps } }) => data && repository.isCompletedBy(data, gaps));
    if (leader === undefined || !isSafe || !haveAll) return;
    const takes = () => {
      repository.refuses = false;
    };
    world.say('the repository takes nothing');
    Object.assign(repository, { refuses: true, isKept: true });
    nemesis.onHeal(takes);
    nemesis.takes(SLOTS_MS + 20_000);
    await nemesis.passes(SLOTS_MS, SLOTS_MS + 3_000);
    for (const { postgres } of world.nodes) postgres?.recycleBut(KEPT_RECORDS, Number.POSITIVE_INFINITY);
    world.say('every node has removed the write-ahead log that it need not keep');
    nemesis.wipe(leader);
    await nemesis.passes(1_000, 3_000);
    world.say('the repository takes files again');
    takes();
    // The new leader archives the rest before the lost one comes back: a copy does not have it.
    await nemesis.passes(8_000);
    repository.isKept = false;
    nemesis.start(leader);
  });

/** Records that a checkpoint keeps in any case. */
const KEPT_RECORDS = 3;

/**
 * The leader dies. A candidate is promoted and cannot be opened, because HAProxy stands still. It writes on for a while,
 * and then it dies as well. Another node may be promoted then, with the same number of its timeline (S3).
 */
const candidateLingers: Fault = (nemesis) =>
  nemesis.aloneWhenWell(async () => {
    const { world } = nemesis;
    const { haproxy } = world;
    const old = nemesis.leader();
    if (old === undefined || !old.up || haproxy.process.state !== 'running') return;
    const goesOn = () => {
      if (haproxy.process.state === 'paused') haproxy.process.resume();
    };
    nemesis.docker('kill', old);
    const isChosen = () => world.state?.activity.kind === 'promote';
    if (await nemesis.until(8_000, isChosen)) {
      const candidate = nemesis.leader();
      world.say('haproxy stands still');
      haproxy.process.pause();
      nemesis.onHeal(goesOn);
      nemesis.takes(20_000);
      await nemesis.passes(2_000, 6_000);
      if (candidate?.up === true) nemesis.docker('kill', candidate);
      await nemesis.passes(100, 2_000);
      world.say('haproxy goes on');
      goesOn();
      if (candidate !== undefined) nemesis.later(1_000, 6_000, () => nemesis.start(candidate));
    }
    nemesis.start(old);
    await nemesis.passes(6_000);
  });

export const ARCHIVE: Faults = {
  archiveRefuses: [1, archiveRefuses],
  leaderIsLost: [1, leaderIsLost],
  candidateLingers: [1, candidateLingers],
};
