/**
 * WAL and data directories. All records have the same size, so a position is a number of records. Two histories with
 * the same timeline number fit together at every position, although their records differ (S3).
 */

export type Change =
  | { kind: 'row'; row: number }
  | { kind: 'register'; version: number; value: number }
  | { kind: 'beat'; n: number }
  /** Locks a table. Replay of it waits for readers of a standby (S16). */
  | { kind: 'alter' }
  /** Settings of a leader that must not be lower on a standby (S23). */
  | { kind: 'parameters'; connections: number }
  /** A person's SQL in the failover's database. `furnish`: the failover repairs its own objects. */
  | { kind: 'sql'; what: 'delete heartbeat' | 'drop heartbeat' | 'revoke connect' | 'furnish' }
  /** Changes no data that clients read: canary, kick, checkpoint, promotion. */
  | { kind: 'note'; what: string };

export interface WalRecord {
  /** Unique in the run. The same record on two nodes means the same history. */
  id: number;
  change: Change;
}

export interface TimelineStart {
  timeline: number;
  /** Number of records before it. */
  start: number;
}

const RECORD_BYTES = 0x60;
const FIRST_LSN = 0x3000000;

export function printLsn(position: number): string {
  return `0/${(FIRST_LSN + position * RECORD_BYTES).toString(16).toUpperCase()}`;
}

/** Number of records that the slot of the archive does not keep. */
export function archivedUpTo({ archivedFrom }: DataDir): number {
  return archivedFrom === null
    ? Number.POSITIVE_INFINITY
    : Math.floor((Number(archivedFrom) - FIRST_LSN) / RECORD_BYTES);
}

/** The numbers of the records that are at least partly between two positions. */
export function recordsIn({ wal, flushed }: DataDir, from: bigint, to: bigint): number[] {
  const at = (lsn: bigint) => Math.max(0, (Number(lsn) - FIRST_LSN) / RECORD_BYTES);
  return wal.slice(Math.floor(at(from)), Math.min(flushed, Math.ceil(at(to)))).map(({ id }) => id);
}

function segmentName({ timeline, wal }: DataDir): string {
  return `${timeline.toString(16).padStart(8, '0')}${wal.length.toString(16).padStart(16, '0')}`;
}

/** The content that SQL sees. */
export class Table {
  readonly rows: number[] = [];
  version = 0;
  value = 0;
  beat = 0;
  /** State of the heartbeat's table: with its row, without it, or dropped. */
  heartbeat: 'there' | 'empty' | 'dropped' = 'there';
  /** The failover's roles may connect to the database `postgres`. */
  mayConnect = true;

  apply(change: Change): void {
    switch (change.kind) {
      case 'row':
        this.rows.push(change.row);
        return;
      case 'register':
        this.version = change.version;
        this.value = change.value;
        return;
      case 'beat':
        this.beat = change.n;
        return;
      case 'sql':
        this.obey(change.what);
        return;
      case 'alter':
      case 'parameters':
      case 'note':
        return;
    }
  }

  private obey(what: Extract<Change, { kind: 'sql' }>['what']): void {
    if (what === 'delete heartbeat') this.heartbeat = 'empty';
    else if (what === 'drop heartbeat') this.heartbeat = 'dropped';
    else if (what === 'revoke connect') this.mayConnect = false;
    else {
      this.heartbeat = 'there';
      this.mayConnect = true;
    }
  }
}

/** A data directory on a node's volume. */
export class DataDir {
  /** Number of records that survive any crash. */
  flushed: number;
  /** Number of records that SQL saw applied. After a restart, replay begins earlier. */
  applied: number;
  /** Timeline that the control file shows; it lags behind a promotion (S12). */
  controlTimeline: number;
  /** Newest timeline whose history file was seen. */
  newestTimeline: number;
  cleanLeader = false;
  /** The control file says "in production": a primary runs on it, or crashed on it. */
  production = false;
  /** Number of records that a server applies before it answers after a start. */
  consistentAt = 0;
  clean = true;
  /** A rewind was interrupted: PostgreSQL does not start from this data. */
  broken = false;
  readonly slots = new Set<string>();
  /**
   * Replication slot → what its standby had on its disk when it last reported. The slot keeps the WAL from there on.
   */
  readonly slotAt = new Map<string, number>();
  /** Invalidated replication slots: the WAL that they needed was removed, and they keep no WAL any more (S22). */
  readonly lostSlots = new Set<string>();
  /** Records before this one were removed from the WAL. Their effect is in the data. */
  oldest = 0;
  /** The slot of the archive keeps the WAL from this position on (archive-slot.ts); null: there is none. */
  archivedFrom: bigint | null = null;
  /** `max_connections` of the leader whose WAL was applied last (S23). */
  connections = 0;

