/**
 * Receives WAL with pg_receivewal during a copy, and after it until the copy can stream, so that none is missing when
 * PostgreSQL starts on the copy.
 */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../contract/errors';
import { slotName } from '../../contract/naming';
import { KeeperError, type Source } from '../ports';
import { conninfo } from './config-files';
import type { Place } from './place';
import { run, serverProcesses, walFileIn } from './processes';
import { freeBytes, inBytes } from './room';
import { segmentStart } from './timelines';

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
const RUN_LIMIT_MS = 86_400_000;
/** Rest before a broken connection is opened again, ms. The slot keeps the WAL of the meantime. */
const AGAIN_MS = 500;
/** A run of pg_receivewal that lasted this long has received WAL, ms. */
const STEADY_MS = 3_000;
/** Receiving is given up after this time without such a run, ms. */
const PATIENCE_MS = 30_000;
const PROGRESS_EVERY_MS = 3_000;

const SEGMENT = /^[0-9A-F]{24}$/;

/**
 * Position up to which a folder has WAL in whole segments, of any timeline; null: it has none. All segments of a
 * cluster have the same size, a power of two.
 */
export async function receivedUpTo(folder: string): Promise<{ received: bigint | null; segmentBytes: bigint }> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => SEGMENT.test(name));
  const segmentBytes = BigInt(names[0] === undefined ? MB : (await stat(join(folder, names[0]))).size);
  const ends = names.map((name) => segmentStart(name, segmentBytes) + segmentBytes);
  const received = ends.reduce<bigint | null>((last, end) => (last === null || end > last ? end : last), null);
  return { received, segmentBytes };
}

/** Removes a partly received segment. The next run receives it again from its beginning. */
async function removePartial(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (name.endsWith('.partial')) await rm(join(folder, name), { force: true });
  }
}

/** Limits progress messages to one every {@link PROGRESS_EVERY_MS}. */
export function throttled(progress: (text: string) => void): (text: string) => void {
  let toldMs = performance.now();
  return (text) => {
    if (performance.now() - toldMs < PROGRESS_EVERY_MS) return;
    toldMs = performance.now();
    progress(text);
  };
}

/**
 * Runs pg_receivewal, and starts it again when it ends by itself. It continues after the last whole segment of its
 * folder.
 */
export class WalReceiver {
  private stopping = new AbortController();
  private running: Promise<void> | null = null;

  /**
   * `slot` keeps the WAL that was not received yet. `failed` is called once, when nothing could be received for
   * {@link PATIENCE_MS}.
   */
  constructor(
    private readonly source: Source,
    private readonly place: Place,
    private readonly folder: string,
    private readonly slot: string,
    private readonly failed: (error: KeeperError) => void,
  ) {}

  begin(): void {
    if (this.running !== null) return;
    this.stopping = new AbortController();
    this.running = this.receive(this.stopping.signal);
  }

  /**
   * Stops receiving. Resolves when nothing writes into the folder any more and a partly received segment was removed.
   */
  async end(): Promise<void> {
    this.stopping.abort();
    await this.running;
    this.running = null;
    await removePartial(this.folder);
  }

  private async receive(signal: AbortSignal): Promise<void> {
    const { folder, slot } = this;
    // The application name belongs to no node (S25).
    const connection = conninfo(this.place, this.source.address, `${this.place.node}-receivewal`);
    // The leader removes WAL that was reported as flushed, so this is reported every second instead of every ten.
    const options = ['--no-loop', '--no-password', '--status-interval=1'];
    let steadyMs = performance.now();
    while (!signal.aborted) {
      const fromMs = performance.now();
      try {
        await removePartial(folder);
        if (signal.aborted) return;
        const args = ['-d', connection, '-D', folder, '-S', slot, ...options];
        await run('pg_receivewal', args, { limitMs: RUN_LIMIT_MS, signal });
      } catch (error) {
        if (signal.aborted) return;
        const nowMs = performance.now();
        if (nowMs - fromMs > STEADY_MS) steadyMs = nowMs;
        if (nowMs - steadyMs > PATIENCE_MS) return this.failed(new KeeperError('TOOL_FAILED', messageOf(error)));
      }
      await delay(AGAIN_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}

/**
 * Receives WAL for a new copy while the copy replays the WAL that was received during the copying. Until only little is
 * left to replay, pg_receivewal goes on receiving into the same `pg_wal`, until {@link isOver} or {@link end}.
 * PostgreSQL reads that folder as it does after a restart. After that the walreceiver takes over.
 */
export class CatchUp {
  /** The walreceiver may take over, because little is left to replay or this way of receiving failed. */
  isOver = false;
  private readonly folder: string;
  private readonly receiver: WalReceiver;
  private readonly stopping = new AbortController();
  private readonly watching: Promise<void>;

  /** `reserveBytes`: disk space that has to stay free, bytes. */
  constructor(
    readonly source: Source,
    private readonly place: Place,
    private readonly reserveBytes: number,
    private readonly user: { isRunning: () => boolean; progress: (text: string) => void },
  ) {
    this.folder = join(place.data, 'pg_wal');
    this.receiver = new WalReceiver(source, place, this.folder, slotName(place.node), () => {
      this.isOver = true;
    });
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
    const { received, segmentBytes } = await receivedUpTo(this.folder);
    if (read == null || received === null) return null;
    return Math.max(0, Number(received - segmentStart(read, segmentBytes)));
  }

  private async watch(): Promise<void> {
    const { place, user } = this;
    const [tell, tellRoom] = [throttled(user.progress), throttled(user.progress)];
    const { signal } = this.stopping;
    let ranMs = performance.now();
    while (!signal.aborted && !this.isOver) {
      const fromMs = performance.now();
      if (user.isRunning()) ranMs = fromMs;
      else if (fromMs - ranMs > IDLE_LIMIT_MS) await this.receiver.end();
      // Files appear and disappear during the look. The next look sees what this one missed.
      const left = await this.leftBytes().catch(() => null);
      if (left !== null && left <= NEAR_BYTES) this.isOver = true;
      else if (left !== null) tell(`${Math.ceil(left / MB)} MB of WAL still to be replayed`);
      const free = await freeBytes(place.volume).catch(() => null);
      if (free !== null) await this.keepRoom(free, tellRoom);
      const restMs = Math.max(LOOK_MS, (performance.now() - fromMs) * LOOK_SHARE);
      await delay(restMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /**
   * Stops receiving while disk space is short. PostgreSQL removes replayed segments meanwhile, and the slot keeps the
   * rest, up to the slot's limit.
   */
  private async keepRoom(free: number, tell: (text: string) => void): Promise<void> {
    const { reserveBytes, user } = this;
    if (free < reserveBytes) {
      await this.receiver.end();
      tell(`only ${inBytes(free)} are free on the disk: the WAL that is here is replayed before more is received`);
    } else if (free >= 2 * reserveBytes && user.isRunning()) this.receiver.begin();
  }
}
