/** A cluster on a simulated machine: containers, network, clients, and the oracles that check them. */

import type { OrderId } from '../failover/contract/messages';
import { type ClusterState, type Decision, isChanging, serves, switchoverOf } from '../failover/core/state/cluster';
import { parseState } from '../failover/core/state/stored';
import type { KeeperState } from '../failover/keeper/keeper-state';
import { describe } from '../failover/monitor/outside/status-view';
import { Client } from './clients';
import { Copies } from './copies';
import { Machine, type MachineOptions, STACK_SETTINGS } from './machine';
import { type MonitorWatch, SimMonitor, type StoreDisk } from './monitor-container';
import { SimNode } from './node';
import { Consumer, WalReceiver } from './replication-clients';
import { settingsOf } from './settings';

export class World extends Machine {
  readonly nodes: SimNode[];
  readonly copies = new Copies(this);
  monitor: SimMonitor | null = null;
  /** A consumer of a logical slot; null: there is none. */
  consumer: Consumer | null = null;
  /** Called with each decision, for scenarios. */
  onDecision: (code: string, reason: string) => void = () => undefined;
  /** Called when the monitor has written its store and has not acted on it yet. */
  onStored: (state: ClusterState) => void = () => undefined;
  /** Called with each line of the monitor's log, for scenarios. */
  onLog: MonitorWatch['onLog'] = () => undefined;
  /** From now on nothing happens that justifies a change of the leader (S28). */
  steady: boolean | 'leader' = false;
  /** The cluster is healthy again. From now on no problem of a leader may be reported. */
  settledDown = false;
  /** Snapshots of the store, for the fault "restored from an old copy". */
  readonly storeCopies: StoreDisk[] = [];
  disk: StoreDisk = { incarnation: 0, state: null, full: false, moved: false };
  /** The node that a person promoted with --accept-data-loss, and the rows that it had then; null once it leads. */
  private override: { node: string; term: number; rows: ReadonlySet<number> } | null = null;
  private readonly leaders = new Map<number, string>();
  /** The state that the active monitor stored last. */
  private last: ClusterState | null = null;
  private topTerm = 0;
  private newTerms: { term: number; atMs: number }[] = [];
  /** Times at which each node accepted its last orders. */
  private readonly orderedMs = new Map<string, number[]>();
  /** The node that was opened last. */
  private lastOpened: string | null = null;

  constructor(options: MachineOptions) {
    super(options);
    this.haproxy.changed = () => this.checkRoutes();
    this.haproxy.leaked = (words) => this.fail(`LEAKED: ${words}`);
    this.nodes = this.declared.map((d) => new SimNode(this, d.name, d.address));
    for (const node of this.nodes) if (this.sharedDisk !== null) node.putOn(this.sharedDisk);
    if (options.calm !== true && this.random.chance(0.5)) this.moveOneAway();
  }

  /** One node is far away from the others, for the whole run. */
  private moveOneAway(): void {
    const { random } = this;
    const names = this.nodes.map((n) => n.name);
    const far = random.chance(0.7) ? random.pick(names.slice(1)) : random.pick(names);
    const ms = random.between(3, 120);
    for (const other of names.filter((n) => n !== far)) this.network.between(far, other, ms);
    this.say(`${far} is ${ms.toFixed(0)} ms away from the others`);
  }

  nodeAt(address: string): SimNode | undefined {
    return this.nodes.find((n) => n.name === this.network.hostOf(address));
  }

  node(name: string | null | undefined): SimNode | undefined {
    return this.nodes.find((n) => n.name === name);
  }

  /** What the active monitor has decided last; undefined: nothing yet. */
  get decision(): Decision | undefined {
    return this.monitor?.seen?.decision;
  }

  get state(): ClusterState | undefined {
    return this.decision?.state;
  }

  /** The active monitor's sentence for people. */
  get sentence(): string {
    const { decision } = this;
    return decision === undefined ? 'the monitor has decided nothing' : `${decision.code} ${decision.reason}`;
  }

