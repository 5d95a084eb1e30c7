/**
 * The replication slot with which every node keeps the write-ahead log that the repository does not have yet. The
 * leader's disk may be lost together with what it had not archived; the next leader then archives it.
 */
import { compareLsn } from '../../contract/lsn';
import { ARCHIVE_SLOT } from '../../contract/naming';
import { literal, type Session } from './session';
import { dropSlot } from './slots';

interface Row {
  lost: boolean;
  /** Null: it keeps nothing yet. */
  lsn: string | null;
}

const NAME = literal(ARCHIVE_SLOT);

function look(session: Session): Promise<Row[]> {
  return session.ask<Row>(
    'archive slot',
    `SELECT invalidation_reason IS NOT NULL OR coalesce(wal_status = 'lost', false) AS lost, restart_lsn::text AS lsn
     FROM pg_replication_slots WHERE slot_name = ${NAME}`,
  );
}

/** Keeps all write-ahead log from this position on; null: from now on, if the slot is new. */
export async function keepFrom(session: Session, position: string | null): Promise<void> {
  const [row] = await look(session);
  if (row?.lost === true) await dropSlot(session, ARCHIVE_SLOT);
  if (row === undefined || row.lost) {
    await session.query(`SELECT pg_create_physical_replication_slot(${NAME}, true)`);
  } else if (position !== null && row.lsn !== null && compareLsn(row.lsn, position) < 0) {
    // PostgreSQL moves it no further than to what this node has.
    await session.query(`SELECT pg_replication_slot_advance(${NAME}, ${literal(position)})`);
  }
}

/** Drops the slot. */
export async function releaseWal(session: Session): Promise<void> {
  if ((await look(session)).length > 0) await dropSlot(session, ARCHIVE_SLOT);
}
