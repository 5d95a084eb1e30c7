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
import { serverProcesses } from './processes';
import { segmentsBetween, WalReceiver, wholeSegments } from './receive-wal';
import type { RejoinContext } from './rejoin';
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
  context: RejoinContext;
  /** Disk space that has to stay free, bytes. */
  reserveBytes: number;
  isRunning: () => boolean;
  progress: (text: string) => void;
}

/**
 * Segment that the startup process reads or waits for, without its timeline, taken from the process title; null: the
 * title shows none.
 */
export function segmentInTitle(title: string): string | null {
  return /startup (?:recovering|waiting for) [0-9A-F]{8}([0-9A-F]{16})/.exec(title)?.[1] ?? null;
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
    const { source, context } = options;
    this.options = options;
    this.source = source;
    this.folder = join(context.data, 'pg_wal');
    const onFailed = () => {
      this.isOver = true;
    };
    const connection = conninfo(source.address, context.port, `${context.node}-receivewal`, context.passfile);
    this.receiver = new WalReceiver({ connection, slot: slotName(context.node), onFailed });
    this.receiver.begin(this.folder);
    this.watching = this.watch();
  }

  /** Stops receiving. Resolves when only PostgreSQL writes into `pg_wal`. */
  async end(): Promise<void> {
    this.stopping.abort();
    await this.watching;
    await this.receiver.end(this.folder);
  }

  /**
   * Amount of WAL that was received in whole segments and not replayed, bytes; null: PostgreSQL has not begun to
   * replay.
   */
  private async leftBytes(): Promise<number | null> {
    const titles = (await serverProcesses()).map((p) => segmentInTitle(p.title));
    const at = titles.find((segment) => segment !== null);
    const last = (await wholeSegments(this.folder)).at(-1);
    if (at === undefined || at === null || last === undefined) return null;
    const segmentBytes = await this.sizeOfSegments();
    return Math.max(0, segmentsBetween(at, last, segmentBytes) + 1) * segmentBytes;
  }

  /** All segments of a cluster have the same size, a power of two. */
  private async sizeOfSegments(): Promise<number> {
    const name = (await readdir(this.folder)).find((entry) => /^[0-9A-F]{24}$/.test(entry));
    return name === undefined ? MB : (await stat(join(this.folder, name))).size;
  }

  private async watch(): Promise<void> {
    const { context, reserveBytes, isRunning } = this.options;
    const { progress } = this.options;
    const [tell, tellRoom] = [throttled(progress), throttled(progress)];
    const { signal } = this.stopping;
    let ranMs = performance.now();
    while (!signal.aborted && !this.isOver) {
      const fromMs = performance.now();
      if (isRunning()) ranMs = fromMs;
      else if (fromMs - ranMs > IDLE_LIMIT_MS) await this.receiver.end(this.folder);
      // Files appear and disappear during the look. The next look sees what this one missed.
      const left = await this.leftBytes().catch(() => null);
      if (left !== null && left <= NEAR_BYTES) this.isOver = true;
      else if (left !== null) tell(`${Math.ceil(left / MB)} MB of WAL still to be replayed`);
      const free = await freeBytes(context.volume).catch(() => null);
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
      await this.receiver.end(this.folder);
      tell(`only ${inBytes(free)} are free on the disk: the WAL that is here is replayed before more is received`);
    } else if (free >= 2 * reserveBytes && this.options.isRunning()) this.receiver.begin(this.folder);
  }
}
