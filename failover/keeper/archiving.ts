/**
 * Hands the leader's write-ahead log to the backups' repository, under a lease that the monitor renews with its pings,
 * for the opened leader alone. The lease is counted from the moment at which this keeper sent the answer that the ping
 * names, on a clock that goes on while the container is paused: so neither a ping that waited in a buffer nor a leader
 * that was asleep has time left.
 */
import { inBackground, messageOf } from '../contract/errors';
import { gapsFrom } from '../contract/gaps';
import type { ArchiveView, BackupSettings, MonitorFrame, NodeSettings } from '../contract/messages';
import type { Leadership } from './leadership';
import type { Archive, Archived, Clock, View } from './ports';
import type { NoteLevel } from './pursuit-host';
import { SentAnswers } from './sent-answers';

/** Interval between two looks at the slot and at a queue that grows, ms. */
const LOOK_MS = 5_000;
/** Rest after the archive took nothing, ms. It doubles each time. */
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 60_000;
/** Interval at which the lease is looked at while pgBackRest is at work, ms. */
const GUARD_MS = 50;
/** What is older than this is in the repository, ms: a file that is not full by then is finished. */
const SWITCH_MS = 60_000;

type Ping = Extract<MonitorFrame, { type: 'ping' }>;

/** What the archiving needs from the keeper. */
export interface ArchivingHost {
  readonly settings: NodeSettings | null;
  readonly view: View;
  /** PostgreSQL runs as its order asks. */
  readonly settled: boolean;
  /** The leadership that the present order gave; null: none, or this node is about to end it. */
  leadership(): Leadership | null;
  note(level: NoteLevel, code: 'ARCHIVE_PROBLEM' | 'ARCHIVE_GAP', message: string): void;
}

/** The archiving of one leadership. */
interface Tour {
  readonly leadership: Leadership;
  readonly timeline: number;
  /** The repository is ready, and it is known where to go on. */
  ready: boolean;
  /** A step is under way. */
  busy: boolean;
  /** The file that is being written, and since when it is known. */
  present: { at: string | null; sinceMs: number };
  /** The newest gap as it was noted last. */
  gap: { from: string; to: string } | undefined;
}

export class Archiving {
  /** What the repository has, as the monitor said last, or as this node left it; null: not known. */
  private archived: Archived | null = null;
  private readonly answers = new SentAnswers();
  /** End of the lease, boot time, ms. */
  private untilMs = Number.NEGATIVE_INFINITY;
  private tour: Tour | null = null;
  private problem: { message: string; restMs: number; untilMs: number } | null = null;
  private relieveAtMs = Number.NEGATIVE_INFINITY;
  private keepAtMs = Number.NEGATIVE_INFINITY;
  /** The last message about the slot or the queue; null: they are in order. */
  private said: string | null = null;
  /** The slot was dropped, because there are no backups. */
  private released = false;

  constructor(
    private readonly archive: Archive,
    private readonly clock: Clock,
    private readonly host: ArchivingHost,
  ) {}

  /** For the status; undefined: this node does not archive. */
  get view(): ArchiveView | undefined {
    const { tour, problem, archive } = this;
    if (tour === null) return undefined;
    const open = this.untilMs > archive.bootMs();
    const { gaps, ...queue } = archive.look(this.flushLsn);
    return {
      ...{ open, ...queue },
      ...(gaps !== undefined && gaps.length > 0 && { gaps }),
      ...(problem && { problem: problem.message }),
    };
  }

  private get flushLsn(): string {
    return this.host.view.sql?.flushLsn ?? '0/0';
  }

  /** Takes a ping, right before it is answered. */
  pinged({ n, archive, archivedTo, archivedTimeline, archivedGaps = [] }: Ping): void {
    const backup = this.host.settings?.backup;
    if (archivedTo !== undefined && archivedTimeline !== undefined) {
      this.archived = { lsn: archivedTo, timeline: archivedTimeline, gaps: archivedGaps };
    }
    this.keepWal(backup !== undefined);
    if (backup === undefined) {
      this.end();
      return;
    }
    this.answers.add(n, this.archive.bootMs());
    if (archive === undefined) this.end();
    else this.renew(archive, backup);
  }

