/**
 * The keepers' end: a TCP server that every keeper dials. A connection counts after the mutual proof of the cluster key;
 * a node has one, the newest proven one wins. Only silence between a probe that was sent and its missing answer counts
 * (S11).
 */
import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { onFrames, sendFrames } from '../../contract/frames';
import {
  KeeperFrame,
  type MonitorFrame,
  type NodeSettings,
  PROTOCOL_VERSION,
  type SlotView,
  type StateCopy,
  type Status,
} from '../../contract/messages';
import { proof, sameProof } from '../../contract/proof';
import type { DeclaredNode, NodeView } from '../../core/state/cluster';
import type { Clock, Keepers, Log, SentOrder } from '../ports';
import { AnswerTimes, PROBE_LIMIT_MS, type ProbeResult, probePostgres } from './probe';
import { onlyAdvances } from './progress';

const HANDSHAKE_LIMIT_MS = 2_000;
const UNPROVEN_MAX = 32;
const REFUSAL_LOG_MS = 60_000;
/** Quick connects in a row to a PostgreSQL whose keeper is still there. */
const PROBES_MAX = 5;

export interface KeeperServerOptions {
  address: string;
  port: number;
  clusterKey: string;
  settings: NodeSettings;
  incarnation: number;
  /** For so long a node is given to answer of whose network nothing is known, ms (S11). */
  hangTimeoutMs: number;
  clock: Clock;
  log: Log;
  /** The quick connect that confirms a broken connection. @default probePostgres */
  probe?: (address: string, limitMs: () => number) => Promise<ProbeResult>;
  /** Something was seen: a cycle is due. */
  wake: () => void;
  /** Positions and counters went on, nothing else: only who waits for them has to look. */
  advanced: () => void;
  /** A keeper has accepted an order of this (higher) incarnation: another or an older monitor gave it. */
  onIncarnation: (incarnation: number) => void;
}

/** What is known of one declared node; the connection comes and goes. */
interface Peer {
  node: DeclaredNode;
  link: Link | null;
  everConnected: boolean;
  heardAtMs: number;
  changedAtMs: number;
  status: Status | null;
  pings: { n: number; sentAtMs: number }[];
  heartbeat: { count: number; atMs: number } | null;
  streamingSeenAtMs: number | null;
  probe: { alive: boolean; atMs: number } | null;
  refusedAtMs: number | null;
  /** The question that is under way; one of a former connection counts no more. */
  asked: symbol | null;
  answers: AnswerTimes;
  recall: NodeView['recall'];
  slots: SlotView[] | undefined;
  sent: string | null;
  rememberedSeq: number | null;
}

export class KeeperServer implements Keepers {
  private readonly options: KeeperServerOptions;
  private readonly peers: Map<string, Peer>;
  private readonly server: Server;
  private readonly unproven = new Set<Link>();
  private readonly refusals = new Map<string, number>();
  private settings: NodeSettings;
  private incarnation: number;

  constructor(options: KeeperServerOptions) {
    this.options = options;
    this.settings = options.settings;
    this.incarnation = options.incarnation;
    const nowMs = options.clock.nowMs();
    this.peers = new Map(options.settings.nodes.map((node) => [node.name, newPeer(node, nowMs)]));
    this.server = createServer({ noDelay: true }, (socket) => this.accept(socket));
  }

  /** Listens. Throws when the address or port cannot be had. */
  async listen(): Promise<void> {
    const { address, port } = this.options;
    await new Promise<void>((resolve, reject) => this.server.once('error', reject).listen(port, address, resolve));
    this.server.on('error', (error) => this.options.log.write('ERROR', 'monitor', 'LISTEN_FAILED', error.message));
  }

  /** The port that it listens on; differs from the option when that was 0. */
  port(): number {
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : this.options.port;
  }

