/**
 * Finds out why a standby can never stream from its leader with this data. It asks only the leader itself, over the
 * replication protocol, and this node's own files and PostgreSQL. It never reads a log, because clients write into
 * logs. A question that the leader cannot answer now is no reason.
 *
 * It always looks at this node first. Positions and timelines of both sides only grow, so a conclusion from an older
 * look at this node and a newer answer of the leader stays true, also when the leader is promoted in between.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseLsn, printLsn } from '../../contract/lsn';
import { NOTHING_SEEN, type Source } from '../ports';
import { type Look, laterTimeline, lookBySql, readControlFile, readHistory } from './look';
import { commandLine, startupProcess, walFileIn } from './processes';
import type { Replication } from './replication';
import type { Session } from './session';
import { historyOf, PAGE_BYTES, recordLength, type Stretch, segmentFile, segmentStart, stretchAt } from './timelines';

/** SQLSTATE "undefined_file": the segment no longer exists. */
const GONE = '58P01';
/** Amount of WAL that is compared before a position, bytes. */
const COMPARED = 1024n * 1024n;
/** Amount of WAL that is read after the position, bytes: enough for nearly every record. */
const BEHIND = 64n * 1024n;
/** A startup process that waits for WAL is seen waiting in at least one of this many looks. */
const WAIT_LOOKS = 5;
const WAIT_LOOK_MS = 50;
/** Number of looks in a row that must find the next record here and not applied. */
export const STUCK_MAX = 3;

/** Position and history of this node's data. */
export interface Own {
  systemId: string;
  history: readonly Stretch[];
  /** End of the WAL that was applied, or that must be applied before this server answers; null: not known. */
  position: bigint | null;
  segmentBytes: bigint;
  /** All local WAL was applied (S6). */
  waits: boolean;
  /** Beginning of the file that the startup process read last; null: its title shows none. */
  reads: bigint | null;
  /** This PostgreSQL answers, and has applied the WAL up to `position`. */
  answers: boolean;
}

/** A primary's answer about itself. */
export interface LeaderAnswer {
  name: string;
  systemId: string;
  flush: bigint;
  history: readonly Stretch[];
}

/** WAL of both sides from one position on. */
export interface Compared {
  from: bigint;
  own: Buffer;
  leader: Buffer;
}

/** Why this node's history does not fit the leader's, for people; null: it fits. */
export function judgeHistory(own: Own, leader: LeaderAnswer): string | null {
  const { name } = leader;
  if (own.systemId !== leader.systemId) {
    return `${name} has another database (system identifier ${leader.systemId}) than this node (${own.systemId})`;
  }
  const newest = leader.history.at(-1)?.timeline ?? 0;
  const mine = own.position === null ? own.history.at(-1) : stretchAt(own.history, own.position);
  if (mine == null) return null;
  if (newest < mine.timeline) {
    return `${name} is on timeline ${newest}, which is behind timeline ${mine.timeline} of this data`;
  }
  const theirs = leader.history.find((s) => s.timeline === mine.timeline);
  if (theirs === undefined) {
    return `timeline ${mine.timeline} of this data is not in the history of ${name} (timeline ${newest})`;
  }
  const { position } = own;
  if (position === null) return null;
  if (mine.begin !== null && theirs.begin !== null && mine.begin !== theirs.begin) {
    if (position > smaller(mine.begin, theirs.begin)) {
      return `timeline ${mine.timeline} of this data began at ${printLsn(mine.begin)}, that of ${name} at ${printLsn(theirs.begin)}: these are two histories with one number`;
    }
  }
  if (theirs.end !== null && position > theirs.end) {
    return `the history of ${name} left timeline ${mine.timeline} at ${printLsn(theirs.end)}, this data went on to ${printLsn(position)} on it`;
  }
  if (theirs.end === null && position > leader.flush) {
    return `${name} is at ${printLsn(leader.flush)} on timeline ${mine.timeline}, this data is ahead at ${printLsn(position)}`;
  }
  return null;
}

/** The first position before `end` at which the two sides differ; null: they agree. */
export function firstDifference({ from, own, leader }: Compared, end: bigint): bigint | null {
  const length = Math.min(own.length, leader.length, Number(end - from));
  if (length <= 0 || own.compare(leader, 0, length, 0, length) === 0) return null;
  let at = 0;
  while (own[at] === leader[at]) at += 1;
  return from + BigInt(at);
}

/**
 * True when the leader's next record is here completely, byte for byte. If the startup process does not apply it at
 * `position`, it has applied something else before. The bytes of both sides begin before that position.
 */
export function nextRecordIsHere({ from, own, leader }: Compared, position: bigint): boolean {
  const at = Number(position - from);
  const [mine, theirs] = [own.subarray(at), leader.subarray(at)];
  const length = recordLength(position, theirs);
  if (length === null) return false;
  // No record of the leader begins here: its WAL continues a record, so other records were applied here.
  const needed = Number.isNaN(length) ? 64 : length;
  return (
    mine.length >= needed && theirs.length >= needed && mine.subarray(0, needed).equals(theirs.subarray(0, needed))
  );
}

