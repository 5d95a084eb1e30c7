/**
 * Carries out the monitor's jobs for the backups, one at a time, while this node is the opened leader. A job never
 * delays a hand-over: it is killed when the leadership ends, and the next leader gets it again.
 */
import type { BackupView, Job, JobEnd, JobKind, JobOrder, Repository } from '../contract/backups';
import { inBackground, messageOf } from '../contract/errors';
import { isBehind } from '../contract/gaps';
import { compareLsn } from '../contract/lsn';
import type { ArchiveView, MonitorFrame, NodeSettings } from '../contract/messages';
import type { Leadership } from './leadership';
import type { BackupTool, Clock, RepositoryFacts, View } from './ports';
import type { NoteLevel } from './pursuit-host';
import { ReachedTime } from './reached-time';

/** Limit for one job, ms. */
const JOB_LIMIT_MS = 24 * 3_600_000;
/**
 * A backup whose progress stands still for this long has failed, ms: an S3 that answers a few bytes a second would
 * otherwise hold up the jobs of the other place for a day. pgBackRest reports each thousandth of the data.
 */
const STALLED_MS = 2 * 3_600_000;
/**
 * A job ends when no ping came for this long, ms: another leader may run one then. The monitor waits for twice as long
 * before it gives the job to another leader.
 */
const SILENCE_MS = 30_000;
const WATCH_MS = 100;
/** Limit for the archive to reach the end of a backup, ms. */
const ARCHIVED_LIMIT_MS = 600_000;
/** Interval between two looks at the repository, ms. */
const LOOK_MS = 300_000;
/** The same after a look that failed, ms. */
const LOOK_AGAIN_MS = 30_000;
/** Interval between two notes of how far the leader has written, ms. */
const REACH_MS = 5_000;
const MESSAGE_MAX = 1_000;

type Ping = Extract<MonitorFrame, { type: 'ping' }>;
type NoteOf = 'BACKUP_BEGUN' | 'BACKUP_DONE' | 'BACKUP_FAILED' | 'BACKUP_STOPPED' | 'BACKUP_DAMAGED';

/** What the jobs need from the keeper. */
export interface BackupHost {
  readonly settings: NodeSettings | null;
  readonly view: View;
  /** The archive as the status shows it; undefined: this node does not archive. */
  readonly archive?: ArchiveView;
  leadership(): Leadership | null;
  /** The oldest backup begins with this file of write-ahead log. */
  forgetGaps(walStart: string): void;
  note(level: NoteLevel, code: NoteOf, message: string): void;
  /** The status has news. */
  report(): void;
}

interface Running {
  readonly job: Job;
  readonly leadership: Leadership;
  readonly abort: AbortController;
  /** When it last came further. */
  movedMs: number;
}

/** The job ended with the leadership, which is no failure of it. */
class Stopped extends Error {}

class Stalled extends Error {}

export class BackupJobs {
  private running: Running | null = null;
  private last: JobEnd | null = null;
  /** An order that ended here; it is taken again only after a ping without it. */
  private refused: string | null = null;
  /** The leadership whose repository is known. */
  private leadership: Leadership | null = null;
  private facts: RepositoryFacts | null = null;
  private problem: string | undefined;
  private lookAtMs = Number.NEGATIVE_INFINITY;
  private pingedBootMs = Number.NEGATIVE_INFINITY;
  private noteAtMs = Number.NEGATIVE_INFINITY;
  private readonly reached = new ReachedTime();
  /** What was reported last; null: nothing in this leadership. */
  private shown: { text: string; repository: Repository } | null = null;
  private version = 0;

  constructor(
    private readonly tool: BackupTool,
    private readonly clock: Clock,
    private readonly host: BackupHost,
    /** Time since the machine's start, also while it was suspended, ms. */
    private readonly bootMs: () => number,
    private readonly wallMs: () => number = Date.now,
  ) {}

  /** For the status; undefined: this node makes no backups. */
  get view(): BackupView | undefined {
    if (this.leadership === null) return undefined;
    const { running, last, problem } = this;
    const archivedTo = this.host.archive?.archivedTo ?? null;
    const archivedMs = archivedTo === null ? null : this.reached.reachedMs(archivedTo);
    const { version, repository } = this.repository();
    return {
      ...{ job: running?.job ?? null, last, archivedMs },
      ...(problem !== undefined && { problem: problem.slice(0, MESSAGE_MAX) }),
      ...{ version, ...(repository !== undefined && { repository }) },
    };
  }

