/**
 * The keeper's main loop. It accepts orders, stores them before acting (S5), brings PostgreSQL to the state that the
 * newest order asks for, and reports. It is level-triggered: one loop looks at PostgreSQL and does what is still
 * missing, again and again. So a lost message, a crash or a restart needs no code path of its own. This file knows only
 * the ports, and the connection to the monitor that is used unless it is given another.
 *
 * S3: `promotingTerm` is stored together with the order before the promotion. It is cleared when the promotion was seen
 * to finish and its timeline was stored as `promoted`. Whether that leadership was opened to clients is known only to
 * the monitor's ledger.
 */
import type { FailureCode, LogCode } from '../contract/codes';
import { inBackground, messageOf } from '../contract/errors';
import type { KeeperConfig } from '../contract/inputs';
import { parseLsn } from '../contract/lsn';
import {
  compareOrders,
  type KeeperFrame,
  type MonitorAddress,
  type MonitorFrame,
  type NodeSettings,
  type Order,
  PINGS_A_STATUS,
  type Status,
} from '../contract/messages';
import { BackupSide, finishPlaces } from './backup-side';
import { ClientReplication } from './client-replication';
import { ClientSlots } from './client-slots';
import { DurableState } from './durable-state';
import type { AcceptedOrder, KeeperState } from './keeper-state';
import type { Leadership } from './leadership';
import type { Lives } from './lives';
import { MonitorLink } from './monitor-link';
import {
  type Clock,
  KeeperError,
  type Link,
  type LinkEvents,
  NO_VIEW,
  type Postgres,
  type StateFile,
  type View,
} from './ports';
import { Pursuit } from './pursue';
import { whyNotLead } from './pursue-lead';
import { finishRestore } from './pursue-restore';
import { beginCheckpoint, type NoteLevel, type Outcome, type PursuitHost } from './pursuit-host';
import { noticeByHand } from './rejoining';
import { Reports } from './reports';
import type { Facts } from './status';

/** Interval between two looks at PostgreSQL when nothing happens, ms. */
const LOOK_MS = 100;
/**
 * A node is at rest when its order is carried out and, for {@link CALM_AFTER_MS}, nothing changed, hardly any WAL was
 * written and the monitor sent only pings. At rest, every fourth ping causes a look. All nodes look at the same time,
 * because their positions are compared. The answer to the next ping carries the status.
 */
const PINGS_A_LOOK = 4;
/** Interval between two looks of a node at rest while no ping arrives, ms. */
const CALM_LOOK_MS = 1_000;
const CALM_AFTER_MS = 5_000;
/** A look that is at most this old is good enough to begin a new order with, ms. */
const FRESH_MS = 600;
/** Why a rest ends early. Without a reason, each `abort` would make an error, which costs processor time. */
const NUDGED = 'nudged';
/** A node that wrote more WAL than this between two looks is not at rest, bytes. Heartbeats write a fraction of it. */
const CALM_WAL_BYTES = 65_536n;
const RETRY_MS = 200;
const STUMBLES_MAX = 3;
/** Failures that usually pass by themselves: a checkpoint delays a reload, or a standby is slow (S4, S17). */
const PASSING: ReadonlySet<FailureCode> = new Set(['STEP_FAILED', 'SYNC_UNPROVEN']);
/** How long the leader waits after SIGTERM for the monitor's hand-over (S18), ms. */
export const HANDOVER_LIMIT_MS = 8_000;
/** How long a leader that is told to stop may write its checkpoint, ms. */
export const CHECKPOINT_LIMIT_MS = 15_000;
/** How long the container stays for an archiver that has files left, ms. */
export const ARCHIVE_LIMIT_MS = 8_000;
/** Time for the monitor to learn of a shutdown and to hold new connections, ms. */
export const NOTICE_MS = 100;
/**
 * How long a leader that is told to stop waits for a monitor that is not connected, ms. An upgrade replaces both
 * containers, one right after the other.
 */
const MONITOR_LIMIT_MS = 4_000;

/** Progress of the order that this process was given. Before the first order the keeper starts nothing (S13). */
interface Progress {
  order: AcceptedOrder | null;
  done: boolean;
  failure: Status['failure'];
}

/** One turn of the loop. */
class Turn {
  /** Aborted when a new order arrives for which the running work is wrong. */
  readonly job = new AbortController();
  /** Aborted to end the wait before the next turn. */
  readonly nudge = new AbortController();
  /** The node is at rest; see {@link PINGS_A_LOOK}. */
  calm = false;
}

