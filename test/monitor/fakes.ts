/**
 * A cluster in one process: the shipped loop, core and keepers' server. Keepers are small models that speak the real
 * protocol over TCP, PostgreSQL is a counter, HAProxy and the store are variables. `World.broken` lists everything that
 * must never happen and did.
 */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { Answer } from '../../failover/contract/api';
import { onFrames, sendFrames } from '../../failover/contract/frames';
import type { Level } from '../../failover/contract/log-line';
import {
  compareOrders,
  type KeeperFrame,
  MonitorFrame,
  type OrderId,
  PROTOCOL_VERSION,
  type StateCopy,
  type Status,
  type SyncConfig,
  type Target,
} from '../../failover/contract/messages';
import { proof } from '../../failover/contract/proof';
import { isDone, isMember, statusOf } from '../../failover/core/facts/view';
import type { Decision, Policy } from '../../failover/core/state/cluster';
import type { Certificate, HaproxyView, Observation, Request } from '../../failover/core/state/observation';
import type { Loop } from '../../failover/monitor/loop';
import { createMonitor } from '../../failover/monitor/monitor';
import type { Events, Opening, Router, Store } from '../../failover/monitor/ports';

const KEY = 'k'.repeat(40);
const SYSTEM = '42';
const STEP_MS = 5;
const PROOF_MS = 30;
export const lsnText = (n: number) => `0/${n.toString(16).toUpperCase()}`;

/** The whole cluster: nodes, addresses, acknowledged writes, log, and what went wrong. */
export class World {
  readonly nodes = new Map<string, FakeNode>();
  readonly broken: string[] = [];
  readonly log: string[] = [];
  monitor: FakeMonitor | null = null;
  /** Nodes that the config names; undefined: all. */
  declared: string[] | undefined;
  port = 0;

  constructor(readonly names: string[]) {
    for (const name of names) this.nodes.set(name, new FakeNode(name, this));
  }

