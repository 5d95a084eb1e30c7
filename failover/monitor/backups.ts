/**
 * The schedule of the backups: which job the opened leader is asked for. One job at a time, in the calm only. What is due
 * follows from what the repository holds, so nothing of it is stored. A job whose leader is lost goes to the next one,
 * after a time in which the former one has surely ended it.
 */
import type { Answer, BackupPart, BackupsPart } from '../contract/api';
import type {
  BackupView,
  JobEnd,
  JobKind,
  JobOrder,
  Repository,
  RepositoryName,
  RestoreTarget,
} from '../contract/backups';
import type { ArchiveView } from '../contract/messages';
import { type BackupPlan, nextBackup, type Run, restAfter, whyOld, windowOf } from '../core/backup-schedule';
import { timelineAt } from '../core/facts/restores';
import { statusOf } from '../core/facts/view';
import type { ClusterState, Decision } from '../core/state/cluster';
import type { Observation, Request } from '../core/state/observation';
import type { Clock, Keepers, Log } from './ports';

/**
 * A scheduled job begins when the leadership is this old, ms: the clients have the machine first. A keeper ends a job that
 * it hears nothing more of after half of it.
 */
const QUIET_MS = 60_000;
/** Interval of the decision, ms. */
const DECIDE_MS = 1_000;
/** Times of backups are whole seconds. */
const SECOND_MS = 1_000;
const KEEPER_OLD = 'the keeper of the leader does not report backups; it may be of an older release';

/** The leader, and since when it is this one. */
interface Leader {
  readonly node: string;
  readonly term: number;
  readonly sinceMs: number;
}

/** The backups of one place. */
export class Backups {
  private leader: Leader | null = null;
  private job: JobOrder | null = null;
  /** Scheduled jobs that failed in a row. */
  private failures = 0;
  private restUntilMs = Number.NEGATIVE_INFINITY;
  private decideAtMs = Number.NEGATIVE_INFINITY;
  /** Id of the last end that was dealt with, and how it was. */
  private dealtWith = '';
  /** What the leader, or the last one, reported. */
  private view: BackupView | null = null;
  private repository: Repository | null = null;
  private archive: ArchiveView | null = null;
  private last: JobEnd | null = null;
  private state: ClusterState | null = null;
  private saidOld: string | null = null;
  private calm = false;
  private readonly sinceMs: number;
  /** True while a job of another repository runs. */
  isTaken: () => boolean = () => false;

  constructor(
    private readonly plan: BackupPlan | null,
    private readonly keepers: Pick<Keepers, 'backup'>,
    private readonly clock: Clock,
    private readonly log: Log,
    private readonly newId: () => string,
    private readonly wallMs: () => number = Date.now,
    /** A standby keeps its old data until its copy is complete (`rebuildInPlace` is off). */
    private readonly keepsOld = true,
    readonly name: RepositoryName = 'local',
  ) {
    this.sinceMs = clock.nowMs();
  }

  /** When this monitor began, by the wall clock of now, ms: the clock may have been set since. */
  private sinceWallMs(wallMs: number): number {
    return wallMs - (this.clock.nowMs() - this.sinceMs);
  }

  /** Called after each decision that was carried out. */
  cycle({ state, actions }: Decision, observation: Observation): void {
    if (this.plan === null) return;
    this.state = state;
    const nowMs = this.clock.nowMs();
    const archivist = actions.find((action) => action.kind === 'archive');
    this.follow(archivist ?? null, nowMs);
    if (archivist === undefined) return;
    const all = statusOf(observation, archivist.node);
    const status = this.name === 's3' ? all?.s3 : all;
    this.see(status?.backup ?? null, status?.archive ?? null, nowMs);
    const { repository, repositoryS3 } = observation.nodes[archivist.node] ?? {};
    const known = this.name === 's3' ? repositoryS3 : repository;
    this.repository = status?.backup?.repository ?? known ?? this.repository;
    this.calm = state.activity.kind === 'serving' && status?.archive?.open === true;
    if (this.calm && nowMs >= this.decideAtMs) {
      this.decideAtMs = nowMs + DECIDE_MS;
      this.decide(this.plan, nowMs);
    }
    this.keepers.backup(this.order(nowMs), this.name);
  }

  /** Another leader gets the job of the one before it. */
  private follow(archivist: { node: string; term: number } | null, nowMs: number): void {
    if (archivist === null) {
      this.leader = null;
      this.calm = false;
      this.view = null;
      this.keepers.backup(null, this.name);
      return;
    }
    const { node, term } = archivist;
    if (this.leader?.node === node && this.leader.term === term) return;
    this.leader = { node, term, sinceMs: nowMs };
    if (this.job !== null) this.restUntilMs = Math.max(this.restUntilMs, nowMs + QUIET_MS);
  }