  /** The connection to the monitor is a new one: its pings count anew, and no answer was sent over it yet. */
  connected(): void {
    this.answers.clear();
  }

  /** The repository is another one from now on, so nothing is known of it. */
  forget(): void {
    this.end();
    this.archived = null;
    this.mend(() => []);
  }

  private renew({ term, heard }: NonNullable<Ping['archive']>, { leaseMs, queueBytes }: BackupSettings): void {
    const leadership = this.host.leadership();
    const timeline = this.host.view.sql?.timeline ?? null;
    if (leadership === null || leadership.term !== term || timeline === null) {
      this.end();
      return;
    }
    if (this.tour?.leadership !== leadership || this.tour.timeline !== timeline) this.end();
    const sentMs = this.answers.at(heard) ?? Number.NEGATIVE_INFINITY;
    this.untilMs = Math.max(this.untilMs, sentMs + leaseMs);
    // A new leader's clients have the machine to themselves for a while.
    if (!leadership.calm || this.untilMs <= this.archive.bootMs()) return;
    const present = { at: null, sinceMs: 0 };
    this.tour ??= { leadership, timeline, ready: false, busy: false, present, gap: undefined };
    this.relieve(this.tour, queueBytes);
    this.work(this.tour);
  }

  /** This leadership goes on, and its lease runs. */
  private holds(tour: Tour): boolean {
    const isPresent = this.tour === tour && this.host.leadership() === tour.leadership;
    return isPresent && this.untilMs > this.archive.bootMs();
  }

  /** The oldest backup begins with this file: gaps before it concern none. */
  forgetGaps(walStart: string): void {
    const { tour } = this;
    if (tour?.ready !== true) return;
    this.mend((gaps) => gapsFrom(gaps, walStart));
  }

  /** Changes the list of gaps, in the background. */
  private mend(make: Parameters<Archive['changeGaps']>[0]): void {
    inBackground(
      () => this.archive.changeGaps(make),
      (error) => this.say(`the gaps of the archive: ${messageOf(error)}`),
    );
  }

  /** This node does not archive, or not any more. */
  private end(): void {
    const { tour } = this;
    this.untilMs = Number.NEGATIVE_INFINITY;
    if (tour === null) return;
    this.archive.shut();
    const { archivedTo, gaps = [] } = this.archive.look(this.flushLsn);
    if (tour.ready && archivedTo !== null) this.archived = { lsn: archivedTo, timeline: tour.timeline, gaps };
    this.tour = null;
    this.problem = null;
  }

  /** Hands over all that this leader has left, once its PostgreSQL has stopped cleanly for a restore in place. */
  async finish(signal: AbortSignal): Promise<void> {
    this.end();
    await this.archive.finish(this.archived, signal);
  }

  /** Hands over what is finished, in the background. */
  private work(tour: Tour): void {
    if (tour.busy || this.clock.nowMs() < (this.problem?.untilMs ?? Number.NEGATIVE_INFINITY)) return;
    tour.busy = true;
    const done = new AbortController();
    inBackground(
      () => this.steps(tour),
      // What was ended with the lease is no failure.
      (error) => this.holds(tour) && this.failed(messageOf(error)),
      () => {
        tour.busy = false;
        done.abort();
      },
    );
    inBackground(() => this.guard(tour, done.signal));
  }

  private async steps(tour: Tour): Promise<void> {
    const { archive } = this;
    if (!tour.ready) {
      await archive.prepare(tour.timeline, this.archived);
      tour.ready = true;
      tour.gap = archive.look(this.flushLsn).gaps?.at(-1);
    }
    while (this.holds(tour) && (await archive.push(this.flushLsn))) this.succeeded(tour);
    if (!this.holds(tour)) return;
    this.succeeded(tour);
    await this.finishOld(tour);
  }

