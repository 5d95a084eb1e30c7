/** Receives write-ahead log beside a copy, with pg_receivewal, so that none is missing when the copy is started. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../contract/errors';
import { parseLsn } from '../../contract/lsn';
import { KeeperError } from '../ports';
import { run } from './processes';
import { segmentFile, segmentStart } from './timelines';

const RUN_LIMIT_MS = 86_400_000;
/** Rest before a broken connection is made again, ms; the slot keeps the log that comes meanwhile. */
const AGAIN_MS = 500;
/** A run of pg_receivewal that lasted this long did receive, ms. */
const STEADY_MS = 3_000;
/** Receiving is given up after this time without such a run, ms. */
const PATIENCE_MS = 30_000;

/** The first digits of a segment's name are its timeline. */
const ANY_TIMELINE = '00000000';

/** Names of the whole segments in a folder of write-ahead log, oldest first, without their timelines. */
export async function wholeSegments(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => /^[0-9A-F]{24}$/.test(name))
    .map((name) => name.slice(8))
    .sort();
}

/** How many segments lie between two names of 16 digits; segments have `segmentBytes`. */
export function segmentsBetween(from: string, to: string, segmentBytes: number): number {
  const start = (name: string) => segmentStart(`${ANY_TIMELINE}${name}`, BigInt(segmentBytes));
  return Number(start(to) - start(from)) / segmentBytes;
}

/** Name, without timeline, of the segment that holds the byte before a position. */
export function segmentBefore(lsn: string, segmentBytes: number): string {
  return segmentFile(0, parseLsn(lsn) - 1n, BigInt(segmentBytes)).slice(ANY_TIMELINE.length);
}

/** Removes a segment that was not received whole: the next run begins with it anew. */
async function removePartial(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (name.endsWith('.partial')) await rm(join(folder, name), { force: true });
  }
}

interface ReceiverOptions {
  /** Connection string, under a name that is no node's (S25). */
  connection: string;
  /** Slot that keeps the log that was not received yet. */
  slot: string;
  /** Called once, when nothing could be received for {@link PATIENCE_MS}. */
  onFailed: (error: KeeperError) => void;
}

/** pg_receivewal, begun again when it ends by itself. Goes on behind the last whole segment of its folder. */
export class WalReceiver {
  private readonly options: ReceiverOptions;
  private stopping = new AbortController();
  private running: Promise<void> | null = null;

  constructor(options: ReceiverOptions) {
    this.options = options;
  }

  get runs(): boolean {
    return this.running !== null;
  }

  begin(folder: string): void {
    if (this.running !== null) return;
    this.stopping = new AbortController();
    this.running = this.receive(folder, this.stopping.signal);
  }

  /** Resolves when nothing writes into the folder any more; a segment that is not whole is gone. */
  async end(folder: string): Promise<void> {
    this.stopping.abort();
    await this.running;
    this.running = null;
    await removePartial(folder);
  }

  private async receive(folder: string, signal: AbortSignal): Promise<void> {
    const { connection, slot, onFailed } = this.options;
    let steadyMs = performance.now();
    while (!signal.aborted) {
      const fromMs = performance.now();
      try {
        await removePartial(folder);
        if (signal.aborted) return;
        // The leader removes log that was reported as flushed, so this is reported every second instead of every ten.
        await run(
          'pg_receivewal',
          ['-d', connection, '-D', folder, '-S', slot, '--no-loop', '--no-password', '--status-interval=1'],
          { limitMs: RUN_LIMIT_MS, signal },
        );
      } catch (error) {
        if (signal.aborted) return;
        const nowMs = performance.now();
        if (nowMs - fromMs > STEADY_MS) steadyMs = nowMs;
        if (nowMs - steadyMs > PATIENCE_MS) {
          onFailed(new KeeperError('TOOL_FAILED', messageOf(error)));
          return;
        }
      }
      await delay(AGAIN_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}
