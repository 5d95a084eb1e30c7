/**
 * How the keeper logs in to its own PostgreSQL over the local socket. It tries two superuser roles and several
 * databases, so that a renamed, dropped or closed role or database does not lock it out.
 */

import { messageOf } from '../../contract/errors';
import { KEEPER_ROLE } from '../../contract/naming';
import { INSUFFICIENT_PRIVILEGE } from '../../contract/session-settings';
import { KeeperError } from '../ports';
import { Session, type SessionOptions } from './session';
import { sqlState } from './timed-client';

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

export type LoginOptions = Omit<SessionOptions, 'user' | 'database'>;

type Role = (typeof ROLES)[number];

/** Code of the failure when no superuser role can log in. */
export const LOCKED_OUT = 'SUPERUSER_LOCKED_OUT';

export class Logins {
  private readonly open: (options: SessionOptions) => Promise<Session>;
  private readonly nowMs: () => number;
  /** The role that logged in last. */
  private role: Role = ROLES[0];
  private lockedOut: { error: KeeperError; untilMs: number; restMs: number } | null = null;

  constructor(
    open: (options: SessionOptions) => Promise<Session> = (options) => Session.open(options),
    nowMs: () => number = () => performance.now(),
  ) {
    this.open = open;
    this.nowMs = nowMs;
  }

  /** The server was started again, so earlier refusals no longer count. */
  reset(): void {
    this.lockedOut = null;
  }

  /**
   * Opens a session in {@link HOME} or, while that accepts none, in another database; `application` is the last choice.
   * Throws SUPERUSER_LOCKED_OUT when neither role can log in. The login is tried again after rests that grow.
   */
  async home(options: LoginOptions, application: string | null = null): Promise<Session> {
    const databases = [HOME, ...OTHER_DATABASES, ...(application === null ? [] : [application])];
    for (const [at, database] of databases.entries()) {
      try {
        return await this.into(database, options);
      } catch (error) {
        if (at === databases.length - 1 || !DATABASE_REFUSED.has(sqlState(error) ?? '')) throw error;
      }
    }
    throw new Error('there is no database to go into');
  }

  /** Opens a session in exactly this database. */
  async into(database: string, options: LoginOptions): Promise<Session> {
    const { lockedOut } = this;
    if (lockedOut !== null && this.nowMs() < lockedOut.untilMs) throw lockedOut.error;
    const refusals: string[] = [];
    for (const user of [this.role, ...ROLES.filter((role) => role !== this.role)]) {
      try {
        const session = await this.open({ ...options, user, database });
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
}
