/**
 * The backups' repository, and a node that hands its write-ahead log to it. What comes next is decided by the shipped
 * code (archiving.ts, wal-queue.ts). A file of the model holds a few records.
 */
import type { Gap } from '../failover/contract/backups';
import { parseLsn, printLsn as printed } from '../failover/contract/lsn';
import type { Archive, Archived, ArchiveQueue } from '../failover/keeper/ports';
import { withGap } from '../failover/keeper/postgres/gap-list';
import type { Stretch } from '../failover/keeper/postgres/timelines';
import { segmentStart } from '../failover/keeper/postgres/timelines';
import { WalQueue } from '../failover/keeper/postgres/wal-queue';
import type { Process } from './engine';
import { type DataDir, printLsn, recordsIn } from './wal';

const SEGMENT_BYTES = 1_024n;
/** Time that pgBackRest takes for a file and for the repository itself, ms. */
const PUSH_MS = 20;
const PREPARE_MS = 60;

/** The settings of backups in a simulated stack. */
export const BACKUP = { leaseMs: 2_000, queueBytes: 32 * Number(SEGMENT_BYTES) };

const lsn = (position: number) => parseLsn(printLsn(position));

function historyOf({ history }: DataDir): Stretch[] {
  return history.map(({ timeline, start }, i) => {
    const next = history[i + 1];
    return { timeline, begin: i === 0 ? 0n : lsn(start), end: next === undefined ? null : lsn(next.start) };
  });
}

/** The names of the files that are in the data. */
function filesIn(data: DataDir): string[] {
  const names = new WalQueue(historyOf(data), SEGMENT_BYTES, null, []);
  const first = lsn(data.oldest);
  const found: string[] = [];
  const begin = first + ((SEGMENT_BYTES - (first % SEGMENT_BYTES)) % SEGMENT_BYTES);
  for (let at = begin; at < lsn(data.flushed); at += SEGMENT_BYTES) found.push(names.nameAt(at));
  return found;
}

const startOf = (name: string) => segmentStart(name, SEGMENT_BYTES);

/** What a file contains: the numbers of the records that are at least partly in it. */
function contentOf(data: DataDir, name: string): string {
  const begin = segmentStart(name, SEGMENT_BYTES);
  return recordsIn(data, begin, begin + SEGMENT_BYTES).join();
}

/** What the archive needs of its node. */
export interface ArchivingNode {
  readonly name: string;
  readonly volume: { readonly data: DataDir | null; gaps: readonly Gap[] };
  readonly world: { readonly repository: Repository };
}

export class Repository {
  /** Name of a file → what it contains. */
  private readonly files = new Map<string, string>();
  private first: bigint | null = null;
  /** The repository refuses every file. */
  refuses = false;
  /** Every node has all files that the repository lacks, so none may be taken for lost. */
  isKept = false;

  constructor(private readonly fail: (words: string) => void) {}

  /** Takes a file. Two histories with the same numbers must never meet here (S3). */
  take(name: string, content: string, node: string): void {
    const had = this.files.get(name);
    if (had !== undefined && had !== content) {
      this.fail(`TWO ARCHIVES: ${node} hands over ${name} with ${content}, the repository has it with ${had}`);
    }
    this.files.set(name, content);
    const begin = segmentStart(name, SEGMENT_BYTES);
    if (this.first === null || begin < this.first) this.first = begin;
  }

  /** A node takes a file for lost, because it does not have it. */
  givenUp(name: string, node: string): void {
    if (this.isKept) this.fail(`NOT KEPT: ${node} takes ${name} for lost, which every node had`);
  }

  /** Whether this node has every file of its history that is not here. */
  isCompletedBy(data: DataDir, gaps: readonly Gap[]): boolean {
    const missing = this.missing(data, gaps);
    return missing === null || filesIn(data).includes(missing);
  }

  /**
   * The first file of this leader's history that is neither here as the leader has it, nor in the gaps that the leader
   * knows of; null: none.
   */
  missing(leader: DataDir, gaps: readonly Gap[]): string | null {
    const names = new WalQueue(historyOf(leader), SEGMENT_BYTES, null, []);
    if (this.first === null) return names.nameAt(0n);
    for (let at = this.first; at + SEGMENT_BYTES <= lsn(leader.flushed); at += SEGMENT_BYTES) {
      const name = names.nameAt(at);
      const isLeft = gaps.some(({ from, to }) => startOf(from) <= at && at <= startOf(to));
      if (!isLeft && this.files.get(name) !== contentOf(leader, name)) return name;
    }
    return null;
  }
}

