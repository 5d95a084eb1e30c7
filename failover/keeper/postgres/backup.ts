/**
 * Runs pgBackRest for backups of this node (pgBackRest manual: commands backup, info, verify). It has a config file of
 * its own, in memory, from the same function as the archive's.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { BACKUPS_MAX, BackupType, DAMAGED_MAX, type RepositoryName } from '../../contract/backups';
import { jsonOf } from '../../contract/json';
import { BACKUP_CONFIG, PATHS } from '../../contract/layout';
import { type BackupTool, KeeperError, type RepositoryFacts } from '../ports';
import { settleTimeline } from './backup-start';
import { readControlFile, readHistory } from './look';
import type { OwnSessions } from './own-sessions';
import type { Place } from './place';
import { run } from './processes';
import { REPOSITORY_NUMBER, Repositories, stanzaOf, writePgbackrestConf } from './repositories';
import { explained } from './repository-trouble';
import { holdsBackup } from './restore-timeline';
import { freeBytes } from './room';
import { type Stretch, timelineOfHistory } from './timelines';

/** Limit for reading the list of backups, ms. */
const INFO_LIMIT_MS = 60_000;
/** Interval between two looks at the progress of a backup, ms. */
const PROGRESS_MS = 5_000;
/** The list of a thousand backups is not longer than this, characters. */
const LIST_MAX = 2 * 1024 * 1024;
/** A job must not take the machine from the clients. `-t`: a kernel without such priorities is no failure. */
const NICE = 10;
const IO_PRIORITY = ['-t', '-c', '2', '-n', '7', 'pgbackrest'];
/** A line of `verify` that names a file (verify.c, verifyErrorMsg). */
const DAMAGE = /(?:file missing|invalid checksum|invalid size|invalid result|other error) '([^']{1,300})'/;
/** A line about a file whose encryption or compression is broken. */
const BROKEN = /(?:invalid result|other error) (\S{1,300}?): \[\d+\]/;
/** A line of `verify` about one of its own files. */
const OWN_FILE = /(?:WARN|DETAIL): +(.*(?:does not match|missing or unusable|unable to|checksum error).*)/;
/** What a job that was killed has left is no damage; the next backup removes it. */
const UNFINISHED = /backup '([^']{1,64})' appears to be in progress/g;

const Position = z.string().nullish();
/** The part of the output of `info` that is read. */
const Info = z.array(
  z.object({
    backup: z.array(
      z.object({
        label: z.string(),
        type: BackupType,
        error: z.boolean().nullish(),
        timestamp: z.object({ start: z.number(), stop: z.number() }),
        lsn: z.object({ start: Position, stop: Position }).nullish(),
        archive: z.object({ start: Position, stop: Position }).nullish(),
        info: z.object({
          size: z.number(),
          repository: z.object({ delta: z.number().nullish() }).nullish(),
        }),
      }),
    ),
    status: z.object({
      code: z.number(),
      message: z.string(),
      lock: z
        .object({
          backup: z
            .object({ held: z.boolean(), size: z.number().nullish(), 'size-cplt': z.number().nullish() })
            .nullish(),
        })
        .nullish(),
    }),
  }),
);
type Info = z.infer<typeof Info>;

/** Reads the output of `pgbackrest info --output=json`. @throws KeeperError when it does not fit. */
export function readInfo(text: string): {
  facts: Omit<RepositoryFacts, 'freeBytes' | 'left'>;
  progress: number | null;
} {
  const parsed = Info.safeParse(jsonOf(text));
  if (!parsed.success) throw new KeeperError('TOOL_FAILED', `pgbackrest info: ${z.prettifyError(parsed.error)}`);
  const [stanza] = parsed.data;
  const all = (stanza?.backup ?? []).map(backupOf);
  const { size, 'size-cplt': complete } = stanza?.status.lock?.backup ?? {};
  const progress = size != null && complete != null && size > 0 ? Math.min(1, complete / size) : null;
  return { facts: { backups: all.slice(-BACKUPS_MAX), leftOut: Math.max(0, all.length - BACKUPS_MAX) }, progress };
}

function backupOf({ label, type, error, timestamp, lsn, archive, info }: Info[number]['backup'][number]) {
  return {
    ...{ label, type },
    startMs: timestamp.start * 1_000,
    stopMs: timestamp.stop * 1_000,
    startLsn: lsn?.start ?? null,
    stopLsn: lsn?.stop ?? null,
    walStart: archive?.start ?? null,
    walStop: archive?.stop ?? null,
    sizeBytes: info.size,
    storedBytes: info.repository?.delta ?? 0,
    hasErrors: error === true,
  };
}