/**
 * Looks at the data of a server that is not consistent yet and accepts no sessions. It must replay at least up to the
 * position that its control file has.
 */
async function lookAtFile({ node, data }: Question): Promise<Look> {
  const { systemId, segmentBytes, consistentLsn, control } = await readControlFile(data);
  const sql = { ...NOTHING_SEEN, timeline: control.timeline, replayLsn: consistentLsn };
  return { sql, systemId, segmentBytes, startup: (await startupProcess(node))?.pid ?? null };
}

/** Looks at this node through its own PostgreSQL; null: through its control file. Throws when that does not answer. */
async function lookAtOwn(session: Session | null, question: Question): Promise<Own> {
  const { sql, systemId, segmentBytes, startup } = await (session === null ? lookAtFile(question) : lookBySql(session));
  const title = startup === null ? null : await commandLine(startup);
  const file = walFileIn(title ?? '');
  const position = parseLsn(sql.replayLsn ?? '0/0');
  return {
    systemId,
    history: await readHistory(question.data, laterTimeline(sql.timeline, question.timeline) ?? 0),
    position: position === 0n ? null : position,
    segmentBytes: BigInt(segmentBytes),
    waits: sql.startupWaits,
    reads: file === null ? null : segmentStart(file, BigInt(segmentBytes)),
    answers: session !== null,
  };
}

/** Returns the leader's own answer; null: this is not the node that is followed, or it is not a primary (yet). */
async function askLeader(replication: Replication, name: string): Promise<LeaderAnswer | null> {
  // The address may now belong to another node (S14).
  if ((await replication.show('cluster_name')) !== name) return null;
  if ((await replication.show('in_hot_standby')) !== 'off') return null;
  const { systemId, timeline, flushLsn } = await replication.identify();
  const text = timeline > 1 ? await replication.history(timeline) : null;
  return { name, systemId, flush: parseLsn(flushLsn), history: historyOf(timeline, text) };
}

/** A stretch of WAL within one file. */
interface Window {
  from: bigint;
  end: bigint;
}

/** Reads the leader's WAL; null: it is not available. */
async function leaderLog(replication: Replication, timeline: number, { from, end }: Window): Promise<Buffer | null> {
  const pieces: Buffer[] = [];
  let at = from;
  const refusal = await replication.stream({ lsn: printLsn(from), timeline }, (lsn, bytes) => {
    if (parseLsn(lsn) !== at) throw new Error(`the log of the leader leaps from ${printLsn(at)} to ${lsn}`);
    pieces.push(Buffer.from(bytes));
    at += BigInt(bytes.length);
    return at < end;
  });
  return refusal === null ? Buffer.concat(pieces).subarray(0, Number(end - from)) : null;
}

/** Reads this node's WAL; null: it is not here. */
async function ownLog(data: string, timeline: number, window: Window, segmentBytes: bigint): Promise<Buffer | null> {
  const { from, end } = window;
  await using file = await open(join(data, 'pg_wal', segmentFile(timeline, from, segmentBytes))).catch(() => null);
  if (file === null) return null;
  const bytes = Buffer.alloc(Number(end - from));
  const { bytesRead } = await file.read(bytes, 0, bytes.length, Number(from % segmentBytes));
  return bytes.subarray(0, bytesRead);
}

const page = (position: bigint): bigint => position - (position % PAGE_BYTES);
const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);

interface Question {
  leader: Source;
  node: string;
  /** The data directory. */
  data: string;
  /** The newest timeline on which this server is known to have been; null: not known. */
  timeline: number | null;
  /** Opens a session on this node's PostgreSQL; throws when that does not answer. */
  openSession: () => Promise<Session>;
  /** Opens a session of the replication protocol on the leader. */
  openReplication: () => Promise<Replication>;
}

/** Result of one check. */
export interface Finding {
  /** Why this data cannot stream, for people; null: no reason was found. */
  impossible: string | null;
  /** Position at which the next record is here and is not applied: see {@link STUCK_MAX}. */
  stuck: { position: bigint; timeline: number } | null;
}

const NOTHING: Finding = { impossible: null, stuck: null };

/** Checks once. Throws when the leader or this node does not answer. */
export async function ask(question: Question): Promise<Finding> {
  const { leader, data, openSession, openReplication } = question;
  using session = await openSession().catch(() => null);
  const look = () => lookAtOwn(session, question);
  let own = await look();
  for (let looks = 1; own.answers && !own.waits && looks < WAIT_LOOKS; looks++) {
    await delay(WAIT_LOOK_MS);
    own = await look();
  }
  using replication = await openReplication();
  const answer = await askLeader(replication, leader.name);
  const finding = answer === null ? NOTHING : await compare(own, answer, replication, data);
  await replication.close();
  // If the data has advanced meanwhile, it can stream, whatever was found.
  const hasAdvanced = finding !== NOTHING && own.answers && (await look()).position !== own.position;
  return hasAdvanced ? NOTHING : finding;
}

