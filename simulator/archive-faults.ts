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

export const ARCHIVE: Faults = { archiveRefuses: [1, archiveRefuses] };
