/**
 * Hands the leader's finished write-ahead log to the backups' repository, with pgBackRest, one file after the other.
 */
import { readdir, readFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { Gap, type RepositoryName } from '../../contract/backups';
import { messageOf } from '../../contract/errors';
import { jsonOf } from '../../contract/json';
import { PATHS } from '../../contract/layout';
import { parseLsn, printLsn } from '../../contract/lsn';
import { exists, writeWhole } from '../../disk/durable';
import { type Archive, type Archived, type ArchiveQueue, KeeperError } from '../ports';
import { withGap } from './gap-list';
import { readControlFile, readHistory } from './look';
import type { OwnSessions } from './own-sessions';
import type { Place } from './place';
import { run } from './processes';
import { Repositories, stanzaOf, whyNoS3, writePgbackrestConf } from './repositories';
import { explained } from './repository-trouble';
import { SharedWal } from './shared-wal';
import { historyFile } from './timelines';
import { WalQueue } from './wal-queue';

/** Limit for making the repository's stanza ready, ms. */
const STANZA_LIMIT_MS = 60_000;
const CONFIG = { local: 'pgbackrest.conf', s3: 'pgbackrest-s3.conf' } as const;
/** Limit for one file, ms. A half pushed file is pushed again. */
const PUSH_LIMIT_MS = 60_000;
/** The clients' work goes first: scheduling priority of pgBackRest (nice(1)). */
const NICE = 10;
/** pgBackRest's message when the repository has no stanza. `stanza-create` never overwrites an existing one. */
const MISSING = /FileMissingError: unable to open missing file '[^']*archive\.info/;
/** File with the gaps of each repository, in the node's volume. */
const GAPS = { local: 'archive-gaps.json', s3: 'archive-gaps-s3.json' } as const;
/** Size of the record of a shutdown's checkpoint, rounded up (pg_control.h, CheckPoint). */
const CHECKPOINT_BYTES = 128n;

/** End of the file that has the byte before this position. */
function endOfSegment(position: bigint, segmentBytes: bigint): bigint {
  return ((position + segmentBytes - 1n) / segmentBytes) * segmentBytes;
}

/** What one leadership has to hand over. */
interface Tour {
  stanza: string;
  timeline: number;
  segmentBytes: bigint;
  queue: WalQueue;
  /** Timeline histories that are still to be handed over, before all else. */
  histories: string[];
}

/** The archive of one node. */
export class NodeArchive implements Archive {
  private tour: Tour | null = null;
  /** The gaps of this repository; null: not read from the file yet. */
  private gaps: readonly Gap[] | null = null;
  /** Resolves when the last change of the gaps has ended. */
  private changed: Promise<unknown> = Promise.resolve();
  /** Ends what pgBackRest does just now. */
  private underWay: AbortController | null = null;
  /** PostgreSQL shuts down, or does not run. */
  private closed = true;

  constructor(
    private readonly place: Place,
    sessions: Pick<OwnSessions, 'common'>,
    private readonly folder: string = PATHS.archiveRun,
    /** The repository to which it hands files. */
    private readonly name: RepositoryName = 'local',
    private readonly repositories: Repositories = new Repositories(),
    private readonly wal: SharedWal = new SharedWal(sessions, [name]),
  ) {}

  readonly bootMs = () => uptime() * 1_000;

  private get walFolder(): string {
    return join(this.place.data, 'pg_wal');
  }

  /** PostgreSQL is about to start. */
  begin(): void {
    this.closed = false;
    this.tour = null;
  }

  /** PostgreSQL is about to shut down. A push under way ends; what is left, the next leader archives. */
  close(): void {
    this.closed = true;
    this.tour = null;
    this.shut();
  }

  shut(): void {
    this.underWay?.abort();
  }

  prepare(timeline: number, archived: Archived | null): Promise<void> {
    return this.begun(timeline, archived, []);
  }

  private async begun(timeline: number, archived: Archived | null, options: readonly string[]): Promise<void> {
    const { place } = this;
    this.tour = null;
    const { systemId, segmentBytes } = await readControlFile(place.data);
    const history = await readHistory(place.data, timeline);
    const stanza = stanzaOf(systemId);
    await this.createStanza(stanza, options);
    // The monitor's gaps belong to its position. Files that only this node takes for lost are handed over again.
    await this.changeGaps((own) => archived?.gaps ?? own);
    const kept = await readdir(this.walFolder);
    const has = archived && { lsn: parseLsn(archived.lsn), timeline: archived.timeline };
    this.tour = {
      ...{ stanza, timeline, segmentBytes: BigInt(segmentBytes) },
      queue: new WalQueue(history, BigInt(segmentBytes), has, kept),
      histories: history.map((one) => historyFile(one.timeline)).filter((name) => kept.includes(name)),
    };
  }

  changeGaps(make: (gaps: readonly Gap[]) => readonly Gap[]): Promise<void> {
    const change = this.changed.then(async () => {
      const before = this.gaps ?? (await this.readGaps());
      const after = make(before);
      const text = JSON.stringify(after);
      if (text !== JSON.stringify(before)) await writeWhole(this.place.volume, GAPS[this.name], `${text}\n`);
      this.gaps = after;
    });
    this.changed = change.catch(() => undefined);
    return change;
  }