  node(name: string): FakeNode {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  address(name: string): string {
    return `10.0.0.${20 + this.names.indexOf(name)}`;
  }

  nameOf(address: string | null): string | null {
    return this.names.find((n) => this.address(n) === address) ?? null;
  }

  /**
   * A client's write through the slot. True when it is acknowledged: the leader has it, and as many standbys as needed.
   */
  write(): boolean {
    const leader = this.nameOf(this.monitor?.router.slot ?? null);
    if (leader === null) return false;
    const node = this.node(leader);
    if (!node.up || node.postgres !== 'primary' || node.frozen) return false;
    const names = node.sync;
    const end = node.lsn + 16;
    const followers = this.names.map((n) => this.node(n)).filter((n) => n.streams(leader));
    node.lsn = end;
    for (const f of followers) f.lsn = end;
    const confirmed = followers.filter((f) => names?.members.includes(f.name) === true).length;
    if (names !== null && confirmed < names.k) return false;
    this.acknowledged.push({ timeline: node.timeline, lsn: end, history: [...node.history] });
    return true;
  }

  readonly acknowledged: { timeline: number; lsn: number; history: string[] }[] = [];

  /**
   * How many acknowledged writes the leader does not have. It has a write that ends before its position or its fork.
   */
  lost(): number {
    const leader = this.node(this.nameOf(this.monitor?.router.slot ?? null) ?? this.names[0] ?? '');
    return this.acknowledged.filter((w) => !leader.contains(w.timeline, w.lsn)).length;
  }

  /** Waits for a condition, or fails with the newest lines of the log. */
  async until(what: string, condition: () => boolean, limitMs = 8_000): Promise<void> {
    const deadline = performance.now() + limitMs;
    while (!condition()) {
      if (performance.now() > deadline) {
        throw new Error(`never: ${what}\n${this.log.slice(-25).join('\n')}\n${this.monitor?.decision?.reason ?? ''}`);
      }
      await new Promise((resolve) => setTimeout(resolve, STEP_MS));
    }
  }

  /** A person's request, as it comes over HTTP. */
  ask(request: Request): Promise<Answer> {
    if (this.monitor === null) throw new Error('no monitor');
    return this.monitor.ask(request);
  }

  switchover(to: string | null): Promise<Answer> {
    return this.ask({ kind: 'switchover', to });
  }

  /** True when the monitor has a status of this node. */
  hasReported(name: string): boolean {
    return this.monitor?.observation?.nodes[name]?.status != null;
  }

  /** True when every node is a member, every other node streams from this leader, and the leader reports that. */
  follow(leader: string): boolean {
    const { observation, decision } = this.monitor ?? {};
    if (observation == null || decision == null) return false;
    const standbys = statusOf(observation, leader)?.lead?.standbys ?? [];
    return (
      decision.code === 'STEADY' &&
      this.names.every((n) => isMember(decision.state, n, this.node(n).dataId)) &&
      this.names.every((n) => isDone(statusOf(observation, n), decision.state.orders[n])) &&
      this.names.every((n) => n === leader || (this.node(n).streams(leader) && standbys.some((s) => s.name === n)))
    );
  }

  serving(leader?: string): boolean {
    const at = this.nameOf(this.monitor?.router.slot ?? null);
    return at !== null && (leader === undefined || leader === at) && this.node(at).postgres === 'primary';
  }

  /** True when every other node streams from the leader and is counted. */
  healthy(): boolean {
    const leader = this.nameOf(this.monitor?.router.slot ?? null);
    const ordered = this.monitor?.decision?.state.joint;
    const others = this.names.filter((n) => n !== leader);
    return (
      leader !== null &&
      ordered?.length === 1 &&
      others.every((n) => this.node(n).streams(leader) && ordered[0]?.members.includes(n) === true)
    );
  }

  async start(policy = {}): Promise<void> {
    this.monitor = new FakeMonitor(this, new MemoryStore(), policy);
    await this.monitor.start();
    for (const node of this.nodes.values()) node.start();
  }

  async end(): Promise<void> {
    for (const node of this.nodes.values()) node.kill();
    await this.monitor?.stop();
  }
}

type FakePostgres = 'absent' | 'stopped' | 'standby' | 'primary';

/** A keeper and its PostgreSQL. What a real node has on disk survives a kill. */
export class FakeNode {
  // On disk.
  dataId: string | null = null;
  timeline = 0;
  lsn = 0;
  /** Forks in the history of this data: `timeline@lsn` of each parent timeline. */
  history: string[] = [];
  accepted: (OrderId & { target: Target }) | null = null;
  memory: StateCopy | null = null;
  clean = false;
  /** Position of the shutdown checkpoint. */
  private checkpoint = 0;
  copies = 0;
  rewinds = 0;
  /** The keeper accepts a `stop` order, but PostgreSQL does not stop. */
  refusesToStop = false;
  // In memory.
  up = false;
  frozen = false;
  postgres: FakePostgres = 'stopped';
  upstream: string | null = null;
  sync: SyncConfig | null = null;
  stopping = false;
  private done = false;
  /** True after an order that came since the start. The keeper does not carry out an order from before its start. */
  private ordered = false;
  private leadTerm: number | null = null;
  private forkLsn: string | null = null;
  private heartbeat = 0;
  private socket: Socket | null = null;
  private welcome = false;
  private timer: NodeJS.Timeout | null = null;
  private held: MonitorFrame[] = [];
  private n = 0;

  constructor(
    readonly name: string,
    private readonly world: World,
  ) {}

  start(): void {
    this.up = true;
    this.ordered = false;
    this.stopping = false;
    this.postgres = this.dataId === null ? 'absent' : 'stopped';
    this.dial();
    this.timer = setInterval(() => this.step(), STEP_MS);
  }

  /** SIGKILL of the container. */
  kill(): void {
    this.up = false;
    this.frozen = false;
    this.clean = false;
    this.postgres = this.dataId === null ? 'absent' : 'stopped';
    this.upstream = null;
    this.leadTerm = null;
    if (this.timer !== null) clearInterval(this.timer);
    this.socket?.destroy();
    this.socket = null;
  }

  /** SIGSTOP and SIGCONT of everything in the container. */
  pause(): void {
    this.frozen = true;
  }
  wake(): void {
    this.frozen = false;
    for (const frame of this.held.splice(0)) this.receive(frame);
  }

  streams(leader: string): boolean {
    const source = this.world.node(leader);
    return (
      this.up &&
      !this.frozen &&
      this.postgres === 'standby' &&
      this.upstream === leader &&
      source.up &&
      source.postgres === 'primary' &&
      this.timeline === source.timeline &&
      this.lsn <= source.lsn
    );
  }

  contains(timeline: number, lsn: number): boolean {
    if (timeline === this.timeline) return lsn <= this.lsn;
    const fork = this.history.find((h) => h.startsWith(`${timeline}@`));
    return fork !== undefined && lsn <= Number(fork.split('@')[1]);
  }