  constructor(
    readonly systemId: string,
    public wal: WalRecord[],
    public history: TimelineStart[],
  ) {
    this.flushed = wal.length;
    this.applied = wal.length;
    this.controlTimeline = history.at(-1)?.timeline ?? 1;
    this.newestTimeline = this.controlTimeline;
  }

  get timeline(): number {
    return this.history.at(-1)?.timeline ?? 1;
  }

  /** A base backup: all flushed records, without slots. */
  copy(): DataDir {
    const copy = new DataDir(this.systemId, this.wal.slice(0, this.flushed), [...this.history]);
    copy.newestTimeline = this.newestTimeline;
    copy.oldest = Math.max(this.oldest, copy.wal.length - 5);
    copy.connections = this.connections;
    return copy;
  }

  /** Damages a record. PostgreSQL starts all the same. */
  damage(id: number): void {
    this.broken = false;
    if (this.wal.length > 0) this.wal[this.wal.length - 1] = { id, change: { kind: 'note', what: 'half rewound' } };
  }

  /** Builds the table from the WAL. */
  table(upTo: number): Table {
    const table = new Table();
    for (let i = 0; i < upTo; i++) {
      const record = this.wal[i];
      if (record !== undefined) table.apply(record.change);
    }
    return table;
  }
}

/**
 * Position at which the timeline ended in this history, infinity if it is the newest; null when the history does not
 * contain it.
 */
export function endOf(history: readonly TimelineStart[], timeline: number): number | null {
  const i = history.findIndex((h) => h.timeline === timeline);
  if (i < 0) return null;
  return history[i + 1]?.start ?? Number.POSITIVE_INFINITY;
}

/**
 * Why a standby with this data can never stream from that server; null when it can. It makes the same checks as
 * PostgreSQL, in the same order: a standby whose slot is refused never learns about the WAL.
 */
export function whyImpossible(own: DataDir, source: DataDir, hasSlot: boolean): string | null {
  const position = own.wal.length;
  if (own.systemId !== source.systemId) return 'database system identifier differs between the primary and standby';
  if (source.timeline < own.timeline) {
    return `highest timeline ${source.timeline} of the primary is behind recovery timeline ${own.timeline}`;
  }
  if (!hasSlot) return null;
  const fork = endOf(source.history, own.timeline);
  if (fork === null) {
    return `requested starting point ${printLsn(position)} on timeline ${own.timeline} is not in this server's history`;
  }
  if (fork < position) {
    return `new timeline ${source.timeline} forked off current database system timeline ${own.timeline} before current recovery point`;
  }
  if (position < source.oldest) return `requested WAL segment ${segmentName(own)} has already been removed`;
  return null;
}

/**
 * Works like pg_rewind, which compares timeline numbers: with equal numbers it finds nothing to do (S3). Null: nothing
 * to do. Throws when there is no common ancestor.
 */
export function rewound(target: DataDir, source: DataDir): DataDir | null {
  if (target.timeline === source.timeline) return null;
  let divergence = 0;
  let common = false;
  for (let i = 0; i < Math.min(target.history.length, source.history.length); i++) {
    const [a, b] = [target.history[i], source.history[i]];
    if (a === undefined || b === undefined || a.timeline !== b.timeline || a.start !== b.start) break;
    common = true;
    divergence = Math.min(
      endOf(target.history, a.timeline) ?? 0,
      endOf(source.history, b.timeline) ?? 0,
      source.flushed,
    );
  }
  if (!common) throw new Error('could not find common ancestor of the source and target cluster’s timelines');
  if (target.wal.length <= divergence) return null;
  // Replay begins at the last checkpoint before the fork, and continues with the source's WAL.
  if (divergence < target.oldest) throw new Error('could not find previous WAL record: it is removed');
  if (divergence < source.oldest) throw new Error('the source has removed the log that the target needs');
  const wal = [...target.wal.slice(0, divergence), ...source.wal.slice(divergence, source.flushed)];
  const result = new DataDir(source.systemId, wal, [...source.history]);
  result.newestTimeline = source.newestTimeline;
  result.oldest = target.oldest;
  result.archivedFrom = target.archivedFrom;
  result.connections = source.connections;
  for (const slot of target.slots) result.slots.add(slot);
  return result;
}
