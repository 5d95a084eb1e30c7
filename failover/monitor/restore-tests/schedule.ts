/**
 * When a restore is tested: an interval after the last test of that place, one at a time, in the calm only. A failed test
 * is repeated after 1, 2, 4 … hours, at most after an interval.
 */
import type { BackupsPart, RestoreTestStatus } from '../../contract/api';
import type { RepositoryName, S3Settings } from '../../contract/backups';
import { inBackground, messageOf } from '../../contract/errors';
import { oneLine } from '../../contract/log-line';
import type { RestoreTestResult } from '../../contract/restore-test';
import { MONITOR_LOST_MS, type RunningTest, TEST_LIMIT_MS } from '../../contract/restore-tests';
import type { Clock, Log } from '../ports';
import type { AllRemembered, Memory, Remembered } from './memory';
import type { CheckerServer, WantedTest } from './server';

/** The monitor has run this long before it begins a test, ms: the clients have the machine first. */
const QUIET_MS = 600_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const TICK_MS = 1_000;
/** No test begins so short before a scheduled backup, ms. */
const BACKUP_SOON_MS = 60_000;
/** The container has to begin an ordered test within this time, ms. */
const BEGIN_LIMIT_MS = 60_000;
/** The container ends a test by itself after {@link TEST_LIMIT_MS}; later the monitor gives it up, ms. */
const GIVEN_UP_MS = TEST_LIMIT_MS + HOUR_MS;
/** A test is too old after this many intervals. */
const OLD_INTERVALS = 2;

/** What is known of the backups now. */
export interface BackupsNow {
  /** pgBackRest's name of the cluster in the repositories; null: no leader has said it. */
  readonly stanza: string | null;
  readonly places: readonly BackupsPart[];
}

export interface ScheduleParts {
  readonly everyMs: number;
  /** Passphrase of the repositories, and how S3 is reached. */
  readonly passphrase: string;
  readonly s3?: S3Settings | undefined;
  readonly now: () => BackupsNow;
  readonly checker: Pick<CheckerServer, 'state' | 'wanted'>;
  readonly memory: Memory;
  readonly clock: Clock;
  readonly log: Log;
  readonly newId: () => string;
  readonly wallMs: () => number;
}

/** The test that was ordered, or that a former start of this monitor ordered. */
interface Job {
  readonly id: string;
  readonly repository: RepositoryName;
  /** What the container needs; undefined: it runs already. */
  readonly order?: WantedTest;
  readonly sinceMs: number;
  begun: boolean;
  /** When the container was last connected. */
  seenMs: number;
}

export class RestoreTests {
  private known: AllRemembered = {};
  private job: Job | null = null;
  private restUntilMs: number;
  private saidOld = new Set<RepositoryName>();
  private ticking: NodeJS.Timeout | undefined;

  constructor(private readonly parts: ScheduleParts) {
    this.restUntilMs = parts.clock.nowMs() + QUIET_MS;
  }

  /** Reads what is remembered. */
  async begin(): Promise<void> {
    this.known = await this.parts.memory.load();
  }

  start(): void {
    this.ticking = setInterval(() => this.tick(), TICK_MS);
  }

  stop(): void {
    clearInterval(this.ticking);
  }

  /** Due once a second. */
  tick(): void {
    const { checker, clock } = this.parts;
    const nowMs = clock.nowMs();
    const now = this.parts.now();
    for (const place of now.places) this.notice(place);
    this.follow(now, nowMs);
    if (this.job === null && checker.state !== null && checker.state.running === null) this.decide(now, nowMs);
    checker.wanted = this.wanted();
  }

  /** What people are shown of a place. */
  view(repository: RepositoryName): RestoreTestStatus {
    const { everyMs, wallMs, checker } = this.parts;
    const { last = null, passedMs = null } = this.known[repository] ?? {};
    const running = this.runningIn(repository);
    return {
      everySeconds: Math.round(everyMs / 1_000),
      last: last && shown(last),
      passed: passedMs === null ? null : iso(passedMs),
      passedAgeSeconds: passedMs === null ? null : Math.max(0, Math.round((wallMs() - passedMs) / 1_000)),
      next: this.nextOf(repository),
      running: running && { since: iso(running.sinceMs), step: running.step },
      old: this.whyOld(repository),
      problem: checker.state === null ? 'the container that tests restores is not connected' : null,
    };
  }