  private see(view: BackupView | null, archive: ArchiveView | null, nowMs: number): void {
    this.view = view;
    this.archive = archive ?? this.archive;
    // A job that an earlier start of this monitor asked for.
    if (view?.job != null && this.job === null) this.job = { id: view.job.id, kind: view.job.kind };
    const last = view?.last ?? null;
    if (last === null || this.dealtWith === `${last.id} ${last.endedMs}`) return;
    this.dealtWith = `${last.id} ${last.endedMs}`;
    this.last = last;
    this.ended(last, nowMs);
  }

  private ended({ id, kind, result }: JobEnd, nowMs: number): void {
    if (result === 'stopped') {
      this.restUntilMs = nowMs + QUIET_MS;
      return;
    }
    if (this.job?.id === id) this.job = null;
    if (kind === 'verify') return;
    this.failures = result === 'done' ? 0 : this.failures + 1;
    this.restUntilMs = result === 'done' ? nowMs : nowMs + restAfter(this.failures);
  }

  private decide(plan: BackupPlan, nowMs: number): void {
    const { repository, view, leader } = this;
    if (repository === null || view === null || view.problem !== undefined || leader === null) return;
    const wallMs = this.wallMs();
    this.sayOld(plan, repository, wallMs);
    const isQuiet = nowMs - leader.sinceMs >= QUIET_MS && nowMs >= this.restUntilMs;
    if (this.job !== null || this.isTaken() || !isQuiet) return;
    const { kind, atMs } = this.next(repository, plan, wallMs);
    if (atMs <= wallMs) this.job = { id: this.newId(), kind };
  }

  /**
   * After a restore in place a full backup is due at once: what was made before belongs to another history. When the clock
   * went back behind the restore, each new backup would look older than it: then only what the keeper says of them counts.
   */
  private next({ backups }: Repository, plan: BackupPlan, wallMs: number): Run {
    const left = this.state?.restores?.at(-1);
    const isKnown = left !== undefined && left.atMs <= wallMs;
    return nextBackup(isKnown ? backups.filter(({ startMs }) => startMs > left.atMs) : backups, plan, wallMs);
  }

  private sayOld(plan: BackupPlan, { backups }: Repository, wallMs: number): void {
    const why = whyOld(backups, plan, wallMs, this.sinceWallMs(wallMs));
    if (why !== null && why !== this.saidOld)
      this.log.write('WARN', 'monitor', 'BACKUP_OLD', this.name === 's3' ? `S3: ${why}` : why);
    this.saidOld = why;
  }

  /** The order that goes out now. One that waits for a rest stays. */
  private order(nowMs: number): JobOrder | null {
    const { job } = this;
    if (job === null || !this.calm || nowMs < this.restUntilMs) return null;
    return job;
  }

  /** A job is under way or waits. */
  get busy(): boolean {
    return this.job !== null;
  }

  /** A person asks for a job. It begins within a moment. */
  backup(kind: JobKind, dryRun: boolean): Answer {
    const why = this.whyNot();
    if (why !== null) return this.answer(false, why);
    const what = kind === 'verify' ? 'the whole repository is read and checked' : `a backup (${kind}) is made`;
    const message = `${what} by ${this.leader?.node}${this.name === 's3' ? ' in S3' : ''}`;
    if (dryRun) return this.answer(true, message);
    this.job = { id: this.newId(), kind };
    // A person does not wait for the rest after a failure.
    this.restUntilMs = Number.NEGATIVE_INFINITY;
    return { ...this.answer(true, message), job: this.job.id };
  }

  /**
   * What a restore in place to this target needs, or why the backups cannot give it. The core decides about the rest; the
   * keeper finds out what only the repository itself can say.
   */
  restore(target: RestoreTarget): Extract<Request, { kind: 'restore' }> | { refusal: string } {
    const { plan, repository, state } = this;
    if (plan === null) return { refusal: 'backups are off in this stack (backup: false)' };
    if (state === null || repository === null) return { refusal: 'the leader has not reported its backups yet' };
    const backup = this.wanted(target, repository);
    if (typeof backup === 'string') return { refusal: backup };
    const timeline = timelineAt(state, target, backup.stopMs);
    if (timeline === null) return { refusal: 'the cluster has no leader yet' };
    return { kind: 'restore', target, timeline, sizeBytes: backup.sizeBytes, keepsOld: this.keepsOld };
  }

