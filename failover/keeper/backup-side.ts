/**
 * Archive and backups of one place. Each place has its own, which knows nothing of the other: it sees of the keeper
 * only what concerns its place.
 */
import { createHash } from 'node:crypto';
import type { BackupView, RepositoryName, S3Settings } from '../contract/backups';
import type { LogCode } from '../contract/codes';
import { messageOf } from '../contract/errors';
import type { ArchiveView, MonitorFrame, NodeSettings } from '../contract/messages';
import { Archiving } from './archiving';
import { BackupJobs } from './backup-job';
import type { Leadership } from './leadership';
import type { Archive, BackupTool, Clock, View } from './ports';
import type { NoteLevel } from './pursuit-host';

/** How long a restore in place, while PostgreSQL is down, waits for the second repository to take its files, ms. */
const REST_LIMIT_MS = 20_000;

type Ping = Extract<MonitorFrame, { type: 'ping' }>;

/** What archive and backup jobs need from the keeper. */
export interface SideHost {
  readonly settings: NodeSettings | null;
  readonly view: View;
  readonly settled: boolean;
  leadership(): Leadership | null;
  note(level: NoteLevel, code: LogCode, message: string): void;
  report(): void;
}

/** Short name of a bucket and folder in S3. Positions and gaps are known for one such place only. */
export function s3Place({ endpoint, bucket, path }: S3Settings): string {
  return createHash('sha256')
    .update(JSON.stringify([endpoint, bucket, path]))
    .digest('hex')
    .slice(0, 16);
}

/**
 * Hands over all that a leader which has stopped for a restore in place has left. The first place in use has to take
 * it, because the restore reads it. Another one has a short while, so that a dead one does not hold the clients.
 */
export async function finishPlaces(sides: readonly (BackupSide | null)[], signal: AbortSignal): Promise<void> {
  const [first, ...others] = sides.filter((side) => side?.settings?.backup !== undefined);
  await first?.finish(signal);
  for (const other of others) await other?.tryToFinish(signal);
}

export class BackupSide {
  private readonly archiving: Archiving;
  private readonly jobs: BackupJobs | null;
  private place: string | null = null;

  constructor(
    readonly name: RepositoryName,
    private readonly keeper: SideHost,
    archive: Archive,
    tool: BackupTool | undefined,
    clock: Clock,
  ) {
    this.archiving = new Archiving(archive, clock, this);
    this.jobs = tool === undefined ? null : new BackupJobs(tool, clock, this, archive.bootMs);
  }

  /** The node's settings; without `backup` when backups are not kept in this place. */
  get settings(): NodeSettings | null {
    const { settings } = this.keeper;
    const { backup } = settings ?? {};
    if (settings === null || backup === undefined) return settings;
    const isPlace = this.name === 'local' ? backup.local !== false : backup.s3 !== undefined;
    return isPlace ? settings : { ...settings, backup: undefined };
  }

  get view(): View {
    return this.keeper.view;
  }

  get settled(): boolean {
    return this.keeper.settled;
  }

  get archive(): ArchiveView | undefined {
    return this.archiving.view;
  }

  get backup(): BackupView | undefined {
    return this.jobs?.view;
  }

  /** What the status says of a place in S3; undefined: nothing. */
  get s3(): { place: string; archive?: ArchiveView; backup?: BackupView } | undefined {
    const { place, archive, backup } = this;
    if (place === null || (archive === undefined && backup === undefined)) return undefined;
    return { place, ...(archive && { archive }), ...(backup && { backup }) };
  }

  leadership(): Leadership | null {
    return this.keeper.leadership();
  }

  note(level: NoteLevel, code: LogCode, message: string): void {
    this.keeper.note(level, code, this.name === 's3' ? `S3: ${message}` : message);
  }

  report(): void {
    this.keeper.report();
  }

  forgetGaps(walStart: string): void {
    this.archiving.forgetGaps(walStart);
  }

  finish(signal: AbortSignal): Promise<void> {
    return this.archiving.finish(signal);
  }

  /** As {@link finish}, with a limit. A failure is noted, and the restore goes on. */
  async tryToFinish(signal: AbortSignal): Promise<void> {
    const limit = AbortSignal.timeout(REST_LIMIT_MS);
    try {
      await this.finish(AbortSignal.any([signal, limit]));
    } catch (error) {
      signal.throwIfAborted();
      const what = 'the end of what was written before the restore is not in this place of the backups';
      const why = limit.aborted ? `it did not take it within ${REST_LIMIT_MS / 1_000} s` : messageOf(error);
      this.note('warn', 'ARCHIVE_PROBLEM', `${what}: ${why}`);
    }
  }

  connected(): void {
    this.archiving.connected();
  }

  /** Takes a ping, right before it is answered. */
  pinged(ping: Ping): void {
    const own = this.name === 's3' ? this.s3Ping(ping) : ping;
    this.archiving.pinged(own);
    this.jobs?.pinged(own);
  }

  private s3Ping({ archivedTo: _, archivedTimeline: __, archivedGaps: ___, backup: ____, s3, ...shared }: Ping): Ping {
    const settings = this.keeper.settings?.backup?.s3;
    const place = settings === undefined ? null : s3Place(settings);
    if (place !== this.place && this.place !== null) this.archiving.forget();
    this.place = place;
    // The monitor may still speak of the place before.
    return s3 !== undefined && s3.place === place ? { ...shared, ...s3, type: 'ping', s3 } : shared;
  }
}
