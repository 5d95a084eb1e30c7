/** Physical replication slots of the peers (S22). */
import { slotName } from './config-files';
import { literal, type Session } from './session';

/**
 * Makes a slot for each peer and drops others; with `renew` also replaces those that are there and not in use. One that
 * fell off (`max_slot_wal_keep_size`) is replaced in any case: it would never keep anything again.
 */
export async function ensureSlots(session: Session, peers: string[], renew: boolean): Promise<void> {
  const wanted = peers.map(slotName);
  const rows = await session.query<{ slot_name: string; active: boolean; fell_off: boolean }>(
    `SELECT slot_name, active, invalidation_reason IS NOT NULL OR wal_status = 'lost' AS fell_off
     FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary`,
  );
  const there = new Set<string>();
  for (const { slot_name: name, active, fell_off: fellOff } of rows) {
    if (active || (!renew && !fellOff && wanted.includes(name))) there.add(name);
    else await session.query(`SELECT pg_drop_replication_slot(${literal(name)})`);
  }
  for (const name of wanted) {
    if (!there.has(name)) await session.query(`SELECT pg_create_physical_replication_slot(${literal(name)})`);
  }
}
