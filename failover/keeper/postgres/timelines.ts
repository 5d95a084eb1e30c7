/** Timelines and WAL files, with PostgreSQL's names and sizes. Pure. */

/** One timeline's part of a history: from `begin` to the position at which the next timeline left it. */
export interface Stretch {
  timeline: number;
  /** Null: not known. */
  begin: bigint | null;
  /** Null: this is the newest timeline. */
  end: bigint | null;
}

/** Size of a WAL page, bytes: PostgreSQL's default, which Debian's packages use. */
export const PAGE_BYTES = 8_192n;
const SHORT_HEADER = 24;
const LONG_HEADER = 40;
/** Flag in `xlp_info`: this page has a long header, like the first page of each segment. */
const HAS_LONG_HEADER = 2;
/** Size of `XLogRecord`, bytes. */
const RECORD_HEADER = 24;
/** `XLogRecordMaxSize`, bytes. */
const RECORD_MAX = 1_020 * 1024 * 1024;

/**
 * The history that ends with `timeline`, oldest first, from the text of its history file. Null: the file does not
 * exist, as for the first timeline, or could not be read. Lines that PostgreSQL did not write are ignored.
 */
export function historyOf(timeline: number, text: string | null): Stretch[] {
  const stretches: Stretch[] = [];
  let begin: bigint | null = timeline === 1 || text !== null ? 0n : null;
  for (const line of (text ?? '').split('\n')) {
    const [, parent, high, low] = /^\s*(\d+)\s+([0-9A-F]{1,8})\/([0-9A-F]{1,8})\b/i.exec(line) ?? [];
    if (parent === undefined || high === undefined || low === undefined) continue;
    const end: bigint = (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
    stretches.push({ timeline: Number(parent), begin, end });
    begin = end;
  }
  return [...stretches, { timeline, begin, end: null }];
}

/** The part of the history from which a standby requests WAL at a position. */
export function stretchAt(history: readonly Stretch[], position: bigint): Stretch | null {
  return history.find(({ end }) => end === null || position < end) ?? null;
}

/** Name of a timeline's history file. */
export function historyFile(timeline: number): string {
  return `${hex(BigInt(timeline))}.history`;
}

/** The timeline whose history file has this name; null: it is no history file. */
export function timelineOfHistory(name: string): number | null {
  const digits = /^([0-9A-F]{8})\.history$/.exec(name)?.[1];
  return digits === undefined ? null : Number.parseInt(digits, 16);
}

/** The timeline of a WAL file, from its name. */
export function timelineOfFile(name: string): number {
  return Number.parseInt(name.slice(0, 8), 16);
}

/** Name of the WAL file that contains this position. */
export function segmentFile(timeline: number, position: bigint, segmentBytes: bigint): string {
  const perName = 0x1_0000_0000n / segmentBytes;
  const number = position / segmentBytes;
  return `${hex(BigInt(timeline))}${hex(number / perName)}${hex(number % perName)}`;
}

/** Position at which a WAL file begins, from its name. */
export function segmentStart(name: string, segmentBytes: bigint): bigint {
  const perName = 0x1_0000_0000n / segmentBytes;
  return (BigInt(`0x${name.slice(8, 16)}`) * perName + BigInt(`0x${name.slice(16, 24)}`)) * segmentBytes;
}

function hex(value: bigint): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}

/**
 * Number of bytes from `position` to the end of the record that begins there, including page headers. `bytes` is the
 * WAL from that position on. Null: there are too few bytes to tell. `NaN`: no record begins there.
 */
export function recordLength(position: bigint, bytes: Buffer): number | null {
  let at = 0;
  if (position % PAGE_BYTES === 0n) {
    if (bytes.length < 4) return null;
    at = (bytes.readUInt16LE(2) & HAS_LONG_HEADER) !== 0 ? LONG_HEADER : SHORT_HEADER;
  }
  if (bytes.length < at + 4) return null;
  const length = bytes.readUInt32LE(at);
  if (length < RECORD_HEADER || length > RECORD_MAX) return Number.NaN;
  // This is an upper bound, because the last page of a record has a header only if the record reaches that page.
  const page = Number(PAGE_BYTES);
  const inPage = Number((position + BigInt(at)) % PAGE_BYTES);
  return at + length + Math.ceil((inPage + length) / (page - LONG_HEADER)) * LONG_HEADER;
}
