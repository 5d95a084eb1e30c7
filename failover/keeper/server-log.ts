/** PostgreSQL's own log on its way to the container's: what repeats many times a second while a leader is away is thinned. */

/** Retried every 20 ms (S20), so a missing leader would write gigabytes a day. */
const REPEATING = [
  /could not connect to the primary server/,
  /Is the server running on that host/,
  /waiting for WAL to become available/,
  /could not receive data from WAL stream/,
  /This probably means the server terminated abnormally/,
  /before or while processing the request/,
  /the database system is (starting up|not yet accepting connections|shutting down)/,
  /Consistent recovery state has not been yet reached/,
  /LOG: {2}(record with )?(invalid|incorrect) .* at [0-9A-F]+\/[0-9A-F]+/,
];
/** Each kind is shown once in this time, ms. */
const SHOW_EVERY_MS = 10_000;

/** What PostgreSQL logs when no amount of waiting lets this data follow its source. */
const IMPOSSIBLE = [
  /requested WAL segment \S+ has already been removed/,
  /highest timeline \d+ of the primary is behind recovery timeline \d+/,
  /requested starting point \S+ on timeline \d+ is not in this server's history/,
  /requested starting point \S+ is ahead of the WAL flush position/,
  /new timeline \d+ forked off current database system timeline \d+ before current recovery point/,
  /database system identifier differs between the primary and standby/,
];

/**
 * What PostgreSQL says about a record that makes no sense. Where its own WAL ends it says so once for a position; the same
 * words again and again mean that what the source sends does not fit what is here.
 */
const UNFIT = /LOG: {2}((?:record with )?(?:invalid|incorrect) .* at [0-9A-F]+\/[0-9A-F]+.*)$/;
/** At one every `wal_retrieve_retry_interval` (20 ms) some seconds. */
const UNFIT_MAX = 200;

/** True for a line that says that streaming can never succeed with this data. */
export function saysImpossible(line: string): boolean {
  return IMPOSSIBLE.some((pattern) => pattern.test(line));
}

/** True for the line with which the startup process waits for WAL that is not here. */
export function saysStarved(line: string): boolean {
  return line.includes('LOG:  waiting for WAL to become available');
}

/** True for the line that PostgreSQL writes some milliseconds before a promoted standby takes writes. */
export function saysRecovered(line: string): boolean {
  return line.endsWith('LOG:  archive recovery complete');
}

export class ServerLog {
  private rest = '';
  private readonly shownAtMs = new Map<RegExp, number>();
  private unfit = { words: '', count: 0 };

  /** Whole lines that became complete with this piece. */
  lines(text: string): string[] {
    const lines = (this.rest + text).split('\n');
    this.rest = (lines.pop() ?? '').slice(-16_384);
    return lines;
  }

  /** Whether a line is to be shown now. */
  shows(line: string, nowMs: number): boolean {
    const kind = REPEATING.find((pattern) => pattern.test(line));
    if (kind === undefined) return true;
    const shownMs = this.shownAtMs.get(kind);
    if (shownMs !== undefined && nowMs - shownMs < SHOW_EVERY_MS) return false;
    this.shownAtMs.set(kind, nowMs);
    return true;
  }

  /** True when a line repeats a complaint about one record for too long: this data does not fit what the source sends. */
  saysUnfit(line: string): boolean {
    const words = UNFIT.exec(line)?.[1];
    if (words === undefined) return false;
    this.unfit = { words, count: words === this.unfit.words ? this.unfit.count + 1 : 1 };
    return this.unfit.count >= UNFIT_MAX;
  }
}
