/**
 * One session of a client of replication: copies both directions between the client and PostgreSQL.
 *
 * PostgreSQL counts a receiver of write-ahead log for a commit by its `application_name` alone, and every client can
 * choose that and read the names that count (`SHOW synchronous_standby_names`). So the session gets a name that no node
 * has, and ends before it begins a stream under another one. PostgreSQL reports each change of the name before it is
 * ready for the next command (manual, "Asynchronous Operations", ParameterStatus), and the next command is passed on
 * only then.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { messageOf } from '../../../contract/errors';
import { Frames } from './frames';
import { fatal, type Startup } from './startup';

const kindOf = (letter: string) => letter.charCodeAt(0);
const QUERY = kindOf('Q');
const PARAMETER_STATUS = kindOf('S');
const READY = kindOf('Z');
/** What a client of replication sends: passwords, commands, copied data and its end. PostgreSQL takes nothing else. */
const FROM_CLIENT = new Set(['p', 'Q', 'd', 'c', 'f', 'X'].map(kindOf));
/** Longest command, and longest ParameterStatus, bytes. */
const COMMAND_MAX = 1024 * 1024;
const PARAMETER_MAX = 64 * 1024;

/** Limit for a client to read the last message, ms. */
const LEAVE_LIMIT_MS = 5_000;

class Refused extends Error {
  constructor(
    readonly sqlState: string,
    message: string,
  ) {
    super(message);
  }
}

export interface SessionParts {
  readonly client: Duplex;
  readonly server: Socket;
  readonly startup: Startup;
  /** What the client has sent after its first message. */
  readonly rest: Buffer;
  /** Why a command is refused; null: it is not. */
  refusal(command: string): string | null;
  onEnd(): void;
}

export class GateSession {
  /** Commands that PostgreSQL has not answered yet; the login counts as one. */
  private unanswered = 1;
  /** The command that waits for the answer to the one before. */
  private held: (() => void) | null = null;
  private refused = false;
  private ended = false;
  private readonly fromClient: Frames;
  private readonly fromServer: Frames;

  constructor(private readonly parts: SessionParts) {
    const { client, server } = parts;
    this.fromClient = new Frames({
      held: new Set([QUERY]),
      heldMax: COMMAND_MAX,
      begins: (kind) => this.mustKnow(kind),
      whole: (_, message) => this.command(message),
      pass: (piece) => server.write(piece),
    });
    this.fromServer = new Frames({
      held: new Set([PARAMETER_STATUS, READY]),
      heldMax: PARAMETER_MAX,
      whole: (kind, message) => this.answered(kind, message),
      pass: (piece) => client.write(piece),
    });
    client.on('error', () => this.end());
    client.on('close', () => this.end());
    client.on('end', () => this.end());
    server.on('error', () => this.end());
    // What PostgreSQL said last still goes to the client.
    server.on('close', () => {
      if (!this.refused && !this.ended) this.leave();
    });
  }

  /** Begins, once PostgreSQL takes the connection. */
  begin(): void {
    const { client, server, startup, rest } = this.parts;
    server.write(startup.packet);
    if (!startup.replicates) {
      if (rest.length > 0) server.write(rest);
      client.pipe(server);
      server.pipe(client);
      return;
    }
    flow(client, server, (chunk) => {
      this.guarded(() => this.fromClient.push(chunk));
      if (this.fromClient.isPaused) client.pause();
    });
    flow(server, client, (chunk) => this.guarded(() => this.fromServer.push(chunk)));
    if (rest.length > 0) this.guarded(() => this.fromClient.push(rest));
  }

  /** Ends it at once: nothing that PostgreSQL sends from now on reaches the client. */
  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.parts.client.destroy();
    this.parts.server.destroy();
    this.parts.onEnd();
  }

  /** Ends the session when the client has read the last message, or at the limit. */
  private leave(words?: Buffer): void {
    const late = setTimeout(() => this.end(), LEAVE_LIMIT_MS);
    this.parts.client.once('close', () => clearTimeout(late));
    const over = () => this.end();
    if (words === undefined) this.parts.client.end(over);
    else this.parts.client.end(words, over);
  }

  private guarded(act: () => void): void {
    if (this.ended || this.refused) return;
    try {
      act();
    } catch (error) {
      this.refused = true;
      this.parts.server.destroy();
      this.leave(fatal(error instanceof Refused ? error.sqlState : '08P01', messageOf(error)));
    }
  }

  private mustKnow(kind: number): void {
    if (!FROM_CLIENT.has(kind)) throw new Error('a session for replication takes simple commands only');
  }

  /** A command waits until PostgreSQL has answered all before it. */
  private command(message: Buffer): void {
    const { server, refusal } = this.parts;
    const send = () => {
      const why = refusal(message.toString('utf8', 5));
      if (why !== null) throw new Refused('42501', why);
      this.unanswered += 1;
      server.write(message);
    };
    if (this.unanswered === 0) send();
    else {
      this.fromClient.pause();
      this.held = send;
    }
  }

  private answered(kind: number, message: Buffer): void {
    const { client, startup } = this.parts;
    if (kind === PARAMETER_STATUS) {
      const [name, value] = message.toString('latin1', 5).split('\0');
      if (name === 'application_name' && value !== startup.name) {
        const named = JSON.stringify(startup.name);
        throw new Refused('42501', `a session for replication keeps its application_name, which is ${named} here`);
      }
    } else this.unanswered = Math.max(0, this.unanswered - 1);
    client.write(message);
    const { held } = this;
    if (held === null || this.unanswered > 0) return;
    this.held = null;
    held();
    this.fromClient.resume();
    if (!this.fromClient.isPaused) client.resume();
  }
}

/** Reads `from` as fast as `to` takes it. */
function flow(from: Duplex, to: Duplex, take: (chunk: Buffer) => void): void {
  from.on('data', (chunk: Buffer) => {
    take(chunk);
    if (!to.writableNeedDrain) return;
    from.pause();
    to.once('drain', () => from.resume());
  });
}
