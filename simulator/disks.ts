/**
 * Disks with a size. All sizes are in MB. On one Docker host all volumes are normally on one disk, so the data and WAL
 * of every node, running copies and the monitor's store compete for its space.
 */

/** Size of the stack's data, and amount of WAL for which a record of the model stands. */
export interface Load {
  dataMb: number;
  recordMb: number;
}

/** A small database with few writes. A copy takes a moment, and no WAL that a node needs is recycled. */
export const LIGHT: Load = { dataMb: 30, recordMb: 1 / 16 };

/** `--wal-segsize=1`: space is taken for a whole segment at a time. */
export const SEGMENT_MB = 1;
/** `wal_keep_size` and `max_slot_wal_keep_size` of the shipped postgresql.conf. */
export const WAL_KEEP_MB = 256;
export const SLOT_KEEP_MB = 4_096;
/** Space that must be free beside the old data and the copy before a copy begins. */
export const RESERVE_MB = 128;
/** Speed of a base backup and of its verification, which reads everything once more, MB per ms. */
export const COPY_MB_A_MS = 0.15;
export const VERIFY_MB_A_MS = 0.3;
/** Size of the small files that a server writes when it starts or is promoted, MB. */
export const START_MB = 0.03;

export class Disk {
  private sizeMb = Number.POSITIVE_INFINITY;
  private readonly users: (() => number)[] = [];

  /** From now on this user takes space on the disk, too. */
  add(used: () => number): void {
    this.users.push(used);
  }

  get usedMb(): number {
    return this.users.reduce((sum, used) => sum + used(), 0);
  }

  get freeMb(): number {
    return Number.isFinite(this.sizeMb) ? Math.max(0, this.sizeMb - this.usedMb) : Number.POSITIVE_INFINITY;
  }

  /** Foreign data fills the disk except for this much. */
  fill(freeMb: number): void {
    this.sizeMb = this.usedMb + freeMb;
  }

  /** The foreign data is gone: there is enough space again. */
  clear(): void {
    this.sizeMb = Number.POSITIVE_INFINITY;
  }
}
