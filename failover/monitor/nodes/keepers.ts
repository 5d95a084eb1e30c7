/**
 * The TCP server that every keeper connects to. A connection counts after both sides have proven that they know the
 * cluster key. A node has one connection: the newest proven one wins. Silence counts only between a ping that was sent
 * and its missing answer (S11).
 */
import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import type { Gap, JobOrder, RepositoryName } from '../../contract/backups';
import type { ClientSlotsRecord } from '../../contract/client-slots';
import { inBackground } from '../../contract/errors';
import { onFrames, sendFrames } from '../../contract/frames';
import {
  KeeperFrame,
  type MonitorFrame,
  PINGS_A_SLOT_ORDER,
  PROTOCOL_VERSION,
  type StateCopy,
  type Status,
  type TlsSettings,
} from '../../contract/messages';
import { proof, sameProof } from '../../contract/proof';
import type { DeclaredNode, Policy } from '../../core/state/cluster';
import type { NodeView } from '../../core/state/observation';
import type { Events, Keepers, MonitorPorts, ProbeResult, SentOrder, Store } from '../ports';
import { AnswerTimes, PROBE_LIMIT_MS, probePostgres } from './probe';
import { onlyAdvances } from './progress';
import { SlotOrders } from './slot-orders';

const HANDSHAKE_LIMIT_MS = 2_000;
const UNPROVEN_MAX = 32;
const REFUSAL_LOG_MS = 60_000;
/** Maximum number of quick connects in a row to a PostgreSQL whose keeper is still connected. */
const PROBES_MAX = 5;

/** `policy.hangTimeoutMs`: how long a node may take to answer when nothing is known of its network yet (S11). */
type KeeperPorts = Pick<MonitorPorts, 'listen' | 'clusterKey' | 'settings' | 'clock' | 'log' | 'probe'> & {
  policy: Pick<Policy, 'hangTimeoutMs'>;
  store: Pick<Store, 'incarnation'>;
};

type Hello = Extract<KeeperFrame, { type: 'hello' }>;

/** One declared node. */
interface Peer {
  readonly node: DeclaredNode;
  readonly answers: AnswerTimes;
  period: Period;
}

/**
 * The time of one connection of a node, or the time between two connections. What the monitor knows of the node begins
 * and ends with this period. A stall of the monitor begins a new period on the same connection, in which nothing of the
 * former one counts (S11).
 */
interface Period {
  readonly link: Link | null;
  /** What the monitor knows of the node, without its silence. */
  readonly view: NodeView;
  /** Id of the last order that was sent. */
  sent: string | null;
  rememberedSeq: number | null;
  /** Unanswered pings, oldest first. */
  pings: { n: number; sentAtMs: number }[];
  /** The newest ping that was answered; null: none was. */
  answered: number | null;
  /** The newest heartbeat count. */
  heartbeat: number | null;
  /** True while a quick connect to its PostgreSQL is under way. */
  asking: boolean;
}

export class KeeperServer implements Keepers {
  private readonly peers: Map<string, Peer>;
  private readonly server: Server;
  private readonly unproven = new Set<Link>();
  private readonly refusals = new Map<string, number>();
  private incarnation: number;
  /** The node that may archive. */
  private archivist: { node: string; term: number; slots?: ClientSlotsRecord } | null = null;
  private readonly slots = new SlotOrders();
  /** Up to where the repository has what that node, or the last one, wrote; undefined: not known. */
  private archived: ArchivedPart | undefined;
  /** The same for the backups in S3. */
  private archivedS3: (ArchivedPart & { place: string }) | undefined;
  /** The job for the backups that it is asked for. */
  private readonly jobs = new Map<RepositoryName, JobOrder>();
  /** The restore whose former data are to be removed. */
  private confirmed: string | undefined;
  private tls: TlsSettings | undefined;

  constructor(
    private readonly ports: KeeperPorts,
    private nodes: readonly DeclaredNode[],
    private readonly loop: Pick<Events, 'wake' | 'advanced' | 'outranked'>,
  ) {
    this.incarnation = ports.store.incarnation;
    this.tls = ports.settings.tls;
    const nowMs = ports.clock.nowMs();
    const peerOf = (node: DeclaredNode): Peer => {
      return { node, answers: new AnswerTimes(), period: newPeriod(node.name, null, false, nowMs) };
    };
    this.peers = new Map(nodes.map((node) => [node.name, peerOf(node)]));
    this.server = createServer({ noDelay: true }, (socket) => this.accept(socket));
  }

