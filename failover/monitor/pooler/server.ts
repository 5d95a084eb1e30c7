/**
 * The connection of the pooler's supervisor: the lease of a pause, and the figures that it reports.
 */
import type { Leaf } from '../../contract/certificates';
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
import { derivedPassword } from '../../contract/proof';
import { seal } from '../../contract/seal';
import { Listener } from '../../link/listener';
import type { Events, MonitorPorts, Pooler, PoolerView } from '../ports';
import { HaproxyLeaves } from './haproxy-leaves';

const SPEECH = { role: 'pooler', name: POOLER_NAME, version: POOLER_PROTOCOL, frames: FromPooler } as const;

type Ports = Pick<MonitorPorts, 'clusterKey' | 'log' | 'clock' | 'sockets'>;

/** The supervisor as the monitor sees it over one connection. */
interface Peer {
  readonly takesCertificate: boolean;
  pause: PauseState;
  pools: readonly PoolFigures[];
  certificateProblem: string | null;
}

export class PoolerServer implements Pooler {
  private readonly listener: Listener<ToPooler, FromPooler>;
  private readonly key: string;
  private readonly haproxy: HaproxyLeaves;
  private peer: Peer | null = null;
  private leaf: SealedLeaf | null = null;
  private wanted = false;
  private renewal: NodeJS.Timeout | undefined;

  constructor(
    private readonly ports: Ports,
    at: { address: string; port: number },
    private readonly loop: Pick<Events, 'wake'>,
  ) {
    this.key = derivedPassword(ports.clusterKey, 'pooler');
    this.haproxy = new HaproxyLeaves(ports.sockets);
    const { log, clock } = ports;
    this.listener = new Listener(at, this.key, SPEECH, () => clock.nowMs(), {
      begun: (hello) => this.begin(hello),
      receive: (frame) => this.receive(frame),
      ended: () => this.end(),
      refused: (address) =>
        log.write('WARN', 'pooler', 'POOLER_REFUSED', `a pooler at ${address} has a wrong key and was refused`),
      failed: (message) => log.write('ERROR', 'pooler', 'LISTEN_FAILED', message),
    });
  }

  async listen(): Promise<void> {
    await this.listener.listen();
    this.renewal = setInterval(() => this.tell(), RENEW_EVERY_MS);
  }

  /** The port on which the server listens. With port 0 in the options the kernel chooses it. */
  port(): number {
    return this.listener.port();
  }

  async close(): Promise<void> {
    clearInterval(this.renewal);
    await this.listener.close();
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
    this.listener.send(this.wanted ? { type: 'pause', forMs: PAUSE_LEASE_MS } : { type: 'resume' });
  }

  private hand(): void {
    const { peer, leaf } = this;
    if (leaf !== null && peer?.takesCertificate) this.listener.send(leaf);
  }

  private begin(hello: FromPooler): void {
    const takesCertificate = hello.type === 'hello' && hello.takesCertificate === true;
    this.peer = { takesCertificate, pause: 'no', pools: [], certificateProblem: null };
    this.haproxy.tellPooled(true);
    this.ports.log.write('INFO', 'pooler', 'POOLER_SEEN', 'the pooler is connected');
    this.tell();
    this.hand();
    this.loop.wake();
  }

  private end(): void {
    this.peer = null;
    this.haproxy.tellPooled(false);
    this.ports.log.write('WARN', 'pooler', 'POOLER_LOST', 'the connection to the pooler broke');
    this.loop.wake();
  }

  private receive(frame: FromPooler): void {
    const { peer } = this;
    if (peer === null) return;
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
}