  private dial(): void {
    if (!this.up) return;
    const socket = connect(this.world.port, '127.0.0.1');
    this.socket = socket;
    this.welcome = false;
    const nonce = randomBytes(32).toString('hex');
    const receive = (frame: MonitorFrame) => {
      if (frame.type === 'challenge') {
        const mac = proof(KEY, 'keeper', frame.nonce, nonce, this.name);
        this.send({ type: 'hello', version: PROTOCOL_VERSION, node: this.name, nonce, mac }, true);
      } else if (this.frozen) this.held.push(frame);
      else this.receive(frame);
    };
    onFrames(socket, MonitorFrame, receive, (why) => {
      this.world.broken.push(`${this.name} got what it cannot read: ${why}`);
      socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      if (this.socket === socket && this.up) setTimeout(() => this.dial(), 20);
    });
  }

  private send(frame: KeeperFrame, always = false): void {
    if (this.socket !== null && (this.welcome || always)) sendFrames(this.socket, [frame]);
  }

  private receive(frame: MonitorFrame): void {
    switch (frame.type) {
      case 'welcome':
        this.welcome = true;
        this.send({ type: 'recall', newest: this.memory });
        this.report();
        break;
      case 'ping':
        this.send({ type: 'pong', n: frame.n });
        break;
      case 'remember':
        if (this.memory === null || frame.seq > this.memory.seq) this.memory = frame;
        break;
      case 'order':
        if (this.accepted !== null && compareOrders(frame, this.accepted) < 0) return;
        this.accepted = frame;
        this.ordered = true;
        this.done = false;
        this.carryOut();
        this.report();
        break;
      case 'challenge':
      case 'settings':
        break;
    }
  }

  /** Carries out the part of an order that takes no time; `step` does the rest. */
  private carryOut(): void {
    const target = this.accepted?.target;
    switch (target?.kind) {
      case 'bootstrap':
        this.dataId ??= `${SYSTEM}:${this.name}-0`;
        Object.assign(this, { timeline: 1, lsn: 64, history: [], postgres: 'stopped', clean: true });
        break;
      case 'freeze':
        if (this.postgres !== 'absent') this.postgres = 'standby';
        this.upstream = null;
        break;
      case 'stop':
        if (this.refusesToStop) break;
        this.shutDown();
        this.clean = true;
        this.leadTerm = null;
        break;
      case 'lead':
        this.lead(target.sync);
        break;
      case 'follow':
      case 'wait':
      case undefined:
        break;
    }
  }

  /** A primary writes its shutdown checkpoint, and its standbys get it. */
  private shutDown(): void {
    if (this.postgres === 'absent' || this.postgres === 'stopped') return;
    this.checkpoint = this.lsn;
    if (this.postgres === 'primary') {
      const followers = [...this.world.nodes.values()].filter((n) => n.streams(this.name));
      for (const node of [this, ...followers]) node.lsn = this.checkpoint + 8;
    }
    this.postgres = 'stopped';
  }

  private lead(sync: SyncConfig): void {
    const order = this.accepted;
    if (order === null || this.dataId === null) return;
    if (this.postgres !== 'primary') {
      this.history = [...this.history, `${this.timeline}@${this.lsn}`];
      this.forkLsn =
        this.timeline === 1 && this.leadTerm === null && this.history.length === 0 ? null : lsnText(this.lsn);
      this.timeline += 1;
      this.postgres = 'primary';
      this.upstream = null;
    }
    this.leadTerm = order.term;
    this.sync = sync;
  }

  /** Called every few milliseconds: streams, copies, and reports when the order is carried out. */
  private step(): void {
    if (this.frozen || !this.up) return;
    const target = this.ordered ? this.accepted?.target : undefined;
    if (target?.kind === 'follow') this.follow(target);
    if (this.postgres === 'primary') this.heartbeat += 1;
    const done = this.isDone(target);
    if (done !== this.done || ++this.n % 20 === 0) {
      this.done = done;
      this.report();
    }
  }

  private follow(target: Extract<Target, { kind: 'follow' }>): void {
    const leader = this.world.node(target.leader);
    if (!leader.up || leader.frozen || leader.postgres !== 'primary') return;
    const ahead = !leader.contains(this.timeline, this.lsn);
    const replaced = target.replaces !== undefined && target.replaces === this.dataId;
    if (this.upstream !== target.leader && target.method === 'rewind') this.rewinds += 1;
    if ((this.upstream !== target.leader || replaced) && (target.method === 'copy' || this.dataId === null || ahead)) {
      if (target.method === 'stream' && ahead)
        this.world.broken.push(`${this.name} was ordered to stream, but has records that ${leader.name} does not have`);
      if (target.method !== 'rewind') this.dataId = `${SYSTEM}:${this.name}-${++this.copies}`;
      // A copied control file names the checkpoint of the leader at which the copy began.
      this.checkpoint = leader.lsn;
    }
    Object.assign(this, { timeline: leader.timeline, lsn: leader.lsn, history: [...leader.history] });
    Object.assign(this, { postgres: 'standby', upstream: target.leader, leadTerm: null, heartbeat: leader.heartbeat });
  }