export class SimArchive implements Archive {
  private queue: WalQueue | null = null;
  private timeline = 0;
  /** How often what is under way was ended. */
  private shuts = 0;

  constructor(
    private readonly node: ArchivingNode,
    private readonly process: Process,
  ) {}

  readonly bootMs = () => this.process.engine.nowMs;

  private get data(): DataDir {
    const { data } = this.node.volume;
    if (data === null) throw new Error('there is no data');
    return data;
  }

  private async takes(ms: number): Promise<void> {
    const { engine } = this.process;
    const { shuts } = this;
    await engine.sleep(engine.random.delay(ms), this.process);
    if (shuts !== this.shuts) throw new Error('killed');
  }

  async prepare(timeline: number, archived: Archived | null): Promise<void> {
    this.queue = null;
    await this.takes(PREPARE_MS);
    await this.changeGaps((own) => archived?.gaps ?? own);
    const has = archived && { lsn: parseLsn(archived.lsn), timeline: archived.timeline };
    this.queue = new WalQueue(historyOf(this.data), SEGMENT_BYTES, has, filesIn(this.data));
    this.timeline = timeline;
  }

  async push(flushLsn: string): Promise<boolean> {
    const { queue, data } = this;
    const name = queue?.file(parseLsn(flushLsn)) ?? null;
    if (queue === null || name === null) return false;
    const kept = filesIn(data);
    if (!kept.includes(name)) {
      this.node.world.repository.givenUp(name, this.node.name);
      await this.leaveOut(queue, queue.nextKept(kept, parseLsn(flushLsn)));
      return true;
    }
    const content = contentOf(data, name);
    await this.takes(PUSH_MS);
    if (this.node.world.repository.refuses) throw new Error('the repository is full');
    this.node.world.repository.take(name, content, this.node.name);
    queue.took(name);
    return true;
  }

  async finish(archived: Archived | null): Promise<void> {
    const { data } = this;
    await this.prepare(data.timeline, archived);
    const flushed = lsn(data.flushed);
    const end = printed(((flushed + SEGMENT_BYTES - 1n) / SEGMENT_BYTES) * SEGMENT_BYTES);
    while (await this.push(end));
    this.queue = null;
  }

  shut(): void {
    this.shuts += 1;
  }

  async letGo(flushLsn: string, queueBytes: number): Promise<void> {
    const { queue } = this;
    if (queue !== null) await this.leaveOut(queue, queue.within(BigInt(queueBytes), parseLsn(flushLsn)));
  }

  private async leaveOut(queue: WalQueue, position: bigint): Promise<void> {
    const gap = queue.gapUntil(position);
    if (gap === null) return;
    await this.changeGaps((gaps) => withGap(gaps, gap, SEGMENT_BYTES));
    queue.goTo(position);
  }

  async changeGaps(make: (gaps: readonly Gap[]) => readonly Gap[]): Promise<void> {
    this.node.volume.gaps = make(this.node.volume.gaps);
  }

  look(flushLsn: string): ArchiveQueue {
    const { queue, timeline } = this;
    const gaps = [...this.node.volume.gaps];
    if (queue === null) return { waiting: 0, waitingBytes: 0, archivedTo: null, gaps };
    const flushed = parseLsn(flushLsn);
    const waitingBytes = Number(queue.waitingBytes(flushed));
    return { waiting: queue.waiting(flushed), waitingBytes, archivedTo: printed(queue.next), timeline, gaps };
  }

  // The model's heartbeat fills a file within seconds.
  readonly present = () => null;
  readonly switchSegment = async () => undefined;

  async keep(archivedTo: string | null): Promise<void> {
    const { data } = this;
    data.archivedFrom ??= lsn(data.oldest);
    const position = archivedTo === null ? null : parseLsn(archivedTo);
    if (position !== null && position > data.archivedFrom) data.archivedFrom = position;
  }

  async release(): Promise<void> {
    this.data.archivedFrom = null;
  }
}
