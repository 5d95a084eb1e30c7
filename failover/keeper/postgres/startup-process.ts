/**
 * The startup process of a server that does not answer, as the kernel shows it. Before a standby is consistent it takes no
 * session that could ask how far it is, and nothing is decided by its log.
 */
import { readFile } from 'node:fs/promises';
import { childrenOf } from './processes';
import { isStartup } from './titles';

/** The kernel's figures of a process. */
export interface Sample {
  /** It waits for something that may be interrupted: neither runs nor waits for a disk. */
  sleeps: boolean;
  /** Processor time so far, ms. */
  processorMs: number;
  /** How often it went to sleep by itself; null: the kernel does not tell. */
  sleepsTaken: number | null;
}

/** `USER_HZ`, in which the kernel tells processor time (proc(5)), 1/s. */
const TICKS_PER_S = 100;
/** The process stands still only when it was seen so for this time without a break, ms. */
const STILL_MS = 500;
/** A process that waits for log uses no more than this part of its time. */
const BUSY_SHARE = 0.1;
/** Processor time below this says nothing: it is counted in ticks, ms. */
const BUSY_MIN_MS = 25;
/** Each `wal_retrieve_retry_interval` (20 ms) it looks for log and goes to sleep again; one that hangs does not. */
const WAKES_MIN = 5;

/**
 * Whether the startup process has nothing left to apply: at each look since {@link STILL_MS} it slept, it used hardly any
 * processor time, and it woke again and again.
 */
export class Standstill {
  private mark: { atMs: number; sample: Sample } | null = null;

  /** How long it has stood still, ms. `sample`: null when there is no such process. */
  see(sample: Sample | null, nowMs: number): number {
    const { mark } = this;
    if (sample === null) {
      this.mark = null;
      return 0;
    }
    const used = mark === null ? 0 : sample.processorMs - mark.sample.processorMs;
    const isBusy = mark !== null && used > Math.max(BUSY_MIN_MS, BUSY_SHARE * (nowMs - mark.atMs));
    if (mark === null || !sample.sleeps || isBusy || used < 0) {
      this.mark = { atMs: nowMs, sample };
      return 0;
    }
    const stillMs = nowMs - mark.atMs;
    const woken = sample.sleepsTaken === null || sample.sleepsTaken - (mark.sample.sleepsTaken ?? 0) >= WAKES_MIN;
    return stillMs >= STILL_MS && woken ? stillMs : 0;
  }
}

/** Reads `/proc/PID/stat` and `/proc/PID/status`. */
export function readSample(stat: string, status: string): Sample {
  // The name in brackets may hold anything; the fields are counted behind it (proc(5): state is the third, utime the 14th).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[11]) + Number(fields[12]);
  const switches = /^voluntary_ctxt_switches:\s*(\d+)/m.exec(status)?.[1];
  return {
    sleeps: fields[0] === 'S',
    processorMs: (ticks * 1_000) / TICKS_PER_S,
    sleepsTaken: switches === undefined ? null : Number(switches),
  };
}

/** The startup process of one postmaster. */
export class StartupProcess {
  private readonly node: string;
  private pid: number | null = null;
  private readonly standstill = new Standstill();

  constructor(node: string) {
    this.node = node;
  }

  /** How long it has stood still with nothing to apply, ms; 0: it works, or there is none. */
  async stillMs(postmaster: number): Promise<number> {
    if (this.pid === null) {
      const children = await childrenOf(postmaster);
      this.pid = children.find(({ title }) => isStartup(title, this.node))?.pid ?? null;
    }
    const sample = await this.look();
    if (sample === null) this.pid = null;
    return this.standstill.see(sample, performance.now());
  }

  private async look(): Promise<Sample | null> {
    if (this.pid === null) return null;
    try {
      const [stat, status] = await Promise.all(
        ['stat', 'status'].map((file) => readFile(`/proc/${this.pid}/${file}`, 'utf8')),
      );
      return readSample(stat ?? '', status ?? '');
    } catch {
      return null;
    }
  }
}