  /** The newest backup from which the target can be reached; a sentence: there is none. */
  private wanted(target: RestoreTarget, { backups }: Repository): Repository['backups'][number] | string {
    const [first] = backups;
    if (first === undefined) return 'there is no backup yet; make one with backup now';
    if (target.kind === 'latest')
      return backups.findLast(({ usable }) => usable) ?? 'no backup can be restored to the end';
    if (target.kind === 'backup') {
      const labels = backups.map(({ label }) => label).join(', ');
      return (
        backups.find(({ label }) => label === target.label) ?? `there is no backup ${target.label}; there are ${labels}`
      );
    }
    const { atMs } = target;
    if (atMs > this.wallMs()) return `${iso(atMs)} lies in the future`;
    const earliestMs = first.stopMs + SECOND_MS;
    const found = backups.findLast(({ stopMs }) => stopMs + SECOND_MS <= atMs);
    return found ?? `${iso(atMs)} is before the first backup; the first moment there is, is ${iso(earliestMs)}`;
  }

  /** Refuses a request of a person. */
  refuse(message: string): Answer {
    return this.answer(false, message);
  }

  private answer(done: boolean, message: string): Answer {
    const { node = null, term = 0 } = this.leader ?? {};
    return { done, message, leader: node, term, tookMs: 0 };
  }

  private whyNot(): string | null {
    if (this.plan === null) return 'backups are off in this stack (backup: false)';
    if (this.leader === null || !this.calm) return 'the leader does not archive now; see backup status';
    if (this.view === null) return KEEPER_OLD;
    if (this.job !== null) return `a job is under way or waits: ${this.job.kind}; one runs at a time`;
    if (this.isTaken()) return 'a job is under way in the other place of the backups; one runs at a time';
    return null;
  }

  /** What people are shown of this place; null: it is none. */
  summary(): BackupPart | null {
    const { plan, repository, view, archive, last } = this;
    if (plan === null) return null;
    const wallMs = this.wallMs();
    const backups = repository?.backups ?? [];
    const next = repository === null ? null : this.next(repository, plan, wallMs);
    const window = windowOf(backups, view?.archivedMs ?? null);
    const gaps = archive?.gaps ?? [];
    const newest = (wanted: (type: string) => boolean) => {
      const one = backups.findLast(({ type, usable }) => usable && wanted(type));
      return one === undefined
        ? null
        : { label: one.label, type: one.type, at: iso(one.stopMs), sizeBytes: one.sizeBytes };
    };
    const running = view?.job ?? null;
    const waiting = this.job !== null && running === null ? this.job : null;
    return {
      repository: this.name,
      oldest: backups.length === 0 ? null : iso(Math.min(...backups.map(({ stopMs }) => stopMs))),
      window: window && { from: iso(window.fromMs), to: iso(window.toMs) },
      lastFull: newest((type) => type === 'full'),
      last: newest(() => true),
      next: next && { kind: next.kind, at: iso(Math.max(next.atMs, wallMs, this.restUntilWallMs(wallMs))) },
      job: running
        ? { id: running.id, kind: running.kind, progress: running.progress, since: iso(running.sinceMs) }
        : waiting && { id: waiting.id, kind: waiting.kind, progress: null, since: null },
      lastJob: last && {
        ...{ id: last.id, kind: last.kind, result: last.result, message: last.message },
        ...{ ended: iso(last.endedMs), tookMs: last.tookMs, damaged: last.damaged ?? [] },
      },
      old: repository === null ? null : whyOld(backups, plan, wallMs, this.sinceWallMs(wallMs)),
      problem: view?.problem ?? archive?.problem ?? null,
      archive: {
        open: archive?.open === true && this.leader !== null,
        waitingBytes: archive?.waitingBytes ?? null,
        lagSeconds: view?.archivedMs == null ? null : Math.max(0, Math.round((wallMs - view.archivedMs) / 1_000)),
        archivedTo: archive?.archivedTo ?? null,
        gap: repository !== null && window === null ? (gaps.at(-1) ?? null) : null,
        gaps,
      },
      storedBytes: backups.reduce((sum, { storedBytes }) => sum + storedBytes, 0),
      freeBytes: repository?.freeBytes ?? null,
    };
  }

  /** The end of the rest after a failure, as wall time, ms. */
  private restUntilWallMs(wallMs: number): number {
    return wallMs + Math.max(0, this.restUntilMs - this.clock.nowMs());
  }

  /** All that people are shown of this place; null: it is none. */
  list(): BackupsPart | null {
    const summary = this.summary();
    if (summary === null) return null;
    const { backups = [], leftOut = 0 } = this.repository ?? {};
    return {
      ...summary,
      leftOut,
      backups: backups.map(({ startMs, stopMs, ...one }) => ({ ...one, start: iso(startMs), stop: iso(stopMs) })),
    };
  }
}

function iso(wallMs: number): string {
  return new Date(wallMs).toISOString();
}
