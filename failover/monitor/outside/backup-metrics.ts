/** The gauges of the backups, for metrics.ts. */
import type { BackupPart, BackupSummary } from '../../contract/api';
import { partsOf } from '../../contract/backups';

/** Name, help and value of each gauge; null: the gauge is left out. */
const GAUGES: readonly (readonly [name: string, help: string, (backup: BackupPart) => number | null])[] = [
  ['archive_open', '1: the leader archives its write-ahead log.', ({ archive }) => Number(archive.open)],
  ['archive_waiting_bytes', 'Write-ahead log that waits for the archive.', ({ archive }) => archive.waitingBytes],
  [
    'archive_lag_seconds',
    'Age of the newest change that is surely in the archive.',
    ({ archive }) => archive.lagSeconds,
  ],
  [
    'archive_gap',
    '1: write-ahead log is missing behind the newest backup.',
    ({ archive }) => Number(archive.gap !== null),
  ],
  ['backup_window_start_seconds', 'Earliest time that a restore can reach.', ({ window }) => seconds(window?.from)],
  ['backup_window_end_seconds', 'Latest time that a restore can reach.', ({ window }) => seconds(window?.to)],
  [
    'backup_last_full_seconds',
    'Time of the newest full backup that can be restored.',
    ({ lastFull }) => seconds(lastFull?.at),
  ],
  ['backup_last_seconds', 'Time of the newest backup that can be restored.', ({ last }) => seconds(last?.at)],
  ['backup_size_bytes', 'Size of the database in the newest backup.', ({ last }) => last?.sizeBytes ?? null],
  ['backup_stored_bytes', 'What all backups take, without the write-ahead log.', ({ storedBytes }) => storedBytes],
  ['backup_free_bytes', 'Free bytes where the backups are.', ({ freeBytes }) => freeBytes],
  ['backup_running', '1: a job for the backups is under way.', ({ job }) => Number(job !== null)],
  ['backup_failed', '1: the last job for the backups failed.', ({ lastJob }) => Number(lastJob?.result === 'failed')],
  ['backup_old', '1: the backups are older than one and a half intervals.', ({ old }) => Number(old !== null)],
  [
    'restore_test_age_seconds',
    'Age of the last test of a restore that passed.',
    ({ restoreTest }) => restoreTest?.passedAgeSeconds ?? null,
  ],
  [
    'restore_test_failed',
    '1: the last test of a restore failed.',
    ({ restoreTest }) => (restoreTest === undefined ? null : Number(restoreTest.last?.result === 'failed')),
  ],
  [
    'restore_test_old',
    '1: no test of a restore passed for two intervals.',
    ({ restoreTest }) => (restoreTest === undefined ? null : Number(restoreTest.old !== null)),
  ],
];

/** Seconds since the epoch; null when the time is not known. */
function seconds(at: string | undefined): number | null {
  return at === undefined ? null : Date.parse(at) / 1_000;
}

/** Names of the places in the label. */
const LABEL = { local: 'volume', s3: 's3' } as const;

interface Gauge {
  reset(): void;
  set(labels: { repository: string }, value: number): void;
}

/** The gauges of the backups. They have no value in a stack without backups, and while it is not known. */
export class BackupGauges {
  private readonly all: { gauge: Gauge; figureOf: (backup: BackupPart) => number | null }[];

  /** `make` makes a gauge by its name, help and labels. */
  constructor(make: (name: string, help: string, labels: 'repository'[]) => Gauge) {
    this.all = GAUGES.map(([name, help, figureOf]) => ({ gauge: make(name, help, ['repository']), figureOf }));
  }

  fill(backup: BackupSummary | undefined): void {
    for (const { gauge, figureOf } of this.all) {
      gauge.reset();
      for (const part of backup === undefined ? [] : partsOf<BackupPart>(backup)) {
        const value = figureOf(part);
        if (value !== null) gauge.set({ repository: LABEL[part.repository ?? 'local'] }, value);
      }
    }
  }
}
