/** Commands of clients of replication that the gate refuses. Pure. */

/** Most replication slots that people may have. PostgreSQL has 20 (`max_replication_slots`); nodes take at most 12. */
export const PEOPLES_SLOTS_MAX = 8;

/**
 * Why a command is refused; null: it is not. A slot of the failover keeps what a standby still needs, and
 * synchronized_standby_slots rests on it. The manual's "Streaming Replication Protocol" lets every role with
 * REPLICATION use and drop each of them.
 */
export function refusalOf(command: string, ownSlots: readonly string[], peoplesSlots: number): string | null {
  const words = new Set(command.toLowerCase().match(/[a-z0-9_]+/g));
  const own = ownSlots.find((slot) => words.has(slot));
  if (own !== undefined) return `the replication slot ${own} belongs to the failover`;
  const creates = words.has('create_replication_slot') && !words.has('temporary');
  if (!creates || peoplesSlots < PEOPLES_SLOTS_MAX) return null;
  return `there are ${peoplesSlots} replication slots of people already, and no more than ${PEOPLES_SLOTS_MAX} are taken`;
}