  private runningIn(repository: RepositoryName): RunningTest | null {
    const running = this.parts.checker.state?.running ?? null;
    return running?.repository === repository ? running : null;
  }

  /** A place in which a backup can be restored is remembered from then on. */
  private notice({ repository = 'local', last }: BackupsPart): void {
    if (last === null) return;
    if (this.known[repository] === undefined) {
      this.remember(repository, untested(this.parts.wallMs()));
    }
    const why = this.whyOld(repository);
    if (why === null) this.saidOld.delete(repository);
    else if (!this.saidOld.has(repository)) {
      this.saidOld.add(repository);
      this.parts.log.write('WARN', 'monitor', 'RESTORE_TEST_OLD', `${prefix(repository)}${why}`);
    }
  }

  private whyOld(repository: RepositoryName): string | null {
    const known = this.known[repository];
    if (known === undefined) return null;
    const { everyMs, wallMs } = this.parts;
    if (wallMs() - (known.passedMs ?? known.sinceMs) <= OLD_INTERVALS * everyMs) return null;
    return known.passedMs === null
      ? 'no restore passed its test yet'
      : `the last test passed at ${iso(known.passedMs)}`;
  }

  /** Sees how the test goes on that is under way. */
  private follow(now: BackupsNow, nowMs: number): void {
    const { state } = this.parts.checker;
    const running = state?.running ?? null;
    // A test that an earlier start of this monitor asked for.
    if (this.job === null && running !== null) {
      const { id, repository } = running;
      this.job = { id, repository, sinceMs: nowMs, begun: true, seenMs: nowMs };
    }
    if (state?.last != null) this.ended(state.last, now);
    const { job } = this;
    if (job === null) return;
    if (state !== null) job.seenMs = nowMs;
    if (running?.id === job.id) job.begun = true;
    const why = this.whyEnded(job, nowMs);
    if (why !== null) this.givenUp(job, why, nowMs);
  }

  /** Why a test ended without a result; null: it did not. */
  private whyEnded({ id, begun, sinceMs, seenMs }: Job, nowMs: number): string | null {
    const { state } = this.parts.checker;
    if (nowMs - sinceMs > GIVEN_UP_MS) return 'it did not end';
    if (state === null) return begun && nowMs - seenMs <= MONITOR_LOST_MS ? null : 'its container is away';
    if (state.running?.id === id) return null;
    if (begun) return 'its container was stopped or replaced';
    return nowMs - sinceMs > BEGIN_LIMIT_MS ? 'its container did not begin' : null;
  }

  /** A test has ended, perhaps while this monitor was away. */
  private ended({ id, result }: { id: string; result: RestoreTestResult }, { places }: BackupsNow): void {
    const { repository, label } = result;
    const known = this.known[repository];
    if (this.job?.id === id) this.job = null;
    if (known?.lastId === id) return;
    const place = places.find((one) => (one.repository ?? 'local') === repository);
    const isGone = place?.backups.every((one) => one.label !== label) === true;
    const { log, wallMs } = this.parts;
    if (result.result === 'failed' && label !== null && isGone) {
      this.removedMeanwhile(repository, id, label);
      return;
    }
    const isDone = result.result === 'done';
    this.remember(repository, {
      sinceMs: known?.sinceMs ?? wallMs(),
      last: result,
      lastId: id,
      passedMs: isDone ? Date.parse(result.ended) : (known?.passedMs ?? null),
      failures: isDone ? 0 : (known?.failures ?? 0) + 1,
    });
    const what = `${prefix(repository)}${label ?? 'no backup'} after ${Math.round(result.tookMs / 1_000)} s`;
    if (isDone) log.write('INFO', 'monitor', 'RESTORE_TEST_DONE', `${what}: newest commit ${result.newest}`);
    else log.write('WARN', 'monitor', 'RESTORE_TEST_FAILED', `${what}: ${oneLine(result.message)}`);
  }

  /** The schedule of the backups has removed the tested one: that says nothing of the backups that there are. */
  private removedMeanwhile(repository: RepositoryName, id: string, label: string): void {
    const { clock, log } = this.parts;
    this.restUntilMs = clock.nowMs() + HOUR_MS;
    this.remember(repository, { ...(this.known[repository] ?? untested(this.parts.wallMs())), lastId: id });
    const message = `${prefix(repository)}${label} was tested while the schedule of the backups removed it`;
    log.write('INFO', 'monitor', 'RESTORE_TEST_STOPPED', message);
  }