  /** The nodes that the stack's config names. */
  get members(): SimNode[] {
    return this.nodes.filter((n) => this.declared.some((d) => d.name === n.name));
  }

  // Life

  startMonitor(label = 'monitor', disk = this.disk): SimMonitor {
    this.disk = disk;
    this.monitor = new SimMonitor(this, label, disk);
    return this.monitor;
  }

  startAll(): void {
    if (this.monitor === null) this.startMonitor();
    for (const node of this.nodes) node.start();
  }

  startClients(writers: number, readers: number): void {
    for (let i = 1; i <= writers; i++) new Client(this, `writer ${i}`, 'write').start();
    for (let i = 1; i <= readers; i++) new Client(this, `reader ${i}`, 'read').start();
  }

  /** Clients of replication, in a stack with `replicationPort`. */
  startReplicationClients(): void {
    if (this.policy.replication !== true) return;
    for (const { name } of this.nodes) new WalReceiver(this, name);
    // With asynchronous replication a stack refuses logical slots.
    if (this.policy.syncMode === 'synchronous') this.consumer = new Consumer(this);
  }

  // Oracles

  /** Checks each change of the monitor's store: terms only grow, and a term that was opened has one leader. */
  stored(text: string | null): void {
    const state = text === null ? null : parseState(text);
    if (state === null) return;
    if (this.storeCopies.length === 0 || this.random.chance(0.3)) {
      this.storeCopies.push({ ...this.disk, full: false, moved: true });
      if (this.storeCopies.length > 30) this.storeCopies.shift();
    }
    if (!state.adopting) this.checkLedger(state);
    this.checkPause(state);
    this.countTerms(state);
    this.onStored(state);
  }

  /**
   * During a pause, and when failovers are only observed, only a person changes the leader. A change that had begun
   * before may end.
   */
  private checkPause(state: ClusterState): void {
    const before = this.last;
    this.last = state.adopting ? null : state;
    const observes = this.policy.failoverMode === 'observe';
    if (before === null || state.adopting || state.seq <= before.seq) return;
    if (before.pause === undefined && !observes) return;
    // The comparison means nothing if this is another monitor's state, or if a pause began or ended meanwhile.
    if (state.pause?.sinceWallMs !== before.pause?.sinceWallMs) return;
    if (!serves(before) || state.activity.kind === 'restore') return;
    const { activity } = state;
    const switchover = switchoverOf(state);
    if (switchover !== null && switchoverOf(before) === null && switchover.by !== 'person') {
      this.fail(`PAUSED: a switchover was begun by ${switchover.by}`);
    }
    if (!isChanging(state) || (activity.kind === 'promote' && state.leader === before.leader)) return;
    if (activity.kind === 'handover' && switchoverOf(before)?.by === 'person') return;
    const asked = 'cause' in activity && ['PROMOTE_ASKED', 'DATA_LOSS_ACCEPTED'].includes(activity.cause);
    if (!asked) this.fail(`PAUSED: ${before.leader} loses the lead by ${JSON.stringify(activity)}`);
  }

  /** Many terms in a row without an opened one mean that a node crashes each time and gets no rest (S8). */
  private countTerms({ term, ledger }: ClusterState): void {
    const { nowMs } = this.engine;
    if (ledger.at(-1)?.opened === true) this.newTerms = [];
    if (term <= (this.newTerms.at(-1)?.term ?? this.topTerm)) return;
    this.newTerms = [...this.newTerms.filter((t) => t.atMs > nowMs - TERMS_MS), { term, atMs: nowMs }];
    if (this.newTerms.length === TERMS_MAX) this.fail(`CRASH LOOP: ${TERMS_MAX} terms within ${TERMS_MS} ms`);
  }

