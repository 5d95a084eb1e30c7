/** Maintains the physical replication slots of the peers (S22). */

import { copySlotName, isNodeSlot, slotName } from '../../contract/naming';
import { Replication } from './replication';
import { literal, type Session, sqlState, type TimedOptions } from './session';

/**
 * Limits of the attempts to drop a slot. A node that was removed reconnects until its lines are out of pg_hba.conf,
 * which takes some milliseconds.
 */
const DROP_ATTEMPTS = 20;
const DROP_PAUSE_S = 0.05;
const OBJECT_IN_USE = '55006';
const DUPLICATE_OBJECT = '42710';
const UNDEFINED_OBJECT = '42704';
/** An idle slot of an unfinished copy is dropped after this time, s, because it would keep WAL for nothing. */
const COPY_IDLE_S = 60;
/** The slot of a standby that is away for longer than this no longer protects rows on the leader, s. */
const IDLE_S = 10;

interface SlotRow {
  slot_name: string;
  active: boolean;
  fell_off: boolean;
  holds_rows: boolean;
  idle: boolean;
}

/** The slots of the peers that keep dead rows, and those that were dropped because their node is not declared. */
interface Kept {
  holding: string[];
  dropped: string[];
}

/**
 * Creates a slot for each peer of `node`. Drops the slots of nodes that are not declared any more, and ends the
 * walsenders that still use them: a slot that stays would keep WAL until the disk is full. A slot that a person made
 * stays (see {@link isNodeSlot}). With `renew`, it also replaces existing slots that are not in use. A slot that was
 * invalidated (`max_slot_wal_keep_size`) is replaced in any case, because it would never keep WAL again. The slot of a
 * peer's copy stays as long as it is in use. `holding` are the peers' slots that keep dead rows although nothing has
 * streamed from them for {@link IDLE_S}: see {@link releaseRows}.
 */
export async function ensureSlots(session: Session, node: string, peers: string[], renew: boolean): Promise<Kept> {
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
  const kept: Kept = { holding: [], dropped: [] };
  for (const { slot_name: name, active, fell_off: fellOff, holds_rows: holdsRows, idle } of rows) {
    const isPeers = wanted.includes(name) || copies.includes(name);
    if (!isPeers && !isNodeSlot(name, node)) continue;
    if (copies.includes(name) && !renew && (active || !idle)) continue;
    const stays = wanted.includes(name) && (active || (!renew && !fellOff));
    if (stays) there.add(name);
    else await dropSlot(session, name);
    if (!isPeers) kept.dropped.push(name);
    if (stays && !active && holdsRows) kept.holding.push(name);
  }
  for (const name of wanted) {
    if (!there.has(name)) await session.query(`SELECT pg_create_physical_replication_slot(${literal(name)})`);
  }
  return kept;
}

/**
 * Makes slots from which nothing streams give up their xmin. With `hot_standby_feedback` (S16) a slot keeps the oldest
 * transaction of its standby, also while the standby is off. Meanwhile the leader could remove no dead row in any
 * table. PostgreSQL has no function to clear the xmin, but a hot standby feedback without an xmin clears it. The stream
 * begins at the end of the WAL, so nothing is read or sent. A slot's `restart_lsn` changes only by confirmed positions,
 * so it stays. A standby that comes back in these milliseconds is refused once and tries again (S20); its feedback then
 * protects its rows again.
 */
export async function releaseRows(slots: readonly string[], login: TimedOptions): Promise<void> {
  using replication = await Replication.open(login);
  const { flushLsn } = await replication.identify();
  const onBegun = () => {
    replication.feedback();
    return false;
  };
  for (const slot of slots) {
    const refusal = await replication.stream({ slot, lsn: flushLsn }, () => false, onBegun);
    if (refusal !== null && refusal.code !== OBJECT_IN_USE) throw refusal;
  }
  await replication.close();
}

/** Drops a slot and ends the walsender that uses it. It is no error if there is no such slot. */
export async function dropSlot(session: Session, slot: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await session.query(
        `SELECT pg_terminate_backend(active_pid, 1000) FROM pg_replication_slots
          WHERE slot_name = ${literal(slot)} AND active_pid IS NOT NULL`,
      );
      await session.query(`SELECT pg_drop_replication_slot(${literal(slot)})`);
      return;
    } catch (error) {
      if (sqlState(error) === UNDEFINED_OBJECT) return;
      if (sqlState(error) !== OBJECT_IN_USE || attempt >= DROP_ATTEMPTS) throw error;
      await session.query(`SELECT pg_sleep(${DROP_PAUSE_S})`);
    }
  }
}

/**
 * Replaces a slot, with a statement that also reserves the WAL that the slot has to keep. It retries, because the
 * leader's keeper may create the slot in between.
 */
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
 * Replaces the slot by one that keeps all WAL from now on. A new slot keeps the WAL since the last checkpoint. That may
 * be more than a slot is allowed to keep, and then the next checkpoint, that of the backup, would invalidate the slot.
 */
export async function reserveSlot(session: Session, slot: string): Promise<void> {
  await make(session, slot, `SELECT pg_create_physical_replication_slot(${literal(slot)}, true)`);
  await session.query(`SELECT pg_replication_slot_advance(${literal(slot)}, pg_current_wal_flush_lsn())`);
}

/**
 * Drops the logical slots with `failover` that this standby has from when it led: it would never copy the leader's slots
 * of these names (PostgreSQL's slotsync.c, `synchronize_one_slot`). Other logical slots stay. Resolves with their names.
 */
export async function dropLedSlots(session: Session): Promise<string[]> {
  const rows = await session.query<{ name: string }>(
    `SELECT slot_name AS name FROM pg_replication_slots
      WHERE pg_is_in_recovery() AND slot_type = 'logical' AND failover AND NOT synced AND NOT temporary`,
  );
  for (const { name } of rows) await dropSlot(session, name);
  return rows.map(({ name }) => name);
}

/** Replaces the slot `to` by one that keeps what `from` keeps, and drops `from`. */
export async function handOver(session: Session, from: string, to: string): Promise<void> {
  await make(session, to, `SELECT pg_copy_physical_replication_slot(${literal(from)}, ${literal(to)})`);
  await dropSlot(session, from);
}
