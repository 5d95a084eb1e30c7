/**
 * The order in which a leader hands its write-ahead log to the backups' repository: file by file, from the position
 * that the repository has, each under the name by which a restore looks for it. Pure.
 */
import type { Gap } from '../../contract/backups';
import { type Stretch, segmentFile, segmentStart } from './timelines';

const SEGMENT = /^[0-9A-F]{24}$/;

/** Where the repository ends: the position up to which it has all, and the timeline that wrote it. */
export interface Archived {
  lsn: bigint;
  timeline: number;
}

export class WalQueue {
  /** Beginning of the next file. */
  next: bigint;

  /**
   * `history`: the leader's, oldest timeline first. `archived`: what the repository has; null: not known. `kept`: the
   * names in `pg_wal`.
   */
  constructor(
    private readonly history: readonly Stretch[],
    private readonly segmentBytes: bigint,
    archived: Archived | null,
    kept: readonly string[],
  ) {
    this.next = this.begin(archived) ?? this.oldest(kept, 0n) ?? 0n;
  }

  /**
   * The repository may have more of a timeline than this leader's history took over. What comes after the fork is to be
   * archived anew, as the next timeline's. Null: this history does not say.
   */
  private begin(archived: Archived | null): bigint | null {
    const stretch = this.history.find(({ timeline }) => timeline === archived?.timeline);
    if (archived === null || stretch === undefined) return null;
    const { end } = stretch;
    return this.floor(end !== null && end < archived.lsn ? end : archived.lsn);
  }

  private floor(position: bigint): bigint {
    return position - (position % this.segmentBytes);
  }

  /** Name of the file that begins here. A restore looks for it on the newest timeline that has a part of it. */
  nameAt(begin: bigint): string {
    const end = begin + this.segmentBytes;
    const stretch = this.history.findLast((one) => (one.begin ?? 0n) < end) ?? this.history[0];
    return segmentFile(stretch?.timeline ?? 1, begin, this.segmentBytes);
  }

  /** Beginning of the oldest kept file of this history from a position on; null: there is none. */
  private oldest(kept: readonly string[], from: bigint): bigint | null {
    let oldest: bigint | null = null;
    for (const name of kept) {
      if (!SEGMENT.test(name)) continue;
      const begin = segmentStart(name, this.segmentBytes);
      if (begin >= from && this.nameAt(begin) === name && (oldest === null || begin < oldest)) oldest = begin;
    }
    return oldest;
  }

  /** Beginning of the file that is being written. */
  present(flushLsn: bigint): bigint {
    return this.floor(flushLsn);
  }

  /** Size of the finished files that wait, bytes. */
  waitingBytes(flushLsn: bigint): bigint {
    const present = this.present(flushLsn);
    return present > this.next ? present - this.next : 0n;
  }

  /** Number of the finished files that wait. */
  waiting(flushLsn: bigint): number {
    return Number(this.waitingBytes(flushLsn) / this.segmentBytes);
  }

  /** Name of the next file that is finished; null: there is none. */
  file(flushLsn: bigint): string | null {
    return this.next + this.segmentBytes <= flushLsn ? this.nameAt(this.next) : null;
  }

  /** The repository has this file. */
  took(name: string): void {
    this.goTo(segmentStart(name, this.segmentBytes) + this.segmentBytes);
  }

  /** Where to go on when the next file is not there: at the oldest one that is. */
  nextKept(kept: readonly string[], flushLsn: bigint): bigint {
    const present = this.present(flushLsn);
    const oldest = this.oldest(kept, this.next);
    return oldest === null || oldest > present ? present : oldest;
  }

  /** Where to go on so that no more than this waits. */
  within(queueBytes: bigint, flushLsn: bigint): bigint {
    return this.present(flushLsn) - this.floor(queueBytes);
  }

  /** What is left out when it goes on at this position; null: nothing. */
  gapUntil(position: bigint): Gap | null {
    if (position <= this.next) return null;
    return { from: this.nameAt(this.next), to: this.nameAt(position - this.segmentBytes) };
  }

  /** Goes on at this position, and never further back. */
  goTo(position: bigint): void {
    if (position > this.next) this.next = position;
  }
}