  /** The test has no result: it is begun again later. */
  private givenUp({ repository }: Job, why: string, nowMs: number): void {
    this.job = null;
    this.restUntilMs = nowMs + HOUR_MS;
    const message = `${prefix(repository)}the test of a restore was ended: ${why}; it is begun again in an hour`;
    this.parts.log.write('WARN', 'monitor', 'RESTORE_TEST_STOPPED', message);
  }

  /** Begins the test that is due longest. */
  private decide({ stanza, places }: BackupsNow, nowMs: number): void {
    const { wallMs, newId, log, passphrase, s3 } = this.parts;
    if (stanza === null || nowMs < this.restUntilMs || !places.every((one) => isCalm(one, wallMs()))) return;
    const due = places
      .filter(({ last }) => last !== null)
      .map((place) => ({ place, atMs: this.dueAt(place.repository ?? 'local') }))
      .filter(({ atMs }) => atMs <= wallMs())
      .sort((a, b) => a.atMs - b.atMs)
      .at(0);
    if (due === undefined) return;
    const { repository = 'local', window, last } = due.place;
    const promisedMs = window === null ? null : Date.parse(window.to);
    const { ca, ...storage } = (repository === 's3' ? s3 : undefined) ?? { ca: undefined };
    const inS3 = 'endpoint' in storage ? { s3: storage } : {};
    const order: WantedTest = {
      ...{ id: newId(), order: { repository, stanza, passphrase, promisedMs, ...inS3 } },
      ...(ca !== undefined && { ca }),
    };
    this.job = { id: order.id, repository, order, sinceMs: nowMs, begun: false, seenMs: nowMs };
    log.write('INFO', 'monitor', 'RESTORE_TEST_BEGUN', `${prefix(repository)}${last?.label} is restored as a test`);
  }

  /** When a place is due, as wall time, ms; the distant past: now. */
  private dueAt(repository: RepositoryName): number {
    const { last = null, failures = 0 } = this.known[repository] ?? {};
    const { everyMs, wallMs } = this.parts;
    const endedMs = last === null ? Number.NaN : Date.parse(last.ended);
    // An end in the future says only that the clock was wrong then.
    if (!Number.isFinite(endedMs) || endedMs > wallMs() + DAY_MS) return 0;
    return endedMs + (failures === 0 ? everyMs : Math.min(everyMs, HOUR_MS * 2 ** Math.min(failures - 1, 20)));
  }

  private nextOf(repository: RepositoryName): string | null {
    if (this.known[repository] === undefined || this.job?.repository === repository) return null;
    const { wallMs, clock } = this.parts;
    const wall = wallMs();
    return iso(Math.max(this.dueAt(repository), wall + Math.max(0, this.restUntilMs - clock.nowMs())));
  }

  private wanted(): CheckerServer['wanted'] {
    const { job } = this;
    if (job === null) return this.parts.checker.state === null ? undefined : null;
    return job.order === undefined || job.begun ? { id: job.id } : { id: job.id, order: job.order };
  }

  private remember(repository: RepositoryName, one: Remembered): void {
    this.known = { ...this.known, [repository]: one };
    const { memory, log } = this.parts;
    inBackground(
      () => memory.save(this.known),
      (error) => log.write('WARN', 'monitor', 'STATE_NOT_STORED', `tests of restores: ${messageOf(error)}`),
    );
  }
}

/** A place whose backups can be restored since then, and were never tested. */
const untested = (sinceMs: number): Remembered => ({ sinceMs, last: null, lastId: null, passedMs: null, failures: 0 });

/** No job for the backups is under way or near, the leader archives, and the repository can be read. */
function isCalm({ job, archive, problem, next }: BackupsPart, wallMs: number): boolean {
  const isNear = next !== null && Date.parse(next.at) <= wallMs + BACKUP_SOON_MS;
  return job === null && archive.open && problem === null && !isNear;
}

function shown({ result, message, label, newest, ended, tookMs }: RestoreTestResult): RestoreTestStatus['last'] {
  return { result, message, label, newest, ended, tookMs };
}

const prefix = (repository: RepositoryName) => (repository === 's3' ? 'S3: ' : '');

function iso(wallMs: number): string {
  return new Date(wallMs).toISOString();
}
