/**
 * What clients did and which answers they got, and whether all of it can be true of one database (linearizability on
 * the write port).
 */
import type { Change } from './wal';

export interface Operation {
  kind: 'row' | 'register' | 'read';
  client: string;
  startMs: number;
  endMs: number | null;
  /** The node that served the operation, for the story. */
  node: string | null;
  outcome: 'open' | 'ok' | 'unknown' | 'failed';
  row: number;
  value: number;
  version: number;
  /** The rows that a read saw: the first `count` of these. */
  rows: readonly number[];
  count: number;
  /** A standby served the operation. */
  standby: boolean;
}

/**
 * For this time after a leader was opened, reads that were already under way may still come from the old history, ms.
 */
const PHANTOM_GRACE_MS = 1_500;

export class History {
  readonly reads: Operation[] = [];
  readonly acknowledged = new Map<number, Operation>();
  /** Versions of commits whose wait was cut short (S7). A read of such a version proves nothing. */
  private readonly unsureVersions = new Set<number>();
  private readonly unsureRows = new Set<number>();
  /** Rows that were read, with the operation that saw them first. */
  private readonly seen = new Map<number, Operation>();
  /** Version of the register → the first operation that ended with it. */
  private readonly known = new Map<number, Operation>();
  private readonly versions = new Map<number, number>();
  /** Rows that every later read must show, with the operation that wrote or read them first. */
  private readonly due = new Map<number, Operation>();
  private readonly looked = new WeakMap<readonly number[], number>();
  private readonly marks: number[] = [];
  private turn = 0;
  /** Number of acknowledged writes. */
  count = 0;
  /** The rows of each newly opened leader. */
  private readonly openings: { atMs: number; rows: ReadonlySet<number> }[] = [];
  /** Time when each row got into a leader's WAL. No row is written twice. */
  private readonly insertedMs = new Map<number, number>();
  /**
   * Time when a person made a node without the newest data the leader. Operations that ran across that moment prove
   * nothing.
   */
  private overriddenMs = Number.NEGATIVE_INFINITY;

  /** Start of the newest acknowledged write, ms. */
  servedMs = Number.NEGATIVE_INFINITY;
  /** True when the leader acknowledges writes that no other node has. */
  asynchronous = false;

  constructor(private readonly fail: (words: string) => void) {}

  /** A leader has this change in its WAL. The change may still be lost. */
  inserted(change: Change, atMs: number): void {
    if (change.kind === 'row') this.insertedMs.set(change.row, atMs);
  }

  /** Marks a commit whose wait was cut short: it is visible, and may be lost all the same. */
  tag(change: Change): void {
    if (change.kind === 'row') this.unsureRows.add(change.row);
    else if (change.kind === 'register') this.unsureVersions.add(change.value);
  }

  ended(operation: Operation, proxy: 'write' | 'read'): void {
    if (operation.outcome === 'ok' && proxy === 'write' && operation.kind !== 'read') {
      this.servedMs = Math.max(this.servedMs, operation.startMs);
    }
    if (operation.outcome !== 'ok' || operation.startMs <= this.overriddenMs) return;
    if (proxy === 'read') {
      this.reads.push(operation);
      return;
    }
    this.count += operation.kind === 'read' ? 0 : 1;
    if (operation.kind === 'row') {
      this.acknowledged.set(operation.row, operation);
      const earlier = this.due.get(operation.row);
      if (earlier === undefined || earlier.kind === 'read') this.due.set(operation.row, operation);
    } else if (operation.kind === 'register') this.checkVersion(operation);
    else this.checkRead(operation);
  }

  opened(atMs: number, rows: ReadonlySet<number>): void {
    this.openings.push({ atMs, rows });
  }

  /**
   * A person opened a leader with `--accept-data-loss`. The rows that it lacks are forgotten, and no others: `had` are
   * the rows that it had when the person gave the command, and it must still have all of them. Returns the number of
   * lost writes.
   */
  overridden(atMs: number, had: ReadonlySet<number>, rows: ReadonlySet<number>, version: number): number {
    this.overriddenMs = atMs;
    let lost = 0;
    for (const [row, write] of [...this.acknowledged, ...this.due, ...this.seen]) {
      if (rows.has(row)) continue;
      if (had.has(row) && !this.unsureRows.has(row)) {
        this.fail(`LOST: row ${row} of ${at(write.endMs)} was on the new leader when the loss was accepted`);
      }
      lost += this.acknowledged.delete(row) ? 1 : 0;
      this.due.delete(row);
      this.seen.delete(row);
    }
    for (const other of [...this.known.keys()]) if (other > version) this.known.delete(other);
    // This may be a history that was given up before, with other values for the same versions.
    this.versions.clear();
    return lost;
  }