async function compare(own: Own, leader: LeaderAnswer, replication: Replication, data: string): Promise<Finding> {
  const impossible = judgeHistory(own, leader) ?? (await whatIsGone(own, leader, replication, data));
  if (impossible !== null) return { impossible, stuck: null };
  return own.answers && own.waits ? compareLog(own, leader, replication, data) : NOTHING;
}

/** Why the leader no longer has WAL that this data needs, for people; null: it has all, or does not say. */
async function whatIsGone(own: Own, leader: LeaderAnswer, replication: Replication, data: string) {
  const { name, flush } = leader;
  const { segmentBytes } = own;
  let needed: bigint | null = null;
  if (own.waits && own.position !== null) needed = larger(own.position, own.reads ?? 0n);
  else if (!own.answers && own.reads !== null) needed = own.reads + segmentBytes;
  const timeline = needed === null ? undefined : stretchAt(own.history, needed)?.timeline;
  if (needed === null || timeline === undefined) return null;
  // A server that accepts no sessions may still be replaying the local WAL.
  const first = { from: page(needed), end: page(needed) + 1n };
  if (!own.answers && (await ownLog(data, timeline, first, segmentBytes)) !== null) return null;
  const start = needed - (needed % segmentBytes);
  // WAL that the leader has not written yet is not missing, and a stream of it would wait.
  if (start >= flush) return null;
  // Another refusal says nothing about files.
  const refusal = await replication.stream({ lsn: printLsn(start), timeline }, () => false);
  if (refusal?.code !== GONE) return null;
  return `${name} has removed the write-ahead log from ${printLsn(start)} on timeline ${timeline}, which this data needs`;
}

/**
 * Detects two histories with the same timeline number (S3): compares the local WAL that was applied with the leader's.
 */
async function compareLog(own: Own, leader: LeaderAnswer, replication: Replication, data: string): Promise<Finding> {
  const { position, segmentBytes } = own;
  const [last, next] = [stretchAt(own.history, (position ?? 0n) - 1n), stretchAt(own.history, position ?? 0n)];
  if (position === null || position === 0n || last === null || next === null) return NOTHING;
  const compared = async ({ timeline }: Stretch, { from, end }: Window): Promise<Compared | null> => {
    const theirs = leader.history.find((s) => s.timeline === timeline);
    const both = { from, end: theirs === undefined ? from : smaller(end, theirs.end ?? leader.flush) };
    if (both.end <= from) return null;
    const mine = await ownLog(data, timeline, both, segmentBytes);
    const other = mine === null ? null : await leaderLog(replication, timeline, both);
    return mine === null || other === null ? null : { from, own: mine, leader: other };
  };
  for (const window of windows(last, position, segmentBytes)) {
    const applied = await compared(last, window);
    const differs = applied === null ? null : firstDifference(applied, position);
    if (differs !== null) return { impossible: unlike(leader.name, last.timeline, differs), stuck: null };
  }
  const end = smaller(position + BEHIND, position - (position % segmentBytes) + segmentBytes);
  const behind = await compared(next, { from: page(position), end });
  const isHere = behind !== null && nextRecordIsHere(behind, position);
  return isHere ? { impossible: null, stuck: { position, timeline: next.timeline } } : NOTHING;
}

/** The sentence for two histories with the same timeline number. */
export function unlike(leader: string, timeline: number, from: bigint): string {
  return `the write-ahead log of this data differs from that of ${leader} on timeline ${timeline} from ${printLsn(from)} on: these are two histories with one number`;
}

/**
 * The parts of a timeline up to `position` that are compared, each within one file:
 * - the beginning of the timeline, which differs for every promotion;
 * - the end of the file before the last one;
 * - the WAL that was applied last.
 * The last file alone is not enough: a walreceiver begins at the file's start and overwrites applied WAL with the
 * leader's.
 */
export function windows({ begin }: Stretch, position: bigint, segmentBytes: bigint): Window[] {
  const start = (of: bigint) => of - (of % segmentBytes);
  const [first, lastStart] = [page(begin ?? 0n), start(position - 1n)];
  const before = larger(larger(lastStart - segmentBytes, lastStart - COMPARED), first);
  const atFork =
    begin === null || begin === 0n
      ? []
      : [{ from: first, end: smaller(start(first) + segmentBytes, first + COMPARED) }];
  const recent = larger(larger(lastStart, page(position - 1n) - COMPARED), 0n);
  return [...atFork, { from: before, end: lastStart }, { from: recent, end: position }]
    .map(({ from, end }) => ({ from, end: smaller(end, position) }))
    .filter(({ from, end }) => from >= 0n && from < end);
}
