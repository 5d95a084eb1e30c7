/**
 * One session of PostgreSQL's streaming replication protocol (manual, "Streaming Replication Protocol"). A refusal of the
 * server is thrown as `DatabaseError`, whose `code` is the SQLSTATE: see {@link sqlState}.
 */
import type { Connection } from 'pg';
import { parseLsn, printLsn } from '../../contract/lsn';
import { TimedClient, type TimedOptions } from './timed-client';

export interface Identity {
  systemId: string;
  /** Of a primary: the timeline that it writes. */
  timeline: number;
  /** Of a primary: the end of the log that it has flushed. */
  flushLsn: string;
}

/** A slot as READ_REPLICATION_SLOT tells it. */
export interface SlotPosition {
  restartLsn: string | null;
  restartTimeline: number | null;
}

export interface StreamFrom {
  lsn: string;
  slot?: string;
  /** Default: the server's newest. */
  timeline?: number;
}

/** Where a timeline ended that is not the server's newest, and which one follows. */
export interface EndOfTimeline {
  nextTimeline: number;
  lsn: string;
}

/** The part of node-postgres' connection that its types leave out. */
interface CopyConnection {
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  on(event: 'copyDone' | 'replicationStart', listener: () => void): void;
  off(event: 'copyDone' | 'replicationStart', listener: () => void): void;
}

const XLOG_DATA = 0x77;
const KEEPALIVE = 0x6b;
const XLOG_DATA_HEAD = 25;
const KEEPALIVE_LENGTH = 18;
/** PostgreSQL counts time from here, ms since 1970. */
const EPOCH_MS = Date.UTC(2000, 0, 1);

export class Replication extends TimedClient {
  /** The stream that is under way. */
  private copy: CopyStream | null = null;

  /**
   * Connects, or throws within the limit. The application's name is never that of a node: a walsender of that name would
   * count as the node's standby (S25).
   */
  static open(options: TimedOptions): Promise<Replication> {
    return new Replication(options, { replication: 'true' }).begin();
  }

  async identify(): Promise<Identity> {
    const row = await this.row<{ systemid: string; timeline: number; xlogpos: string }>('IDENTIFY_SYSTEM');
    return { systemId: row.systemid, timeline: Number(row.timeline), flushLsn: row.xlogpos };
  }

  /** Value of a setting (`SHOW`), for example `cluster_name` or `in_hot_standby`. */
  async show(setting: 'cluster_name' | 'in_hot_standby' | 'wal_segment_size'): Promise<string> {
    return (await this.row<Record<string, string>>(`SHOW ${setting}`))[setting] ?? '';
  }

  /** Text of a timeline's history file. The first timeline has none: 58P01. */
  async history(timeline: number): Promise<string> {
    const row = await this.row<{ content: string | Buffer }>(`TIMELINE_HISTORY ${timeline}`);
    return row.content.toString();
  }

  /** Null: there is no such slot. */
  async readSlot(name: string): Promise<SlotPosition | null> {
    const row = await this.row<{ slot_type: string | null; restart_lsn: string | null; restart_tli: string | null }>(
      `READ_REPLICATION_SLOT ${quotedSlot(name)}`,
    );
    if (row.slot_type === null) return null;
    return {
      restartLsn: row.restart_lsn,
      restartTimeline: row.restart_tli === null ? null : Number(row.restart_tli),
    };
  }

  /**
   * Streams WAL until `onWal` returns false, or the server's timeline ends there. `onBegun` is called when the server has
   * accepted, and may end the stream at once by false. The bytes are only valid during the call. Throws a
   * refusal of the server, and at the limit. This side never confirms a position, so a slot's `restart_lsn` stays.
   */
  async stream(
    from: StreamFrom,
    onWal: (lsn: string, bytes: Buffer) => boolean,
    { onBegun = () => true, limitMs = this.limitMs }: { onBegun?: () => boolean; limitMs?: number } = {},
  ): Promise<EndOfTimeline | null> {
    this.mustLive();
    const slot = from.slot === undefined ? '' : `SLOT ${quotedSlot(from.slot)} `;
    const timeline = from.timeline === undefined ? '' : ` TIMELINE ${from.timeline}`;
    // Parsed first, so that nothing but a position goes into the command.
    const lsn = printLsn(parseLsn(from.lsn));
    const copy = new CopyStream(`START_REPLICATION ${slot}PHYSICAL ${lsn}${timeline}`, onBegun, onWal);
    this.copy = copy;
    this.client.query(copy);
    try {
      return await this.limited(copy.ended, limitMs);
    } finally {
      this.copy = null;
    }
  }

