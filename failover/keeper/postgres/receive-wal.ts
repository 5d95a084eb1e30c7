/** Receives WAL with pg_receivewal during a copy, so that none is missing when PostgreSQL starts on the copy. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../contract/errors';
import { parseLsn } from '../../contract/lsn';
import { KeeperError } from '../ports';
import { run } from './processes';
import { segmentFile, segmentStart } from './timelines';

const RUN_LIMIT_MS = 86_400_000;
/** Rest before a broken connection is opened again, ms. The slot keeps the WAL of the meantime. */
const AGAIN_MS = 500;
/** A run of pg_receivewal that lasted this long has received WAL, ms. */
const STEADY_MS = 3_000;
/** Receiving is given up after this time without such a run, ms. */
const PATIENCE_MS = 30_000;

/** Any timeline: the first digits of a segment's name. */
const ANY_TIMELINE = '00000000';

export function withoutTimeline(segment: string): string {
  return segment.slice(ANY_TIMELINE.length);
}

/** Names of the whole segments in a folder of WAL, oldest first, without their timelines. */
export async function wholeSegments(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => /^[0-9A-F]{24}$/.test(name))
    .map(withoutTimeline)
    .sort();
}

/** Number of segments between two names of 16 digits; `segmentBytes`: size of a segment. */
export function segmentsBetween(from: string, to: string, segmentBytes: number): number {
  const start = (name: string) => segmentStart(`${ANY_TIMELINE}${name}`, BigInt(segmentBytes));
  return Number(start(to) - start(from)) / segmentBytes;
}

/** Name, without the timeline, of the segment with the byte before a position. */
export function segmentBefore(lsn: string, segmentBytes: number): string {
  return withoutTimeline(segmentFile(0, parseLsn(lsn) - 1n, BigInt(segmentBytes)));
}

/** Removes a partly received segment. The next run receives it again from its beginning. */
async function removePartial(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (name.endsWith('.partial')) await rm(join(folder, name), { force: true });
  }
}

interface ReceiverOptions {
  folder: string;
  /** Connection string, with an application name that belongs to no node (S25). */
  connection: string;
  /** Slot that keeps the WAL that was not received yet. */
  slot: string;
  /** Called once, when nothing could be received for {@link PATIENCE_MS}. */
  onFailed: (error: KeeperError) => void;
}

/**
 * Runs pg_receivewal, and starts it again when it ends by itself. It continues after the last whole segment of its
 * folder.
 */
export class WalReceiver {
  private readonly options: ReceiverOptions;
  private stopping = new AbortController();
  private running: Promise<void> | null = null;

  constructor(options: ReceiverOptions) {
    this.options = options;
  }

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
    await removePartial(this.options.folder);
  }

  private async receive(signal: AbortSignal): Promise<void> {
    const { folder, connection, slot, onFailed } = this.options;
    let steadyMs = performance.now();
    while (!signal.aborted) {
      const fromMs = performance.now();
      try {
        await removePartial(folder);
        if (signal.aborted) return;
        // The leader removes WAL that was reported as flushed, so this is reported every second instead of every ten.
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
