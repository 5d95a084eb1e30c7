/** Timelines and the write-ahead log's files, as PostgreSQL names and cuts them. Pure. */

/** A timeline's part of a history: from `begin` to where the next one left it. */
export interface Stretch {
  timeline: number;
  /** Null: not known. */
  begin: bigint | null;
  /** Null: it is the newest. */
  end: bigint | null;
}

/** Pages of the log, bytes: PostgreSQL's default, which Debian's packages have. */
export const PAGE_BYTES = 8_192n;
const SHORT_HEADER = 24;
const LONG_HEADER = 40;
/** `xlp_info`: this page has a long header, as the first of each segment has. */
const HAS_LONG_HEADER = 2;
/** `XLogRecord`. */
const RECORD_HEADER = 24;
/** `XLogRecordMaxSize`. */
const RECORD_MAX = 1_020 * 1024 * 1024;

/**
 * The history that ends in `timeline`, oldest first, from the text of its history file (null: there is none, as of the
 * first timeline, or it cannot be had). Lines that are none of PostgreSQL's are ignored.
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

/** The part that a standby with this history asks for at a position. */
export function stretchAt(history: readonly Stretch[], position: bigint): Stretch | null {
  return history.find(({ end }) => end === null || position < end) ?? null;
}

/** Name of a timeline's history file. */
export function historyFile(timeline: number): string {
  return `${hex(BigInt(timeline))}.history`;
}

/** Name of the file with this position. */
export function segmentFile(timeline: number, position: bigint, segmentBytes: bigint): string {
  const perName = 0x1_0000_0000n / segmentBytes;
  const number = position / segmentBytes;
  return `${hex(BigInt(timeline))}${hex(number / perName)}${hex(number % perName)}`;
}

/** Where a file of the log begins, by its name. */
export function segmentStart(name: string, segmentBytes: bigint): bigint {
  const perName = 0x1_0000_0000n / segmentBytes;
  return (BigInt(`0x${name.slice(8, 16)}`) * perName + BigInt(`0x${name.slice(16, 24)}`)) * segmentBytes;
}

function hex(value: bigint): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}

/**
 * Bytes from `position` to the end of the record that begins there, page headers included, where `bytes` is the log from
 * that position on. Null: too few bytes to tell. `NaN`: no record begins there.
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
  // At most: the last page of a record has a header only where it reaches that far.
  const page = Number(PAGE_BYTES);
  const inPage = Number((position + BigInt(at)) % PAGE_BYTES);
  return at + length + Math.ceil((inPage + length) / (page - LONG_HEADER)) * LONG_HEADER;
}
