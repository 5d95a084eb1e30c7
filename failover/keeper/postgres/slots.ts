/** Physical replication slots of the peers (S22). */

import { copySlotName, slotName } from '../../contract/naming';
import type { Replication } from './replication';
import { literal, type Session } from './session';
import { sqlState } from './timed-client';

/** A node that was told to go reconnects until its lines are out of pg_hba.conf, which is a matter of milliseconds. */
const DROP_ATTEMPTS = 20;
const DROP_PAUSE_S = 0.05;
const OBJECT_IN_USE = '55006';
const DUPLICATE_OBJECT = '42710';
const UNDEFINED_OBJECT = '42704';
/** The slot of a copy whose node is gone is dropped after this: it would keep write-ahead log for nothing, s. */
const COPY_IDLE_S = 60;
/** A standby that is away for longer than this protects no rows on the leader any more, s. */
const IDLE_S = 10;

interface SlotRow {
  slot_name: string;
  active: boolean;
  fell_off: boolean;
  holds_rows: boolean;
  idle: boolean;
}

/**
 * Makes a slot for each peer and drops others, ending what still streams from them: one that stayed would keep
 * write-ahead log until the disk is full. With `renew` also replaces those that are there and not in use. One that
 * fell off (`max_slot_wal_keep_size`) is replaced in any case: it would never keep anything again. The slot of a
 * peer's copy stays as long as it is in use. Resolves with the peers' slots that keep dead rows although nothing has
 * streamed from them for {@link IDLE_S}: see {@link releaseRows}.
 */
export async function ensureSlots(session: Session, peers: string[], renew: boolean): Promise<string[]> {
  const wanted = peers.map(slotName);
  const copies = peers.map(copySlotName).filter((name) => !wanted.includes(name));
  const rows = await session.ask<SlotRow>(
    'keep slots',
    `SELECT slot_name, active, invalidation_reason IS NOT NULL OR wal_status = 'lost' AS fell_off,
       coalesce(inactive_since < clock_timestamp() - interval '${IDLE_S} s', false)
         AND coalesce(xmin, catalog_xmin) IS NOT NULL AS holds_rows,
       coalesce(inactive_since < clock_timestamp() - interval '${COPY_IDLE_S} s', false) AS idle
     FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary`,
  );
  const there = new Set<string>();
  const holding: string[] = [];
  for (const { slot_name: name, active, fell_off: fellOff, holds_rows: holdsRows, idle } of rows) {
    if (copies.includes(name) && !renew && (active || !idle)) continue;
    const stays = wanted.includes(name) && (active || (!renew && !fellOff));
    if (!stays) {
      await drop(session, name);
      continue;
    }
    there.add(name);
    if (!active && holdsRows) holding.push(name);
  }
  for (const name of wanted) {
    if (!there.has(name)) await session.query(`SELECT pg_create_physical_replication_slot(${literal(name)})`);
  }
  return holding;
}

/**
 * Lets slots that nothing streams from go of their xmin. With `hot_standby_feedback` (S16) a slot keeps the oldest
 * transaction of its standby, also while that is off: no dead row would be removed on the leader meanwhile, in any table.
 * PostgreSQL has no function for it; a hot standby feedback that asks for nothing clears it. The stream begins at
 * the end of the log, so nothing is read and sent; a slot's `restart_lsn` changes by confirmed positions alone and stays.
 * A standby that comes back in these milliseconds is refused once and tries again (S20), and then asks for its rows anew.
 */
export async function releaseRows(slots: readonly string[], open: () => Promise<Replication>): Promise<void> {
  const replication = await open();
  try {
    const { flushLsn } = await replication.identify();
    for (const slot of slots) {
      const onBegun = () => {
        replication.feedback();
        return false;
      };
      await replication
        .stream({ slot, lsn: flushLsn }, () => false, { onBegun })
        .catch((error: unknown) => {
          if (sqlState(error) !== OBJECT_IN_USE) throw error;
        });
    }
    await replication.close();
  } finally {
    replication.destroy();
  }
}

/** Drops a slot, ending what streams from it. One that is not there is no error. */
export async function dropSlot(session: Session, slot: string): Promise<void> {
  try {
    await drop(session, slot);
  } catch (error) {
    if (sqlState(error) !== UNDEFINED_OBJECT) throw error;
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
      if (sqlState(error) !== DUPLICATE_OBJECT || attempt >= DROP_ATTEMPTS) throw error;
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
      if (sqlState(error) !== OBJECT_IN_USE || attempt >= DROP_ATTEMPTS) throw error;
      await session.query(`SELECT pg_sleep(${DROP_PAUSE_S})`);
    }
  }
}
