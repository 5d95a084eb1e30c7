/**
 * What a band draws of the time from the oldest backup to now: what a restore can reach, and in red what it cannot,
 * with the reason. Pure.
 */
import type { BackupPart } from '../contract/api';

/** `covered`: a restore can reach it. `gap`: it cannot. `new`: too new to be surely in the archive. */
type Kind = 'covered' | 'gap' | 'new';

export interface BandPart {
  readonly kind: Kind;
  readonly fromMs: number;
  readonly toMs: number;
  /** Its part of the band's width, 0 to 1. All of them together are 1. */
  readonly share: number;
  /** Why a restore cannot reach it; null: it can. */
  readonly reason: string | null;
}

/** The parts of the band, the oldest first; none when there is no backup, or no time has passed since it. */
export function bandOf(
  { window, oldest, archive }: Pick<BackupPart, 'window' | 'oldest' | 'archive'>,
  nowMs: number,
): BandPart[] {
  const oldestMs = msOf(oldest);
  const fromMs = msOf(window?.from);
  const toMs = msOf(window?.to);
  const beginMs = Math.min(oldestMs ?? Infinity, fromMs ?? Infinity);
  // The clock of the browser's machine may be behind that of the nodes.
  const endMs = Math.max(nowMs, toMs ?? beginMs);
  const lengthMs = endMs - beginMs;
  if (!Number.isFinite(lengthMs) || lengthMs <= 0) return [];
  const part = (kind: Kind, from: number, to: number, reason: string | null): BandPart[] =>
    to <= from ? [] : [{ kind, fromMs: from, toMs: to, share: (to - from) / lengthMs, reason }];
  const lost = lostWords(archive.gaps.at(-1));
  if (fromMs === null || toMs === null) return part('gap', beginMs, endMs, lost);
  return [
    ...part('gap', beginMs, fromMs, lost),
    ...part('covered', fromMs, toMs, null),
    ...part('new', toMs, endMs, archive.open ? 'not surely in the archive yet' : 'the leader does not archive now'),
  ];
}

function msOf(iso: string | null | undefined): number | null {
  const ms = Date.parse(iso ?? '');
  return Number.isNaN(ms) ? null : ms;
}

function lostWords(gap: BackupPart['archive']['gaps'][number] | undefined): string {
  return gap === undefined
    ? 'the backup before it cannot be restored to the end of the log'
    : `the files ${gap.from} to ${gap.to} of the write-ahead log are in no backup`;
}
