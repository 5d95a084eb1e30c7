/**
 * The keeper's life: takes orders, remembers them before acting (S5), brings PostgreSQL to what the newest one asks for,
 * and reports. Level-triggered: one loop looks at PostgreSQL and does what is still missing, again and again, so a lost
 * message, a crash or a restart needs no path of its own. Knows only the ports.
 *
 * S3: `promotingTerm` is stored, together with the order, before the promotion, and cleared when the promotion was seen
 * finished and its timeline was stored as `promoted`. Whether that leadership was opened is the monitor's ledger to know.
 */
import type { FailureCode, LogCode } from '../contract/codes';
import {
  compareOrders,
  type KeeperFrame,
  type MonitorFrame,
  type NodeSettings,
  type Order,
  PINGS_A_STATUS,
  type SlotView,
  type StateCopy,
  type Status,
} from '../contract/messages';
import { lsnValue } from './lsn';
import {
  type AcceptedOrder,
  type Clock,
  EMPTY_STATE,
  KeeperError,
  type KeeperState,
  type Link,
  messageOf,
  type Postgres,
  type SqlView,
  type StateFile,
  type View,
} from './ports';
import { Pursuit } from './pursue';
import { buildStatus, dataIdOf } from './status';

/** How often PostgreSQL is looked at when nothing happens, ms. */
const LOOK_MS = 100;
/**
 * At rest, which is when the order is carried out and for {@link CALM_AFTER_MS} nothing changed, hardly any WAL was written
 * and the monitor sent nothing but pings, every fourth ping brings a look: on all nodes at the same time, because positions
 * are compared, and shortly before the next ping, whose answer carries the status.
 */
const PINGS_A_LOOK = 4;
const PING_TO_LOOK_MS = 60;
/** How often a node at rest is looked at while no ping comes, ms. */
const CALM_LOOK_MS = 500;
const CALM_AFTER_MS = 5_000;
/** A node with more new WAL than this between two looks is not at rest, bytes; heartbeats write a fraction of it. */
const CALM_WAL_BYTES = 65_536n;
/** What was seen within this time is good enough to begin a new order with, ms. */
const FRESH_MS = 600;
const RETRY_MS = 200;
const STUMBLES_MAX = 3;
/** Failures that pass by themselves as a rule: a checkpoint holds up a reload, a standby is slow (S4, S17). */
const PASSING: ReadonlySet<FailureCode> = new Set(['STEP_FAILED', 'SYNC_UNPROVEN']);
/** After SIGTERM the leader waits this long for the monitor's hand-over (S18), ms. */
export const HANDOVER_LIMIT_MS = 8_000;
/** Enough for the monitor to hear of a shutdown and to hold new connections, ms. */
const NOTICE_MS = 100;
/** A leader that is told to stop awaits a monitor that is away so long: an upgrade replaces both, one right after the other, ms. */
export const MONITOR_LIMIT_MS = 4_000;
const CRASH_WINDOW_MS = 60_000;

const NO_VIEW: View = {
  systemId: null,
  dataExists: false,
  running: false,
  control: null,
  sql: null,
  streamImpossible: null,
  warning: null,
};

/** Of a server that answers only now that it is promoted. */
const NOTHING_SEEN: SqlView = {
  inRecovery: true,
  timeline: null,
  receiveLsn: null,
  replayLsn: null,
  flushLsn: null,
  walReceiver: null,
  startupWaits: false,
  heartbeatSeen: null,
  standbys: [],
};

export class Keeper {
  readonly node: string;
  readonly postgres: Postgres;
  readonly clock: Clock;
  private readonly files: StateFile;
  private readonly link: Link;
  private readonly pursuit: Pursuit;

  state: KeeperState = EMPTY_STATE;
  settings: NodeSettings | null = null;
  settingsVersion = 0;
  view: View = NO_VIEW;
  stopping = false;
  /** Shown instead of what the process looks like, while a long step runs. */
  activity: Status['postgres']['state'] | null = null;
  /** The order that was under way when PostgreSQL crashed: a leader is not restarted by the same one (S8). */
  crashedUnder: AcceptedOrder | null = null;