  /**
   * Hot standby feedback that asks for nothing: the slot in use lets go of its xmin and catalog xmin. Only while a stream
   * is under way, from `onBegun` or `onWal`; when {@link stream} has resolved the server has carried it out.
   */
  feedback(): void {
    const message = Buffer.alloc(25);
    message.write('h', 0, 'latin1');
    message.writeBigInt64BE(now(), 1);
    this.copy?.send(message);
  }

  /** Ends the session as the protocol wants it, so that the server logs nothing, within the limit. Throws nothing. */
  async close(): Promise<void> {
    if (this.dead) return;
    await this.limited(this.client.end(), this.limitMs).catch(() => undefined);
    this.destroy();
  }

  private async row<Row extends object>(command: string): Promise<Row> {
    this.mustLive();
    const { rows } = await this.limited(this.client.query<Row>(command), this.limitMs);
    const [row] = rows;
    if (row === undefined) throw new Error(`PostgreSQL answers nothing to ${command}`);
    return row;
  }
}

/** One START_REPLICATION; node-postgres calls it as it calls its own queries. */
class CopyStream {
  readonly ended: Promise<EndOfTimeline | null>;
  private readonly command: string;
  private readonly onBegun: () => boolean;
  private readonly onWal: (lsn: string, bytes: Buffer) => boolean;
  private connection: CopyConnection | null = null;
  private finished = false;
  private next: EndOfTimeline | null = null;
  private failure: Error | null = null;
  private settle: (error: Error | null) => void = () => undefined;

  constructor(command: string, onBegun: () => boolean, onWal: (lsn: string, bytes: Buffer) => boolean) {
    this.command = command;
    this.onBegun = onBegun;
    this.onWal = onWal;
    this.ended = new Promise((resolve, reject) => {
      this.settle = (error) => (error === null ? resolve(this.next) : reject(error));
    });
    // The deadline may have answered already.
    this.ended.catch(() => undefined);
  }

  submit(connection: Connection): void {
    const copy = connection as unknown as CopyConnection;
    this.connection = copy;
    copy.on('replicationStart', this.begun);
    copy.on('copyDone', this.finish);
    copy.query(this.command);
  }

  send(message: Buffer): void {
    if (!this.finished) this.connection?.sendCopyFromChunk(message);
  }

  handleCopyData({ chunk }: { chunk: Buffer }): void {
    if (this.finished) return;
    if (chunk[0] === XLOG_DATA && chunk.length > XLOG_DATA_HEAD) {
      this.ask(() => this.onWal(printLsn(chunk.readBigUInt64BE(1)), chunk.subarray(XLOG_DATA_HEAD)));
    } else if (chunk[0] === KEEPALIVE && chunk[KEEPALIVE_LENGTH - 1] === 1) this.send(noPosition());
  }

  /** Only where the timeline has ended: the next one and its beginning. */
  handleDataRow({ fields }: { fields: (string | null)[] }): void {
    const [nextTimeline, lsn] = fields;
    if (nextTimeline != null && lsn != null) this.next = { nextTimeline: Number(nextTimeline), lsn };
  }

  handleRowDescription(): void {
    // The columns are known.
  }

  handleCommandComplete(): void {
    // The command is over only when the server is ready for the next one.
  }

  handleError(error: Error): void {
    this.leave(error);
  }

  handleReadyForQuery(): void {
    this.leave(this.failure);
  }

  private readonly begun = (): void => this.ask(this.onBegun);

  private readonly finish = (): void => {
    if (this.finished) return;
    this.finished = true;
    this.connection?.endCopyFrom();
  };

  private ask(goesOn: () => boolean): void {
    try {
      if (!goesOn()) this.finish();
    } catch (error) {
      this.failure = error instanceof Error ? error : new Error(String(error));
      this.finish();
    }
  }

  private leave(error: Error | null): void {
    this.finished = true;
    this.connection?.off('replicationStart', this.begun);
    this.connection?.off('copyDone', this.finish);
    this.settle(error);
  }
}

/** Standby status update without any position: it keeps the connection alive and confirms nothing. */
function noPosition(): Buffer {
  const message = Buffer.alloc(34);
  message.write('r', 0, 'latin1');
  message.writeBigInt64BE(now(), 25);
  return message;
}

/** PostgreSQL's time, µs. */
function now(): bigint {
  return BigInt(Date.now() - EPOCH_MS) * 1_000n;
}

/** Slot names are letters, digits and underscores. */
function quotedSlot(name: string): string {
  if (!/^[a-z0-9_]{1,63}$/.test(name)) throw new Error(`"${name}" is no name of a slot`);
  return `"${name}"`;
}