  private checkLedger(state: ClusterState): void {
    for (const entry of state.ledger.filter((e) => e.opened)) {
      const known = this.leaders.get(entry.term);
      const name = `${entry.node} ${entry.dataId}`;
      if (known === undefined) this.opened(entry.node, entry.term);
      const other = this.lastOpened !== null && this.lastOpened !== entry.node;
      this.lastOpened = entry.node;
      if (known === undefined && (this.steady === true || (this.steady === 'leader' && other))) {
        this.fail(`FALSE FAILOVER: ${name} is opened in term ${entry.term}, and nothing was wrong with the leader`);
      }
      if (known === undefined && entry.term < this.topTerm) {
        this.fail(`TERMS: ${name} is opened in term ${entry.term}, but term ${this.topTerm} was opened before`);
      }
      if (known !== undefined && known !== name) {
        this.fail(`TERMS: term ${entry.term} was opened for ${known} and for ${name}`);
      }
      this.leaders.set(entry.term, name);
      this.topTerm = Math.max(this.topTerm, entry.term);
    }
  }

  /** True when the term was opened for this data directory of the node. */
  isOpened(term: number, node: string, directory: string): boolean {
    const leader = this.leaders.get(term) ?? '';
    return leader.startsWith(`${node} `) && leader.endsWith(`:${directory}`);
  }

  /** Records the rows with which a new leader starts. Rows that it does not have are gone for good. */
  private opened(name: string, term: number): void {
    const data = this.node(name)?.volume.data;
    if (data === null || data === undefined) return;
    const table = data.table(data.wal.length);
    const rows = new Set(table.rows);
    this.history.opened(this.engine.nowMs, rows);
    if (this.history.asynchronous) this.history.overridden(this.engine.nowMs, new Set(), rows, table.version);
    const { override } = this;
    if (override === null || term < override.term) return;
    this.override = null;
    if (override.node !== name) return;
    const lost = this.history.overridden(this.engine.nowMs, override.rows, rows, table.version);
    this.say(`${name} leads, because a person accepted the loss: ${lost} acknowledged writes are lost`);
  }

  /** Checks each decision of a monitor whose config names these nodes. */
  decided({ code, reason, state }: Decision, names: readonly string[]): void {
    this.onDecision(code, reason);
    this.reports.decided(state, names);
    if (this.settledDown && UNWELL.has(code)) this.fail(`UNSTEADY: all was well, and then: ${code} ${reason}`);
    if (code !== 'DATA_LOSS_ACCEPTED' && code !== 'RESTORED' && code !== 'RESTORE_UNDONE') return;
    const node = this.node(state.leader);
    const data = node?.volume.data;
    if (node === undefined || data === null || data === undefined) return;
    this.override = { node: node.name, term: state.term, rows: new Set(data.table(data.flushed).rows) };
  }

  keeperStored(node: SimNode, before: KeeperState, after: KeeperState): void {
    const order = after.accepted;
    if (order !== null && JSON.stringify(order) !== JSON.stringify(before.accepted)) {
      const words = describe(order.target);
      this.copies.accepted(node, order, before.directoryId);
      this.countOrder(node);
      this.log(`${node.name} accepts ${order.incarnation}.${order.term}.${order.seq}: ${words}`);
    }
    if (before.accepted !== null && after.accepted !== null && isOlder(after.accepted, before.accepted)) {
      this.fail(
        `ORDERS: ${node.name} went back from order ${JSON.stringify(before.accepted)} to ${JSON.stringify(after.accepted)}`,
      );
    }
  }

  /** Detects two orders that alternate for ever: the keeper stores each one and carries out none. */
  private countOrder({ name }: SimNode): void {
    const { nowMs } = this.engine;
    const recent = (this.orderedMs.get(name) ?? []).filter((at) => at > nowMs - 1_000);
    recent.push(nowMs);
    this.orderedMs.set(name, recent);
    if (recent.length === ORDERS_A_SECOND_MAX) this.fail(`ORDERS TAKE TURNS: ${name} got ${recent.length} in a second`);
  }