  /** What the repository holds, and whether it can be used. */
  private repository(): { version: number; repository?: Repository } {
    const { facts, host } = this;
    const { archive } = host;
    // While the archive's position and gaps are not known, what was said last stays.
    if (facts !== null && archive !== undefined && archive.archivedTo !== null) {
      const { left = [], ...rest } = facts;
      const isOf = ({ label }: { label: string }) => !left.includes(label);
      const backups = facts.backups.map((one) => ({ ...one, usable: isOf(one) && isUsable(one, archive) }));
      const repository = { ...rest, backups };
      const text = JSON.stringify(repository);
      if (text !== this.shown?.text) this.version += 1;
      this.shown = { text, repository };
    }
    return this.shown === null ? { version: 0 } : { version: this.version, repository: this.shown.repository };
  }

  /** Takes a ping, after the archive has taken it. */
  pinged({ archive, backup }: Ping): void {
    const silentMs = this.bootMs() - this.pingedBootMs;
    this.pingedBootMs = this.bootMs();
    // Pings that waited while this node was asleep say nothing of now.
    if (silentMs > SILENCE_MS) this.stop('no ping came for too long');
    const leadership = this.host.leadership();
    const mayRun =
      archive !== undefined && this.host.settings?.backup !== undefined && leadership?.term === archive.term;
    if (!mayRun || leadership === null) {
      // A monitor that has just started says nothing of the archive yet; the job goes on.
      if (leadership === null || archive !== undefined || this.host.settings?.backup === undefined) this.end();
      return;
    }
    if (leadership !== this.leadership) {
      this.end();
      this.leadership = leadership;
    }
    this.reach();
    this.look(leadership);
    if (backup?.id !== this.refused) this.refused = null;
    if (backup !== undefined && backup.id !== this.refused) this.begin(backup, leadership);
  }

  /** This node is not the leader any more. */
  private end(): void {
    this.stop('the leadership ended');
    this.leadership = null;
    this.facts = null;
    this.shown = null;
    this.problem = undefined;
    this.lookAtMs = Number.NEGATIVE_INFINITY;
    this.reached.forget();
  }

  private stop(why: string): void {
    this.running?.abort.abort(new Stopped(why));
  }

  private reach(): void {
    const lsn = this.host.view.sql?.flushLsn ?? null;
    if (lsn === null || this.clock.nowMs() < this.noteAtMs) return;
    this.noteAtMs = this.clock.nowMs() + REACH_MS;
    this.reached.note(lsn, this.wallMs());
  }

  private look(leadership: Leadership): void {
    // The repository is ready once the archive is.
    if (!leadership.calm || this.host.archive?.open !== true || this.clock.nowMs() < this.lookAtMs) return;
    this.lookAtMs = Number.POSITIVE_INFINITY;
    let restMs = LOOK_MS;
    inBackground(
      () => this.read(leadership),
      (error) => {
        restMs = LOOK_AGAIN_MS;
        if (this.leadership === leadership) this.problem = messageOf(error);
      },
      () => {
        if (this.leadership === leadership) this.lookAtMs = this.clock.nowMs() + restMs;
        this.host.report();
      },
    );
  }

  private async read(leadership: Leadership): Promise<RepositoryFacts> {
    const facts = await this.tool.repository();
    if (this.leadership === leadership) {
      const lost = facts.backups.length === 0 ? (this.facts?.backups.length ?? 0) : 0;
      if (lost > 0) this.host.note('error', 'BACKUP_DAMAGED', `the repository is empty: it had ${lost} backups before`);
      this.facts = facts;
      this.problem = undefined;
      const oldest = oldestFile(facts);
      if (oldest !== null) this.host.forgetGaps(oldest);
    }
    return facts;
  }

  private begin({ id, kind }: JobOrder, leadership: Leadership): void {
    if (this.running !== null || (this.last?.id === id && this.last.result !== 'stopped')) return;
    if (!leadership.calm || this.host.archive?.open !== true) return;
    const abort = new AbortController();
    const fromMs = this.clock.nowMs();
    const running: Running = {
      job: { id, kind, sinceMs: this.wallMs(), progress: null },
      leadership,
      abort,
      movedMs: fromMs,
    };
    this.running = running;
    this.host.note('info', 'BACKUP_BEGUN', kind === 'verify' ? 'the repository is read' : `a backup (${kind})`);
    inBackground(() => this.watch(running));
    const ended = (result: JobEnd['result'], message: string, damaged?: string[]) => {
      const tookMs = Math.round(this.clock.nowMs() - fromMs);
      const end: JobEnd = { id, kind, result, message: message.slice(0, MESSAGE_MAX), endedMs: this.wallMs(), tookMs };
      this.last = damaged === undefined || damaged.length === 0 ? end : { ...end, damaged };
      this.refused = id;
      this.running = null;
      this.say(this.last);
      this.host.report();
    };
    inBackground(
      async () => {
        if (kind === 'verify') await this.verify(running, ended);
        else ended('done', await this.make(running, kind));
      },
      (error) => {
        const { signal } = abort;
        if (signal.reason instanceof Stalled) ended('failed', signal.reason.message);
        else if (signal.aborted || this.host.leadership() !== leadership) ended('stopped', whyStopped(signal));
        else ended('failed', messageOf(error));
      },
    );
  }

