/**
 * The replication slot with which every node keeps the write-ahead log that the repository does not have yet. The leader's
 * disk may be lost together with what it had not archived; the next leader then archives it.
 */
import { ARCHIVE_SLOT } from '../../contract/naming';
import { literal, type Session } from './session';
import { dropSlot } from './slots';

interface Row {
  lost: boolean;
  /** The slot keeps more than it has to. */
  behind: boolean;
}

/** Keeps all write-ahead log from this position on; null: from now on, if the slot is new. */
export async function keepFrom(session: Session, position: string | null): Promise<void> {
  const name = literal(ARCHIVE_SLOT);
  const lsn = position === null ? 'NULL' : `${literal(position)}::pg_lsn`;
  const [row] = await session.ask<Row>(
    'archive slot',
    `SELECT invalidation_reason IS NOT NULL OR coalesce(wal_status = 'lost', false) AS lost,
       coalesce(restart_lsn < ${lsn}, false) AS behind
     FROM pg_replication_slots WHERE slot_name = ${name}`,
  );
  if (row?.lost === true) await dropSlot(session, ARCHIVE_SLOT);
  if (row === undefined || row.lost) await session.query(`SELECT pg_create_physical_replication_slot(${name}, true)`);
  // PostgreSQL moves it no further than to what this node has.
  else if (row.behind) await session.query(`SELECT pg_replication_slot_advance(${name}, ${lsn})`);
}

/** Drops the slot. */
export async function releaseWal(session: Session): Promise<void> {
  const rows = await session.ask(
    'archive slot',
    `SELECT 1 AS there FROM pg_replication_slots WHERE slot_name = ${literal(ARCHIVE_SLOT)}`,
  );
  if (rows.length > 0) await dropSlot(session, ARCHIVE_SLOT);
}