  /** The order that was given in this life: before it nothing is started (S13). */
  private ordered: AcceptedOrder | null = null;
  private settingsAreNew = false;
  private done = false;
  private failure: Status['failure'] = null;
  /** Steps that failed one after the other. */
  private stumbles = 0;
  private crashedAtMs: number[] = [];
  private ended = false;
  private looped: Promise<void> = Promise.resolve();
  private job = new AbortController();
  private nudge = new AbortController();
  private saving: Promise<void> = Promise.resolve();
  private frames: Promise<void> = Promise.resolve();
  private memory: StateCopy | null = null;
  private keeping = false;
  private lookedAtMs = Number.NEGATIVE_INFINITY;
  /** The view is of this pass of the loop, and nothing was changed since. */
  private current = false;
  private readonly begunMs: number;
  private statusCount = 0;
  private reported = '';
  /** When the status last changed in anything but counts and positions. */
  private changedAtMs = Number.NEGATIVE_INFINITY;
  /** The node is at rest, see {@link PINGS_A_LOOK}. */
  private calm = false;
  private position: bigint | null = null;
  private slotsSent: SlotView[] | undefined;

  constructor(parts: { node: string; postgres: Postgres; clock: Clock; files: StateFile; link: Link }) {
    this.node = parts.node;
    this.postgres = parts.postgres;
    this.clock = parts.clock;
    this.begunMs = parts.clock.nowMs();
    this.files = parts.files;
    this.link = parts.link;
    this.pursuit = new Pursuit(this);
    this.postgres.onCrash = (reason) => this.crashed(reason);
  }

  /** Runs, after {@link load}, until {@link terminate} has ended it. */
  async run(): Promise<void> {
    this.looped = this.loop();
    await this.looped;
  }

  /** Loads what was remembered and finishes an interrupted swap. */
  async load(): Promise<void> {
    this.state = await this.files.load();
    this.memory = await this.files.loadMemory();
    if (this.state.swapPending) {
      await this.postgres.swapIn();
      await this.save({ swapPending: false });
    }
    await this.postgres.tidy();
    this.view = await this.postgres.observe();
  }

  /** The handshake succeeded. The settings follow; until they are here, how they stand is not known. */
  connected(): void {
    this.settingsAreNew = false;
    this.statusCount = 0;
    this.slotsSent = undefined;
    this.link.send({ type: 'recall', newest: this.memory });
    this.report(true);
    this.wake();
  }

  /** A frame of the monitor; frames are handled one after the other. */
  receive(frame: MonitorFrame): void {
    if (frame.type === 'ping') {
      const pong: KeeperFrame = { type: 'pong', n: frame.n };
      if (frame.n % PINGS_A_STATUS === 0) this.report(true, [pong]);
      else {
        this.link.send(pong);
        if (this.calm && frame.n % PINGS_A_LOOK === 1) this.lookSoon();
      }
      return;
    }
    // The monitor sends more than pings: this node is not at rest.
    this.changedAtMs = this.clock.nowMs();
    if (this.calm) this.wake();
    this.frames = this.frames
      .then(() => this.handle(frame))
      .catch((error: unknown) => this.note('error', 'STATE_NOT_STORED', messageOf(error)));
  }

  private async handle(frame: MonitorFrame): Promise<void> {
    if (frame.type === 'settings') {
      this.settingsAreNew = true;
      // Sent again at every reconnect.
      if (JSON.stringify(frame.settings) === JSON.stringify(this.settings)) return;
      this.settings = frame.settings;
      this.settingsVersion += 1;
      this.wake();
    } else if (frame.type === 'order') {
      await this.accept(frame);
    } else if (frame.type === 'remember') {
      const { term, seq, blob } = frame;
      if (this.memory !== null && seq < this.memory.seq) return;
      this.memory = { term, seq, blob };
      this.keepMemory();
    }
  }

  /** Stores the newest copy beside the orders, which do not wait for it; what comes meanwhile replaces what waits. */
  private keepMemory(): void {
    if (this.keeping) return;
    this.keeping = true;
    const work = async () => {
      for (let kept: StateCopy | null = null; this.memory !== null && kept !== this.memory; ) {
        kept = this.memory;
        await this.files.saveMemory(kept);
      }
    };
    work()
      .catch((error: unknown) => this.note('error', 'STATE_NOT_STORED', messageOf(error)))
      .finally(() => {
        this.keeping = false;
      })
      .catch(() => undefined);
  }