/** What a keeper needs from outside. */
interface KeeperPorts {
  config: KeeperConfig;
  postgres: Postgres;
  clock: Clock;
  files: StateFile;
  /** Writes one line to the container's log; absent: nothing is logged. */
  log?(message: string): void;
  /** @default over TCP */
  link?: Link;
}

/** Returns the monitors of the stored list and then the configured first contacts, without duplicates. */
export function contactsOf(
  stored: readonly MonitorAddress[] | undefined,
  first: readonly MonitorAddress[],
): MonitorAddress[] {
  const all = [...(stored ?? []), ...first];
  return [...new Map(all.map((contact) => [`${contact.host}:${contact.port}`, contact])).values()];
}

/** The keeper of one node. Nothing runs before {@link Keeper.run}. */
export class Keeper implements PursuitHost, Facts, LinkEvents {
  stopping = false;
  view: View = NO_VIEW;
  progress: Progress = { order: null, done: false, failure: null };
  /** The monitor's settings; null: none came yet. */
  settings: NodeSettings | null = null;
  /** The lives of this node's PostgreSQL. */
  readonly lives: Lives;
  readonly postgres: Postgres;
  /** The view was taken in this turn of the loop, and nothing was changed since. */
  private current = false;
  private lookedAtMs = Number.NEGATIVE_INFINITY;
  /** PostgreSQL's position at the last look; null: not known. */
  private position: bigint | null = null;
  private readonly clock: Clock;
  private readonly link: Link;
  private readonly store: DurableState;
  private readonly pursuit: Pursuit;
  private readonly reports: Reports;
  /** Archive and backups of each place. */
  private readonly local: BackupSide | null;
  private readonly second: BackupSide | null;
  private readonly replication: ClientReplication | null;
  private readonly slotKeeping: ClientSlots | null;
  /** Number of changes of the settings. */
  private version = 0;
  /** Number of steps that failed in a row. */
  private stumbles = 0;
  private turn = new Turn();
  private ended = false;
  /** Data from before a restore are being removed. */
  private removing = false;
  private looped: Promise<void> = Promise.resolve();
  private frames: Promise<void> = Promise.resolve();

  /** Creates a keeper that has not started yet. */
  constructor(private readonly ports: KeeperPorts) {
    const { config, postgres, clock, files, link } = ports;
    const { node, clusterKey, monitors } = config;
    this.postgres = postgres;
    this.clock = clock;
    this.store = new DurableState(files);
    const contacts = () => contactsOf(this.state.monitors, monitors);
    this.link = link ?? new MonitorLink({ node, clusterKey, contacts });
    this.reports = new Reports(this, clock, this.link);
    this.pursuit = new Pursuit({ node, postgres, clock, host: this });
    this.lives = this.pursuit.lives;
    const { archive, backups, archiveS3, backupsS3 } = postgres;
    this.local = archive === undefined ? null : new BackupSide('local', this, archive, backups, clock);
    this.second = archiveS3 === undefined ? null : new BackupSide('s3', this, archiveS3, backupsS3, clock);
    this.replication = postgres.gate === undefined ? null : new ClientReplication(postgres.gate, this);
    const { clientSlots } = postgres;
    this.slotKeeping = clientSlots === undefined ? null : new ClientSlots(node, clientSlots, clock, this);
    postgres.onCrash = (reason) => this.crashed(reason);
  }

  get order(): AcceptedOrder | null {
    return this.progress.order;
  }

  get state(): KeeperState {
    return this.store.state;
  }

  log(message: string): void {
    this.ports.log?.(message);
  }

  /**
   * Loads the stored state, connects and runs until {@link terminate}. `failed` is called with the reason if the
   * connection is given up.
   */
  async run(failed: (error: unknown) => void): Promise<void> {
    await this.load();
    this.link.run(this).catch(failed);
    this.looped = this.loop();
    await this.looped;
  }

  /** Loads the stored state and finishes an interrupted swap. */
  private async load(): Promise<void> {
    await this.store.load();
    await finishRestore({ host: this, postgres: this.postgres });
    if (this.state.swapPending) {
      await this.postgres.swapIn();
      await this.save({ swapPending: false });
    }
    await this.postgres.tidy();
    this.view = await this.postgres.observe();
  }

