/**
 * The TCP server that every keeper connects to. A connection counts after both sides have proven that they know the
 * cluster key. A node has one connection: the newest proven one wins. Silence counts only between a ping that was sent
 * and its missing answer (S11).
 */
import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { inBackground } from '../../contract/errors';
import { onFrames, sendFrames } from '../../contract/frames';
import {
  KeeperFrame,
  type MonitorFrame,
  type NodeSettings,
  PROTOCOL_VERSION,
  type StateCopy,
  type Status,
} from '../../contract/messages';
import { proof, sameProof } from '../../contract/proof';
import type { DeclaredNode } from '../../core/state/cluster';
import type { NodeView } from '../../core/state/observation';
import type { Clock, Events, Keepers, Log, SentOrder } from '../ports';
import { AnswerTimes, PROBE_LIMIT_MS, type ProbeResult, probePostgres } from './probe';
import { onlyAdvances } from './progress';

const HANDSHAKE_LIMIT_MS = 2_000;
const UNPROVEN_MAX = 32;
const REFUSAL_LOG_MS = 60_000;
/** Maximum number of quick connects in a row to a PostgreSQL whose keeper is still connected. */
const PROBES_MAX = 5;

export interface KeeperServerOptions {
  address: string;
  port: number;
  clusterKey: string;
  settings: NodeSettings;
  incarnation: number;
  /** How long a node may take to answer when nothing is known of its network yet, ms (S11). */
  hangTimeoutMs: number;
  clock: Clock;
  log: Log;
  /** The quick connect that confirms a broken connection. @default probePostgres */
  probe?: (address: string, limitMs: () => number) => Promise<ProbeResult>;
  loop: Pick<Events, 'wake' | 'advanced' | 'outranked'>;
}

type Hello = Extract<KeeperFrame, { type: 'hello' }>;

/** One declared node. */
interface Peer {
  readonly node: DeclaredNode;
  readonly answers: AnswerTimes;
  everConnected: boolean;
  spell: Spell;
}

/**
 * One connection of a node, or the time between two connections. All other knowledge of the node begins and ends with
 * it.
 */
interface Spell extends Pick<NodeView, 'changedAtMs' | 'heardAtMs' | 'recall' | 'slots'> {
  readonly link: Link | null;
  /** Id of the last order that was sent. */
  sent: string | null;
  rememberedSeq: number | null;
  seen: Sight;
}

/** What the monitor has seen of a node in this spell; a stall of the monitor discards it (S11). */
interface Sight extends Pick<NodeView, 'status' | 'streamingSeenAtMs' | 'probe' | 'refusedAtMs'> {
  pings: { n: number; sentAtMs: number }[];
  heartbeat: { count: number; atMs: number } | null;
  /** True while a quick connect to its PostgreSQL is under way. */
  asking: boolean;
}

export class KeeperServer implements Keepers {
  private readonly peers: Map<string, Peer>;
  private readonly server: Server;
  private readonly unproven = new Set<Link>();
  private readonly refusals = new Map<string, number>();
  private settings: NodeSettings;
  private incarnation: number;

  constructor(private readonly options: KeeperServerOptions) {
    this.settings = options.settings;
    this.incarnation = options.incarnation;
    const nowMs = options.clock.nowMs();
    this.peers = new Map(
      options.settings.nodes.map((node) => {
        const spell = newSpell(null, nowMs);
        return [node.name, { node, answers: new AnswerTimes(), everConnected: false, spell }];
      }),
    );
    this.server = createServer({ noDelay: true }, (socket) => this.accept(socket));
  }

  /** Begins to listen. Throws when the address or port is not available. */
  async listen(): Promise<void> {
    const { address, port } = this.options;
    await new Promise<void>((resolve, reject) => this.server.once('error', reject).listen(port, address, resolve));
    this.server.on('error', (error) => this.options.log.write('ERROR', 'monitor', 'LISTEN_FAILED', error.message));
  }

