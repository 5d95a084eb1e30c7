/** Physical replication slots of the peers (S22). */
import { copySlotName, slotName } from './config-files';
import { literal, type Session } from './session';

/** A node that was told to go reconnects until its lines are out of pg_hba.conf, which is a matter of milliseconds. */
const DROP_ATTEMPTS = 20;
const DROP_PAUSE_S = 0.05;
const OBJECT_IN_USE = '55006';
const DUPLICATE_OBJECT = '42710';
const UNDEFINED_OBJECT = '42704';
/** The slot of a copy whose node is gone is dropped after this: it would keep write-ahead log for nothing, s. */
const COPY_IDLE_S = 60;

/**
 * Makes a slot for each peer and drops others, ending what still streams from them: one that stayed would keep
 * write-ahead log until the disk is full. With `renew` also replaces those that are there and not in use. One that
 * fell off (`max_slot_wal_keep_size`) is replaced in any case: it would never keep anything again. What a copy of a peer
 * receives through stays as long as it is in use.
 */
export async function ensureSlots(session: Session, peers: string[], renew: boolean): Promise<void> {
  const wanted = peers.map(slotName);
  const copies = peers.map(copySlotName).filter((name) => !wanted.includes(name));
  const rows = await session.query<{ slot_name: string; active: boolean; fell_off: boolean; idle: boolean }>(
    `SELECT slot_name, active, invalidation_reason IS NOT NULL OR wal_status = 'lost' AS fell_off,
       coalesce(inactive_since < clock_timestamp() - interval '${COPY_IDLE_S} s', false) AS idle
     FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary`,
  );
  const there = new Set<string>();
  for (const { slot_name: name, active, fell_off: fellOff, idle } of rows) {
    if (copies.includes(name) && !renew && (active || !idle)) continue;
    const stays = wanted.includes(name) && (active || (!renew && !fellOff));
    if (stays) there.add(name);
    else await drop(session, name);
  }
  for (const name of wanted) {
    if (!there.has(name)) await session.query(`SELECT pg_create_physical_replication_slot(${literal(name)})`);
  }
}

/** Drops a slot, ending what streams from it. One that is not there is no error. */
export async function dropSlot(session: Session, slot: string): Promise<void> {
  try {
    await drop(session, slot);
  } catch (error) {
    if (codeOf(error) !== UNDEFINED_OBJECT) throw error;
  }
}

/** Makes a slot anew, by a statement that also reserves what it has to keep; the leader's keeper may make one in between. */
async function make(session: Session, slot: string, statement: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    await dropSlot(session, slot);
    try {
      await session.query(statement);
      return;
    } catch (error) {
      if (codeOf(error) !== DUPLICATE_OBJECT || attempt >= DROP_ATTEMPTS) throw error;
    }
  }
}

/**
 * Makes the slot anew, so that it keeps all write-ahead log from now on. A new slot keeps what the last checkpoint needs,
 * which may be more than a slot is allowed to keep: the next checkpoint, that of the backup, would end it.
 */
export async function reserveSlot(session: Session, slot: string): Promise<void> {
  await make(session, slot, `SELECT pg_create_physical_replication_slot(${literal(slot)}, true)`);
  await session.query(`SELECT pg_replication_slot_advance(${literal(slot)}, pg_current_wal_flush_lsn())`);
}

/** Makes the slot `to` anew, so that it keeps what `from` keeps, and drops `from`. */
export async function handOver(session: Session, from: string, to: string): Promise<void> {
  await make(session, to, `SELECT pg_copy_physical_replication_slot(${literal(from)}, ${literal(to)})`);
  await dropSlot(session, from);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
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
      if (codeOf(error) !== OBJECT_IN_USE || attempt >= DROP_ATTEMPTS) throw error;
      await session.query(`SELECT pg_sleep(${DROP_PAUSE_S})`);
    }
  }
}
