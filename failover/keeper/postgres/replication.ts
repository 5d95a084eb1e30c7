/**
 * One session of PostgreSQL's streaming replication protocol (manual, "Streaming Replication Protocol"). If the server
 * refuses a command, it throws a `DatabaseError` whose `code` is the SQLSTATE: see {@link sqlState}.
 */
import { type Connection, DatabaseError } from 'pg';
import { parseLsn, printLsn } from '../../contract/lsn';
import { STREAM_OPTIONS } from '../../contract/session-settings';
import { TimedClient, type TimedOptions } from './session';

interface StreamFrom {
  lsn: string;
  slot?: string;
  /** Default: the server's newest timeline. */
  timeline?: number;
}

/** Methods of node-postgres' connection that its types do not declare. */
interface CopyConnection extends Connection {
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}

const XLOG_DATA = 0x77;
const KEEPALIVE = 0x6b;
const XLOG_DATA_HEAD = 25;
const KEEPALIVE_LENGTH = 18;
/** PostgreSQL's epoch, ms since 1970. */
const EPOCH_MS = Date.UTC(2000, 0, 1);

export class Replication extends TimedClient {
  /** The stream that is running. */
  private copy: CopyStream | null = null;

  private constructor(options: TimedOptions) {
    super(options, { replication: 'true', options: STREAM_OPTIONS });
    this.connection.on('replicationStart', () => this.copy?.begin());
    this.connection.on('copyDone', () => this.copy?.finish());
  }

  /**
   * Connects, or throws within the limit. The application name is never that of a node, because a walsender with that
   * name would count as the node's standby (S25).
   */
  static open(options: TimedOptions): Promise<Replication> {
    return new Replication(options).begin();
  }

  /** On a primary, `timeline` is the one that it writes, and `flushLsn` is the end of the flushed WAL. */
  async identify(): Promise<{ systemId: string; timeline: number; flushLsn: string }> {
    const row = await this.row<{ systemid: string; timeline: number; xlogpos: string }>('IDENTIFY_SYSTEM');
    return { systemId: row.systemid, timeline: Number(row.timeline), flushLsn: row.xlogpos };
  }

  /** Returns the value of a setting (`SHOW`), for example `cluster_name` or `in_hot_standby`. */
  async show(setting: 'cluster_name' | 'in_hot_standby'): Promise<string> {
    return (await this.row<Record<string, string>>(`SHOW ${setting}`))[setting] ?? '';
  }

  /** Returns the text of a timeline's history file. The first timeline has none: error 58P01. */
  async history(timeline: number): Promise<string> {
    const row = await this.row<{ content: string | Buffer }>(`TIMELINE_HISTORY ${timeline}`);
    return row.content.toString();
  }

  /**
   * Streams WAL until `onWal` returns false or the server's timeline ends. Resolves with the server's refusal, if it
   * refuses to stream or to go on; null: it does not. `onBegun` is called when the server has
   * accepted the command, and can return false to end the stream at once. The bytes are only valid during the call.
   * Throws at the limit, and what `onBegun` and `onWal` throw. This side never confirms a position, so a slot's
   * `restart_lsn` stays the same.
   */
  async stream(
    from: StreamFrom,
    onWal: (lsn: string, bytes: Buffer) => boolean,
    onBegun: () => boolean = () => true,
  ): Promise<DatabaseError | null> {
    this.mustLive();
    const slot = from.slot === undefined ? '' : `SLOT ${quotedSlot(from.slot)} `;
    const timeline = from.timeline === undefined ? '' : ` TIMELINE ${from.timeline}`;
    // Parsed first, so that the command can only contain a position.
    const lsn = printLsn(parseLsn(from.lsn));
    const command = `START_REPLICATION ${slot}PHYSICAL ${lsn}${timeline}`;
    const copied = new Promise<void>((resolve, reject) => {
      const end = (error: unknown) => (error === null ? resolve() : reject(error));
      this.copy = new CopyStream(this.connection as CopyConnection, command, onBegun, onWal, end);
      this.client.query(this.copy);
    });
    try {
      await this.limited(copied);
      return null;
    } catch (error) {
      if (error instanceof DatabaseError) return error;
      throw error;
    } finally {
      this.copy = null;
    }
  }

  /**
   * Sends a hot standby feedback without an xmin, so that the slot in use gives up its xmin and catalog xmin. Call it
   * only during a stream, from `onBegun` or `onWal`. The server has processed it when {@link stream} resolves.
   */
  feedback(): void {
    this.copy?.send(messageOfNow('h', 25, 1));
  }

  /**
   * Ends the session with the protocol's own message, so that the server logs nothing, within the limit. Throws
   * nothing.
   */
  async close(): Promise<void> {
    if (this.dead) return;
    await this.limited(this.client.end()).catch(() => undefined);
    this.destroy();
  }
}

/** One START_REPLICATION command. node-postgres calls its methods as it does for its own queries. */
class CopyStream {
  private finished = false;
  private failure: unknown = null;

  constructor(
    private readonly connection: CopyConnection,
    private readonly command: string,
    private readonly onBegun: () => boolean,
    private readonly onWal: (lsn: string, bytes: Buffer) => boolean,
    /** Called at the end, with the error that ended it; null: none did. */
    private readonly onEnd: (error: unknown) => void,
  ) {}

  submit(): void {
    this.connection.query(this.command);
  }

  /** The server has accepted the command. */
  begin(): void {
    this.ask(this.onBegun);
  }

  send(message: Buffer): void {
    if (!this.finished) this.connection.sendCopyFromChunk(message);
  }

  /** Ends this side of the stream. */
  finish(): void {
    if (!this.finished) this.connection.endCopyFrom();
    this.finished = true;
  }

  handleCopyData({ chunk }: { chunk: Buffer }): void {
    if (this.finished) return;
    if (chunk[0] === XLOG_DATA && chunk.length > XLOG_DATA_HEAD) {
      this.ask(() => this.onWal(printLsn(chunk.readBigUInt64BE(1)), chunk.subarray(XLOG_DATA_HEAD)));
    } else if (chunk[0] === KEEPALIVE && chunk[KEEPALIVE_LENGTH - 1] === 1) {
      // A standby status update without any position. It keeps the connection alive and confirms nothing.
      this.send(messageOfNow('r', 34, 25));
    }
  }

  // When the timeline has ended, the server sends a row with the next one, which no caller needs. The command has ended
  // only when the server is ready for the next one.
  handleRowDescription(): void {}
  handleDataRow(): void {}
  handleCommandComplete(): void {}

  handleError(error: Error): void {
    this.onEnd(error);
  }

  handleReadyForQuery(): void {
    this.onEnd(this.failure);
  }

  private ask(goesOn: () => boolean): void {
    try {
      if (!goesOn()) this.finish();
    } catch (error) {
      this.failure = error;
      this.finish();
    }
  }
}

/** A message to the server in which everything is zero but its kind and, at `timeAt`, the current time, µs. */
function messageOfNow(kind: string, length: number, timeAt: number): Buffer {
  const message = Buffer.alloc(length);
  message.write(kind, 0, 'latin1');
  message.writeBigInt64BE(BigInt(Date.now() - EPOCH_MS) * 1_000n, timeAt);
  return message;
}

/** Quotes a slot name, which consists of letters, digits and underscores. */
function quotedSlot(name: string): string {
  if (!/^[a-z0-9_]{1,63}$/.test(name)) throw new Error(`"${name}" is no name of a slot`);
  return `"${name}"`;
}
