/** When the next backup is due, from what the repository holds. Pure; the wall clock is given. */
import type { Backup } from '../contract/backups';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
/** A backup is too old after this many intervals. */
const OLD_INTERVALS = 1.5;
/** Longest rest after a job that failed again, ms. */
const REST_MAX_MS = 60 * MINUTE_MS;
/** A new cluster has this long for its first backup, ms. */
const FIRST_MS = 60 * MINUTE_MS;

/** How often backups are made. */
export interface BackupPlan {
  readonly fullEveryMs: number;
  /** Interval of backups of any type. */
  readonly everyMs: number;
}

/** The next run of the schedule. */
export interface Run {
  readonly kind: 'full' | 'incr';
  /** Wall time, ms; it may lie in the past. */
  readonly atMs: number;
}

/** The backups that count. One that was made in the future says only that the clock was wrong then. */
function counted(backups: readonly Backup[], wallMs: number): Backup[] {
  return backups.filter(({ usable, startMs }) => usable && startMs <= wallMs + DAY_MS);
}

const startOf = (backups: readonly Backup[]) => Math.max(...backups.map(({ startMs }) => startMs));

/**
 * The next backup. Without a full one that can be used there is nothing that an incremental one could build on: that is
 * so at the beginning, and after a gap in the archive. When both are due, the full one is made.
 */
export function nextBackup(backups: readonly Backup[], plan: BackupPlan, wallMs: number): Run {
  const known = counted(backups, wallMs);
  const fulls = known.filter(({ type }) => type === 'full');
  if (fulls.length === 0) return { kind: 'full', atMs: wallMs };
  const [fullAtMs, anyAtMs] = [startOf(fulls) + plan.fullEveryMs, startOf(known) + plan.everyMs];
  return fullAtMs <= Math.max(anyAtMs, wallMs) ? { kind: 'full', atMs: fullAtMs } : { kind: 'incr', atMs: anyAtMs };
}

/**
 * Why the backups are too old, for people; null: they are not. `sinceMs`: from this wall time on there could have been
 * a backup.
 */
export function whyOld(backups: readonly Backup[], plan: BackupPlan, wallMs: number, sinceMs: number): string | null {
  const known = counted(backups, wallMs);
  const fulls = known.filter(({ type }) => type === 'full');
  if (fulls.length === 0) return wallMs - sinceMs > FIRST_MS ? 'there is no backup that can be restored' : null;
  const isOld = (startMs: number, everyMs: number) => wallMs - startMs > OLD_INTERVALS * everyMs;
  const newest = startOf(known);
  if (isOld(newest, plan.everyMs)) return `the newest backup is of ${new Date(newest).toISOString()}`;
  const full = startOf(fulls);
  return isOld(full, plan.fullEveryMs) ? `the newest full backup is of ${new Date(full).toISOString()}` : null;
}

/** Rest before a failed job is tried again, ms. `failures`: how many failed in a row. */
export function restAfter(failures: number): number {
  return Math.min(REST_MAX_MS, MINUTE_MS * 2 ** Math.min(failures, 10));
}

/** The stretch of time that a restore can reach; null: none. `archivedMs`: see {@link BackupView}. */
export function windowOf(
  backups: readonly Backup[],
  archivedMs: number | null,
): { readonly fromMs: number; readonly toMs: number } | null {
  const usable = backups.filter((one) => one.usable);
  if (usable.length === 0) return null;
  const stops = usable.map(({ stopMs }) => stopMs);
  return { fromMs: Math.min(...stops), toMs: Math.max(...stops, archivedMs ?? 0) };
}
