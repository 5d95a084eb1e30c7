/**
 * Disks with a size. All sizes are in MB. On one Docker host all volumes are normally on one disk: data and WAL of every
 * node, copies under way and the monitor's store take room from each other.
 */

/** How much the stack's data is, and how much WAL a record of the model stands for. */
export interface Load {
  dataMb: number;
  recordMb: number;
}

/** A small database with little to do: a copy is done in a moment, and no WAL that anybody needs is recycled. */
export const LIGHT: Load = { dataMb: 30, recordMb: 1 / 16 };

/** `--wal-segsize=1`: room is taken for a whole segment at a time. */
export const SEGMENT_MB = 1;
/** `wal_keep_size` and `max_slot_wal_keep_size` of the shipped postgresql.conf. */
export const WAL_KEEP_MB = 256;
export const SLOT_KEEP_MB = 4_096;
/** What must be free beside both copies before one is begun. */
export const RESERVE_MB = 128;
/** A base backup, and the verification that reads everything once more, MB in a millisecond. */
export const COPY_MB_A_MS = 0.15;
export const VERIFY_MB_A_MS = 0.3;
/** A server that starts or is promoted writes small files, MB. */
export const START_MB = 0.03;

export class Disk {
  private sizeMb = Number.POSITIVE_INFINITY;
  private readonly users: (() => number)[] = [];

  /** From now on this takes room, too. */
  add(used: () => number): void {
    this.users.push(used);
  }

  get usedMb(): number {
    return this.users.reduce((sum, used) => sum + used(), 0);
  }

  get freeMb(): number {
    return Number.isFinite(this.sizeMb) ? Math.max(0, this.sizeMb - this.usedMb) : Number.POSITIVE_INFINITY;
  }

  /** Others than this stack fill it but for so much. */
  fill(freeMb: number): void {
    this.sizeMb = this.usedMb + freeMb;
  }

  /** There is room again, for all that may come. */
  clear(): void {
    this.sizeMb = Number.POSITIVE_INFINITY;
  }
}
