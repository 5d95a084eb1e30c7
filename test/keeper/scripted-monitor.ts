/** A monitor that does only what the test tells it: speaks the protocol, gives orders, keeps what the keepers say. */
import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import type { Gap, JobOrder, Repository } from '../../failover/contract/backups';
import type { ClientSlotsRecord } from '../../failover/contract/client-slots';
import { onFrames, sendFrames } from '../../failover/contract/frames';
import {
  KeeperFrame,
  type MonitorFrame,
  type NodeSettings,
  PING_INTERVAL_MS,
  PINGS_A_SLOT_ORDER,
  PROTOCOL_VERSION,
  type Status,
  type Target,
} from '../../failover/contract/messages';
import { proof, sameProof } from '../../failover/contract/proof';
import { slotRecord } from '../../failover/core/facts/client-slots';
import { SlotOrders } from '../../failover/monitor/nodes/slot-orders';

export interface NodeView {
  connected: boolean;
  status: Status | null;
  /** What the backups' repository holds, as it said last. */
  repository: Repository | null;
  notes: string[];
  /** Number of the newest ping that it answered; null: it answered none. */
  answered: number | null;
  /** `performance.now()` of the last break of the connection. */
  brokenAtMs: number;
  socket: Socket | null;
}

export class ScriptedMonitor {
  readonly nodes = new Map<string, NodeView>();
  /** The node that may archive. */
  archivist: { node: string; term: number } | null = null;
  /** What the pings say of the repository. */
  private archived: ArchivedPart = {};
  /** The job for the backups that its pings ask for. */
  job: JobOrder | null = null;
  /** The same for the place in S3. */
  jobS3: JobOrder | null = null;
  /** What it remembers of the slots that people made. */
  private slots: ClientSlotsRecord | undefined;
  private readonly slotOrders = new SlotOrders();
  private readonly server: Server;
  private readonly waiting = new Set<() => void>();
  private seq = 0;
  private pings = 0;
  private readonly pinger: NodeJS.Timeout;

  constructor(
    private readonly clusterKey: string,
    private settings: NodeSettings,
  ) {
    this.server = createServer((socket) => this.serve(socket));
    this.pinger = setInterval(() => {
      this.pings += 1;
      for (const [node, view] of this.nodes) this.write(view.socket, this.pingOf(node, view));
    }, PING_INTERVAL_MS);
  }

  private pingOf(node: string, { answered }: NodeView): MonitorFrame {
    const { archivist: by, pings: n } = this;
    const archive = by?.node === node && answered !== null ? { archive: { term: by.term, heard: answered } } : {};
    const job = by?.node === node && answered !== null && this.job !== null ? { backup: this.job } : {};
    const { archivedTo, ...beside } = archivedBy(by === null ? undefined : this.view(by.node).status?.archive);
    if (archivedTo !== undefined) this.archived = { archivedTo, ...beside };
    const isDue = by !== null && n % PINGS_A_SLOT_ORDER === 0;
    const slots = isDue ? { slots: this.slotOrders.orderFor(node, { ...by, slots: this.slots }) } : {};
    return { type: 'ping', n, ...archive, ...job, ...this.archived, ...this.s3Of(node), ...slots };
  }

  private s3Of(node: string): Pick<Extract<MonitorFrame, { type: 'ping' }>, 's3'> {
    const { archivist: by, jobS3 } = this;
    const { place, archive } = (by?.node === node && this.view(node).status?.s3) || {};
    if (place === undefined) return {};
    return { s3: { place, ...(jobS3 && { backup: jobS3 }), ...archivedBy(archive) } };
  }

  private seeSlots(seen: Status['clientSlots'], view: NodeView): void {
    const { archivist: by } = this;
    if (seen === undefined || by === null || this.view(by.node) !== view || seen.term !== by.term) return;
    this.slotOrders.reported(by.node, by, seen);
    this.slots = slotRecord(this.slots, seen);
  }

  listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject).listen(port, host, resolve);
    });
  }

  close(): void {
    clearInterval(this.pinger);
    for (const view of this.nodes.values()) view.socket?.destroy();
    this.server.close();
  }

  view(node: string): NodeView {
    const known = this.nodes.get(node);
    if (known !== undefined) return known;
    const fresh = {
      connected: false,
      status: null,
      repository: null,
      notes: [],
      answered: null,
      brokenAtMs: 0,
      socket: null,
    };
    this.nodes.set(node, fresh);
    return fresh;
  }

  /** Sends changed settings to everybody. */
  settle(settings: NodeSettings): void {
    this.settings = settings;
    for (const view of this.nodes.values()) this.write(view.socket, { type: 'settings', settings });
  }

  /** Gives an order and returns its seq. */
  order(node: string, term: number, target: Target, incarnation = 1): number {
    this.seq += 1;
    this.write(this.view(node).socket, { type: 'order', incarnation, term, seq: this.seq, target });
    return this.seq;
  }

  /** Gives an order and waits until the keeper says it is done. */
  async done(node: string, term: number, target: Target, limitMs = 30_000): Promise<Status> {
    const seq = this.order(node, term, target);
    return this.until(node, (s) => s.accepted?.seq === seq && s.done, `${target.kind} done`, limitMs);
  }

  /** Waits until a node's status satisfies a condition; at the limit throws with the last status. */
  async until(node: string, holds: (status: Status) => boolean, what: string, limitMs = 30_000): Promise<Status> {
    const view = this.view(node);
    await this.wait(
      () => view.status !== null && view.connected && holds(view.status),
      `${node}: ${what}`,
      limitMs,
      () => JSON.stringify({ status: view.status, notes: view.notes.slice(-8) }, null, 1),
    );
    if (view.status === null) throw new Error('no status');
    return view.status;
  }

  async wait(holds: () => boolean, what: string, limitMs: number, detail: () => string = () => ''): Promise<void> {
    const deadline = performance.now() + limitMs;
    while (!holds()) {
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`not within ${limitMs} ms: ${what} ${detail()}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(go, Math.min(left, 200));
        const { waiting } = this;
        function go(): void {
          clearTimeout(timer);
          waiting.delete(go);
          resolve();
        }
        waiting.add(go);
      });
    }
  }

  private changed(): void {
    for (const go of [...this.waiting]) go();
  }

  private write(socket: Socket | null, frame: MonitorFrame): void {
    if (socket !== null && !socket.destroyed) sendFrames(socket, [frame]);
  }

  private serve(socket: Socket): void {
    socket.setNoDelay(true);
    const nonce = randomBytes(32).toString('hex');
    let view: NodeView | null = null;
    this.write(socket, { type: 'challenge', version: PROTOCOL_VERSION, incarnation: 1, nonce });
    const receive = (frame: KeeperFrame) => {
      if (frame.type === 'hello') {
        if (!sameProof(frame.mac, proof(this.clusterKey, 'keeper', nonce, frame.nonce, frame.node))) socket.destroy();
        view = this.view(frame.node);
        view.socket = socket;
        view.connected = true;
        view.status = null;
        view.answered = null;
        this.write(socket, { type: 'welcome', mac: proof(this.clusterKey, 'monitor', frame.nonce, nonce, frame.node) });
        this.write(socket, { type: 'settings', settings: this.settings });
      } else if (view !== null && frame.type === 'status') {
        view.status = frame;
        view.repository = frame.backup?.repository ?? view.repository;
        this.seeSlots(frame.clientSlots, view);
      } else if (view !== null && frame.type === 'pong') view.answered = frame.n;
      else if (view !== null && frame.type === 'note') view.notes.push(`${frame.code} ${frame.message}`);
      this.changed();
    };
    onFrames(socket, KeeperFrame, receive, () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('close', () => {
      if (view === null || view.socket !== socket) return;
      view.connected = false;
      view.brokenAtMs = performance.now();
      this.changed();
    });
  }
}

/** What a ping says of a repository. */
interface ArchivedPart {
  archivedTo?: string;
  archivedTimeline?: number;
  archivedGaps?: Gap[];
}

function archivedBy(archive: Status['archive']): ArchivedPart {
  const { archivedTo = null, timeline, gaps } = archive ?? {};
  if (archivedTo === null) return {};
  return { archivedTo, ...(timeline && { archivedTimeline: timeline }), ...(gaps && { archivedGaps: gaps }) };
}
