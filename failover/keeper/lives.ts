/** Starts and stops PostgreSQL for the orders, and holds what is known of the server that runs. */
import type { NodeSettings } from '../contract/messages';
import type { AcceptedOrder } from './keeper-state';
import type { Leadership } from './leadership';
import { KeeperError, type ServerConfig, type SqlView } from './ports';
import type { Activity, PursuitParts } from './pursuit-host';

/** After a crash a standby rests, twice as long each time, ms. */
const REST_MS = 1_000;
const REST_MAX_MS = 60_000;
/** When a server had answered for this time before its crash, the rests begin with the shortest again, ms. */
const GOOD_MS = 60_000;

/** What is known of one running PostgreSQL: made at its start, dropped when it is stopped or has crashed. */
export class Life {
  /** The lead that an order gave it, or is about to; null: a standby, or a primary by itself. */
  leadership: Leadership | null = null;
  /** When it was first seen to answer; null: not yet. */
  answeredAtMs: number | null = null;
  /** Names that it goes by; null: not known. */
  names: string | null = null;
  /** For whom this standby has made slots; null: not yet since it became one. */
  slotsMadeFor: string | null = null;
  /** When this standby last got ready for sessions. */
  warmedAtMs = Number.NEGATIVE_INFINITY;
  /** Since when no walreceiver was seen although none is asked for; null: one was, or may have been. */
  quietSinceMs: number | null = null;
}

/** The lives of PostgreSQL on this node, one after the other. */
export class Lives {
  /** The present one. */
  now = new Life();
  /** Shown while a long step runs. */
  activity: Activity | null = null;
  /** Crashes of this data, one after the other without a good time in between. */
  crashesInRow = 0;
  /** The last crash; null: PostgreSQL was started since. The node rests until `untilMs`, unless the settings change. */
  private crash: { under: AcceptedOrder | null; untilMs: number; settings: string } | null = null;
  private readonly parts: PursuitParts;

  constructor(parts: PursuitParts) {
    this.parts = parts;
  }

  /** Shows that a long step runs. */
  show(activity: Activity): void {
    this.activity = activity;
    this.parts.host.report();
  }

  /** PostgreSQL is down or about to be: what held for the running one is forgotten. */
  over(): void {
    this.now = new Life();
    this.parts.postgres.stopHeartbeat();
  }

  /** PostgreSQL ended by itself, while that order was under way. */
  crashed(under: AcceptedOrder | null, settings: NodeSettings | null): void {
    const nowMs = this.parts.clock.nowMs();
    const { answeredAtMs } = this.now;
    const wasGood = answeredAtMs !== null && nowMs - answeredAtMs >= GOOD_MS;
    this.crashesInRow = wasGood ? 1 : this.crashesInRow + 1;
    const untilMs = nowMs + Math.min(REST_MAX_MS, REST_MS * 2 ** (this.crashesInRow - 1));
    this.crash = { under, untilMs, settings: JSON.stringify(settings) };
    this.over();
  }

  /** It crashed under the order that is the newest: a leader is not restarted by the same one (S8). */
  get crashedUnderNewest(): boolean {
    const under = this.crash?.under ?? null;
    return under !== null && under === this.parts.host.state.accepted;
  }

  /** The data is about to be replaced: its crashes count no more, and it need not rest. */
  forgetCrashes(): void {
    this.crashesInRow = 0;
    if (this.crash !== null) this.crash.untilMs = Number.NEGATIVE_INFINITY;
  }

  /** PostgreSQL answers: after a good time the crashes before it are history. */
  answered(): void {
    const nowMs = this.parts.clock.nowMs();
    this.now.answeredAtMs ??= nowMs;
    if (nowMs - this.now.answeredAtMs >= GOOD_MS) this.crashesInRow = 0;
  }

  /** How long a standby still rests after its last crash, ms. Changed settings may be what it lacked. */
  restMs(settings: NodeSettings): number {
    if (this.crash === null || this.crash.under === null) return 0;
    if (this.crash.settings !== JSON.stringify(settings)) return 0;
    return Math.max(0, this.crash.untilMs - this.parts.clock.nowMs());
  }

  /** Throws STOPPING when the container is being stopped. */
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

  /** Shuts PostgreSQL down; how long a leader took is told, because a switchover waits for it. */
  async shutDown(): Promise<void> {
    const { host, postgres, clock } = this.parts;
    const led = host.view.sql?.inRecovery === false;
    const startMs = clock.nowMs();
    await postgres.stop();
    const tookMs = Math.round(clock.nowMs() - startMs);
    if (led) host.note('info', 'POSTGRES_STOPPED', `PostgreSQL shut down in ${tookMs} ms`);
  }

  /** A fresh look. Throws POSTGRES_SILENT when PostgreSQL does not answer. */
  async sql(): Promise<SqlView> {
    const { sql, stale } = await this.parts.host.observe();
    if (sql === null || stale === true) throw new KeeperError('POSTGRES_SILENT', 'PostgreSQL does not answer');
    return sql;
  }
}

/** A standby that follows no node. */
export function alone(settings: NodeSettings): ServerConfig {
  return { settings, upstream: null, syncNames: '' };
}