  /**
   * Checks that there are never two writable routes: all open slots and existing sessions lead to one node that accepts
   * writes.
   */
  checkRoutes(): void {
    const addresses = new Set<string>();
    for (const worker of this.haproxy.workers) {
      for (const address of worker.routes()) addresses.add(address);
      for (const session of worker.sessions.values()) {
        if (session.proxy === 'write' && session.state === 'EST' && session.server !== null)
          addresses.add(session.server);
      }
    }
    const writable = [...addresses].filter((a) => this.nodeAt(a)?.postgres?.isPrimary === true);
    if (writable.length > 1) {
      const names = writable.map((a) => this.nodeAt(a)?.name).join(' and ');
      this.fail(`TWO ROUTES: ${names} are both reachable for writes`);
    }
  }

  /** The node that gets the writes when the whole cluster is healthy; else null. */
  healthy(): SimNode | null {
    const decision = this.decision;
    const leaderName = decision?.state.leader;
    if (decision?.code !== 'STEADY' || leaderName === null) return null;
    const leader = this.node(leaderName);
    if (leader === undefined || leader.postgres?.isPrimary !== true) return null;
    if (this.haproxy.current?.routes().join() !== leader.address) return null;
    const config = decision.state.joint.at(-1);
    const others = this.members.filter((n) => n !== leader);
    const counted = this.policy.syncMode === 'asynchronous' ? 0 : others.length - this.reports.among(others.length);
    if (decision.state.joint.length !== 1 || config?.members.length !== counted) return null;
    const standing = others.every((n) => n.postgres?.look().receiving === leader.name);
    return standing ? leader : null;
  }

  /** True when a client's write that began after that moment was acknowledged. */
  servedSince(ms: number): boolean {
    return this.history.servedMs > ms;
  }

  /**
   * True when every node runs with the stack's current config. With `observe`, the leader waits for a person to restart
   * it. A standby waits for its leader when a value is lowered.
   */
  settled(): boolean {
    if (this.policy.failoverMode === 'observe') return true;
    const settings = { ...STACK_SETTINGS, nodes: this.declared, postgresSettings: this.postgresSettings };
    return this.members.every(({ name, postgres }) => {
      if (postgres === null || postgres === undefined) return false;
      const wanted = settingsOf(name, { settings, upstream: null, syncNames: '' });
      return postgres.atStart.pending(wanted).length === 0;
    });
  }

  /** True when every node has all records. */
  identical(): boolean {
    const leader = this.healthy();
    if (leader === null) return false;
    const reference = leader.volume.data;
    return this.members.every((n) => n === leader || n.volume.data?.applied === reference?.wal.length);
  }

  checkIdentical(): void {
    const leader = this.healthy();
    const reference = leader?.volume.data?.wal ?? [];
    for (const node of this.members) {
      const wal = node.volume.data?.wal ?? [];
      const i = reference.findIndex((r, index) => wal[index]?.id !== r.id);
      if (i >= 0) {
        this.fail(
          `DIFFERENT: ${node.name} has record ${wal[i]?.id ?? '–'} (${JSON.stringify(wal[i]?.change)}) at position ${i}, ${leader?.name} has ${reference[i]?.id} (${JSON.stringify(reference[i]?.change)})`,
        );
      }
    }
    this.history.checkReads(leader?.volume.data?.table(reference.length).rows ?? []);
    this.history.checkFinal(new Set(leader?.volume.data?.table(reference.length).rows), leader?.name ?? 'no node');
  }
}

const ORDERS_A_SECOND_MAX = 60;
/** This many terms within {@link TERMS_MS} are more than people and faults cause. */
const TERMS_MAX = 15;
const TERMS_MS = 10_000;

/** Codes of decisions that give up a leader. */
const UNWELL: ReadonlySet<string> = new Set([
  'LEADER_ABSENT',
  'LEADER_DEAD',
  'LEADER_DOWN',
  'LEADER_HUNG',
  'LEADER_WEDGED',
  'LEADER_WIPED',
  'NO_CANDIDATE',
]);

/** The oracle's own implementation of the protocol's order, independent of shipped code. */
function isOlder(a: OrderId, b: OrderId): boolean {
  if (a.incarnation !== b.incarnation) return a.incarnation < b.incarnation;
  return a.term !== b.term ? a.term < b.term : a.seq < b.seq;
}
