/** Starts and stops PostgreSQL for the orders, and holds what is known about the running server. */
import type { NodeSettings } from '../contract/messages';
import type { AcceptedOrder } from './keeper-state';
import type { Leadership } from './leadership';
import { KeeperError, type ServerConfig, type SqlView } from './ports';
import type { Activity, PursuitParts } from './pursuit-host';

/** Rest of a standby after a crash, ms. It doubles with each crash. */
const REST_MS = 1_000;
const REST_MAX_MS = 60_000;
/** After a server has answered for this time, its next crash starts again with the shortest rest, ms. */
const GOOD_MS = 60_000;

/**
 * What is known about one running PostgreSQL. It is created when the server starts and dropped when the server is
 * stopped or has crashed.
 */
export class Life {
  /**
   * The leadership that an order gave this server or is about to give it; null: the server is a standby, or a primary
   * without an order.
   */
  leadership: Leadership | null = null;
  /** Time of its first answer; null: it has not answered yet. */
  answeredAtMs: number | null = null;
  /** Value of `synchronous_standby_names` that it uses; null: not known. */
  names: string | null = null;
  /** The nodes for which this standby has made slots; null: it has made none since it started. */
  slotsMadeFor: string | null = null;
  /** Time when this standby last prepared for client sessions. */
  warmedAtMs = Number.NEGATIVE_INFINITY;
  /** Time since which no walreceiver was seen while none is configured; null: one was seen, or may have been. */
  quietSinceMs: number | null = null;
}

/** The successive lives of PostgreSQL on this node. */
export class Lives {
  /** The present life. */
  now = new Life();
  /** The long step that the status shows while it runs. */
  activity: Activity | null = null;
  /** Number of crashes of this data in a row, without a long enough run in between. */
  crashesInRow = 0;
  /**
   * The last crash; null: PostgreSQL was started since then. The node rests until `untilMs`, unless the settings
   * change.
   */
  private crash: { under: AcceptedOrder | null; untilMs: number; settings: string } | null = null;

  constructor(private readonly parts: PursuitParts) {}

  /** Shows in the status that a long step runs. */
  show(activity: Activity): void {
    this.activity = activity;
    this.parts.host.report();
  }

  /** PostgreSQL is down or about to be. Forgets what was known about the running server. */
  over(): void {
    this.now = new Life();
    this.parts.postgres.stopHeartbeat();
  }

  /** PostgreSQL ended by itself while the order `under` was being carried out. */
  crashed(under: AcceptedOrder | null, settings: NodeSettings | null): void {
    const nowMs = this.parts.clock.nowMs();
    const { answeredAtMs } = this.now;
    const wasGood = answeredAtMs !== null && nowMs - answeredAtMs >= GOOD_MS;
    this.crashesInRow = wasGood ? 1 : this.crashesInRow + 1;
    const untilMs = nowMs + Math.min(REST_MAX_MS, REST_MS * 2 ** (this.crashesInRow - 1));
    this.crash = { under, untilMs, settings: JSON.stringify(settings) };
    this.over();
  }

  /**
   * True when PostgreSQL crashed under the order that is still the newest. A leader is not restarted by the same order
   * (S8).
   */
  get crashedUnderNewest(): boolean {
    const under = this.crash?.under ?? null;
    return under !== null && under === this.parts.host.state.accepted;
  }

  /** The data is about to be replaced, so its crashes no longer count and it need not rest. */
  forgetCrashes(): void {
    this.crashesInRow = 0;
    if (this.crash !== null) this.crash.untilMs = Number.NEGATIVE_INFINITY;
  }

  /** PostgreSQL answers. After it has answered for {@link GOOD_MS}, earlier crashes no longer count. */
  answered(): void {
    const nowMs = this.parts.clock.nowMs();
    this.now.answeredAtMs ??= nowMs;
    if (nowMs - this.now.answeredAtMs >= GOOD_MS) this.crashesInRow = 0;
  }

  /**
   * Remaining rest of a standby after its last crash, ms. There is none after a change of the settings, because the old
   * settings may have been the cause.
   */
  restMs(settings: NodeSettings): number {
    const { crash } = this;
    if (crash === null || crash.under === null || crash.settings !== JSON.stringify(settings)) return 0;
    return Math.max(0, crash.untilMs - this.parts.clock.nowMs());
  }

  /** Starts PostgreSQL. Throws STOPPING when the container is being stopped. */
  async start(wanted: ServerConfig, leads = false): Promise<void> {
    const { host, postgres } = this.parts;
    if (host.stopping) throw new KeeperError('STOPPING', 'this container is being stopped');
    this.over();
    this.crash = null;
    await postgres.start(wanted, leads);
    this.now.names = wanted.syncNames;
    await host.observe();
  }

  async configure(wanted: ServerConfig): Promise<void> {
    const life = this.now;
    life.names = null;
    if (await this.parts.postgres.configure(wanted)) {
      this.parts.host.changed();
      life.quietSinceMs = null;
    }
    life.names = wanted.syncNames;
  }

  async stop(): Promise<void> {
    const { host } = this.parts;
    this.over();
    if (!host.view.running) return;
    this.show('stopping');
    await this.shutDown();
    this.activity = null;
    await host.observe();
  }

  /** Shuts PostgreSQL down. For a leader it logs how long this took, because a switchover waits for it. */
  async shutDown(): Promise<void> {
    const { host, postgres, clock } = this.parts;
    const led = host.view.sql?.inRecovery === false;
    const startMs = clock.nowMs();
    await postgres.stop();
    const tookMs = Math.round(clock.nowMs() - startMs);
    if (led) host.note('info', 'POSTGRES_STOPPED', `PostgreSQL shut down in ${tookMs} ms`);
  }

  /** Takes a fresh look. Throws POSTGRES_SILENT when PostgreSQL does not answer. */
  async sql(): Promise<SqlView> {
    const { sql, stale } = await this.parts.host.observe();
    if (sql === null || stale === true) throw new KeeperError('POSTGRES_SILENT', 'PostgreSQL does not answer');
    return sql;
  }
}

/** Configuration of a node that follows no other; `syncNames`: the value of synchronous_standby_names. */
export function alone(settings: NodeSettings, syncNames = '', consumerSlots?: string): ServerConfig {
  return { settings, upstream: null, syncNames, ...(consumerSlots !== undefined && { consumerSlots }) };
}
