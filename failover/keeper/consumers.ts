/**
 * Consumers of logical replication slots may be sent only what every node has that could be promoted; otherwise they
 * would have changes that the cluster has lost. PostgreSQL holds changes back until the standbys of the slots in
 * `synchronized_standby_slots` have flushed them (manual, "Logical Replication Failover"). It waits for all of them, so a
 * standby that is off would stop every consumer.
 *
 * Under `ANY k (members)` it is enough to name k members, whichever these are: an election needs the promises of N−k+1
 * (S1), one of these has everything, and the newest of them is promoted. So the k are chosen anew when one is off, and
 * that needs no proof. A change of the configuration does: {@link SyncControl} says that it is in force once k members
 * of the new one have all that was flushed since it was set, and meanwhile no consumer is let in
 * (client-replication.ts).
 */
import type { SyncConfig } from '../contract/messages';
import { slotName } from '../contract/naming';
import type { SqlView } from './ports';

/** The standbys that have to have a change before a consumer gets it: k of the configuration, those that stream first. */
export function standbysFirst(
  { k, members }: SyncConfig,
  before: readonly string[],
  standbys: SqlView['standbys'],
): string[] {
  const streams = new Set(standbys.filter(({ state }) => state === 'streaming').map(({ name }) => name));
  const worth = (name: string) => (streams.has(name) ? 2 : 0) + (before.includes(name) ? 1 : 0);
  return [...members].sort((a, b) => worth(b) - worth(a)).slice(0, k);
}

/** Value of `synchronized_standby_slots`. The names of slots need no quotes. */
export function consumerSlots(standbys: readonly string[]): string {
  return standbys.map(slotName).sort().join(', ');
}
