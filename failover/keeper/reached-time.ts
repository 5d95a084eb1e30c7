/** When the leader had written how much: so a position of the archive becomes a time, for people. */
import { compareLsn } from '../contract/lsn';

/** When there are more notes, every second one is dropped. */
const NOTES_MAX = 64;

export class ReachedTime {
  /** Oldest first. */
  private notes: { lsn: string; wallMs: number }[] = [];
  private newest: number | null = null;

  /** At this wall time the leader had written up to this position. */
  note(lsn: string, wallMs: number): void {
    this.notes.push({ lsn, wallMs });
    if (this.notes.length > NOTES_MAX) this.notes = this.notes.filter((_, at) => at % 2 === 1);
  }

  /** All that was written before this wall time is before the position, ms; null: not known. */
  reachedMs(position: string): number | null {
    while (this.notes[0] !== undefined && compareLsn(this.notes[0].lsn, position) <= 0) {
      this.newest = this.notes.shift()?.wallMs ?? this.newest;
    }
    return this.newest;
  }

  /** Another leader writes now. */
  forget(): void {
    this.notes = [];
    this.newest = null;
  }
}