  private isDone(target: Target | undefined): boolean {
    switch (target?.kind) {
      case 'follow':
        return this.streams(target.leader);
      case 'lead':
        return this.postgres === 'primary' && this.confirmers().length >= target.sync.k;
      case undefined:
        return false;
      case 'wait':
      case 'bootstrap':
      case 'freeze':
      case 'stop':
        return true;
    }
  }

  private confirmers(): string[] {
    return (this.sync?.members ?? []).filter((m) => this.world.node(m).streams(this.name));
  }

  report(): void {
    const { accepted } = this;
    const standbys = this.world.names.filter((n) => n !== this.name && this.world.node(n).streams(this.name));
    const leads = this.postgres === 'primary' && this.leadTerm !== null;
    const status: Status = {
      type: 'status',
      n: this.n,
      dataId: this.dataId,
      stopping: this.stopping,
      accepted: accepted && {
        incarnation: accepted.incarnation,
        term: accepted.term,
        seq: accepted.seq,
        kind: accepted.target.kind,
      },
      done: this.done,
      failure: null,
      promotingTerm: null,
      rewinding: false,
      postgres: {
        state: this.postgres,
        timeline: this.dataId === null ? null : this.timeline,
        lsn: this.dataId === null ? null : lsnText(this.postgres === 'stopped' ? this.checkpoint : this.lsn),
        cleanShutdown: this.postgres === 'stopped' ? this.clean : null,
        streamingFrom: this.upstream !== null && this.streams(this.upstream) ? this.upstream : null,
        replayLsn: this.postgres === 'standby' ? lsnText(this.lsn) : null,
        heartbeatSeen: this.postgres === 'absent' ? null : this.heartbeat,
        crashes: 0,
      },
      lead: leads
        ? {
            term: this.leadTerm ?? 0,
            timeline: this.timeline,
            forkLsn: this.forkLsn,
            flushLsn: lsnText(this.lsn),
            heartbeat: this.heartbeat,
            heartbeatAgeMs: 0,
            syncInForce: this.isDone(accepted?.target) ? this.sync : null,
            standbys: standbys.map((name) => ({
              name,
              state: 'streaming',
              syncState: 'quorum',
              flushLsn: lsnText(this.lsn),
              replayLsn: null,
            })),
          }
        : null,
    };
    this.send(status);
  }
}

/** A store that survives the monitor's death, as a disk does. */
export class MemoryStore implements Store {
  incarnation = 0;
  loaded: string | null = null;
  /** Called before each save. When it throws, nothing is stored: the monitor was killed at that moment. */
  onSave: (text: string) => void = () => undefined;

  open(): this {
    this.incarnation += 1;
    return this;
  }
  async save(text: string): Promise<void> {
    this.onSave(text);
    this.loaded = text;
  }
  async raiseAbove(other: number): Promise<number> {
    this.incarnation = Math.max(this.incarnation, other) + 1;
    return this.incarnation;
  }
}

/** The methods of a router that have nothing to do in a test. */
export const STILL = {
  poke: (): void => undefined,
  run: async (): Promise<void> => undefined,
  stop: (): void => undefined,
};

/** HAProxy as one slot. It notes when the slot moves without being closed, or opens on a node that is no primary. */
class FakeRouter implements Router {
  readonly poke = STILL.poke;
  readonly run = STILL.run;
  readonly stop = STILL.stop;
  epoch = '1@1';
  private keep: string | null = null;
  private cleanFromMs = 0;

  constructor(
    private readonly world: World,
    public slot: string | null,
    private readonly changed: () => void,
  ) {}