  private async accept(order: Order): Promise<void> {
    const highest = this.state.accepted;
    const age = highest === null ? 1 : compareOrders(order, highest);
    const text = `${order.target.kind} ${order.incarnation}.${order.term}.${order.seq}`;
    if (age < 0) {
      this.note('warn', 'ORDER_REFUSED', `refused ${text}: a newer order was accepted`);
      this.report(true);
      return;
    }
    if (highest !== null && age === 0) {
      // The same id is the same order, given again after a reconnect.
      this.ordered ??= highest;
    } else {
      const { incarnation, term, seq, target } = order;
      const accepted: AcceptedOrder = { incarnation, term, seq, target };
      const leadsAlready = this.view.sql?.inRecovery === false;
      await this.save({
        accepted,
        // One write for both: the promotion follows at once (S3).
        ...(target.kind === 'lead' && !leadsAlready && this.pursuit.mayLead(accepted) === null
          ? { promotingTerm: term }
          : {}),
      });
      if (this.ordered !== null && !continues(this.ordered, accepted)) this.job.abort();
      this.ordered = accepted;
      this.done = false;
      this.failure = null;
    }
    this.report();
    this.wake();
  }

  /** Stores a change of what must not be forgotten; resolves when it is on the disk. */
  save(change: Partial<KeeperState>): Promise<void> {
    const saved = this.saving
      .catch(() => undefined)
      .then(async () => {
        const next = { ...this.state, ...change };
        await this.files.save(next);
        this.state = next;
      });
    this.saving = saved;
    return saved;
  }

  private async loop(): Promise<void> {
    let acted: AcceptedOrder | null = null;
    while (!this.ended) {
      this.nudge = new AbortController();
      this.job = new AbortController();
      const order = this.ordered;
      let restMs = LOOK_MS;
      this.current = false;
      this.calm = false;
      try {
        // A new order is begun with what was seen a moment ago: a promotion waits for nothing that it can do without.
        if (order === acted || this.clock.nowMs() - this.lookedAtMs > FRESH_MS) await this.observe();
        acted = order;
        // A newer order may have come during the look: an order that it ended must not do anything any more.
        if (order !== null && this.settings !== null && !this.job.signal.aborted) {
          const outcome = await this.pursuit.pursue(order, this.settings, this.job.signal);
          if (order === this.ordered) {
            this.stumbles = 0;
            this.done = outcome.done;
            this.failure = outcome.failure ?? null;
            this.calm = outcome.done && this.clock.nowMs() - this.changedAtMs >= CALM_AFTER_MS;
            restMs = outcome.againMs ?? (this.calm ? CALM_LOOK_MS : LOOK_MS);
          }
        }
      } catch (error) {
        restMs = this.job.signal.aborted ? 0 : RETRY_MS;
        if (order === this.ordered && !this.job.signal.aborted) this.failed(error);
      }
      this.activity = null;
      this.report();
      if (!this.ended) await this.clock.sleep(restMs, this.nudge.signal);
    }
  }

  /** A failed step that may pass by itself is tried again before it is called a failure. */
  private failed(error: unknown): void {
    const named = error instanceof KeeperError;
    const code = named ? error.code : 'STEP_FAILED';
    const message = messageOf(error);
    this.done = false;
    this.stumbles += 1;
    if (PASSING.has(code) && this.stumbles < STUMBLES_MAX) return;
    if (this.failure?.code !== code || this.failure.message !== message) this.note('error', code, message);
    this.failure = { code, message };
  }

  /** Looks at PostgreSQL and reports what changed. */
  async observe(): Promise<View> {
    const { warning: before, lockedOut } = this.view;
    this.view = await this.postgres.observe();
    this.lookedAtMs = this.clock.nowMs();
    this.current = true;
    await this.noticeByHand();
    this.noteWal(this.view);
    if (this.view.warning !== null && this.view.warning !== before) {
      this.note('warn', 'POSTGRES_WARNING', this.view.warning);
    }
    if (this.view.lockedOut !== undefined && this.view.lockedOut !== lockedOut) {
      this.note('error', 'SUPERUSER_LOCKED_OUT', this.view.lockedOut);
    }
    this.report();
    return this.view;
  }

