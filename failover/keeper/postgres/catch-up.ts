/**
 * Receives WAL for a new copy while the copy replays the WAL that was received during the copying. Until only little is
 * left to replay, pg_receivewal goes on receiving into the same `pg_wal`. PostgreSQL reads that folder as it does after
 * a restart. After that the walreceiver takes over.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { slotName } from '../../contract/naming';
import type { Source } from '../ports';
import { conninfo } from './config-files';
import { throttled } from './copy';
import type { Place } from './place';
import { serverProcesses, walFileIn } from './processes';
import { segmentsBetween, WalReceiver, wholeSegments, withoutTimeline } from './receive-wal';
import { freeBytes, inBytes } from './room';

const MB = 1024 * 1024;
/**
 * Rest after a look: at least LOOK_MS, and at least LOOK_SHARE times the duration of the look, because there may be
 * thousands of segments.
 */
const [LOOK_MS, LOOK_SHARE] = [200, 20];
/**
 * The walreceiver takes over when at most this much is left to replay, bytes. The slot keeps the WAL of the meantime.
 */
const NEAR_BYTES = 16 * MB;
/** Receiving ends when PostgreSQL was not running on the data for this time, ms. */
const IDLE_LIMIT_MS = 600_000;

interface CatchUpOptions {
  source: Source;
  place: Place;
  /** Disk space that has to stay free, bytes. */
  reserveBytes: number;
  isRunning: () => boolean;
  progress: (text: string) => void;
}

/** Receives WAL into the data's `pg_wal` until {@link isOver} or {@link end}. */
export class CatchUp {
  readonly source: Source;
  /** The walreceiver may take over, because little is left to replay or this way of receiving failed. */
  isOver = false;
  private readonly options: CatchUpOptions;
  private readonly folder: string;
  private readonly receiver: WalReceiver;
  private readonly stopping = new AbortController();
  private readonly watching: Promise<void>;

  constructor(options: CatchUpOptions) {
    const { source, place } = options;
    this.options = options;
    this.source = source;
    this.folder = join(place.data, 'pg_wal');
    const onFailed = () => {
      this.isOver = true;
    };
    const connection = conninfo(place, source.address, `${place.node}-receivewal`);
    this.receiver = new WalReceiver({ folder: this.folder, connection, slot: slotName(place.node), onFailed });
    this.receiver.begin();
    this.watching = this.watch();
  }

  /** Stops receiving. Resolves when only PostgreSQL writes into `pg_wal`. */
  async end(): Promise<void> {
    this.stopping.abort();
    await this.watching;
    await this.receiver.end();
  }

  /**
   * Amount of WAL that was received in whole segments and not replayed, bytes; null: PostgreSQL has not begun to
   * replay.
   */
  private async leftBytes(): Promise<number | null> {
    const read = (await serverProcesses()).map((p) => walFileIn(p.title)).find((file) => file !== null);
    const last = (await wholeSegments(this.folder)).at(-1);
    if (read == null || last === undefined) return null;
    const segmentBytes = await this.sizeOfSegments();
    return Math.max(0, segmentsBetween(withoutTimeline(read), last, segmentBytes) + 1) * segmentBytes;
  }

  /** All segments of a cluster have the same size, a power of two. */
  private async sizeOfSegments(): Promise<number> {
    const name = (await readdir(this.folder)).find((entry) => /^[0-9A-F]{24}$/.test(entry));
    return name === undefined ? MB : (await stat(join(this.folder, name))).size;
  }

  private async watch(): Promise<void> {
    const { place, reserveBytes, isRunning, progress } = this.options;
    const [tell, tellRoom] = [throttled(progress), throttled(progress)];
    const { signal } = this.stopping;
    let ranMs = performance.now();
    while (!signal.aborted && !this.isOver) {
      const fromMs = performance.now();
      if (isRunning()) ranMs = fromMs;
      else if (fromMs - ranMs > IDLE_LIMIT_MS) await this.receiver.end();
      // Files appear and disappear during the look. The next look sees what this one missed.
      const left = await this.leftBytes().catch(() => null);
      if (left !== null && left <= NEAR_BYTES) this.isOver = true;
      else if (left !== null) tell(`${Math.ceil(left / MB)} MB of WAL still to be replayed`);
      const free = await freeBytes(place.volume).catch(() => null);
      if (free !== null) await this.keepRoom(free, reserveBytes, tellRoom);
      const restMs = Math.max(LOOK_MS, (performance.now() - fromMs) * LOOK_SHARE);
      await delay(restMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /**
   * Stops receiving while disk space is short. PostgreSQL removes replayed segments meanwhile, and the slot keeps the
   * rest, up to the slot's limit.
   */
  private async keepRoom(free: number, reserveBytes: number, tell: (text: string) => void): Promise<void> {
    if (free < reserveBytes) {
      await this.receiver.end();
      tell(`only ${inBytes(free)} are free on the disk: the WAL that is here is replayed before more is received`);
    } else if (free >= 2 * reserveBytes && this.options.isRunning()) this.receiver.begin();
  }
}