  /** Ends what pgBackRest does when the lease or the leadership ends. */
  private async guard(tour: Tour, done: AbortSignal): Promise<void> {
    while (!done.aborted) {
      if (!this.holds(tour)) this.archive.shut();
      await this.clock.sleep(GUARD_MS, done);
    }
  }

  /** The heartbeat writes all the time, so a file that stays the present one is not empty. */
  private async finishOld(tour: Tour): Promise<void> {
    const nowMs = this.clock.nowMs();
    const at = this.archive.present(this.flushLsn);
    if (at !== tour.present.at) tour.present = { at, sinceMs: nowMs };
    if (nowMs - tour.present.sinceMs < SWITCH_MS) return;
    tour.present.sinceMs = nowMs;
    await this.archive.switchSegment();
  }

  private succeeded(tour: Tour): void {
    if (this.tour !== tour) return;
    this.problem = null;
    this.noteGap(tour, true);
  }

  private failed(message: string): void {
    const { problem, clock, host } = this;
    if (problem?.message !== message) host.note('warn', 'ARCHIVE_PROBLEM', message);
    const restMs = problem === null ? RETRY_MS : Math.min(RETRY_MAX_MS, problem.restMs * 2);
    this.problem = { message, restMs, untilMs: clock.nowMs() + restMs };
  }

  /** While the archive takes nothing, no more than `queueBytes` waits. */
  private relieve(tour: Tour, queueBytes: number): void {
    if (this.problem === null || !tour.ready || this.clock.nowMs() < this.relieveAtMs) return;
    this.relieveAtMs = this.clock.nowMs() + LOOK_MS;
    inBackground(
      async () => {
        await this.archive.letGo(this.flushLsn, queueBytes);
        if (this.tour === tour) this.noteGap(tour, false);
      },
      (error) => this.say(`the gap of the archive is not written down: ${messageOf(error)}`),
    );
  }

  /** Notes a gap at its beginning and, when the archive takes files again, at its end. */
  private noteGap(tour: Tour, isOver: boolean): void {
    const gap = this.archive.look(this.flushLsn).gaps?.at(-1);
    if (gap === undefined || gap.to === tour.gap?.to || (!isOver && gap.from === tour.gap?.from)) return;
    tour.gap = gap;
    const what = `write-ahead log from ${gap.from} to ${gap.to} was let go or is lost: it is in no backup`;
    this.host.note('error', 'ARCHIVE_GAP', what);
  }

  /** Every node keeps what the repository does not have, because it may be the next leader. */
  private keepWal(wanted: boolean): void {
    const { clock, host } = this;
    const leadership = host.leadership();
    const isBusy = !host.settled || host.view.sql === null || leadership?.calm === false;
    if (clock.nowMs() < this.keepAtMs || isBusy) return;
    if (!wanted && this.released) return;
    this.keepAtMs = clock.nowMs() + LOOK_MS;
    inBackground(
      async () => {
        const { archived } = this;
        // The node stores these gaps before it drops any later write-ahead log.
        if (leadership === null && archived !== null) await this.archive.changeGaps(() => archived.gaps);
        if (wanted) await this.archive.keep(this.keptFrom(leadership));
        else await this.archive.release();
        this.released = !wanted;
        this.said = null;
      },
      // PostgreSQL may just be told to stop.
      (error) => this.host.settled && this.say(`the replication slot of the archive: ${messageOf(error)}`),
    );
  }

  /**
   * A leader knows by itself. What it hears may come from a former leader, which had archived more than this one took
   * over: until its own archiving has begun, it moves nothing.
   */
  private keptFrom(leadership: Leadership | null): string | null {
    if (leadership === null) return this.archived?.lsn ?? null;
    return this.tour?.ready === true ? this.archive.look(this.flushLsn).archivedTo : null;
  }

  /** Notes a message once. */
  private say(message: string): void {
    if (message !== this.said) this.host.note('warn', 'ARCHIVE_PROBLEM', message);
    this.said = message;
  }
}
