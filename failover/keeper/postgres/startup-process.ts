/**
 * Watches, through the kernel, the startup process of a server that does not answer. Before a standby is consistent it
 * accepts no session that could ask how far it is, and no decision may depend on its log.
 */
import { readFile } from 'node:fs/promises';
import { startupProcess, statFields } from './processes';

/** The kernel's figures about a process. */
export interface Sample {
  /** The process is in an interruptible wait: it neither runs nor waits for a disk. */
  sleeps: boolean;
  /** Processor time used so far, ms. */
  processorMs: number;
  /** Number of times that it went to sleep by itself; null: the kernel does not tell. */
  sleepsTaken: number | null;
}

/** `USER_HZ`, the unit in which the kernel gives processor time (proc(5)), 1/s. */
const TICKS_PER_S = 100;
/** The process counts as idle only after it was seen so for this time without a break, ms. */
const STILL_MS = 500;
/** A process that waits for WAL uses at most this part of its time. */
const BUSY_SHARE = 0.1;
/** Processor time below this says nothing, because it is counted in ticks, ms. */
const BUSY_MIN_MS = 25;
/**
 * Fewest wake-ups of a process that waits for WAL: it looks for WAL every `wal_retrieve_retry_interval` (20 ms) and
 * sleeps again. A process that hangs does not wake up.
 */
const WAKES_MIN = 5;

/**
 * Watches the startup process of one server, and decides whether it has nothing left to apply. This is so when, at each
 * look since {@link STILL_MS}, it slept, used hardly any processor time and woke again and again.
 */
export class StartupProcess {
  private pid: number | undefined;
  private mark: { atMs: number; sample: Sample } | null = null;

  constructor(private readonly node: string) {}

  /** Time for which the process has had nothing to apply, ms; 0: it works, or there is none. */
  async stillMs(): Promise<number> {
    this.pid ??= (await startupProcess(this.node))?.pid;
    const sample = this.pid === undefined ? null : await sampleOf(this.pid);
    if (sample === null) this.pid = undefined;
    return this.see(sample, performance.now());
  }

  /**
   * Takes a sample and returns how long the process has been idle, ms. `sample`: null when there is no such process.
   */
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

/** Parses `/proc/PID/stat` and `/proc/PID/status`. */
export function readSample(stat: string, status: string): Sample {
  // proc(5): state is the third field, utime the 14th.
  const fields = statFields(stat);
  const ticks = Number(fields[11]) + Number(fields[12]);
  const switches = /^voluntary_ctxt_switches:\s*(\d+)/m.exec(status)?.[1];
  return {
    sleeps: fields[0] === 'S',
    processorMs: (ticks * 1_000) / TICKS_PER_S,
    sleepsTaken: switches === undefined ? null : Number(switches),
  };
}

/** Takes a sample of a process; null: it has ended. */
async function sampleOf(pid: number): Promise<Sample | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    return readSample(stat, await readFile(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return null;
  }
}
