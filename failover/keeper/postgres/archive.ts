/** Hands the leader's finished write-ahead log to the backups' repository, with pgBackRest, one file after the other. */
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { join } from 'node:path';
import type { RepositoryName } from '../../contract/backups';
import { PATHS } from '../../contract/layout';
import { parseLsn, printLsn } from '../../contract/lsn';
import { exists, writeWhole } from '../../disk/durable';
import { type Archive, type Archived, type ArchiveQueue, KeeperError } from '../ports';
import { readControlFile, readHistory } from './look';
import type { OwnSessions } from './own-sessions';
import type { Place } from './place';
import { run } from './processes';
import { Repositories, stanzaOf, whyNoS3, writePgbackrestConf } from './repositories';
import { SharedWal } from './shared-wal';
import { historyFile } from './timelines';
import { type Gap, WalQueue } from './wal-queue';

/** Limit for making the repository's stanza ready, ms. */
const STANZA_LIMIT_MS = 60_000;
const CONFIG = { local: 'pgbackrest.conf', s3: 'pgbackrest-s3.conf' } as const;
/** Limit for one file, ms. A half pushed file is pushed again. */
const PUSH_LIMIT_MS = 60_000;
/** The clients' work goes first: scheduling priority of pgBackRest (nice(1)). */
const NICE = 10;
const NAME = /^[0-9A-F]{24}$/m;

export { renderPgbackrestConf, stanzaOf } from './repositories';

/** What one leadership has to hand over. */
interface Tour {
  stanza: string;
  timeline: number;
  queue: WalQueue;
  /** Timeline histories that are still to be handed over, before all else. */
  histories: string[];
}

/** The archive of one node. */
export class NodeArchive implements Archive {
  private tour: Tour | null = null;
  /** Files that were let go. It is read with each {@link prepare}. */
  private gap: Gap | null = null;
  /** Ends what pgBackRest does just now. */
  private underWay: AbortController | null = null;
  /** PostgreSQL shuts down, or does not run. */
  private closed = true;

  constructor(
    private readonly place: Place,
    sessions: Pick<OwnSessions, 'common'>,
    private readonly folder: string = PATHS.archiveRun,
    /** The place that it hands to. */
    private readonly name: RepositoryName = 'local',
    private readonly repositories: Repositories = new Repositories(),
    private readonly wal: SharedWal = new SharedWal(sessions, [name]),
  ) {}

  readonly bootMs = () => uptime() * 1_000;

  private get walFolder(): string {
    return join(this.place.data, 'pg_wal');
  }

  /** Folder with the first and the last file that was let go. It outlives the container. */
  private get gapFolder(): string {
    return join(this.place.volume, this.name === 'local' ? 'archive-gap' : `archive-gap-${this.name}`);
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

  async prepare(timeline: number, archived: Archived | null): Promise<void> {
    const { place } = this;
    this.tour = null;
    const { systemId, segmentBytes } = await readControlFile(place.data);
    const history = await readHistory(place.data, timeline);
    const stanza = stanzaOf(systemId);
    // Does nothing when it is there already.
    await this.pgbackrest(stanza, ['stanza-create'], STANZA_LIMIT_MS);
    const [from, to] = await Promise.all(['from', 'to'].map((name) => this.gapEnd(name)));
    this.gap = from !== undefined && to !== undefined ? { from, to } : null;
    const kept = await readdir(this.walFolder);
    const has = archived && { lsn: parseLsn(archived.lsn), timeline: archived.timeline };
    this.tour = {
      ...{ stanza, timeline },
      queue: new WalQueue(history, BigInt(segmentBytes), has, kept),
      histories: history.map((one) => historyFile(one.timeline)).filter((name) => kept.includes(name)),
    };
  }

  private async gapEnd(name: string): Promise<string | undefined> {
    const text = await readFile(join(this.gapFolder, name), 'utf8').catch(() => '');
    return NAME.exec(text)?.[0];
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
      await this.leaveOut(queue, queue.nextKept(await readdir(this.walFolder), parseLsn(flushLsn)));
    }
    return true;
  }

  private hand({ stanza }: Tour, name: string): Promise<void> {
    return this.pgbackrest(stanza, ['archive-push', join(this.walFolder, name)], PUSH_LIMIT_MS);
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
    await run('pgbackrest', args, { limitMs, signal: underWay.signal, nice: NICE });
  }

  async letGo(flushLsn: string, queueBytes: number): Promise<void> {
    const queue = this.tour?.queue;
    if (queue !== undefined) await this.leaveOut(queue, queue.within(BigInt(queueBytes), parseLsn(flushLsn)));
  }

  /** Goes on at this position, once it is written down what is in no backup: only then may PostgreSQL remove it. */
  private async leaveOut(queue: WalQueue, position: bigint): Promise<void> {
    const gap = queue.gapUntil(position);
    if (gap === null) return;
    const from = this.gap?.from ?? gap.from;
    await mkdir(this.gapFolder, { recursive: true });
    await writeWhole(this.gapFolder, 'from', `${from}\n`);
    await writeWhole(this.gapFolder, 'to', `${gap.to}\n`);
    this.gap = { from, to: gap.to };
    queue.goTo(position);
  }

  look(flushLsn: string): ArchiveQueue {
    const { tour, gap } = this;
    if (tour === null) return { waiting: 0, waitingBytes: 0, archivedTo: null, ...(gap && { gap }) };
    const { queue, timeline } = tour;
    const flushed = parseLsn(flushLsn);
    return {
      waiting: queue.waiting(flushed),
      waitingBytes: Number(queue.waitingBytes(flushed)),
      archivedTo: printLsn(queue.next),
      timeline,
      ...(gap && { gap }),
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
