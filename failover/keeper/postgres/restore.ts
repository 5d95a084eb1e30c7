/**
 * Restores a data folder from the backups' repository with pgBackRest, and brings it up to its target (PostgreSQL manual,
 * "Recovering Using a Continuous Archive Backup"; pgBackRest manual, command restore). The two steps are used by a new
 * stack beside the old one, by a restore in place and by the test of a restore.
 */
import { mkdir, readdir } from 'node:fs/promises';
import type { RestoreTarget } from '../../contract/backups';
import { KeeperError } from '../ports';
import { backupsIn, commonArgs, lookIn, type Pgbackrest, pgbackrest, type RepositoryPlace } from './repository-look';
import { type ArchivedTimeline, archivedTimelines, holdsBackup } from './restore-timeline';

/** A large database takes hours, ms. */
const RESTORE_LIMIT_MS = 24 * 3_600_000;
/** Limit for one file of write-ahead log, s. */
const GET_LIMIT_S = 60;
/** `pgbackrest info` gives times in whole seconds, ms. */
const SECOND_MS = 1_000;
const SHARE = /, (\d{1,3}(?:\.\d+)?)%\)/g;

export interface RestoreJob {
  stanza: string;
  target: RestoreTarget;
  /** The timeline to follow, by its number: `latest` may be one that no leader opened. See restore-timeline.ts. */
  timeline: number;
  /** Folder to fill. It is empty, or not there. */
  data: string;
  /** pgBackRest's config, which has repository and passphrase. It is needed until {@link recover} has ended. */
  configPath: string;
  signal: AbortSignal;
  /** Called with the part that is copied, 0 to 1. */
  progress(share: number): void;
}

type BackupFacts = Awaited<ReturnType<typeof backupsIn>>[number];

/**
 * Fills the folder with the backup that the target needs. Afterwards it has recovery settings and `recovery.signal`:
 * {@link recover} brings it up. The folder is left as it is when this fails.
 * @throws KeeperError RESTORE_IMPOSSIBLE when the repository has no such backup or timeline, TOOL_FAILED.
 */
export async function restoreData(job: RestoreJob, tool: Pgbackrest = pgbackrest): Promise<void> {
  const { stanza, target, timeline, data, configPath, signal, progress } = job;
  const look = lookIn(job, tool);
  await mustBeEmpty(data);
  const known = await archivedTimelines(stanza, look);
  const wanted = known.find((one) => one.timeline === timeline);
  if (wanted === undefined) {
    const numbers = known.map((one) => one.timeline).join(', ');
    throw new KeeperError('RESTORE_IMPOSSIBLE', `the repository has no timeline ${timeline}; it has ${numbers}`);
  }
  const { label } = chooseBackup(await backupsIn(look), target, wanted);
  const onError = (text: string) => {
    const share = [...text.matchAll(SHARE)].at(-1)?.[1];
    if (share !== undefined) progress(Math.min(1, Number(share) / 100));
  };
  const options = [`--set=${label}`, ...targetOptions(target, timeline), '--log-level-stderr=detail'];
  const command = `--recovery-option=restore_command=${restoreCommand(configPath, stanza, data)}`;
  await tool([...commonArgs(job), `--pg1-path=${data}`, ...options, command, 'restore'], {
    limitMs: RESTORE_LIMIT_MS,
    signal,
    onError,
  });
}

async function mustBeEmpty(data: string): Promise<void> {
  await mkdir(data, { recursive: true, mode: 0o700 });
  if ((await readdir(data)).length > 0) throw new KeeperError('DATA_EXISTS', `${data} is not empty`);
}

/** Arguments that fetch one file of the archive for the data folder. */
export function getArgs(place: RepositoryPlace, data: string, name: string, to: string): string[] {
  return [...commonArgs(place), `--pg1-path=${data}`, 'archive-get', name, to];
}

/**
 * PostgreSQL takes each failure of `restore_command` below 126 for the end of the archive, and would end the recovery
 * early without a word. So only pgBackRest's 1, which says that there is no such file, is one; anything else, also the
 * limit, ends the recovery with an error.
 */
export function restoreCommand(configPath: string, stanza: string, data: string): string {
  const get = `pgbackrest --config=${configPath} --stanza=${stanza} --pg1-path=${data} archive-get %f "%p"`;
  return `timeout -s KILL ${GET_LIMIT_S} ${get} || { [ $? -eq 1 ] && exit 1; exit 255; }`;
}

function targetOptions(target: RestoreTarget, timeline: number): string[] {
  switch (target.kind) {
    case 'latest':
      return ['--type=default', `--target-timeline=${timeline}`];
    case 'time':
      return [
        ...['--type=time', `--target=${zoned(target.atMs)}`, '--target-exclusive', '--target-action=promote'],
        `--target-timeline=${timeline}`,
      ];
    case 'backup':
      // pgBackRest has no --target-timeline for this type.
      return [
        ...['--type=immediate', '--target-action=promote'],
        `--recovery-option=recovery_target_timeline=${timeline}`,
      ];
  }
}

/** Wall time as PostgreSQL and pgBackRest read it, with its zone: `2026-01-31 05:00:05.250+00`. */
export function zoned(atMs: number): string {
  return new Date(atMs).toISOString().replace('T', ' ').replace('Z', '+00');
}

/** The backup from which the target is reached with the least write-ahead log. @throws KeeperError RESTORE_IMPOSSIBLE */
export function chooseBackup(
  backups: readonly BackupFacts[],
  target: RestoreTarget,
  timeline: ArchivedTimeline,
): BackupFacts {
  const fit = backups.filter((one) => holdsBackup(timeline, one));
  const chosen = fit.findLast((one) => suits(one, target));
  if (chosen !== undefined) return chosen;
  throw new KeeperError('RESTORE_IMPOSSIBLE', whyNone(backups, fit, target, timeline));
}

function suits({ stopMs, label }: BackupFacts, target: RestoreTarget): boolean {
  if (target.kind === 'backup') return label === target.label;
  return target.kind === 'latest' || stopMs + SECOND_MS <= target.atMs;
}

function whyNone(
  backups: readonly BackupFacts[],
  fit: readonly BackupFacts[],
  target: RestoreTarget,
  { timeline }: ArchivedTimeline,
): string {
  if (target.kind === 'backup') {
    const labels = backups.map(({ label }) => label).join(', ') || 'none';
    const isElsewhere = backups.some(({ label }) => label === target.label);
    if (isElsewhere) return `backup ${target.label} does not belong to the history of timeline ${timeline}`;
    return `the repository has no backup ${target.label}; it has: ${labels}`;
  }
  const [first] = fit;
  if (first === undefined) return `the repository has no backup for timeline ${timeline}`;
  const at = target.kind === 'time' ? zoned(target.atMs) : '';
  return `${at} is before the end of the first backup: the first second there is, is ${zoned(first.stopMs + SECOND_MS)}`;
}
