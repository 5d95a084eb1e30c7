/**
 * The connection of the pooler's supervisor: its proof, the lease of a pause, and the figures that it reports. The newest
 * proven connection takes the place of the one before.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import type { Leaf } from '../../contract/certificates';
import { onFrames, sendFrames } from '../../contract/frames';
import { oneLine } from '../../contract/log-line';
import {
  FromPooler,
  PAUSE_LEASE_MS,
  type PauseState,
  POOLER_NAME,
  POOLER_PROTOCOL,
  type PoolFigures,
  RENEW_EVERY_MS,
  type SealedLeaf,
  type ToPooler,
} from '../../contract/pooler';
import { derivedPassword, proof, sameProof } from '../../contract/proof';
import { seal } from '../../contract/seal';
import type { Events, MonitorPorts, Pooler, PoolerView } from '../ports';
import { HaproxyLeaves } from './haproxy-leaves';

const HANDSHAKE_LIMIT_MS = 2_000;
/** Connections that have not proven the key. More are refused. */
const UNPROVEN_MAX = 8;
/** The supervisor sends its figures every second. A connection that is silent for longer is ended, ms. */
const SILENCE_LIMIT_MS = 5_000;
const REFUSAL_LOG_MS = 60_000;

type Ports = Pick<MonitorPorts, 'clusterKey' | 'log' | 'clock' | 'sockets'>;

/** The supervisor as the monitor sees it over one connection. */
interface Peer {
  readonly socket: Socket;
  readonly takesCertificate: boolean;
  pause: PauseState;
  pools: readonly PoolFigures[];
  certificateProblem: string | null;
}