  /** Ends the job when this node may not run it any more. */
  private async watch(running: Running): Promise<void> {
    while (this.running === running && !running.abort.signal.aborted) {
      if (this.host.leadership() !== running.leadership) this.stop('the leadership ended');
      else if (this.bootMs() - this.pingedBootMs > SILENCE_MS) this.stop('no ping came for too long');
      else if (isStalled(running, this.clock.nowMs())) {
        const hours = STALLED_MS / 3_600_000;
        running.abort.abort(new Stalled(`the backup made no progress for ${hours} hours; its place is too slow`));
      }
      await this.clock.sleep(WATCH_MS, running.abort.signal);
    }
  }

  private async make(running: Running, type: Exclude<JobKind, 'verify'>): Promise<string> {
    const { tool, host } = this;
    const { job, leadership, abort } = running;
    const progress = (part: number) => {
      if (part !== job.progress) running.movedMs = this.clock.nowMs();
      job.progress = part;
      host.report();
    };
    await tool.backup(type, host.settings?.backup?.keep, progress, abort.signal, JOB_LIMIT_MS);
    const { backups } = await this.read(leadership);
    const made = backups.at(-1);
    if (made === undefined) throw new Error('pgBackRest made a backup, and the repository does not have it');
    await this.archived(made.stopLsn, abort.signal);
    const damage = made.hasErrors ? '; PostgreSQL’s checksums of some pages are wrong' : '';
    return `${made.label}: ${made.type}, ${made.sizeBytes} bytes, ${made.storedBytes} bytes stored${damage}`;
  }

  /** Without the write-ahead log up to its end, a backup cannot be restored. */
  private async archived(stopLsn: string | null, signal: AbortSignal): Promise<void> {
    const deadline = this.clock.nowMs() + ARCHIVED_LIMIT_MS;
    const isThere = () => {
      const archivedTo = this.host.archive?.archivedTo ?? null;
      return stopLsn === null || (archivedTo !== null && compareLsn(archivedTo, stopLsn) >= 0);
    };
    while (!isThere()) {
      signal.throwIfAborted();
      if (this.clock.nowMs() > deadline) {
        throw new Error(
          `the archive did not reach ${stopLsn}, where the backup ends, within ${ARCHIVED_LIMIT_MS / 60_000} minutes`,
        );
      }
      await this.clock.sleep(WATCH_MS, signal);
    }
  }

  private async verify(
    { abort }: Running,
    ended: (result: JobEnd['result'], message: string, damaged?: string[]) => void,
  ): Promise<void> {
    const damaged = await this.tool.verify(abort.signal, JOB_LIMIT_MS);
    if (damaged.length === 0) ended('done', 'the repository is sound');
    else ended('failed', `damaged or missing in the repository: ${damaged.join(', ')}`, damaged);
  }

  private say({ kind, result, message, damaged }: JobEnd): void {
    const what = kind === 'verify' ? message : `backup (${kind}): ${message}`;
    if (result === 'done') this.host.note('info', 'BACKUP_DONE', what);
    else if (result === 'stopped') this.host.note('info', 'BACKUP_STOPPED', what);
    else if (damaged !== undefined) this.host.note('error', 'BACKUP_DAMAGED', what);
    else this.host.note('warn', 'BACKUP_FAILED', what);
  }
}

function isStalled({ job, movedMs }: Running, nowMs: number): boolean {
  return job.kind !== 'verify' && nowMs - movedMs > STALLED_MS;
}

function whyStopped({ reason }: AbortSignal): string {
  return reason instanceof Stopped ? reason.message : 'PostgreSQL was told to stop';
}

/** See `usable` in contract/backups.ts. */
function isUsable(
  { stopLsn, walStart }: RepositoryFacts['backups'][number],
  { archivedTo, gaps = [] }: ArchiveView,
): boolean {
  if (stopLsn === null || walStart === null || archivedTo === null) return false;
  return gaps.every((gap) => isBehind(gap, walStart)) && compareLsn(archivedTo, stopLsn) >= 0;
}

/** First file of write-ahead log of the oldest backup; null: there is none, or it is not known. */
function oldestFile({ backups, leftOut }: RepositoryFacts): string | null {
  if (leftOut > 0) return null;
  let oldest: string | null = null;
  for (const { walStart } of backups) {
    if (walStart === null) return null;
    if (oldest === null || walStart.slice(8) < oldest.slice(8)) oldest = walStart;
  }
  return oldest;
}
