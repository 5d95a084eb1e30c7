/**
 * The write-ahead log of one node, which several repositories want: it keeps what the one that is furthest behind does
 * not have yet, and finishes a file for all of them together.
 */
import type { RepositoryName } from '../../contract/backups';
import { compareLsn } from '../../contract/lsn';
import { keepFrom, releaseWal } from './archive-slot';
import type { OwnSessions } from './own-sessions';

/** After pg_switch_wal() for one repository, the other repository needs none for this time, ms. */
const SWITCHED_MS = 20_000;

/** The position from which a repository needs write-ahead log; null: not known yet. `none`: it needs none. */
type Wish = string | null | 'none';

export class SharedWal {
  /** The last wish of each repository; absent before its first wish. */
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

  /** This repository needs no write-ahead log. The slot is dropped once no repository needs any. */
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

  /** The oldest position that any repository needs; null: not known, so the slot keeps everything. */
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
