/** The keeper's sessions on its own PostgreSQL, over the local socket, as superuser; their commits wait for no standby. */
import { HOME, type LoginOptions, Logins } from './logins';
import type { Session } from './session';

export const SOCKETS = '/var/run/postgresql';
/** Limit of connecting and of each statement, ms. */
export const SQL_LIMIT_MS = 2_000;
/** A look that waits for a client's lock fails after this, ms; the next look asks again. */
export const ASK_LOCK_MS = 250;
/** How often a session outside the failover's own database tries to get there, ms. */
const HOME_EVERY_MS = 1_000;

export class OwnSessions {
  /** The application's database: the last choice for a session, see {@link Logins.home}. */
  application: string | null = null;
  private readonly applicationName: string;
  private readonly logins = new Logins();
  /** The common one. */
  private session: Session | null = null;
  private openedMs = Number.NEGATIVE_INFINITY;

  constructor(node: string) {
    this.applicationName = `${node}-keeper`;
  }

  /** A session of its own, in the failover's database or the next best. Throws SUPERUSER_LOCKED_OUT. */
  home(limitMs = SQL_LIMIT_MS, lockTimeoutMs = ASK_LOCK_MS, setup?: string): Promise<Session> {
    return this.logins.home(this.login(limitMs, lockTimeoutMs, setup), this.application);
  }

  /** A session of its own in this very database. */
  into(database: string, limitMs = SQL_LIMIT_MS, lockTimeoutMs = ASK_LOCK_MS): Promise<Session> {
    return this.logins.into(database, this.login(limitMs, lockTimeoutMs));
  }

  /** The common session, for short statements. */
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

  /** That session is the common one from now on. */
  use(session: Session): void {
    this.session = session;
  }

  /** A server is about to start: earlier refusals count no more. */
  begin(application: string): void {
    this.application = application;
    this.logins.reset();
  }

  /** The server is gone. */
  end(): void {
    this.session?.destroy();
  }

  private login(limitMs: number, lockTimeoutMs: number, setup?: string): LoginOptions {
    const settings = { synchronous_commit: 'local', lock_timeout: String(lockTimeoutMs) };
    return { host: SOCKETS, applicationName: this.applicationName, limitMs, settings, setup };
  }
}
