/** The keeper's view of its PostgreSQL. */
import type { LogCode } from '../contract/codes';
import { parseLsn } from '../contract/lsn';
import { type Clock, NO_VIEW, type Postgres, type View } from './ports';
import type { NoteLevel } from './pursuit-host';

/** A node that wrote more WAL than this between two looks is not at rest, bytes. Heartbeats write a fraction of it. */
const CALM_WAL_BYTES = 65_536n;

interface SightParts {
  postgres: Postgres;
  clock: Clock;
  note(level: NoteLevel, code: LogCode, message: string): void;
  /** Called with each look, before any part of it is reported. */
  seen(view: View): Promise<void>;
  /** Called when much WAL was written since the last look. */
  busy(): void;
}

export class Sight {
  view: View = NO_VIEW;
  /** The view was taken in this pass of the loop, and nothing was changed since. */
  current = false;
  private atMs = Number.NEGATIVE_INFINITY;
  private position: bigint | null = null;
  private readonly parts: SightParts;

  constructor(parts: SightParts) {
    this.parts = parts;
  }

  /** Time since the last look, ms. */
  get ageMs(): number {
    return this.parts.clock.nowMs() - this.atMs;
  }

  async look(): Promise<View> {
    const { postgres, clock, note, seen } = this.parts;
    const { warning: before, lockedOut } = this.view;
    this.view = await postgres.observe();
    this.atMs = clock.nowMs();
    this.current = true;
    await seen(this.view);
    this.noteWal(this.view);
    const { view } = this;
    if (view.warning !== null && view.warning !== before) note('warn', 'POSTGRES_WARNING', view.warning);
    if (view.lockedOut !== undefined && view.lockedOut !== lockedOut) {
      note('error', 'SUPERUSER_LOCKED_OUT', view.lockedOut);
    }
    return view;
  }

  private noteWal({ sql }: View): void {
    const lsn = sql === null ? null : (sql.flushLsn ?? sql.replayLsn);
    const position = lsn === null ? null : parseLsn(lsn);
    const before = this.position;
    this.position = position;
    if (position !== null && before !== null && position - before > CALM_WAL_BYTES) this.parts.busy();
  }
}
