/** A restore in place, and what may happen in the middle of it. For stacks with backups. */
import type { Fault, Faults, Nemesis } from './nemesis';
import { labelOf } from './restorer';

/** A person restores the leader's data to an earlier moment. Later the person confirms it or goes back, or does neither. */
const restoreInPlace: Fault = (nemesis) => {
  const { world } = nemesis;
  const { random } = world;
  const volume = nemesis.leader()?.volume;
  const data = volume?.data;
  if (world.policy.backup !== true || volume === undefined || data == null) return;
  // A replica of a cluster that was just made lacks the beginning, and a leader that is lost then takes it along.
  if (world.repository.missing(data, volume.gaps) !== null) return;
  const records = random.chance(0.3) ? data.flushed : random.integer(1, Math.max(1, data.flushed));
  world.say(`a person wants the data as they were after ${records} records`);
  const label = labelOf(records);
  const target = { kind: 'backup' as const, label };
  world.monitor?.ask({ kind: 'restore', target, timeline: 1, sizeBytes: 0, keepsOld: true });
  nemesis.takes(8_000);
  disturb(nemesis);
  if (random.chance(0.5)) nemesis.later(4_000, 12_000, () => undo(nemesis));
  if (random.chance(0.5)) nemesis.later(4_000, 15_000, () => confirm(nemesis));
};

function undo(nemesis: Nemesis): void {
  if (nemesis.over) return;
  nemesis.world.say('a person wants the data from before the restore back');
  nemesis.world.monitor?.ask({ kind: 'undo' });
  nemesis.takes(6_000);
  disturb(nemesis);
}

function confirm({ over, world }: Nemesis): void {
  if (over) return;
  world.say('a person confirms the restore');
  world.monitor?.ask({ kind: 'confirm' });
}

/** The monitor or a node dies in the middle. */
function disturb(nemesis: Nemesis): void {
  const { random } = nemesis.world;
  if (random.chance(0.4)) nemesis.later(50, 2_500, () => nemesis.restartMonitor());
  const dice = random.unit();
  if (dice < 0.3) nemesis.later(50, 2_500, () => nemesis.killLeader());
  else if (dice < 0.5) nemesis.later(50, 2_500, () => nemesis.kill(nemesis.anyNode()));
}

export const RESTORES: Faults = { restoreInPlace: [1, restoreInPlace] };