  view(): HaproxyView {
    const closed = this.slot === null;
    const clean = performance.now() >= this.cleanFromMs;
    return { reachable: true, epoch: this.epoch, slot: this.slot, closed, keeping: this.keep, clean };
  }
  write(address: string | null, keep: string | null): void {
    if (this.slot === address && this.keep === keep) return;
    const node = this.world.nameOf(address);
    if (node !== null && address !== this.slot) {
      const postgres = this.world.node(node).postgres;
      if (this.slot !== null) this.world.broken.push(`the slot moved to ${node} without having been closed`);
      if (postgres !== 'primary') this.world.broken.push(`the slot was opened on ${node}, which is ${postgres}`);
    }
    // After a new `keep`, it takes PROOF_MS until the sessions of all other nodes are proven to have ended.
    if (this.keep !== keep) {
      this.cleanFromMs = performance.now() + PROOF_MS;
      setTimeout(this.changed, PROOF_MS + 1);
    }
    this.slot = address;
    this.keep = keep;
    setTimeout(this.changed, 1);
  }
  read(): void {}
  async look(): Promise<void> {}
  async closed(): Promise<boolean> {
    return this.slot === null;
  }
}

/** Passes the opening checks of a node as soon as its PostgreSQL is a primary. */
class FakeOpening implements Opening {
  private wanted: Pick<Certificate, 'node' | 'term'> | null = null;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly world: World,
    private readonly loop: Pick<Events, 'certified'>,
  ) {}
  start(): void {
    this.timer = setInterval(() => this.look(), STEP_MS);
  }
  stop(): void {
    clearInterval(this.timer);
  }
  want(check: { node: string; term: number } | null): void {
    this.wanted = check;
  }
  private look(): void {
    const check = this.wanted;
    if (check === null) return;
    const node = this.world.node(check.node);
    if (!node.up || node.frozen || node.postgres !== 'primary') return;
    this.wanted = null;
    this.loop.certified(check.node, check.term);
  }
}

const POLICY: Policy = {
  hangTimeoutMs: 500,
  syncMode: 'synchronous',
  onNoReplica: 'continue',
  syncCount: 1,
  maxLagBytes: 1e6,
  readFallback: true,
  startGraceMs: 1_000,
  switchback: false,
  switchbackAfterMs: 30_000,
  switchbackLimitMs: 600_000,
};
/** Settings that a monitor sends to keepers; the keepers of these tests do not use them. */
export const SETTINGS = {
  haproxyAddress: '10.0.0.10',
  monitorAddress: '10.0.0.11',
  subnet: '10.0.0.0/24',
  databaseName: 'd',
  databaseUser: 'u',
  databasePassword: 'p',
  postgresSettings: {},
};

/** One run of the monitor's process, on a store. */
export class FakeMonitor {
  readonly router: FakeRouter;
  private changed: () => void = () => undefined;
  readonly store: MemoryStore;
  decision: Decision | null = null;
  observation: Observation | null = null;
  private readonly monitor: Loop;
  private ran: Promise<void> = Promise.resolve();

  constructor(
    private readonly world: World,
    store: MemoryStore,
    policy = {},
    slot: string | null = null,
  ) {
    this.store = store.open();
    this.router = new FakeRouter(world, slot, () => this.changed());
    this.monitor = createMonitor({
      nodes: (world.declared ?? world.names).map((name) => ({ name, address: world.address(name) })),
      policy: { ...POLICY, ...policy },
      clusterKey: KEY,
      settings: SETTINGS,
      listen: { address: '127.0.0.1', port: world.port },
      sockets: '/none',
      store: this.store,
      clock: { nowMs: () => performance.now() },
      log: {
        write: (level: Level, subject: string, code: string, message: string) => {
          world.log.push(`${level} ${subject} ${code} ${message}`);
        },
      },
      probe: async (address) => {
        const name = world.nameOf(address);
        const node = name === null ? null : world.node(name);
        if (node?.frozen === true) return 'silent';
        return node?.up === true && ['primary', 'standby'].includes(node.postgres) ? 'alive' : 'refused';
      },
      models: (loop) => {
        this.changed = () => loop.wake();
        return { router: this.router, opening: new FakeOpening(world, loop) };
      },
      onDecision: (decision, observation) => {
        this.decision = decision;
        this.observation = observation;
      },
    });
  }

  async start(): Promise<void> {
    await this.monitor.parts.keepers.listen();
    this.world.port = this.monitor.parts.keepers.port();
    this.ran = this.monitor.run();
  }

  ask(request: Request): Promise<Answer> {
    return this.monitor.parts.requests.ask(request);
  }

  /** The process ends without a message to any keeper. */
  async stop(): Promise<void> {
    this.monitor.stop();
    await this.monitor.parts.keepers.close();
    await this.ran;
  }
}

/** Ends the monitor and starts another one on the same store and the same HAProxy. */
export async function restartMonitor(world: World, store?: MemoryStore): Promise<void> {
  const before = world.monitor;
  if (before === null) throw new Error('no monitor');
  await before.stop();
  world.monitor = new FakeMonitor(world, store ?? before.store, {}, before.router.slot);
  await world.monitor.start();
}
