/**
 * Which timeline a restore follows. Each change of leader makes a new one, so a restore to a moment before, between and
 * after failovers follows the newest one of that chain: its history leads through all before it. A restore in place makes
 * a branch instead; a moment before it lies on the former branch.
 */
import { z } from 'zod';
import type { RestoreTarget } from '../../contract/backups';
import { jsonOf } from '../../contract/json';
import { parseLsn } from '../../contract/lsn';
import { KeeperError } from '../ports';
import { historyFile, historyOf, type Stretch, timelineOfFile, timelineOfHistory } from './timelines';

/** A timeline of which the repository has something. */
export interface ArchivedTimeline {
  timeline: number;
  /** Oldest timeline first; the last one is this. */
  history: readonly Stretch[];
  /** When its history file came into the repository, a second or two after it was opened, ms; null: it is the first. */
  archivedMs: number | null;
  /** A restore to an earlier moment began it, and no change of leader. */
  restored: boolean;
}

const Listing = z.record(z.string(), z.object({ type: z.string(), time: z.number().optional() }));
type Listing = z.infer<typeof Listing>;
/** A folder of write-ahead log begins with its timeline. */
const LOG_FOLDER = /^([0-9A-F]{8})[0-9A-F]{8}$/;
/** PostgreSQL's reason in the history file of a promotion that followed no recovery target (`xlogrecovery.c`). */
const PROMOTED = /no recovery target specified/;

/** Runs a command of pgBackRest that reads the repository, and resolves with its output. */
export type Look = (...args: string[]) => Promise<string>;

async function list(path: string, look: Look): Promise<Listing> {
  const parsed = Listing.safeParse(jsonOf(await look('--output=json', 'repo-ls', path)));
  if (parsed.success) return parsed.data;
  throw new KeeperError('TOOL_FAILED', `pgbackrest repo-ls ${path}: ${z.prettifyError(parsed.error)}`);
}

/** Names of what is in a folder of the repository; none: it is not there. @throws KeeperError TOOL_FAILED */
export async function foldersIn(path: string, look: Look): Promise<string[]> {
  return Object.keys(await list(path, look)).filter((name) => name !== '.');
}

/** Folder of the archive: one for each major version of PostgreSQL, the newest of them. */
async function archiveFolder(stanza: string, look: Look): Promise<string> {
  const newest = Object.keys(await list(`archive/${stanza}`, look))
    .filter((name) => /^\d+-\d+$/.test(name))
    .sort((a, b) => Number(a.split('-')[1]) - Number(b.split('-')[1]))
    .at(-1);
  if (newest !== undefined) return `archive/${stanza}/${newest}`;
  throw new KeeperError('RESTORE_IMPOSSIBLE', `the repository has no archive of ${stanza}`);
}

/** When the newest file of write-ahead log came into the repository, ms; null: there is none. */
export async function newestFileMs(stanza: string, look: Look): Promise<number | null> {
  const archive = await archiveFolder(stanza, look);
  const folders = Object.keys(await list(archive, look)).filter((name) => LOG_FOLDER.test(name));
  // The newest one of each timeline: names of one timeline rise.
  const last = new Map(folders.sort().map((name) => [name.slice(0, 8), name]));
  const lists = await Promise.all([...last.values()].map((name) => list(`${archive}/${name}`, look)));
  const times = lists.flatMap((files) =>
    Object.values(files).flatMap(({ type, time }) => (type === 'file' ? (time ?? []) : [])),
  );
  return times.length === 0 ? null : Math.max(...times) * 1_000;
}

/** All timelines in the repository, by number. `look` runs a command of pgBackRest. @throws KeeperError TOOL_FAILED */
export async function archivedTimelines(stanza: string, look: Look): Promise<ArchivedTimeline[]> {
  const archive = await archiveFolder(stanza, look);
  const entries = await list(archive, look);
  const found = new Map<number, ArchivedTimeline>();
  for (const [name, { time }] of Object.entries(entries)) {
    const timeline = timelineOfHistory(name);
    if (timeline !== null) {
      const text = await look('repo-get', `${archive}/${historyFile(timeline)}`);
      found.set(timeline, archivedTimeline(timeline, text, time ?? null));
    }
  }
  for (const name of Object.keys(entries)) {
    const timeline = Number.parseInt(LOG_FOLDER.exec(name)?.[1] ?? '', 16);
    if (!Number.isNaN(timeline) && !found.has(timeline)) found.set(timeline, archivedTimeline(timeline, null, null));
  }
  return [...found.values()].sort((a, b) => a.timeline - b.timeline);
}

/** From the text of its history file; null: it has none, as the first timeline. `timeS`: when that was archived, s. */
export function archivedTimeline(timeline: number, text: string | null, timeS: number | null): ArchivedTimeline {
  const last = (text ?? '').trim().split('\n').at(-1) ?? '';
  return {
    timeline,
    history: historyOf(timeline, text),
    archivedMs: timeS === null ? null : timeS * 1_000,
    restored: text !== null && !PROMOTED.test(last),
  };
}

/** Whether a restore that follows this timeline can begin with this backup. */
export function holdsBackup(
  { history }: Pick<ArchivedTimeline, 'history'>,
  { walStart, stopLsn }: { walStart: string | null; stopLsn: string | null },
): boolean {
  if (walStart === null || stopLsn === null) return false;
  const timeline = timelineOfFile(walStart);
  const stretch = history.find((one) => one.timeline === timeline);
  return stretch !== undefined && (stretch.end === null || parseLsn(stopLsn) <= stretch.end);
}

/**
 * The timeline that a restore to this target follows. `walStart`: first file of the backup, for a target `backup`.
 * @throws KeeperError RESTORE_IMPOSSIBLE when the repository has none.
 */
export function timelineFor(
  target: RestoreTarget,
  known: readonly ArchivedTimeline[],
  walStart: string | null = null,
): number {
  const newest = known.at(-1);
  if (newest === undefined) throw new KeeperError('RESTORE_IMPOSSIBLE', 'the repository has no write-ahead log');
  if (target.kind === 'latest') return newest.timeline;
  const branch =
    target.kind === 'time'
      ? branchAt(known, target.atMs)
      : branchOf(known, walStart === null ? newest.timeline : timelineOfFile(walStart));
  return known.findLast(({ timeline }) => branchOf(known, timeline) === branch)?.timeline ?? newest.timeline;
}

/** The timeline with which the branch of this one began. */
function branchOf(known: readonly ArchivedTimeline[], timeline: number): number {
  const one = known.find((other) => other.timeline === timeline);
  const parent = one?.history.at(-2)?.timeline;
  return one === undefined || parent === undefined || one.restored ? timeline : branchOf(known, parent);
}

/** The branch that was written at this time. */
function branchAt(known: readonly ArchivedTimeline[], atMs: number): number {
  const begun = known.findLast(({ restored, archivedMs }) => restored && archivedMs !== null && archivedMs <= atMs);
  const [first] = known;
  return begun?.timeline ?? (first === undefined ? 1 : branchOf(known, first.timeline));
}
