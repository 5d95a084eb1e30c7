/** Physical replication slots of the peers (S22). */
import { slotName } from './config-files';
import { literal, type Session } from './session';

/** A node that was told to go reconnects until its lines are out of pg_hba.conf, which is a matter of milliseconds. */
const DROP_ATTEMPTS = 20;
const DROP_PAUSE_S = 0.05;
const OBJECT_IN_USE = '55006';

/**
 * Makes a slot for each peer and drops others, ending what still streams from them: one that stayed would keep
 * write-ahead log until the disk is full. With `renew` also replaces those that are there and not in use. One that
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
    const stays = wanted.includes(name) && (active || (!renew && !fellOff));
    if (stays) there.add(name);
    else await drop(session, name);
  }
  for (const name of wanted) {
    if (!there.has(name)) await session.query(`SELECT pg_create_physical_replication_slot(${literal(name)})`);
  }
}

async function drop(session: Session, slot: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await session.query(
        `SELECT pg_terminate_backend(active_pid, 1000) FROM pg_replication_slots
          WHERE slot_name = ${literal(slot)} AND active_pid IS NOT NULL`,
      );
      await session.query(`SELECT pg_drop_replication_slot(${literal(slot)})`);
      return;
    } catch (error) {
      const inUse = error instanceof Error && 'code' in error && error.code === OBJECT_IN_USE;
      if (!inUse || attempt >= DROP_ATTEMPTS) throw error;
      await session.query(`SELECT pg_sleep(${DROP_PAUSE_S})`);
    }
  }
}
