/**
 * Holds the lease under which this node's PostgreSQL archives its write-ahead log. The monitor renews it with its pings,
 * for the opened leader alone. The lease is counted from the moment at which this keeper sent the answer that the ping
 * names, on a clock that goes on while the container is paused: so neither a ping that waited in a buffer nor a leader
 * that was asleep has time left.
 */
import { inBackground, messageOf } from '../contract/errors';
import type { ArchiveView, BackupSettings, MonitorFrame, NodeSettings } from '../contract/messages';
import type { Leadership } from './leadership';
import { ARCHIVE_SETTINGS, type Archive, type ArchiveQueue, type Clock, type View } from './ports';
import type { NoteLevel } from './pursuit-host';

/** Interval between two looks at what waits, ms. */
const LOOK_MS = 5_000;
/** Rest before a repository that is not ready is prepared again, ms. It doubles each time. */
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 60_000;
/** A lease is written again when this part of it has passed. */
const RENEW_AFTER = 4;
/** Most answers that are remembered; the monitor sends ten pings a second. */
const ANSWERS_MAX = 64;

type Ping = Extract<MonitorFrame, { type: 'ping' }>;

/** What the archiving needs from the keeper. */
export interface ArchivingHost {
  readonly settings: NodeSettings | null;
  readonly view: View;
  /** PostgreSQL runs as its order asks. */
  readonly settled: boolean;
  /** The leadership that the present order gave; null: none. */
  leadership(): Leadership | null;
  note(level: NoteLevel, code: 'ARCHIVE_PROBLEM' | 'ARCHIVE_GAP', message: string): void;
}

/** The settings as PostgreSQL gets them: with backups, the archive belongs to the failover. */
export function withArchive(settings: NodeSettings): NodeSettings {
  if (settings.backup === undefined) return settings;
  const given = settings.postgresSettings.archive_timeout;
  const timeout: Record<string, string> = given === undefined ? {} : { archive_timeout: given };
  return { ...settings, postgresSettings: { ...settings.postgresSettings, ...ARCHIVE_SETTINGS, ...timeout } };
}