export class PoolerServer implements Pooler {
  private readonly server: Server;
  private readonly key: string;
  private readonly unproven = new Set<Socket>();
  private readonly haproxy: HaproxyLeaves;
  private peer: Peer | null = null;
  private leaf: SealedLeaf | null = null;
  private wanted = false;
  private renewal: NodeJS.Timeout | undefined;
  private refusedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly ports: Ports,
    private readonly at: { address: string; port: number },
    private readonly loop: Pick<Events, 'wake'>,
  ) {
    this.key = derivedPassword(ports.clusterKey, 'pooler');
    this.haproxy = new HaproxyLeaves(ports.sockets);
    this.server = createServer({ noDelay: true }, (socket) => this.accept(socket));
  }

  async listen(): Promise<void> {
    const { address, port } = this.at;
    await new Promise<void>((resolve, reject) => this.server.once('error', reject).listen(port, address, resolve));
    this.server.on('error', (error) => this.ports.log.write('ERROR', 'pooler', 'LISTEN_FAILED', error.message));
    this.renewal = setInterval(() => this.tell(), RENEW_EVERY_MS);
  }

  /** The port on which the server listens. With port 0 in the options the kernel chooses it. */
  port(): number {
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : this.at.port;
  }

  async close(): Promise<void> {
    clearInterval(this.renewal);
    for (const socket of this.unproven) socket.destroy();
    this.peer?.socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  pause(wanted: boolean): void {
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    this.tell();
  }

  isQuiet(): boolean {
    return this.peer === null || this.peer.pause === 'paused';
  }

  haproxyLeaves(): boolean {
    return this.peer !== null && this.haproxy.waits();
  }

  letHaproxyGo(): void {
    this.haproxy.release();
  }

  encrypt({ certificate, key, authority }: Leaf): void {
    // The connection is not encrypted. The pooler knows this key, and not the one with which the nodes' is sealed.
    this.leaf = { type: 'certificate', certificate, key: seal(this.key, key), authority };
    this.hand();
  }

  view(): PoolerView | null {
    return this.peer && { pause: this.peer.pause, pools: this.peer.pools };
  }

  /** Sends what is wanted. It is also the sign of life, and the renewal of the lease. */
  private tell(): void {
    if (this.peer === null) return;
    const frame: ToPooler = this.wanted ? { type: 'pause', forMs: PAUSE_LEASE_MS } : { type: 'resume' };
    this.send(this.peer, frame);
  }

  private hand(): void {
    const { peer, leaf } = this;
    if (leaf !== null && peer?.takesCertificate) this.send(peer, leaf);
  }

  private send({ socket }: Peer, frame: ToPooler): void {
    if (!sendFrames(socket, [frame])) socket.destroy();
  }

  private accept(socket: Socket): void {
    if (this.unproven.size >= UNPROVEN_MAX) {
      socket.destroy();
      return;
    }
    this.unproven.add(socket);
    const nonce = randomBytes(32).toString('hex');
    let limit = setTimeout(() => socket.destroy(), HANDSHAKE_LIMIT_MS);
    let peer: Peer | null = null;
    const receive = (frame: FromPooler) => {
      if (peer !== null) {
        limit.refresh();
        this.receive(peer, frame);
        return;
      }
      if (frame.type !== 'hello' || !this.isProven(frame.mac, nonce, frame.nonce)) {
        this.refuse(socket.remoteAddress ?? 'an unknown address');
        socket.destroy();
        return;
      }
      clearTimeout(limit);
      limit = setTimeout(() => socket.destroy(), SILENCE_LIMIT_MS);
      this.unproven.delete(socket);
      sendFrames(socket, [{ type: 'welcome', mac: proof(this.key, 'monitor', frame.nonce, nonce, POOLER_NAME) }]);
      peer = this.begin(socket, frame.takesCertificate === true);
    };
    onFrames(socket, FromPooler, receive, () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(limit);
      this.unproven.delete(socket);
      if (peer !== null && this.peer === peer) this.end();
    });
    sendFrames(socket, [{ type: 'challenge', version: POOLER_PROTOCOL, nonce }]);
  }

  private isProven(mac: string, ownNonce: string, theirNonce: string): boolean {
    return sameProof(mac, proof(this.key, 'pooler', ownNonce, theirNonce, POOLER_NAME));
  }

  private begin(socket: Socket, takesCertificate: boolean): Peer {
    const before = this.peer;
    const peer: Peer = { socket, takesCertificate, pause: 'no', pools: [], certificateProblem: null };
    this.peer = peer;
    before?.socket.destroy();
    this.haproxy.tellPooled(true);
    this.ports.log.write('INFO', 'pooler', 'POOLER_SEEN', 'the pooler is connected');
    this.tell();
    this.hand();
    this.loop.wake();
    return peer;
  }

  private end(): void {
    this.peer = null;
    this.haproxy.tellPooled(false);
    this.ports.log.write('WARN', 'pooler', 'POOLER_LOST', 'the connection to the pooler broke');
    this.loop.wake();
  }

  private receive(peer: Peer, frame: FromPooler): void {
    if (frame.type === 'figures') {
      peer.pools = frame.pools;
      this.warn(peer, frame.certificateProblem ?? null);
    }
    if (frame.type !== 'state' || peer.pause === frame.pause) return;
    peer.pause = frame.pause;
    this.loop.wake();
  }

  /** Logs why the pooler does not use the newest certificate, once. */
  private warn(peer: Peer, problem: string | null): void {
    if (problem === peer.certificateProblem) return;
    peer.certificateProblem = problem;
    if (problem !== null) this.ports.log.write('WARN', 'pooler', 'CERTIFICATE_REFUSED', oneLine(problem));
  }

  /** Logs a refused connection at most once a minute. */
  private refuse(address: string): void {
    const nowMs = this.ports.clock.nowMs();
    if (nowMs - this.refusedAtMs < REFUSAL_LOG_MS) return;
    this.refusedAtMs = nowMs;
    this.ports.log.write('WARN', 'pooler', 'POOLER_REFUSED', `a pooler at ${address} has a wrong key and was refused`);
  }
}