  /**
   * Stores that PostgreSQL became a primary without an order, before anything else is done: its timeline's number may be taken
   * (S3). Also when the server ended before the keeper saw it: the control file tells that it ran as a primary, and the
   * keeper's own state that it was a standby before.
   */
  private async noticeByHand(): Promise<void> {
    const { sql, control, running } = this.view;
    const { promotedByHand, promotingTerm, rewinding, standby, accepted } = this.state;
    if (this.pursuit.promotes || promotedByHand || rewinding) return;
    const isStandby = sql?.inRecovery === true && promotingTerm === null && accepted?.target.kind !== 'lead';
    if (isStandby && !standby) await this.save({ standby: true });
    const ended = !running && standby && promotingTerm === null && control?.primary === true;
    if (sql?.inRecovery !== false && !ended) return;
    await this.save({ promotedByHand: true });
    this.note('warn', 'PROMOTED_BY_HAND', 'PostgreSQL became a primary without an order');
  }

  /** Looks at PostgreSQL unless this pass has, and changed nothing since: a look costs each node of the machine its share. */
  async look(): Promise<void> {
    if (!this.current) await this.observe();
  }

  /** Something of PostgreSQL was changed: what was seen before is out of date. */
  changed(): void {
    this.current = false;
  }

  /** PostgreSQL leads now: told at once, the next look tells the rest. */
  promoted(timeline: number): void {
    const sql = this.view.sql ?? (this.view.blind === true ? NOTHING_SEEN : null);
    if (sql === null) return;
    const standby = { receiveLsn: null, replayLsn: null, walReceiver: null, startupWaits: false };
    this.view = {
      ...this.view,
      sql: { ...sql, ...standby, inRecovery: false, timeline, flushLsn: null, standbys: [] },
      settings: null,
    };
    this.report();
  }

  private wake(): void {
    this.nudge.abort();
  }

  /** Ends the present wait between two looks, and no later one. */
  private lookSoon(): void {
    const { nudge } = this;
    this.clock
      .sleep(PING_TO_LOOK_MS, nudge.signal)
      .then(() => nudge.abort())
      .catch(() => undefined);
  }

  /** A node with much new WAL is not at rest: see {@link PINGS_A_LOOK}. */
  private noteWal({ sql }: View): void {
    const lsn = sql === null ? null : (sql.flushLsn ?? sql.replayLsn);
    const position = lsn === null ? null : lsnValue(lsn);
    const before = this.position;
    this.position = position;
    if (position === null || before === null || position - before <= CALM_WAL_BYTES) return;
    this.changedAtMs = this.clock.nowMs();
  }

  private crashed(reason: string | null): void {
    this.crashedAtMs.push(this.clock.nowMs());
    this.crashedUnder = this.ordered;
    this.done = false;
    this.pursuit.crashed();
    this.view = { ...this.view, running: false, sql: null, settings: null, blind: false };
    const why = reason === null ? '' : `: ${reason}`;
    this.note('error', 'POSTGRES_CRASHED', `PostgreSQL ended without having been told to${why}`);
    this.report(true);
    this.wake();
  }

  /** Shuts PostgreSQL down; how long a leader took is told, because a switchover waits for it. */
  async stopPostgres(): Promise<void> {
    const led = this.view.sql?.inRecovery === false;
    const startMs = this.clock.nowMs();
    await this.postgres.stop();
    const tookMs = Math.round(this.clock.nowMs() - startMs);
    if (led) this.note('info', 'POSTGRES_STOPPED', `PostgreSQL shut down in ${tookMs} ms`);
  }

  /** Crashes within the last minute. */
  crashes(): number {
    const from = this.clock.nowMs() - CRASH_WINDOW_MS;
    this.crashedAtMs = this.crashedAtMs.filter((at) => at > from);
    return this.crashedAtMs.length;
  }

  /** One line for people, shown in the monitor's log. */
  note(level: 'info' | 'warn' | 'error', code: LogCode, message: string): void {
    this.link.send({ type: 'note', level, code, message: message.slice(0, 2_000) });
  }

