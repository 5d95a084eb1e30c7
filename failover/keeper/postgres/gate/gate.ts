/**
 * The way in for clients of replication: pg_basebackup, pg_receivewal, subscribers. HAProxy leads them here and not to
 * PostgreSQL, for reasons that session.ts gives. It listens while the keeper has opened it: on the opened leader.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type SecureContext, TLSSocket } from 'node:tls';
import { GATE_ADDRESS } from '../config-files';
import { GateSession } from './session';
import { fatal, readFirst, STARTUP_MAX } from './startup';

/**
 * Most sessions. Each may be a walsender, of which PostgreSQL has 20 (`max_wal_senders`): eight standbys, a copy and
 * the keepers' questions take at most 12.
 */
export const GATE_SESSIONS_MAX = 8;
/** Most connections, those included that have not said yet what they want. */
const CONNECTIONS_MAX = 64;
/** Limit for a client's first message, and for PostgreSQL to take the connection, ms. */
const BEGIN_LIMIT_MS = 10_000;

/** TLS of the stack's config, with the certificate if there is one. */
export interface GateTls {
  readonly required: boolean;
  readonly context: SecureContext | null;
}

export interface GateParts {
  /** Port to listen on, and that of PostgreSQL. */
  readonly port: number;
  readonly postgresPort: number;
  /** The only address that may connect. */
  haproxyAddress(): string | null;
  tls(): GateTls;
  /** Why a command for replication is refused; null: it is not. */
  refusal(command: string): string | null;
  /** The gate cannot listen. */
  failed(error: Error): void;
}

export class Gate {
  private server: Server | null = null;
  private readonly sockets = new Set<Socket>();
  private readonly sessions = new Set<GateSession>();

  constructor(private readonly parts: GateParts) {}

  get isOpen(): boolean {
    return this.server !== null;
  }

  open(): void {
    if (this.server !== null) return;
    const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 5_000 }, (socket) =>
      this.accept(socket),
    );
    server.maxConnections = CONNECTIONS_MAX;
    server.on('error', (error) => {
      this.shut();
      this.parts.failed(error);
    });
    server.listen(this.parts.port, '0.0.0.0');
    this.server = server;
  }

  /** Ends every session at once and listens no more. */
  shut(): void {
    this.server?.close();
    this.server = null;
    for (const session of this.sessions) session.end();
    for (const socket of this.sockets) socket.destroy();
  }

  private accept(socket: Socket): void {
    const from = socket.remoteAddress?.replace(/^::ffff:/, '');
    if (from !== this.parts.haproxyAddress()) {
      socket.destroy();
      return;
    }
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    const late = setTimeout(() => socket.destroy(), BEGIN_LIMIT_MS);
    socket.on('close', () => clearTimeout(late));
    this.listen(socket, socket, () => clearTimeout(late));
  }

  /** Reads the first message. `client`: the socket itself, or TLS on it. */
  private listen(socket: Socket, client: Duplex, begun: () => void): void {
    let bytes = Buffer.alloc(0);
    const onData = (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      const first = readFirst(bytes);
      if (first.kind === 'more' && bytes.length <= STARTUP_MAX) return;
      client.off('data', onData);
      client.pause();
      try {
        this.answer(socket, client, first, begun);
      } catch {
        // The certificate cannot be read, for example because a new one takes its place.
        socket.destroy();
      }
    };
    client.on('error', () => socket.destroy());
    client.on('data', onData);
  }

  private answer(socket: Socket, client: Duplex, first: ReturnType<typeof readFirst>, begun: () => void): void {
    const isPlain = client === socket;
    const { context, required } = this.parts.tls();
    const refuse = (sqlState: string, why: string) => void client.end(fatal(sqlState, why));
    if (first.kind === 'session') {
      if (required && isPlain) refuse('28000', 'this port lets in sessions with TLS only');
      else if (this.sessions.size >= GATE_SESSIONS_MAX) refuse('53300', `all ${GATE_SESSIONS_MAX} sessions are taken`);
      else this.begin(client, first, begun);
    } else if (first.kind === 'cancel') this.cancel(first.packet, socket);
    else if (first.kind === 'refused') refuse('08P01', first.why);
    // Bytes after the request could be taken for bytes that came encrypted (CVE-2021-23214).
    else if (first.kind === 'more' || first.rest.length > 0 || !isPlain) socket.destroy();
    else if (first.kind === 'gss' || context === null) {
      client.write('N');
      this.again(socket, client, begun);
    } else {
      client.write('S');
      this.again(socket, new TLSSocket(socket, { isServer: true, secureContext: context }), begun);
    }
  }

  private again(socket: Socket, client: Duplex, begun: () => void): void {
    this.listen(socket, client, begun);
    client.resume();
  }

  private begin(
    client: Duplex,
    { startup, rest }: Extract<ReturnType<typeof readFirst>, { kind: 'session' }>,
    begun: () => void,
  ) {
    const server = this.connect();
    const session: GateSession = new GateSession({
      ...{ client, server, startup, rest },
      refusal: (command) => this.parts.refusal(command),
      onEnd: () => this.sessions.delete(session),
    });
    this.sessions.add(session);
    server.once('connect', () => {
      begun();
      session.begin();
      client.resume();
    });
  }

  private connect(): Socket {
    return connect({ host: '127.0.0.1', port: this.parts.postgresPort, localAddress: GATE_ADDRESS, noDelay: true });
  }

  /** Passes a cancel request on. PostgreSQL answers nothing and closes the connection. */
  private cancel(packet: Buffer, socket: Socket): void {
    const server = this.connect();
    server.on('error', () => socket.destroy());
    server.on('close', () => socket.destroy());
    server.end(packet);
  }
}