/** The files that `verify` found damaged or missing, from its output; at most {@link DAMAGED_MAX}. */
export function damagedFiles(output: string): string[] {
  const found = output
    .split('\n')
    .flatMap((line) => DAMAGE.exec(line)?.[1] ?? BROKEN.exec(line)?.[1] ?? OWN_FILE.exec(line)?.[1]?.trim() ?? []);
  const unfinished = [...output.matchAll(UNFINISHED)].flatMap(([, label]) => label ?? []);
  const damaged = found.filter((name) => !unfinished.some((label) => name.includes(label)));
  return [...new Set(damaged)].slice(0, DAMAGED_MAX).map((name) => name.slice(0, 300));
}

/** pgBackRest of one node. */
export class NodeBackup implements BackupTool {
  private running: AbortController | null = null;

  constructor(
    private readonly place: Place,
    private readonly sessions: Pick<OwnSessions, 'home'>,
    private readonly folder: string = PATHS.archiveRun,
    private readonly repositoryFolder: string = PATHS.backupVolume,
    private readonly name: RepositoryName = 'local',
    private readonly repositories: Repositories = new Repositories(),
  ) {}

  async backup(
    type: BackupType,
    keep: number | undefined,
    onProgress: (part: number) => void,
    signal: AbortSignal,
    limitMs: number,
  ): Promise<void> {
    const retention = keep === undefined ? [] : [`--repo${REPOSITORY_NUMBER[this.name]}-retention-full=${keep}`];
    const ended = new AbortController();
    const watching = this.watch(onProgress, ended.signal);
    try {
      // The keeper itself waits for the archive: pgBackRest's check asks for PostgreSQL's archive_command.
      const options = [`--type=${type}`, '--no-archive-check', ...retention];
      await this.exclusively(signal, async (abort) => {
        await settleTimeline(this.sessions, abort);
        await this.run([...options, 'backup'], abort, limitMs);
      });
    } finally {
      ended.abort();
      await watching;
    }
  }

  private async watch(onProgress: (part: number) => void, ended: AbortSignal): Promise<void> {
    for (;;) {
      const isOver = await delay(PROGRESS_MS, false, { signal: ended }).catch(() => true);
      if (isOver) return;
      const { progress } = await this.info(ended).catch(() => ({ progress: null }));
      if (progress !== null && !ended.aborted) onProgress(progress);
    }
  }

  async verify(signal: AbortSignal, limitMs: number): Promise<string[]> {
    // Its findings are lines of its log; it ends with 0 also when it found damage.
    let log = '';
    const onError = (text: string) => {
      log = (log + text).slice(-LIST_MAX);
    };
    // A file is read again at once; the default reads it a third time after 15 s.
    const options = ['--log-level-stderr=detail', '--log-timestamp=n', '--job-retry=1', 'verify'];
    await this.exclusively(signal, (abort) => this.run(options, abort, limitMs, onError));
    return damagedFiles(log);
  }

  async repository(): Promise<RepositoryFacts> {
    const { facts } = await this.info();
    const history = await this.history().catch(() => null);
    const isLeft = (one: (typeof facts.backups)[number]) => history !== null && !holdsBackup({ history }, one);
    const left = facts.backups.filter(isLeft).map(({ label }) => label);
    const free = this.name === 's3' ? null : await freeBytes(this.repositoryFolder).catch(() => null);
    return { ...facts, left, freeBytes: free };
  }

  /** The history of this leader. Its control file may still show an older timeline. */
  private async history(): Promise<readonly Stretch[]> {
    const { data } = this.place;
    const names = await readdir(join(data, 'pg_wal'));
    return readHistory(data, Math.max(1, ...names.flatMap((name) => timelineOfHistory(name) ?? [])));
  }

  /** PostgreSQL is about to stop: the job is killed, so that it takes nothing from the shutdown. */
  stop(): void {
    this.running?.abort();
  }

  private async exclusively<T>(signal: AbortSignal, work: (abort: AbortSignal) => Promise<T>): Promise<T> {
    const running = new AbortController();
    this.running = running;
    try {
      return await work(AbortSignal.any([signal, running.signal]));
    } finally {
      if (this.running === running) this.running = null;
    }
  }

  private async info(signal?: AbortSignal) {
    return readInfo(await this.run(['--output=json', 'info'], signal, INFO_LIMIT_MS));
  }

  private async run(
    options: readonly string[],
    signal: AbortSignal | undefined,
    limitMs: number,
    onError?: (text: string) => void,
  ): Promise<string> {
    const { place, folder, name, repositories } = this;
    const { systemId } = await readControlFile(place.data);
    const stanza = stanzaOf(systemId);
    const config = await writePgbackrestConf(folder, BACKUP_CONFIG[name], place, stanza, repositories.only(name));
    const command = [...IO_PRIORITY, `--config=${config}`, `--stanza=${stanza}`, ...options];
    const how = { name: 'pgbackrest', nice: NICE, outputMax: LIST_MAX };
    return run('ionice', command, { ...how, limitMs, signal, onError }).catch(async (error: unknown) => {
      throw await explained(error, name === 's3' ? null : this.repositoryFolder);
    });
  }
}