  /** The handshake succeeded. */
  connected(): void {
    this.local?.connected();
    this.second?.connected();
    this.replication?.connected();
    this.reports.connected();
    this.link.send({ type: 'recall', newest: this.store.copy });
    this.reports.report(true);
    this.wake();
  }

  /** Takes a frame from the monitor. Frames are handled one after the other. */
  receive(frame: MonitorFrame): void {
    if (frame.type === 'ping') {
      const pong: KeeperFrame = { type: 'pong', n: frame.n };
      this.postgres.pinged();
      this.local?.pinged(frame);
      this.second?.pinged(frame);
      this.replication?.pinged(frame);
      this.slotKeeping?.pinged(frame);
      this.confirmed(frame.confirmed);
      if (frame.n % PINGS_A_STATUS === 0 && !this.repeats(frame.n)) this.reports.report(true, [pong], this.turn.calm);
      else this.link.send(pong);
      if (this.turn.calm && frame.n % PINGS_A_LOOK === 1) this.wake();
      return;
    }
    // The monitor sends more than pings, so this node is not at rest.
    this.reports.busy();
    if (this.turn.calm) this.wake();
    this.frames = this.frames.then(() => this.handle(frame)).catch((error: unknown) => this.notStored(error));
  }

  /** True when a status would repeat the last one: a standby at rest learns nothing new between two looks. */
  private repeats(ping: number): boolean {
    return this.turn.calm && this.view.sql?.inRecovery === true && ping % PINGS_A_LOOK !== PINGS_A_STATUS;
  }

  private async handle(frame: MonitorFrame): Promise<void> {
    if (frame.type === 'settings') {
      this.reports.settingsCame();
      const { monitors, ...settings } = frame.settings;
      // The monitor sends the settings again at every reconnect.
      if (JSON.stringify(settings) !== JSON.stringify(this.settings)) {
        this.settings = settings;
        this.postgres.usePlaces?.(settings.backup);
        this.version += 1;
        this.wake();
      }
      const isNews = monitors !== undefined && JSON.stringify(monitors) !== JSON.stringify(this.state.monitors);
      if (isNews) await this.save({ monitors });
    } else if (frame.type === 'order') {
      await this.accept(frame);
    } else if (frame.type === 'remember') {
      const { term, seq, blob } = frame;
      this.store.keep({ term, seq, blob }, (error) => this.notStored(error));
    }
  }

  private notStored(error: unknown): void {
    this.note('error', 'STATE_NOT_STORED', messageOf(error));
  }

  private async accept(order: Order): Promise<void> {
    const highest = this.state.accepted;
    const age = highest === null ? 1 : compareOrders(order, highest);
    const text = `${order.target.kind} ${order.incarnation}.${order.term}.${order.seq}`;
    if (age < 0) {
      this.note('warn', 'ORDER_REFUSED', `refused ${text}: a newer order was accepted`);
      this.reports.report(true);
      return;
    }
    if (highest !== null && age === 0) {
      // The same id is the same order, sent again after a reconnect.
      this.progress.order ??= highest;
    } else {
      const { incarnation, term, seq, target } = order;
      const accepted: AcceptedOrder = { incarnation, term, seq, target };
      const leadsAlready = this.view.sql?.inRecovery === false;
      await this.save({
        accepted,
        // One write stores both, because the promotion follows at once (S3).
        ...(target.kind === 'lead' && !leadsAlready && whyNotLead(accepted, this.state, this.view) === null
          ? { promotingTerm: term }
          : {}),
      });
      const before = this.progress.order;
      if (before !== null && !continues(before, accepted)) this.turn.job.abort();
      this.progress = { order: accepted, done: false, failure: null };
      this.replication?.look();
    }
    this.report();
    this.wake();
  }

  save(change: Partial<KeeperState>): Promise<void> {
    return this.store.save(change);
  }