export class Archiving {
  /** Up to here the repository has all, as the monitor said last; null: not known. */
  private archivedTo: string | null = null;
  /** When the answers to the last pings were sent, boot time, ms. */
  private readonly answers = new Map<number, number>();
  /** End of the lease that was written, boot time, ms. */
  private untilMs = Number.NEGATIVE_INFINITY;
  /** The leadership for which the repository is ready, or is being made ready. */
  private prepared: { leadership: Leadership; ready: boolean } | null = null;
  private problem: { message: string; restMs: number; untilMs: number } | null = null;
  private queue: ArchiveQueue = { waiting: 0, waitingBytes: 0, archivedTo: null };
  private lookAtMs = Number.NEGATIVE_INFINITY;
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
    const { problem, prepared, queue } = this;
    if (prepared === null && problem === null) return undefined;
    const open = this.untilMs > this.archive.bootMs();
    return { open, ...queue, ...(problem && { problem: problem.message }) };
  }

  /** Takes a ping, right before it is answered. */
  pinged({ n, archive, archivedTo }: Ping): void {
    const backup = this.host.settings?.backup;
    this.archivedTo = archivedTo ?? this.archivedTo;
    this.keepWal(backup !== undefined);
    if (backup === undefined) {
      this.end();
      return;
    }
    this.answers.set(n, this.archive.bootMs());
    const oldest = this.answers.keys().next();
    if (this.answers.size > ANSWERS_MAX && oldest.done !== true) this.answers.delete(oldest.value);
    if (archive === undefined) this.end();
    else this.renew(archive, backup);
  }

  /** The connection to the monitor is a new one: its pings count anew, and no answer was sent over it yet. */
  connected(): void {
    this.answers.clear();
  }

  private renew({ term, heard }: NonNullable<Ping['archive']>, { leaseMs, queueBytes }: BackupSettings): void {
    const leadership = this.host.leadership();
    const { sql } = this.host.view;
    if (leadership === null || leadership.term !== term || sql === null || sql.timeline === null) {
      this.end();
      return;
    }
    const sentMs = this.answers.get(heard);
    if (sentMs === undefined || !this.isReady(leadership, sql.timeline)) return;
    const untilBootMs = sentMs + leaseMs;
    if (untilBootMs <= this.archive.bootMs()) return;
    if (untilBootMs - this.untilMs >= leaseMs / RENEW_AFTER) {
      this.archive.open({ term, timeline: sql.timeline, untilBootMs });
      this.untilMs = untilBootMs;
    }
    if (sql.flushLsn !== null) this.look(sql.timeline, sql.flushLsn, queueBytes);
  }

  /** Every node keeps what the repository does not have, because it may be the next leader. */
  private keepWal(wanted: boolean): void {
    const { clock, archive, host } = this;
    const leadership = host.leadership();
    const isBusy = !host.settled || host.view.sql === null || leadership?.calm === false;
    if (clock.nowMs() < this.keepAtMs || isBusy) return;
    if (!wanted && this.released) return;
    this.keepAtMs = clock.nowMs() + LOOK_MS;
    inBackground(
      async () => {
        if (wanted) await archive.keep(this.queue.archivedTo ?? this.archivedTo);
        else await archive.release();
        this.released = !wanted;
        this.said = null;
      },
      (error) => this.say(`the replication slot of the archive: ${messageOf(error)}`),
    );
  }

  /** This node does not archive, or not any more. */
  private end(): void {
    if (this.prepared === null && this.problem === null) return;
    this.archive.shut();
    this.untilMs = Number.NEGATIVE_INFINITY;
    this.prepared = null;
    this.problem = null;
    this.queue = { waiting: 0, waitingBytes: 0, archivedTo: null };
    this.lookAtMs = Number.NEGATIVE_INFINITY;
  }

  /** Makes the repository ready in the background, once a new leader's clients have the machine no longer to themselves. */
  private isReady(leadership: Leadership, timeline: number): boolean {
    const { prepared, problem, clock } = this;
    if (prepared?.leadership === leadership) return prepared.ready;
    if (!leadership.calm || clock.nowMs() < (problem?.untilMs ?? 0)) return false;
    const begun = { leadership, ready: false };
    this.prepared = begun;
    inBackground(
      async () => {
        await this.archive.prepare(timeline, this.archivedTo);
        begun.ready = true;
        if (this.prepared === begun) this.problem = null;
      },
      (error) => {
        if (this.prepared !== begun) return;
        this.prepared = null;
        this.failed(messageOf(error));
      },
    );
    return false;
  }

  /** Notes a message once. */
  private say(message: string): void {
    if (message !== this.said) this.host.note('warn', 'ARCHIVE_PROBLEM', message);
    this.said = message;
  }

  private failed(message: string): void {
    const { problem, clock, host } = this;
    if (problem?.message !== message) host.note('warn', 'ARCHIVE_PROBLEM', message);
    const restMs = problem === null ? RETRY_MS : Math.min(RETRY_MAX_MS, problem.restMs * 2);
    this.problem = { message, restMs, untilMs: clock.nowMs() + restMs };
  }

  private look(timeline: number, flushLsn: string, queueBytes: number): void {
    if (this.clock.nowMs() < this.lookAtMs) return;
    // The next look is due when this one has ended.
    this.lookAtMs = Number.POSITIVE_INFINITY;
    const { prepared } = this;
    inBackground(
      async () => {
        const queue = await this.archive.look(timeline, flushLsn, queueBytes);
        if (this.prepared !== prepared) return;
        const { gap } = queue;
        if (gap !== undefined && gap.to !== this.queue.gap?.to) {
          const what = `write-ahead log was let go from ${gap.from} to ${gap.to}: it is in no backup`;
          this.host.note('error', 'ARCHIVE_GAP', what);
        }
        this.queue = queue;
      },
      (error) => this.say(`the queue of the archive is not known: ${messageOf(error)}`),
      () => {
        if (this.prepared === prepared) this.lookAtMs = this.clock.nowMs() + LOOK_MS;
      },
    );
  }
}
