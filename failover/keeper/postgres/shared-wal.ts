/**
 * The write-ahead log of one node, which several repositories want: it keeps what the one that is furthest behind does not
 * have yet, and finishes a file for all of them together.
 */
import type { RepositoryName } from '../../contract/backups';
import { compareLsn } from '../../contract/lsn';
import { keepFrom, releaseWal } from './archive-slot';
import type { OwnSessions } from './own-sessions';

/** A file that was finished for one repository just now is finished for the other one, too, ms. */
const SWITCHED_MS = 20_000;

/** From where on a repository wants it: null: from now on. `none`: not at all. */
type Wish = string | null | 'none';

export class SharedWal {
  /** What each said last; absent: nothing yet. */
  private readonly wishes = new Map<RepositoryName, Wish>();
  private switchedMs = Number.NEGATIVE_INFINITY;
  /** Resolves when the last change of the slot has ended. */
  private changed: Promise<void> = Promise.resolve();

  constructor(
    private readonly sessions: Pick<OwnSessions, 'common'>,
    private readonly names: readonly RepositoryName[],
    private readonly nowMs: () => number = () => performance.now(),
  ) {}

  async keep(name: RepositoryName, position: string | null): Promise<void> {
    this.wishes.set(name, position);
    await this.change(async () => keepFrom(await this.sessions.common(), this.oldest()));
  }

  /** One repository wants none of it. The slot is dropped once that holds for all. */
  async release(name: RepositoryName): Promise<void> {
    this.wishes.set(name, 'none');
    await this.change(async () => {
      if (this.names.every((one) => this.wishes.get(one) === 'none')) await releaseWal(await this.sessions.common());
    });
  }

  /** One change after the other: both places would make the slot at once. */
  private change(work: () => Promise<void>): Promise<void> {
    const change = this.changed.then(work);
    this.changed = change.catch(() => undefined);
    return change;
  }

  /** The oldest position that any of them wants; null: not known, so nothing is let go. */
  oldest(): string | null {
    let oldest: string | null = null;
    for (const name of this.names) {
      const wish = this.wishes.get(name);
      if (wish === undefined || wish === null) return null;
      if (wish !== 'none' && (oldest === null || compareLsn(wish, oldest) < 0)) oldest = wish;
    }
    return oldest;
  }

  async switchSegment(): Promise<void> {
    if (this.nowMs() - this.switchedMs < SWITCHED_MS) return;
    this.switchedMs = this.nowMs();
    await (await this.sessions.common()).query('SELECT pg_switch_wal()');
  }
}