  async close(): Promise<void> {
    this.restart(this.incarnation);
    for (const link of this.unproven) link.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  views(nowMs: number): Record<string, NodeView> {
    const views: Record<string, NodeView> = {};
    for (const [name, peer] of this.peers) {
      const oldest = peer.pings[0];
      views[name] = {
        name,
        connected: peer.link !== null,
        everConnected: peer.everConnected,
        changedAtMs: peer.changedAtMs,
        status: peer.status,
        silentMs: oldest === undefined ? 0 : Math.max(0, nowMs - oldest.sentAtMs),
        heardAtMs: peer.heardAtMs,
        streamingSeenAtMs: peer.streamingSeenAtMs,
        heartbeatSeenAtMs: peer.heartbeat?.atMs ?? null,
        probe: peer.probe,
        refusedAtMs: peer.refusedAtMs,
        recall: peer.recall,
        ...(peer.slots === undefined ? {} : { slots: peer.slots }),
      };
    }
    return views;
  }

  ping(n: number): boolean {
    const nowMs = this.options.clock.nowMs();
    let answered = true;
    for (const peer of this.peers.values()) {
      if (peer.link === null) continue;
      if (peer.pings.length > 0) answered = false;
      // Bounded: the oldest one is what counts, newer ones only help it to be answered.
      if (peer.pings.length < 64) peer.pings.push({ n, sentAtMs: nowMs });
      peer.link.send({ type: 'ping', n });
    }
    return answered;
  }

  order(node: string, order: SentOrder): void {
    const peer = this.peers.get(node);
    if (peer === undefined || peer.link === null) return;
    const id = `${order.incarnation}.${order.term}.${order.seq}`;
    if (peer.sent === id) return;
    peer.sent = id;
    peer.link.send({ type: 'order', ...order });
  }

  remember(copy: StateCopy): void {
    for (const peer of this.peers.values()) {
      // First it tells what it remembers: an old store must not overwrite that unseen.
      if (peer.link === null || peer.recall === undefined || peer.rememberedSeq === copy.seq) continue;
      peer.rememberedSeq = copy.seq;
      peer.link.send({ type: 'remember', ...copy });
    }
  }

  probe(node: string): void {
    const peer = this.peers.get(node);
    if (peer === undefined || peer.asked !== null) return;
    const asked = Symbol(node);
    peer.asked = asked;
    this.askPostgres(peer, asked)
      .then((result) => {
        if (peer.asked !== asked) return;
        const atMs = this.options.clock.nowMs();
        peer.probe = { alive: result === 'alive', atMs };
        peer.refusedAtMs = result === 'refused' ? atMs : null;
        this.options.wake();
      })
      .catch(() => undefined)
      .finally(() => {
        if (peer.asked === asked) peer.asked = null;
      });
  }

  /** While the keeper is there a dying PostgreSQL is asked until it refuses; else the first outcome tells. */
  private async askPostgres(peer: Peer, asked: symbol): Promise<ProbeResult> {
    const ask = this.options.probe ?? probePostgres;
    for (let tries = 1; ; tries += 1) {
      const isThere = peer.link !== null;
      const result = await ask(peer.node.address, () => (isThere ? PROBE_LIMIT_MS : this.silenceMs(peer)));
      const isSure = result === 'alive' || result === 'refused';
      if (isSure || !isThere || peer.asked !== asked || tries >= PROBES_MAX) return result;
    }
  }

  /** How long silence is no death, ms: packets may come late (S11). */
  private silenceMs(peer: Peer): number {
    const { hangTimeoutMs } = this.options;
    const others = [...this.peers.values()].filter((p) => p !== peer && p.link !== null).map((p) => p.answers);
    return Math.min(hangTimeoutMs, peer.answers.limitMs(others) ?? hangTimeoutMs);
  }

  forget(nowMs: number): void {
    for (const peer of this.peers.values()) {
      Object.assign(peer, nothingSeen());
      peer.answers.age();
      if (peer.link !== null) peer.changedAtMs = nowMs;
    }
  }

  retire(node: string): void {
    const peer = this.peers.get(node);
    if (peer === undefined) return;
    this.peers.delete(node);
    peer.link?.destroy();
    this.settings = { ...this.settings, nodes: this.settings.nodes.filter((n) => n.name !== node) };
    for (const { link } of this.peers.values()) link?.send({ type: 'settings', settings: this.settings });
  }

  restart(incarnation: number): void {
    this.incarnation = incarnation;
    for (const peer of this.peers.values()) peer.link?.destroy();
  }

  private accept(socket: Socket): void {
    if (this.unproven.size >= UNPROVEN_MAX) {
      socket.destroy();
      return;
    }
    const link = new Link(socket);
    this.unproven.add(link);
    const nonce = randomBytes(32).toString('hex');
    const limit = setTimeout(() => link.destroy(), HANDSHAKE_LIMIT_MS);
    let peer: Peer | null = null;
    link.onEnd = () => {
      clearTimeout(limit);
      this.unproven.delete(link);
      if (peer !== null) this.lost(peer, link);
    };
    link.onFrame = (frame) => {
      if (peer !== null) {
        if (peer.link === link) this.receive(peer, frame);
        return;
      }
      peer = this.prove(frame, nonce, socket.remoteAddress ?? 'an unknown address');
      if (peer === null) {
        link.destroy();
        return;
      }
      clearTimeout(limit);
      this.unproven.delete(link);
      const mac = proof(
        this.options.clusterKey,
        'monitor',
        frame.type === 'hello' ? frame.nonce : '',
        nonce,
        peer.node.name,
      );
      link.send({ type: 'welcome', mac });
      this.joined(peer, link);
    };
    link.send({ type: 'challenge', version: PROTOCOL_VERSION, incarnation: this.incarnation, nonce });
  }

  private prove(frame: KeeperFrame, nonce: string, address: string): Peer | null {
    if (frame.type !== 'hello') return null;
    const expected = proof(this.options.clusterKey, 'keeper', nonce, frame.nonce, frame.node);
    // Any program that reaches this port chooses that name.
    const caller = `a keeper at ${address} that calls itself ${JSON.stringify(frame.node)}`;
    if (!sameProof(frame.mac, expected)) {
      this.refuse('KEY_WRONG', `${caller} has a wrong cluster key and was refused`);
      return null;
    }
    const peer = this.peers.get(frame.node) ?? null;
    if (peer === null) this.refuse('NODE_UNKNOWN', `${caller} is not declared in this stack and was refused`);
    return peer;
  }

  /** A refused keeper dials again and again: it is logged once a minute. */
  private refuse(code: 'KEY_WRONG' | 'NODE_UNKNOWN', message: string): void {
    const nowMs = this.options.clock.nowMs();
    if (nowMs - (this.refusals.get(code) ?? Number.NEGATIVE_INFINITY) < REFUSAL_LOG_MS) return;
    this.refusals.set(code, nowMs);
    this.options.log.write('WARN', 'monitor', code, message);
  }

  private joined(peer: Peer, link: Link): void {
    const nowMs = this.options.clock.nowMs();
    const before = peer.link;
    Object.assign(peer, newPeer(peer.node, nowMs, peer.answers), { link, everConnected: true });
    before?.destroy();
    link.send({ type: 'settings', settings: this.settings });
    this.options.log.write('INFO', peer.node.name, 'CONNECTED', 'the keeper is connected');
    this.options.wake();
  }

  private lost(peer: Peer, link: Link): void {
    if (peer.link !== link) return;
    Object.assign(peer, newPeer(peer.node, this.options.clock.nowMs(), peer.answers), { everConnected: true });
    this.options.log.write('WARN', peer.node.name, 'DISCONNECTED', 'the connection to the keeper broke');
    this.options.wake();
  }

  private receive(peer: Peer, frame: KeeperFrame): void {
    const nowMs = this.options.clock.nowMs();
    peer.heardAtMs = nowMs;
    switch (frame.type) {
      case 'pong': {
        const sent = peer.pings.find((p) => p.n === frame.n);
        if (sent !== undefined) peer.answers.note(nowMs - sent.sentAtMs);
        peer.pings = peer.pings.filter((p) => p.n > frame.n);
        return;
      }
      case 'recall':
        peer.recall = frame.newest;
        break;
      case 'status': {
        const before = peer.status;
        this.receiveStatus(peer, frame, nowMs);
        if (before === null || !onlyAdvances(before, frame)) break;
        this.options.advanced();
        return;
      }
      case 'note':
        this.options.log.write(
          frame.level === 'info' ? 'INFO' : frame.level === 'warn' ? 'WARN' : 'ERROR',
          peer.node.name,
          frame.code,
          frame.message,
        );
        return;
      case 'hello':
        return;
    }
    this.options.wake();
  }

  private receiveStatus(peer: Peer, status: Status, nowMs: number): void {
    const { heartbeatSeen, streamingFrom } = status.postgres;
    if (status.accepted !== null && status.accepted.incarnation > this.incarnation) {
      this.options.onIncarnation(status.accepted.incarnation);
      return;
    }
    peer.status = status;
    if (status.slots !== undefined) peer.slots = status.slots;
    if (streamingFrom !== null) peer.streamingSeenAtMs = nowMs;
    if (heartbeatSeen === null) return;
    // The first value of a connection says nothing about when the row was written.
    if (peer.heartbeat === null) peer.heartbeat = { count: heartbeatSeen, atMs: Number.NEGATIVE_INFINITY };
    else if (heartbeatSeen > peer.heartbeat.count) peer.heartbeat = { count: heartbeatSeen, atMs: nowMs };
  }
}

/** What a connection or a stall begins with (S11). */
function nothingSeen() {
  return {
    status: null,
    pings: [],
    heartbeat: null,
    streamingSeenAtMs: null,
    probe: null,
    refusedAtMs: null,
    asked: null,
  } satisfies Partial<Peer>;
}

function newPeer(node: DeclaredNode, nowMs: number, answers = new AnswerTimes()): Peer {
  return {
    node,
    link: null,
    everConnected: false,
    changedAtMs: nowMs,
    heardAtMs: nowMs,
    ...nothingSeen(),
    answers,
    recall: undefined,
    slots: undefined,
    sent: null,
    rememberedSeq: null,
  };
}

/** One connection: frames in, frames out, one end. */
class Link {
  onFrame: (frame: KeeperFrame) => void = () => undefined;
  onEnd: () => void = () => undefined;
  private readonly socket: Socket;
  private ended = false;

  constructor(socket: Socket) {
    this.socket = socket;
    onFrames(
      socket,
      KeeperFrame,
      (frame) => this.onFrame(frame),
      () => this.destroy(),
    );
    socket.on('error', () => this.destroy());
    socket.on('end', () => this.destroy());
    socket.on('close', () => this.destroy());
  }

  send(frame: MonitorFrame): void {
    if (!this.ended && !sendFrames(this.socket, [frame])) this.destroy();
  }

  destroy(): void {
    if (this.ended) return;
    this.ended = true;
    this.socket.destroy();
    this.onEnd();
  }
}
