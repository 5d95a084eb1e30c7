/**
 * The keeper's sessions on its own PostgreSQL: over the local socket and as superuser. Their commits wait for no
 * standby.
 */
import { HOME, type LoginOptions, Logins } from './logins';
import type { Session } from './session';

export const SOCKETS = '/var/run/postgresql';
/** Limit of connecting and of each statement, ms. */
export const SQL_LIMIT_MS = 2_000;
/** A look that waits for a client's lock fails after this time, ms; the next look asks again. */
export const ASK_LOCK_MS = 250;
/**
 * Interval at which a session outside the failover's own database is replaced, in the hope to reach that database, ms.
 */
const HOME_EVERY_MS = 1_000;

export class OwnSessions {
  /** The application's database, the last choice for a session; see {@link Logins.home}. */
  application: string | null = null;
  private readonly applicationName: string;
  private readonly logins = new Logins();
  /** The common session. */
  private session: Session | null = null;
  private openedMs = Number.NEGATIVE_INFINITY;

  constructor(node: string) {
    this.applicationName = `${node}-keeper`;
  }

  /**
   * Opens a new session in the failover's database or, while that accepts none, in another one. Throws
   * SUPERUSER_LOCKED_OUT.
   */
  home(limitMs = SQL_LIMIT_MS, lockTimeoutMs = ASK_LOCK_MS, setup?: string): Promise<Session> {
    return this.logins.home(this.login(limitMs, lockTimeoutMs, setup), this.application);
  }

  /** Opens a new session in exactly this database. */
  into(database: string, limitMs = SQL_LIMIT_MS, lockTimeoutMs = ASK_LOCK_MS): Promise<Session> {
    return this.logins.into(database, this.login(limitMs, lockTimeoutMs));
  }

  /** Returns the common session, which is for short statements. */
  async common(limitMs = SQL_LIMIT_MS): Promise<Session> {
    const { session } = this;
    const isAway = session !== null && session.database !== HOME && performance.now() - this.openedMs >= HOME_EVERY_MS;
    if (isAway) session.destroy();
    if (this.session?.usable !== true) {
      this.session = await this.home(limitMs);
      this.openedMs = performance.now();
    }
    return this.session;
  }

  /** Makes this session the common one. */
  use(session: Session): void {
    this.session = session;
  }

  /** A server is about to start, so earlier refusals no longer count. */
  begin(application: string): void {
    this.application = application;
    this.logins.reset();
  }

  /** The server has ended. */
  end(): void {
    this.session?.destroy();
  }

  private login(limitMs: number, lockTimeoutMs: number, setup?: string): LoginOptions {
    const settings = { synchronous_commit: 'local', lock_timeout: String(lockTimeoutMs) };
    return { host: SOCKETS, applicationName: this.applicationName, limitMs, settings, setup };
  }
}