  private async readGaps(): Promise<readonly Gap[]> {
    const path = join(this.place.volume, GAPS[this.name]);
    if (!(await exists(path))) return [];
    const gaps = z.array(Gap).safeParse(jsonOf(await readFile(path, 'utf8')));
    if (!gaps.success) throw new Error(`${path} is no list of gaps: ${z.prettifyError(gaps.error)}; remove it`);
    return gaps.data;
  }

  async push(flushLsn: string): Promise<boolean> {
    const { tour } = this;
    if (tour === null || this.closed) return false;
    const [history] = tour.histories;
    if (history !== undefined) {
      await this.hand(tour, history);
      tour.histories.shift();
      return true;
    }
    const { queue } = tour;
    const name = queue.file(parseLsn(flushLsn));
    if (name === null) return false;
    if (await exists(join(this.walFolder, name))) {
      await this.hand(tour, name);
      queue.took(name);
    } else {
      await this.leaveOut(tour, queue.nextKept(await readdir(this.walFolder), parseLsn(flushLsn)));
    }
    return true;
  }

  async finish(archived: Archived | null, signal: AbortSignal): Promise<void> {
    const { control, segmentBytes } = await readControlFile(this.place.data);
    if (control.checkpointLsn === null) throw new Error('PostgreSQL was not shut down cleanly as a leader');
    signal.throwIfAborted();
    this.closed = false;
    const close = () => this.close();
    signal.addEventListener('abort', close);
    try {
      // Without --no-online pgBackRest would ask PostgreSQL, which does not run.
      await this.begun(control.timeline, archived, ['--no-online']);
      const end = endOfSegment(parseLsn(control.checkpointLsn) + CHECKPOINT_BYTES, BigInt(segmentBytes));
      while (await this.push(printLsn(end)));
      signal.throwIfAborted();
    } finally {
      signal.removeEventListener('abort', close);
      this.close();
    }
  }

  private async hand({ stanza }: Tour, name: string): Promise<void> {
    const push = () => this.pgbackrest(stanza, ['archive-push', join(this.walFolder, name)], PUSH_LIMIT_MS);
    try {
      await push();
    } catch (error) {
      if (!MISSING.test(messageOf(error))) throw error;
      // The repository has lost what it had, for example because a person replaced its disk.
      await this.createStanza(stanza);
      await push();
    }
  }

  /** Does nothing when it is there already. */
  private createStanza(stanza: string, options: readonly string[] = []): Promise<void> {
    return this.pgbackrest(stanza, [...options, 'stanza-create'], STANZA_LIMIT_MS);
  }

  /** Runs one command of pgBackRest, which {@link shut} ends. */
  private async pgbackrest(stanza: string, command: string[], limitMs: number): Promise<void> {
    if (this.closed) throw new Error('PostgreSQL is shut down');
    const underWay = new AbortController();
    this.underWay = underWay;
    const { folder, name, place, repositories } = this;
    const places = repositories.only(name);
    const why = places.s3 === undefined ? null : await whyNoS3(places.s3);
    if (why !== null) throw new KeeperError('TOOL_FAILED', why);
    // It is written anew each time, because the key of S3 may have changed.
    const config = await writePgbackrestConf(folder, CONFIG[name], place, stanza, places);
    const args = [`--config=${config}`, `--stanza=${stanza}`, ...command];
    underWay.signal.throwIfAborted();
    await run('pgbackrest', args, { limitMs, signal: underWay.signal, nice: NICE }).catch(async (error: unknown) => {
      throw await explained(error, name === 's3' ? null : undefined);
    });
  }

  async letGo(flushLsn: string, queueBytes: number): Promise<void> {
    const { tour } = this;
    if (tour !== null) await this.leaveOut(tour, tour.queue.within(BigInt(queueBytes), parseLsn(flushLsn)));
  }

  /** Goes on at this position, once it is written down what is in no backup: only then may PostgreSQL remove it. */
  private async leaveOut({ queue, segmentBytes }: Tour, position: bigint): Promise<void> {
    const gap = queue.gapUntil(position);
    if (gap === null) return;
    await this.changeGaps((gaps) => withGap(gaps, gap, segmentBytes));
    queue.goTo(position);
  }

  look(flushLsn: string): ArchiveQueue {
    const { tour } = this;
    const gaps = [...(this.gaps ?? [])];
    if (tour === null) return { waiting: 0, waitingBytes: 0, archivedTo: null, gaps };
    const { queue, timeline } = tour;
    const flushed = parseLsn(flushLsn);
    return {
      waiting: queue.waiting(flushed),
      waitingBytes: Number(queue.waitingBytes(flushed)),
      archivedTo: printLsn(queue.next),
      timeline,
      gaps,
    };
  }

  present(flushLsn: string): string | null {
    return this.tour === null ? null : printLsn(this.tour.queue.present(parseLsn(flushLsn)));
  }

  async switchSegment(): Promise<void> {
    await this.wal.switchSegment();
  }

  async keep(archivedTo: string | null): Promise<void> {
    await this.wal.keep(this.name, archivedTo);
  }

  async release(): Promise<void> {
    await this.wal.release(this.name);
  }
}
