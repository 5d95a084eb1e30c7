/**
 * The model of what a keeper does for a restore in place. A backup's label has the number of records up to which it goes.
 * The shipped code decides when, what and above which timeline. Unlike the real one, the model does not look at the
 * repository for a free timeline: it relies on the monitor alone.
 */
import { type MadeFrom, RESTORED, type Restorer } from '../failover/keeper/ports';
import type { Process } from './engine';
import { DataDir } from './wal';

const MAKE_MS = 700;
const SWAP_MS = 4;
/** A restored folder has the WAL of the last few records alone, at least the file with the fork. */
const KEPT_RECORDS = 24;
/** The model's disks are large enough for two copies of the data. */
const FREE_BYTES = 1e12;
/** Part of the restores that fail, for example because a file of the repository is damaged. */
const FAILS = 0.15;

/** Label of a backup that goes up to so many records. */
export function labelOf(records: number): string {
  return `20260101-${String(records).padStart(6, '0')}F`;
}

function recordsOf(label: string): number {
  return Number(label.slice(9, 15));
}

/** What the restorer needs of its node. */
export interface RestoringNode {
  readonly volume: { data: DataDir | null; readonly folders: Map<string, DataDir> };
  readonly world: { nextId(): number };
}

export class SimRestorer implements Restorer {
  readonly freeBytes = FREE_BYTES;

  constructor(
    private readonly node: RestoringNode,
    private readonly process: Process,
  ) {}

  private async takes(ms: number): Promise<void> {
    const { engine } = this.process;
    await engine.sleep(engine.random.delay(ms), this.process);
  }

  async make(source: MadeFrom, above: number, _progress: (text: string) => void, signal: AbortSignal): Promise<void> {
    const { folders, data } = this.node.volume;
    if (data === null) throw new Error('there is no data');
    if (source.kind === 'backup') folders.delete(RESTORED);
    await this.takes(MAKE_MS);
    if (signal.aborted) throw new Error('aborted');
    if (this.process.engine.random.chance(FAILS)) throw new Error('a file of the repository is damaged');
    if (source.kind === 'backup') {
      const { target } = source;
      const made = restoredTo(data, target.kind === 'backup' ? recordsOf(target.label) : data.flushed);
      this.begin(made, above);
      folders.set(RESTORED, made);
      return;
    }
    const kept = folders.get(source.folder);
    if (kept === undefined) throw new Error('the kept data are gone');
    this.begin(kept, above);
  }

  /** Promotes the folder's PostgreSQL once, and shuts it down. */
  private begin(made: DataDir, above: number): void {
    const timeline = Math.max(made.timeline, above) + 1;
    made.history = [...made.history, { timeline, start: made.wal.length }];
    made.newestTimeline = timeline;
    made.controlTimeline = timeline;
    made.wal.push({ id: this.node.world.nextId(), change: { kind: 'note', what: `restored, timeline ${timeline}` } });
    made.flushed = made.wal.length;
    made.applied = made.wal.length;
    made.clean = true;
    made.cleanLeader = true;
    made.production = false;
  }

  async swap(from: string, keep: string | null): Promise<void> {
    const { volume } = this.node;
    await this.takes(SWAP_MS);
    const made = volume.folders.get(from);
    if (made === undefined) return;
    if (keep !== null && volume.data !== null) volume.folders.set(keep, volume.data);
    volume.data = made;
    volume.folders.delete(from);
  }

  async sizeBytes(): Promise<number> {
    return 30e6;
  }

  async remove(folder: string): Promise<void> {
    await this.takes(SWAP_MS);
    this.node.volume.folders.delete(folder);
  }
}

/** A copy of the data with their first `records` records. */
function restoredTo(data: DataDir, records: number): DataDir {
  const end = Math.max(1, Math.min(records, data.flushed));
  const history = data.history.filter(({ start }, i) => i === 0 || start < end);
  const made = new DataDir(data.systemId, data.wal.slice(0, end), history);
  made.oldest = Math.max(0, end - KEPT_RECORDS);
  made.connections = data.connections;
  return made;
}