  private async loop(): Promise<void> {
    let acted: AcceptedOrder | null = null;
    while (!this.ended) {
      this.turn = new Turn();
      const { turn } = this;
      const { order } = this.progress;
      let restMs = LOOK_MS;
      this.current = false;
      try {
        // A new order begins with the view of a moment ago, so that a promotion waits for nothing that it does not
        // need.
        if (order === acted || this.clock.nowMs() - this.lookedAtMs > FRESH_MS) await this.observe();
        acted = order;
        const { settings, version } = this;
        // A newer order may have arrived during the look. The old order, whose signal is then aborted, must not do
        // anything any more.
        if (order !== null && settings !== null && !turn.job.signal.aborted) {
          const outcome = await this.pursuit.pursue(order, { settings, version, signal: turn.job.signal });
          if (order === this.progress.order) restMs = this.passed(turn, outcome);
        }
      } catch (error) {
        restMs = turn.job.signal.aborted ? 0 : RETRY_MS;
        if (order === this.progress.order && !turn.job.signal.aborted) this.failed(error);
      }
      this.replication?.look();
      // The pass has ended, with or without success, so no long step runs.
      this.lives.activity = null;
      this.report();
      if (!this.ended) await this.clock.sleep(restMs, turn.nudge.signal);
    }
  }

  /** Records the progress of the order. Returns the rest until the next turn, ms. */
  private passed(turn: Turn, { done, failure, againMs }: Outcome): number {
    this.stumbles = 0;
    this.progress.done = done;
    this.progress.failure = failure ?? null;
    turn.calm = done && this.clock.nowMs() - this.reports.changedAtMs >= CALM_AFTER_MS;
    return againMs ?? (turn.calm ? CALM_LOOK_MS : LOOK_MS);
  }

  /** Records a failed step. A failure that may pass by itself is reported only after several attempts. */
  private failed(error: unknown): void {
    const code = error instanceof KeeperError ? error.code : 'STEP_FAILED';
    const message = messageOf(error);
    const { progress } = this;
    progress.done = false;
    this.stumbles += 1;
    if (PASSING.has(code) && this.stumbles < STUMBLES_MAX) return;
    if (progress.failure?.code !== code || progress.failure.message !== message) this.note('error', code, message);
    progress.failure = { code, message };
  }

  async observe(): Promise<View> {
    const before = this.view;
    this.view = await this.postgres.observe();
    this.lookedAtMs = this.clock.nowMs();
    this.current = true;
    // This comes before any part of the view is reported. An order that promotes the server, or has promoted it, has
    // begun a leadership.
    const isOrdered = this.lives.now.leadership !== null;
    if (!isOrdered && (await noticeByHand(this.view, this.state, (change) => this.save(change)))) {
      this.note('warn', 'PROMOTED_BY_HAND', 'PostgreSQL became a primary without an order');
    }
    const { view } = this;
    this.noteWal(view);
    if (view.warning !== null && view.warning !== before.warning) this.note('warn', 'POSTGRES_WARNING', view.warning);
    if (view.lockedOut !== undefined && view.lockedOut !== before.lockedOut) {
      this.note('error', 'SUPERUSER_LOCKED_OUT', view.lockedOut);
    }
    this.report();
    return view;
  }

  private noteWal({ sql }: View): void {
    const before = this.position;
    const lsn = sql?.flushLsn ?? sql?.replayLsn;
    this.position = lsn == null ? null : parseLsn(lsn);
    const wrote = before !== null && this.position !== null && this.position - before > CALM_WAL_BYTES;
    if (wrote) this.reports.busy();
  }

  async look(): Promise<void> {
    if (!this.current) await this.observe();
  }

  changed(view?: View): void {
    this.current = false;
    if (view === undefined) return;
    this.view = view;
    this.report();
  }

  private wake(): void {
    this.turn.nudge.abort(NUDGED);
  }

  private crashed(reason: string | null): void {
    this.reports.crashed();
    this.progress.done = false;
    this.lives.crashed(this.progress.order, this.settings);
    this.view = { ...this.view, running: false, sql: null, settings: null, blind: false };
    const why = reason === null ? '' : `: ${reason}`;
    this.note('error', 'POSTGRES_CRASHED', `PostgreSQL ended without having been told to${why}`);
    this.reports.report(true);
    this.wake();
  }

  note(level: NoteLevel, code: LogCode, message: string): void {
    this.reports.note(level, code, message);
  }

  report(): void {
    this.reports.report();
  }

  /** Closes the connection to the monitor, within the limit, ms. */
  close(limitMs: number): Promise<void> {
    return this.link.close(limitMs);
  }

  /** The leadership in which this node may archive: the present order's, until the node is told to stop. */
  leadership(): Leadership | null {
    const leads = this.progress.order?.target.kind === 'lead' && this.leads && !this.stopping;
    return leads ? this.lives.now.leadership : null;
  }

  get settled(): boolean {
    return this.progress.done && this.view.sql !== null;
  }