  /** Identity of the data that is here; null: none. */
  dataId(): string | null {
    return dataIdOf(this.view, this.state);
  }

  private status(): Status {
    return buildStatus({
      n: this.statusCount,
      upMs: Math.round(this.clock.nowMs() - this.begunMs),
      node: this.node,
      state: this.state,
      view: this.view,
      settings: this.settings,
      settingsAreNew: this.settingsAreNew,
      stopping: this.stopping,
      activity: this.activity,
      done: this.done,
      failure: this.failure,
      crashes: this.crashes(),
      crashesInRow: this.pursuit.crashesInRow,
      leadTerm: this.pursuit.leadTerm,
      forkLsn: this.pursuit.forkLsn,
      syncInForce: this.pursuit.sync.inForce,
      heartbeat: this.postgres.heartbeat(),
      slotsAreNew: this.view.slots !== this.slotsSent,
    });
  }

  /** Sends the status when something changed, or in any case, behind other frames that have to be sent. */
  report(always = false, before: readonly KeeperFrame[] = []): void {
    const status = this.status();
    const stable = JSON.stringify({
      ...status,
      n: 0,
      upMs: 0,
      slots: null,
      lead: status.lead && { ...status.lead, ...NO_BEAT, flushLsn: null, standbys: brief(status) },
      postgres: {
        ...status.postgres,
        lsn: status.postgres.lsn === null,
        replayLsn: null,
        heartbeatSeen: null,
        heartbeatSeenAgeMs: null,
      },
    });
    if (!always && stable === this.reported) return;
    if (stable !== this.reported) this.changedAtMs = this.clock.nowMs();
    this.reported = stable;
    this.statusCount += 1;
    if (this.link.connected) this.slotsSent = this.view.slots;
    this.link.send(...before, status);
  }

  /** True while the keeper is connected and carries out its order: the container is healthy. */
  healthy(): boolean {
    return this.link.connected && this.ordered !== null && this.done;
  }

  /**
   * The container was told to stop: announce it, leave the leader's place to another if the monitor arranges so within
   * {@link HANDOVER_LIMIT_MS} (S18), shut down.
   */
  async terminate(): Promise<void> {
    this.stopping = true;
    this.report(true);
    const fromMs = this.clock.nowMs();
    const deadline = fromMs + HANDOVER_LIMIT_MS;
    const isHeard = () => this.link.connected || this.clock.nowMs() < fromMs + MONITOR_LIMIT_MS;
    const leads = () => this.view.sql?.inRecovery === false;
    // Once it is ordered to stop, that lets the clients finish, within the order's limit.
    while (leads() && isHeard() && this.clock.nowMs() < deadline && this.activity !== 'stopping') {
      await this.clock.sleep(10);
    }
    const unasked = leads() && this.link.connected && this.activity !== 'stopping';
    this.ended = true;
    this.job.abort();
    this.wake();
    await this.looped;
    this.activity = 'stopping';
    if (unasked) {
      // Nobody took over. Who comes from now on is better held in HAProxy than refused by a PostgreSQL that shuts down.
      this.report(true);
      await this.clock.sleep(NOTICE_MS);
    }
    this.pursuit.stopped();
    await this.stopPostgres();
    this.activity = null;
    this.view = await this.postgres.observe();
    this.done = this.ordered?.target.kind === 'stop';
    this.report(true);
  }
}

/** What of a leader's status changes with every heartbeat. */
const NO_BEAT = { heartbeat: 0, heartbeatAgeMs: 0, commitMs: null };

/** The leader's standbys without what changes with every write. */
function brief(status: Status): string[] {
  return (status.lead?.standbys ?? []).map((s) => `${s.name} ${s.state} ${s.syncState}`);
}

/** Whether a step that is under way for `before` is also right for `after`, so that a copy is not begun anew. */
function continues(before: AcceptedOrder, after: AcceptedOrder): boolean {
  const [a, b] = [before.target, after.target];
  return (
    a.kind === 'follow' &&
    b.kind === 'follow' &&
    a.leader === b.leader &&
    a.method === b.method &&
    before.term === after.term
  );
}