  /** Checks that the read port shows no row that was left behind with a former leader (S13). */
  checkPhantoms(): void {
    for (const read of this.reads) {
      const opening = this.openings.findLast((o) => o.atMs < read.startMs - PHANTOM_GRACE_MS);
      if (opening === undefined) continue;
      // A leader that was opened since then may have the row, because a person can bring an older history back.
      const since = this.openings.filter((o) => o.atMs >= opening.atMs && o.atMs <= (read.endMs ?? read.startMs));
      const phantom = read.rows
        .slice(0, read.count)
        .find(
          (r) =>
            !since.some((o) => o.rows.has(r)) &&
            (this.insertedMs.get(r) ?? Number.POSITIVE_INFINITY) < opening.atMs &&
            !this.isMissedAnyway(r),
        );
      if (phantom === undefined) continue;
      this.fail(
        `PHANTOM: ${read.client} read row ${phantom} through ${read.node} at ${at(read.startMs)}; the leader that was opened at ${at(opening.atMs)} never had it`,
      );
      return;
    }
  }

  /**
   * Checks that a standby shows the database as it was at one moment, however long ago (S29). `order` has the rows of
   * the final WAL, and a read must show a beginning of it without a gap. Rows that were never acknowledged and are lost
   * do not count.
   */
  checkReads(order: readonly number[]): void {
    const places = new Map(order.map((row, i) => [row, i]));
    for (const read of this.reads) {
      if (!read.standby) continue;
      let next = 0;
      for (let i = 0; i < read.count; i++) {
        const place = places.get(read.rows[i] ?? 0);
        if (place === undefined) continue;
        if (place === next) next += 1;
        else {
          this.fail(
            `OUT OF ORDER: ${read.client} read row ${read.rows[i]} and not row ${order[next]}, which is before it, through ${read.node} at ${at(read.startMs)}`,
          );
          return;
        }
      }
    }
  }

  /** Another check, LOST or VANISHED, reports this row. */
  private isMissedAnyway(row: number): boolean {
    return this.acknowledged.has(row) || (this.seen.has(row) && !this.unsureRows.has(row));
  }

  /** Every read must show each row that was acknowledged, or read, before the read began. */
  private checkRead(read: Operation): void {
    const turn = ++this.turn;
    for (let i = 0; i < read.count; i++) this.marks[read.rows[i] ?? 0] = turn;
    for (const [row, first] of this.due) {
      if ((first.endMs ?? 0) >= read.startMs || this.marks[row] === turn) continue;
      if (first.kind === 'read' && this.unsureRows.has(row)) continue;
      this.due.delete(row);
      const what = first.kind === 'read' ? 'VANISHED' : 'LOST';
      const was = first.kind === 'read' ? 'read' : 'acknowledged';
      this.fail(
        `${what}: row ${row} was ${was} at ${at(first.endMs)} through ${first.node}, a read at ${at(read.startMs)} through ${read.node} does not show it`,
      );
    }
    for (let i = this.seenCount(read); i < read.count; i++) {
      const row = read.rows[i] ?? 0;
      if (this.seen.has(row)) continue;
      this.seen.set(row, read);
      if (!this.due.has(row)) this.due.set(row, read);
    }
    if (!this.unsureVersions.has(read.value)) this.checkVersion(read);
  }

  /** Number of rows of this same list that were checked before. */
  private seenCount(read: Operation): number {
    const count = this.looked.get(read.rows) ?? 0;
    this.looked.set(read.rows, Math.max(count, read.count));
    return count;
  }

  /**
   * The register counts its versions. So the versions must agree with real time, and each version must have one value.
   */
  private checkVersion(operation: Operation): void {
    const { version, value } = operation;
    const known = this.versions.get(version);
    if (version > 0 && known !== undefined && known !== value && !this.unsureVersions.has(known)) {
      this.fail(
        `FORKED: version ${version} of the register was ${known} and is ${value} for ${operation.client} through ${operation.node} at ${at(operation.startMs)}`,
      );
    }
    const least = operation.kind === 'register' ? version : version + 1;
    for (const [other, earlier] of this.known) {
      if (other >= least && this.isBefore(earlier, operation)) {
        this.stale(operation, earlier);
        break;
      }
    }
    this.versions.set(version, value);
    if (version > 0 && !this.known.has(version)) this.known.set(version, operation);
  }

  private isBefore(a: Operation, b: Operation): boolean {
    return a.endMs !== null && a.endMs < b.startMs;
  }

  private stale(operation: Operation, top: Operation): void {
    this.fail(
      `STALE: ${operation.client} ${operation.kind === 'read' ? 'read' : 'wrote'} version ${operation.version} through ${operation.node} at ${at(operation.startMs)}, but version ${top.version} was known at ${at(top.endMs)} through ${top.node}`,
    );
  }

  /** At the end, every acknowledged row must be there. */
  checkFinal(rows: ReadonlySet<number>, leader: string): void {
    for (const [row, write] of this.acknowledged) {
      if (!rows.has(row))
        this.fail(
          `LOST: row ${row} was acknowledged at ${at(write.endMs)} through ${write.node} and is not on ${leader} at the end`,
        );
    }
    for (const [row, read] of this.seen) {
      if (!rows.has(row) && !this.unsureRows.has(row) && !this.acknowledged.has(row)) {
        this.fail(
          `VANISHED: row ${row} was read at ${at(read.endMs)} through ${read.node} and is not on ${leader} at the end`,
        );
      }
    }
  }
}

export function at(ms: number | null): string {
  return ms === null ? '–' : `${(ms / 1000).toFixed(3)} s`;
}