  /** What the status says of the archive. */
  get archive(): Status['archive'] {
    return this.local?.archive;
  }

  /** What the status says of the backups. */
  get backup(): Status['backup'] {
    return this.local?.backup;
  }

  /** The same for the second place. */
  get s3(): Status['s3'] {
    return this.second?.s3;
  }

  /** What the status says of the slots that people made. */
  get clientSlots(): Status['clientSlots'] {
    return this.slotKeeping?.view;
  }

  /** What the status says of restores in place. */
  get restores(): Pick<Status, 'freeBytes' | 'restored'> {
    const freeBytes = this.postgres.restorer?.freeBytes ?? null;
    const { restored } = this.state;
    return {
      ...(freeBytes !== null && { freeBytes }),
      ...(restored && { restored: { id: restored.id, atMs: restored.atMs, keptBytes: restored.kept?.bytes ?? null } }),
    };
  }

  async finishArchive(signal: AbortSignal): Promise<void> {
    const sides = [this.local, this.second];
    if (sides.every((side) => side === null)) throw new KeeperError('RESTORE_IMPOSSIBLE', 'this node has no backups');
    await finishPlaces(sides, signal);
  }

  /** A person confirmed this restore: the data from before it are removed, in the background. */
  private confirmed(id: string | undefined): void {
    const { restored } = this.state;
    if (id === undefined || restored?.id !== id || restored.kept === null || this.removing) return;
    this.removing = true;
    const { folder } = restored.kept;
    inBackground(
      async () => {
        await this.postgres.restorer?.remove(folder);
        if (this.state.restored?.id === id) await this.save({ restored: { ...restored, kept: null } });
        this.report();
      },
      (error) => this.note('warn', 'POSTGRES_WARNING', `the data from before the restore stay: ${messageOf(error)}`),
      () => {
        this.removing = false;
      },
    );
  }

  /** True while the keeper is connected and its order is carried out: the container is then healthy. */
  healthy(): boolean {
    return this.link.connected && this.progress.order !== null && this.progress.done;
  }

  /** PostgreSQL is a primary, and no order is shutting it down. */
  private get leads(): boolean {
    return this.view.sql?.inRecovery === false && this.lives.activity !== 'stopping';
  }

  /** Ends early when the checkpoint fails, takes too long, or an order shuts PostgreSQL down meanwhile. */
  private async checkpointBeforeStop(): Promise<void> {
    if (!this.leads) return;
    const isWritten = beginCheckpoint({ host: this, postgres: this.postgres });
    const deadline = this.clock.nowMs() + CHECKPOINT_LIMIT_MS;
    while (this.leads && !isWritten() && this.clock.nowMs() < deadline) await this.clock.sleep(5);
  }

  /**
   * The container was told to stop. A leader writes a checkpoint while it still serves, so that its shutdown has little
   * left to write. Announces the stop, waits up to {@link HANDOVER_LIMIT_MS} for the monitor to move the leadership to
   * another node (S18), and shuts PostgreSQL down.
   */
  async terminate(): Promise<void> {
    await this.checkpointBeforeStop();
    this.stopping = true;
    this.replication?.look();
    this.reports.report(true);
    const fromMs = this.clock.nowMs();
    const deadline = fromMs + HANDOVER_LIMIT_MS;
    const isHeard = () => this.link.connected || this.clock.nowMs() < fromMs + MONITOR_LIMIT_MS;
    // An order to stop drains the clients within its own limit. The wait goes on until that order shuts PostgreSQL
    // down.
    while (this.leads && isHeard() && this.clock.nowMs() < deadline) await this.clock.sleep(10);
    const unasked = this.leads && this.link.connected;
    this.ended = true;
    this.turn.job.abort();
    this.wake();
    await this.looped;
    this.lives.activity = 'stopping';
    if (unasked) {
      // No other node took over. HAProxy should hold new connections now; a PostgreSQL that shuts down would refuse
      // them.
      this.reports.report(true);
      await this.clock.sleep(NOTICE_MS);
    }
    this.lives.over();
    await this.lives.shutDown();
    this.lives.activity = null;
    this.view = await this.postgres.observe();
    this.progress.done = this.progress.order?.target.kind === 'stop';
    this.reports.report(true);
    // The container's end would kill an archiver that is still at work.
    await this.postgres.ended(ARCHIVE_LIMIT_MS);
  }
}

/** Whether a step that is running for `before` is also right for `after`, so that a copy need not begin again. */
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
