/**
 * The keeper's sessions on its own PostgreSQL: over the local socket and as superuser. Their commits wait for no
 * standby. Two superuser roles and several databases are tried, so that a renamed, dropped or closed role or database
 * does not lock the keeper out.
 */
import { messageOf } from '../../contract/errors';
import { PORTS } from '../../contract/layout';
import { KEEPER_ROLE } from '../../contract/naming';
import { INSUFFICIENT_PRIVILEGE } from '../../contract/session-settings';
import { KeeperError } from '../ports';
import { Session, sqlState } from './session';

export const SOCKETS = '/var/run/postgresql';
/** The postmaster's socket in that folder. */
export const SOCKET = `${SOCKETS}/.s.PGSQL.${PORTS.postgres}`;
/** Limit of connecting and of each statement, ms. */
export const SQL_LIMIT_MS = 2_000;
/** A look that waits for a client's lock fails after this time, ms; the next look asks again. */
const ASK_LOCK_MS = 250;
/**
 * Interval at which a session outside the failover's own database is replaced, in the hope to reach that database, ms.
 */
const HOME_EVERY_MS = 1_000;

const ROLES = ['postgres', KEEPER_ROLE] as const;
/** The database with the failover's own objects. The others are used only while this one accepts no sessions. */
export const HOME = 'postgres';
const OTHER_DATABASES = ['template1'] as const;

/** The role does not exist, may not log in, is refused by pg_hba.conf, or is no superuser any more. */
const ROLE_REFUSED = new Set(['28000', '28P01', INSUFFICIENT_PRIVILEGE]);
/** The database does not exist, accepts no sessions, or its removal was interrupted. */
const DATABASE_REFUSED = new Set(['3D000', '55000']);

/** Rest between attempts, ms, because every attempt writes a line into PostgreSQL's log. */
const REST_MIN_MS = 1_000;
const REST_MAX_MS = 15_000;

/** Code of the failure when no superuser role can log in. */
export const LOCKED_OUT = 'SUPERUSER_LOCKED_OUT';

export class OwnSessions {
  /** The application's database, the last choice for a session; see {@link home}. */
  application: string | null = null;
  /** The role that logged in last. */
  private role: (typeof ROLES)[number] = ROLES[0];
  private lockedOut: { error: KeeperError; untilMs: number; restMs: number } | null = null;
  /** The common session. */
  private session: Session | null = null;
  private openedMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly node: string,
    private readonly open: typeof Session.open = Session.open,
    private readonly nowMs = () => performance.now(),
  ) {}

  /**
   * Opens a new session in {@link HOME} or, while that accepts none, in another database. Throws SUPERUSER_LOCKED_OUT
   * when neither role can log in. The login is tried again after rests that grow.
   */
  async home(limitMs?: number, lockTimeoutMs?: number, synchronousCommit?: 'on' | 'local'): Promise<Session> {
    const databases = [HOME, ...OTHER_DATABASES, ...(this.application === null ? [] : [this.application])];
    for (const [at, database] of databases.entries()) {
      try {
        return await this.into(database, limitMs, lockTimeoutMs, synchronousCommit);
      } catch (error) {
        if (at === databases.length - 1 || !DATABASE_REFUSED.has(sqlState(error) ?? '')) throw error;
      }
    }
    throw new Error('there is no database to go into');
  }

  /** Opens a new session in exactly this database. */
  async into(
    database: string,
    limitMs = SQL_LIMIT_MS,
    lockTimeoutMs = ASK_LOCK_MS,
    synchronousCommit = 'local',
  ): Promise<Session> {
    const { lockedOut } = this;
    if (lockedOut !== null && this.nowMs() < lockedOut.untilMs) throw lockedOut.error;
    const settings = { synchronous_commit: synchronousCommit, lock_timeout: String(lockTimeoutMs) };
    const options = { host: SOCKETS, applicationName: `${this.node}-keeper`, database, limitMs, settings };
    const refusals: string[] = [];
    for (const user of [this.role, ...ROLES.filter((role) => role !== this.role)]) {
      try {
        const session = await this.open({ ...options, user });
        this.role = user;
        this.lockedOut = null;
        return session;
      } catch (error) {
        if (!ROLE_REFUSED.has(sqlState(error) ?? '')) throw error;
        refusals.push(`as ${user}: ${messageOf(error)}`);
      }
    }
    throw this.lockOut(refusals);
  }

  private lockOut(refusals: string[]): KeeperError {
    const restMs = Math.min(REST_MAX_MS, (this.lockedOut?.restMs ?? REST_MIN_MS / 2) * 2);
    const error = new KeeperError(
      LOCKED_OUT,
      `PostgreSQL lets the keeper in neither as ${ROLES.join(' nor as ')} (${refusals.sort().join('; ')}). Run ALTER ROLE ${ROLES[0]} LOGIN SUPERUSER in a superuser's session that is still open, or in PostgreSQL's single-user mode`,
    );
    this.lockedOut = { error, untilMs: this.nowMs() + restMs, restMs };
    return error;
  }

  /** Returns the common session, which is for short statements. */
  async common(limitMs?: number): Promise<Session> {
    const { session } = this;
    const isAway = session !== null && session.database !== HOME && this.nowMs() - this.openedMs >= HOME_EVERY_MS;
    if (isAway) session.destroy();
    if (this.session?.usable !== true) {
      this.session = await this.home(limitMs);
      this.openedMs = this.nowMs();
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
    this.lockedOut = null;
  }

  /** The server has ended. */
  end(): void {
    this.session?.destroy();
  }
}