  /** Begins to listen. Throws when the address or port is not available. */
  async listen(): Promise<void> {
    const { address, port } = this.ports.listen;
    await new Promise<void>((resolve, reject) => this.server.once('error', reject).listen(port, address, resolve));
    this.server.on('error', (error) => this.ports.log.write('ERROR', 'monitor', 'LISTEN_FAILED', error.message));
  }

  /** The port on which the server listens. With port 0 in the options the kernel chooses it. */
  port(): number {
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : this.ports.listen.port;
  }

  async close(): Promise<void> {
    this.restart(this.incarnation);
    for (const link of this.unproven) link.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  views(nowMs: number): Record<string, NodeView> {
    const viewOf = ({ view, pings }: Period): NodeView => {
      return { ...view, silentMs: Math.max(0, nowMs - (pings[0]?.sentAtMs ?? nowMs)) };
    };
    return Object.fromEntries([...this.peers].map(([name, { period }]) => [name, viewOf(period)]));
  }

  ping(n: number): boolean {
    const nowMs = this.ports.clock.nowMs();
    let answered = true;
    for (const { period } of this.peers.values()) {
      const { link, pings } = period;
      if (link === null) continue;
      if (pings.length > 0) answered = false;
      // The list is bounded: only the oldest unanswered ping measures the silence.
      if (pings.length < 64) pings.push({ n, sentAtMs: nowMs });
      link.send(this.pingOf(period, n));
    }
    return answered;
  }

  private pingOf({ view, answered }: Period, n: number): MonitorFrame {
    const { archivist, archived } = this;
    const confirmed = this.confirmed === undefined ? {} : { confirmed: this.confirmed };
    if (archivist === null) return { type: 'ping', n, ...confirmed };
    const mayArchive = archivist.node === view.name && answered !== null;
    const archive = mayArchive ? { archive: { term: archivist.term, heard: answered } } : {};
    const job = (name: RepositoryName) => {
      const backup = this.jobs.get(name);
      return mayArchive && backup !== undefined ? { backup } : {};
    };
    const { archivedS3 } = this;
    const s3 = archivedS3 === undefined ? {} : { s3: { ...job('s3'), ...archivedS3 } };
    const slots = n % PINGS_A_SLOT_ORDER === 0 ? { slots: this.slots.orderFor(view.name, archivist) } : {};
    return { type: 'ping', n, ...archive, ...job('local'), ...archived, ...s3, ...confirmed, ...slots };
  }

  archive(by: { node: string; term: number; slots?: ClientSlotsRecord } | null): void {
    this.archivist = by;
  }

  backup(order: JobOrder | null, name: RepositoryName = 'local'): void {
    if (order === null) this.jobs.delete(name);
    else this.jobs.set(name, order);
  }

  removeKept(id: string | undefined): void {
    this.confirmed = id;
  }

  order(node: string, order: SentOrder): void {
    const period = this.peers.get(node)?.period;
    const id = `${order.incarnation}.${order.term}.${order.seq}`;
    if (period === undefined || period.link === null || period.sent === id) return;
    period.sent = id;
    period.link.send({ type: 'order', ...order });
  }

  remember(copy: StateCopy): void {
    for (const { period } of this.peers.values()) {
      // The keeper first has to report the copy that it has. Otherwise a monitor with an old store would overwrite a
      // newer copy that it has not seen.
      if (period.link === null || period.view.recall === undefined || period.rememberedSeq === copy.seq) continue;
      period.rememberedSeq = copy.seq;
      period.link.send({ type: 'remember', ...copy });
    }
  }

  probe(node: string): void {
    const peer = this.peers.get(node);
    if (peer !== undefined && !peer.period.asking) inBackground(() => this.confirm(peer, peer.period));
  }

  /**
   * Records whether the node's PostgreSQL runs. If a new period began meanwhile, the result is outdated and is dropped.
   */
  private async confirm(peer: Peer, period: Period): Promise<void> {
    period.asking = true;
    try {
      const result = await this.askPostgres(peer, period);
      if (peer.period !== period) return;
      const atMs = this.ports.clock.nowMs();
      period.view.probe = { alive: result === 'alive', atMs };
      period.view.refusedAtMs = result === 'refused' ? atMs : null;
      this.loop.wake();
    } finally {
      period.asking = false;
    }
  }

  /**
   * Makes quick connects to PostgreSQL. While the keeper is connected, a PostgreSQL that is dying is tried until it
   * refuses. Without the keeper the first result decides.
   */
  private async askPostgres(peer: Peer, period: Period): Promise<ProbeResult> {
    const ask = this.ports.probe ?? probePostgres;
    const isThere = period.link !== null;
    for (let tries = 1; ; tries += 1) {
      const result = await ask(peer.node.address, () => (isThere ? PROBE_LIMIT_MS : this.silenceMs(peer)));
      const isSure = result === 'alive' || result === 'refused';
      if (isSure || !isThere || peer.period !== period || tries >= PROBES_MAX) return result;
    }
  }

  /**
   * Time for which a missing answer does not prove that PostgreSQL is dead, ms, because packets may come late (S11).
   */
  private silenceMs(peer: Peer): number {
    const { hangTimeoutMs } = this.ports.policy;
    const others = [...this.peers.values()].filter((p) => p !== peer && p.period.link !== null).map((p) => p.answers);
    return Math.min(hangTimeoutMs, peer.answers.limitMs(others) ?? hangTimeoutMs);
  }

  encrypt(tls: TlsSettings): void {
    this.tls = tls;
    this.resendSettings();
  }

  private resendSettings(): void {
    for (const { period } of this.peers.values()) if (period.link !== null) this.sendSettings(period.link);
  }

  forget(nowMs: number): void {
    // Another node may have been opened meanwhile; the next decision says who archives.
    this.archivist = null;
    this.jobs.clear();
    for (const peer of this.peers.values()) {
      peer.answers.age();
      const { link, view } = peer.period;
      const changedAtMs = link === null ? view.changedAtMs : nowMs;
      peer.period = { ...peer.period, ...nothingAsked(), view: { ...view, ...NOTHING_SEEN, changedAtMs } };
    }
  }

  retire(node: string): void {
    const peer = this.peers.get(node);
    if (peer === undefined) return;
    this.peers.delete(node);
    peer.period.link?.destroy();
    this.nodes = this.nodes.filter((n) => n.name !== node);
    this.resendSettings();
  }

  restart(incarnation: number): void {
    this.incarnation = incarnation;
    for (const { period } of this.peers.values()) period.link?.destroy();
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
      if (peer?.period.link === link) this.begin(peer, null);
    };
    link.onFrame = (frame) => {
      if (peer !== null) {
        if (peer.period.link === link) this.receive(peer, frame);
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
      const mac = proof(this.ports.clusterKey, 'monitor', frame.nonce, nonce, peer.node.name);
      link.send({ type: 'welcome', mac });
      this.begin(peer, link);
    };
    link.send({ type: 'challenge', version: PROTOCOL_VERSION, incarnation: this.incarnation, nonce });
  }

  /** The declared node whose keeper sent this first frame; null when the frame does not prove that. */
  private prove(frame: Hello, nonce: string, address: string): Peer | null {
    const expected = proof(this.ports.clusterKey, 'keeper', nonce, frame.nonce, frame.node);
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
    const nowMs = this.ports.clock.nowMs();
    if (nowMs - (this.refusals.get(code) ?? Number.NEGATIVE_INFINITY) < REFUSAL_LOG_MS) return;
    this.refusals.set(code, nowMs);
    this.ports.log.write('WARN', 'monitor', code, message);
  }

  /** A connection was proven, or broke. */
  private begin(peer: Peer, link: Link | null): void {
    const { clock, log } = this.ports;
    const { name } = peer.node;
    const before = peer.period.link;
    peer.period = newPeriod(name, link, true, clock.nowMs());
    before?.destroy();
    if (link === null) log.write('WARN', name, 'DISCONNECTED', 'the connection to the keeper broke');
    else {
      this.sendSettings(link);
      log.write('INFO', name, 'CONNECTED', 'the keeper is connected');
    }
    this.loop.wake();
  }

  private sendSettings(link: Link): void {
    const { databasePassword, ...rest } = this.ports.settings;
    const needsPassword = rest.databaseVerifier === undefined || !link.takesVerifier;
    const { nodes, tls } = this;
    const settings = { ...rest, nodes: [...nodes], ...(needsPassword && { databasePassword }), ...(tls && { tls }) };
    link.send({ type: 'settings', settings });
  }

  private receive(peer: Peer, frame: KeeperFrame): void {
    const { clock, log } = this.ports;
    const nowMs = clock.nowMs();
    const { period } = peer;
    const { view } = period;
    view.heardAtMs = nowMs;
    switch (frame.type) {
      case 'pong': {
        const sent = period.pings.find((p) => p.n === frame.n);
        if (sent !== undefined) peer.answers.note(nowMs - sent.sentAtMs);
        period.pings = period.pings.filter((p) => p.n > frame.n);
        period.answered = frame.n;
        return;
      }
      case 'recall':
        view.recall = frame.newest;
        break;
      case 'status': {
        const before = view.status;
        this.receiveStatus(period, frame, nowMs);
        if (before === null || !onlyAdvances(before, frame)) break;
        this.loop.advanced();
        return;
      }
      case 'note':
        log.write(LEVELS[frame.level], peer.node.name, frame.code, frame.message);
        return;
      case 'hello':
        return;
    }
    this.loop.wake();
  }

  private receiveStatus(period: Period, status: Status, nowMs: number): void {
    const { view, heartbeat } = period;
    const { heartbeatSeen, streamingFrom } = status.postgres;
    if (status.accepted !== null && status.accepted.incarnation > this.incarnation) {
      this.loop.outranked(status.accepted.incarnation);
      return;
    }
    view.status = status;
    if (view.name === this.archivist?.node) {
      this.archived = archivedBy(status) ?? this.archived;
      const { s3 } = status;
      const archived = s3 && archivedBy(s3);
      // A job in S3 needs the place alone.
      if (s3 !== undefined && archived !== undefined) this.archivedS3 = { ...archived, place: s3.place };
    }
    view.slots = status.slots ?? view.slots;
    view.clientSlots = status.clientSlots ?? view.clientSlots;
    this.slots.reported(view.name, this.archivist, status.clientSlots);
    // A status has the repository only after a change, and a later status may come before the monitor's next cycle.
    view.repository = status.backup?.repository ?? view.repository;
    view.repositoryS3 = status.s3?.backup?.repository ?? view.repositoryS3;
    if (streamingFrom !== null) view.streamingSeenAtMs = nowMs;
    if (heartbeatSeen === null || (heartbeat !== null && heartbeatSeen <= heartbeat)) return;
    period.heartbeat = heartbeatSeen;
    // The first value on a connection does not show when the leader wrote it.
    view.heartbeatSeenAtMs = heartbeat === null ? Number.NEGATIVE_INFINITY : nowMs;
  }
}

const LEVELS = { info: 'INFO', warn: 'WARN', error: 'ERROR' } as const;

/** The fields of the view that a stall of the monitor resets (S11). */
const NOTHING_SEEN = { status: null, streamingSeenAtMs: null, heartbeatSeenAtMs: null, probe: null, refusedAtMs: null };

/** What a ping says of a repository. */
interface ArchivedPart {
  archivedTo: string;
  archivedTimeline?: number;
  archivedGaps?: Gap[];
}

function archivedBy({ archive }: Pick<Status, 'archive'>): ArchivedPart | undefined {
  if (archive === undefined || archive.archivedTo === null) return undefined;
  const { archivedTo, timeline, gaps } = archive;
  return {
    archivedTo,
    ...(timeline !== undefined && { archivedTimeline: timeline }),
    ...(gaps !== undefined && { archivedGaps: gaps }),
  };
}

function nothingAsked(): Pick<Period, 'pings' | 'answered' | 'heartbeat' | 'asking'> {
  return { pings: [], answered: null, heartbeat: null, asking: false };
}

function newPeriod(name: string, link: Link | null, everConnected: boolean, nowMs: number): Period {
  const times = { changedAtMs: nowMs, heardAtMs: nowMs, silentMs: 0 };
  const view = { name, connected: link !== null, everConnected, ...times, ...NOTHING_SEEN, recall: undefined };
  return { link, view, sent: null, rememberedSeq: null, ...nothingAsked() };
}

/** One TCP connection to a keeper. `onEnd` is called once. */
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