  /** The port that the server listens on. It differs from the option when that is 0. */
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
    for (const [name, { everConnected, spell }] of this.peers) {
      const { link, changedAtMs, heardAtMs, recall, slots, seen } = spell;
      const { status, pings, heartbeat, streamingSeenAtMs, probe, refusedAtMs } = seen;
      const silentMs = Math.max(0, nowMs - (pings[0]?.sentAtMs ?? nowMs));
      views[name] = {
        ...{ name, connected: link !== null, everConnected, changedAtMs, status, silentMs, heardAtMs },
        ...{ streamingSeenAtMs, heartbeatSeenAtMs: heartbeat?.atMs ?? null, probe, refusedAtMs, recall },
        ...(slots === undefined ? {} : { slots }),
      };
    }
    return views;
  }

  ping(n: number): boolean {
    const nowMs = this.options.clock.nowMs();
    let answered = true;
    for (const { spell } of this.peers.values()) {
      const { link, seen } = spell;
      if (link === null) continue;
      if (seen.pings.length > 0) answered = false;
      // The list is bounded: only the oldest unanswered ping measures the silence.
      if (seen.pings.length < 64) seen.pings.push({ n, sentAtMs: nowMs });
      link.send({ type: 'ping', n });
    }
    return answered;
  }

  order(node: string, order: SentOrder): void {
    const spell = this.peers.get(node)?.spell;
    const id = `${order.incarnation}.${order.term}.${order.seq}`;
    if (spell === undefined || spell.link === null || spell.sent === id) return;
    spell.sent = id;
    spell.link.send({ type: 'order', ...order });
  }

  remember(copy: StateCopy): void {
    for (const { spell } of this.peers.values()) {
      // The keeper first has to tell the copy that it has: a monitor with an old store must not overwrite that copy
      // unseen.
      if (spell.link === null || spell.recall === undefined || spell.rememberedSeq === copy.seq) continue;
      spell.rememberedSeq = copy.seq;
      spell.link.send({ type: 'remember', ...copy });
    }
  }

  probe(node: string): void {
    const peer = this.peers.get(node);
    if (peer === undefined || peer.spell.seen.asking) return;
    const { seen } = peer.spell;
    seen.asking = true;
    const asked = this.askPostgres(peer, seen).then((result) => {
      // The observations were discarded meanwhile, so the result of this connect is outdated.
      if (peer.spell.seen !== seen) return;
      const atMs = this.options.clock.nowMs();
      seen.probe = { alive: result === 'alive', atMs };
      seen.refusedAtMs = result === 'refused' ? atMs : null;
      this.options.loop.wake();
    });
    inBackground(
      () => asked,
      undefined,
      () => {
        seen.asking = false;
      },
    );
  }

  /**
   * Asks PostgreSQL by quick connects. While the keeper is connected, a dying PostgreSQL is asked until it refuses;
   * without the keeper the first result decides.
   */
  private async askPostgres(peer: Peer, seen: Sight): Promise<ProbeResult> {
    const ask = this.options.probe ?? probePostgres;
    for (let tries = 1; ; tries += 1) {
      const isThere = peer.spell.link !== null;
      const result = await ask(peer.node.address, () => (isThere ? PROBE_LIMIT_MS : this.silenceMs(peer)));
      const isSure = result === 'alive' || result === 'refused';
      if (isSure || !isThere || peer.spell.seen !== seen || tries >= PROBES_MAX) return result;
    }
  }

  /** How long a missing answer does not prove that PostgreSQL is dead, ms: packets may come late (S11). */
  private silenceMs(peer: Peer): number {
    const { hangTimeoutMs } = this.options;
    const others = [...this.peers.values()].filter((p) => p !== peer && p.spell.link !== null).map((p) => p.answers);
    return Math.min(hangTimeoutMs, peer.answers.limitMs(others) ?? hangTimeoutMs);
  }

  forget(nowMs: number): void {
    for (const peer of this.peers.values()) {
      peer.spell.seen = nothingSeen();
      peer.answers.age();
      if (peer.spell.link !== null) peer.spell.changedAtMs = nowMs;
    }
  }

  retire(node: string): void {
    const peer = this.peers.get(node);
    if (peer === undefined) return;
    this.peers.delete(node);
    peer.spell.link?.destroy();
    this.settings = { ...this.settings, nodes: this.settings.nodes.filter((n) => n.name !== node) };
    for (const { spell } of this.peers.values()) if (spell.link !== null) this.sendSettings(spell.link);
  }

  restart(incarnation: number): void {
    this.incarnation = incarnation;
    for (const { spell } of this.peers.values()) spell.link?.destroy();
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
        if (peer.spell.link === link) this.receive(peer, frame);
        return;
      }
      if (frame.type === 'hello') peer = this.prove(frame, nonce, socket.remoteAddress ?? 'an unknown address');
      if (frame.type !== 'hello' || peer === null) {
        link.destroy();
        return;
      }
      clearTimeout(limit);
      this.unproven.delete(link);
      link.takesVerifier = frame.takesVerifier === true;
      const mac = proof(this.options.clusterKey, 'monitor', frame.nonce, nonce, peer.node.name);
      link.send({ type: 'welcome', mac });
      this.joined(peer, link);
    };
    link.send({ type: 'challenge', version: PROTOCOL_VERSION, incarnation: this.incarnation, nonce });
  }

  /** The declared node that a first frame proves to come from; null when it does not. */
  private prove(frame: Hello, nonce: string, address: string): Peer | null {
    const expected = proof(this.options.clusterKey, 'keeper', nonce, frame.nonce, frame.node);
    // This name is not proven: any program that reaches the port can send any name.
    const caller = `a keeper at ${address} that calls itself ${JSON.stringify(frame.node)}`;
    if (!sameProof(frame.mac, expected)) {
      this.refuse('KEY_WRONG', `${caller} has a wrong cluster key and was refused`);
      return null;
    }
    const peer = this.peers.get(frame.node) ?? null;
    if (peer === null) this.refuse('NODE_UNKNOWN', `${caller} is not declared in this stack and was refused`);
    return peer;
  }

  /** Logs a refused keeper at most once a minute, because it connects again and again. */
  private refuse(code: 'KEY_WRONG' | 'NODE_UNKNOWN', message: string): void {
    const nowMs = this.options.clock.nowMs();
    if (nowMs - (this.refusals.get(code) ?? Number.NEGATIVE_INFINITY) < REFUSAL_LOG_MS) return;
    this.refusals.set(code, nowMs);
    this.options.log.write('WARN', 'monitor', code, message);
  }

  private joined(peer: Peer, link: Link): void {
    const before = peer.spell.link;
    this.begin(peer, link);
    before?.destroy();
    this.sendSettings(link);
    this.options.log.write('INFO', peer.node.name, 'CONNECTED', 'the keeper is connected');
    this.options.loop.wake();
  }

  private sendSettings(link: Link): void {
    const { databasePassword, ...rest } = this.settings;
    const needsPassword = rest.databaseVerifier === undefined || !link.takesVerifier;
    link.send({ type: 'settings', settings: needsPassword ? this.settings : rest });
  }

  private lost(peer: Peer, link: Link): void {
    if (peer.spell.link !== link) return;
    this.begin(peer, null);
    this.options.log.write('WARN', peer.node.name, 'DISCONNECTED', 'the connection to the keeper broke');
    this.options.loop.wake();
  }

  private begin(peer: Peer, link: Link | null): void {
    peer.everConnected = true;
    peer.spell = newSpell(link, this.options.clock.nowMs());
  }

  private receive(peer: Peer, frame: KeeperFrame): void {
    const nowMs = this.options.clock.nowMs();
    const { spell } = peer;
    const { seen } = spell;
    spell.heardAtMs = nowMs;
    switch (frame.type) {
      case 'pong': {
        const sent = seen.pings.find((p) => p.n === frame.n);
        if (sent !== undefined) peer.answers.note(nowMs - sent.sentAtMs);
        seen.pings = seen.pings.filter((p) => p.n > frame.n);
        return;
      }
      case 'recall':
        spell.recall = frame.newest;
        break;
      case 'status': {
        const before = seen.status;
        this.receiveStatus(spell, frame, nowMs);
        if (before === null || !onlyAdvances(before, frame)) break;
        this.options.loop.advanced();
        return;
      }
      case 'note':
        this.options.log.write(LEVELS[frame.level], peer.node.name, frame.code, frame.message);
        return;
      case 'hello':
        return;
    }
    this.options.loop.wake();
  }

  private receiveStatus(spell: Spell, status: Status, nowMs: number): void {
    const { seen } = spell;
    const { heartbeatSeen, streamingFrom } = status.postgres;
    if (status.accepted !== null && status.accepted.incarnation > this.incarnation) {
      this.options.loop.outranked(status.accepted.incarnation);
      return;
    }
    seen.status = status;
    if (status.slots !== undefined) spell.slots = status.slots;
    if (streamingFrom !== null) seen.streamingSeenAtMs = nowMs;
    if (heartbeatSeen === null) return;
    // The first value on a connection does not show when the leader wrote it.
    if (seen.heartbeat === null) seen.heartbeat = { count: heartbeatSeen, atMs: Number.NEGATIVE_INFINITY };
    else if (heartbeatSeen > seen.heartbeat.count) seen.heartbeat = { count: heartbeatSeen, atMs: nowMs };
  }
}

const LEVELS = { info: 'INFO', warn: 'WARN', error: 'ERROR' } as const;

function nothingSeen(): Sight {
  const nothing = { status: null, heartbeat: null, streamingSeenAtMs: null, probe: null, refusedAtMs: null };
  return { ...nothing, pings: [], asking: false };
}

function newSpell(link: Link | null, nowMs: number): Spell {
  const nothing = { recall: undefined, slots: undefined, sent: null, rememberedSeq: null };
  return { link, changedAtMs: nowMs, heardAtMs: nowMs, ...nothing, seen: nothingSeen() };
}

/** One TCP connection to a keeper: receives frames, sends frames, and ends once. */
class Link {
  onFrame: (frame: KeeperFrame) => void = () => undefined;
  onEnd: () => void = () => undefined;
  /** The keeper needs no password; see `takesVerifier` in messages.ts. */
  takesVerifier = false;
  private ended = false;

  constructor(private readonly socket: Socket) {
    const destroy = () => this.destroy();
    onFrames(socket, KeeperFrame, (frame) => this.onFrame(frame), destroy);
    socket.on('error', destroy).on('end', destroy).on('close', destroy);
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
