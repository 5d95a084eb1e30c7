/**
 * Creates what every leader has beside the user's data: the roles, the heartbeat's sequence and the canary table.
 * People may drop or change any of these. {@link Furnishing.missing} finds in one statement which are missing or wrong,
 * and only those are made again. The application's role, database and table are created once, at bootstrap; a role or
 * database that clients cannot use any more is told. All commits are local, so none waits for a standby.
 *
 * Data of an earlier version has a table failover.heartbeat. It stays, although nothing in this version reads or writes
 * it: in the middle of an upgrade, a keeper of the earlier version that takes the lead needs it.
 */

import Mustache from 'mustache';
import { messageOf } from '../../contract/errors';
import type { NodeSettings } from '../../contract/messages';
import { KEEPER_ROLE, MONITOR_ROLE, REPLICATION_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { APPLIED_PASSWORD, passwordDigest, WITH_BARRED } from '../../contract/role-sql';
import { KEY_ITERATIONS, newVerifier } from '../../contract/scram';
import { GRANTED_SETTINGS } from '../../contract/session-settings';
import { KeeperError } from '../ports';
import type { Warning } from './data-folder';
import { BEAT_MAX, BEAT_SEQUENCE } from './heartbeat';
import { HOME, type OwnSessions } from './own-sessions';
import { identifier, literal, type Session, within } from './session';
import { template } from './template';

/** Time limit of a repair's statements, ms. */
const LIMIT_MS = 15_000;
/** A repair that waits for a client's lock gives up after this time, ms, and is tried again. */
const LOCK_MS = 500;

/** Functions that the replication role needs for pg_rewind (manual, pg_rewind, Notes). */
const REWIND_FUNCTIONS = [
  'pg_catalog.pg_ls_dir(text, boolean, boolean)',
  'pg_catalog.pg_stat_file(text, boolean)',
  'pg_catalog.pg_read_binary_file(text)',
  'pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)',
];
/** Functions that both roles call. PostgreSQL grants them to PUBLIC, but a person may have revoked that. */
const COMMON_FUNCTIONS = ['current_setting(text)', 'pg_is_in_recovery()', 'now()', 'pg_database_size(oid)'];

/** Objects that their own functions make, because this takes more than one fixed statement. */
const [KEEPER, MONITOR, REPLICATION] = [KEEPER_ROLE, MONITOR_ROLE, REPLICATION_ROLE].map((role) => `role ${role}`);
const DATABASE = `database ${HOME}`;
const PASSWORD = 'password of the application’s role';

/** One object of templates/own-objects.sql. */
interface OwnObject {
  /** `home`: it is in the failover's own database. */
  at: string;
  /** Its name, for people. */
  name: string;
  /** SQL condition that is true when the object is right. */
  check: string;
  /** `make` or `replace`; empty: the object has no statements. */
  how: string;
  statements: string;
}

/**
 * Reads templates/own-objects.sql. Returns the objects, and the queries for the names of those that are missing or
 * wrong: of all objects, for a session in the failover's own database, and of the others, for a session elsewhere.
 */
function readOwnObjects() {
  const text = Mustache.render(template('own-objects.sql'), {
    ...{ keeperRole: KEEPER_ROLE, monitorRole: MONITOR_ROLE, replicationRole: REPLICATION_ROLE },
    ...{ home: HOME, beat: BEAT_SEQUENCE, beatMax: BEAT_MAX * 2 },
    ...{ password: PASSWORD, applied: APPLIED_PASSWORD, withBarred: WITH_BARRED },
    ...{ grantedSettings: GRANTED_SETTINGS, rewindFunctions: REWIND_FUNCTIONS },
    commonFunctions: COMMON_FUNCTIONS.map((name) => `pg_catalog.${name}`),
  });
  const [, ids = '', lacks = '', ...parts] = text.split(/^--- (?:object |ids\n|lacks\n)/m);
  const objects = parts.map((part): OwnObject => {
    const [head = '', how = '', statements = ''] = part.split(/^--- (make|replace)\n/m);
    const [, at = '', name = '', check = ''] = /^(\w+): (.*?)\n(.*)$/s.exec(head) ?? [];
    return { at, name, check, how, statements };
  });
  const missingOf = (some: readonly OwnObject[]) => {
    const each = some.map(({ name, check }) => `CASE WHEN ${check} THEN NULL ELSE ${literal(name)} END`);
    return `SELECT array_remove(ARRAY[${each.join(',\n')}]::text[], NULL) AS missing, pg_is_in_recovery() AS recovery,
      ${lacks} AS lacks FROM (${ids}) t`;
  };
  return { objects, atHome: missingOf(objects), elsewhere: missingOf(objects.filter(({ at }) => at !== 'home')) };
}

export class Furnishing {
  /** Stored verifiers that are known to match the roles' passwords, by role. */
  private readonly verifiers = new Map<string, string>();
  private readonly own = readOwnObjects();
  /** The application's role and database, and its login as the program wants it; null: no settings came yet. */
  private application: Application | null = null;
  /** The reason that was logged last why clients cannot use them; null: they can. */
  private lacks: string | null = null;

  constructor(
    private readonly sessions: OwnSessions,
    private readonly clusterKey: string,
    private readonly warning: Warning,
  ) {}

  /**
   * Creates what is missing and sets the passwords that no longer match. The application's role, database and table
   * are created only when `isNew`: the cluster was just bootstrapped. Later they belong to people, who may rename or
   * drop them. Throws PostgreSQL's error.
   */
  async furnish(settings: NodeSettings, isNew: boolean, isRestored = false): Promise<void> {
    const application = applicationOf(settings);
    if (!isNew) this.application = application;
    await within(this.sessions.home(LIMIT_MS, LOCK_MS), async (session) => {
      const missing = await this.missing(session);
      if (missing.length > 0) await this.repair(missing);
      if (isNew) await ensureRole(session, application.user, '', ownerLogin(settings));
      if (isNew) await this.ensureDatabase(session, settings);
      if (application.verifier === null) await setOldPassword(session, settings);
    });
    // The people of a restored database may have dropped that table.
    if (isNew && !isRestored) await this.ensureTable(settings);
    this.application = application;
  }

  /**
   * Names, for people, of the objects that are missing or wrong. Empty on a standby, which gets its objects from the
   * leader.
   */
  async missing(session: Session): Promise<string[]> {
    const isHome = session.database === HOME;
    const [name, text] = isHome ? ['at home', this.own.atHome] : ['elsewhere', this.own.elsewhere];
    const verifiers = [MONITOR_ROLE, REPLICATION_ROLE].map((role) => this.verifiers.get(role) ?? null);
    type Row = { missing: string[]; recovery: boolean; lacks: string | null };
    const { user = null, database = null, digest = null, verifier = null } = this.application ?? {};
    const [row] = await session.ask<Row>(`missing ${name}`, text, [...verifiers, user, database, digest, verifier]);
    if (row === undefined || row.recovery) return [];
    if (row.lacks !== this.lacks) this.warning.text = row.lacks;
    this.lacks = row.lacks;
    // The objects in the database postgres can be checked only from a session in it.
    return isHome ? row.missing : [...new Set([DATABASE, ...row.missing])];
  }

  /**
   * Makes each object that {@link missing} named, one by one, so that a lock on one object does not delay another.
   * Resolves with the names of the objects that were wrong. A password that was right, but not yet known to be, is not
   * among them. Throws all failures together at the end.
   */
  async repair(missing: readonly string[]): Promise<string[]> {
    const [made, failures]: [string[], string[]] = [[], []];
    const each = async (session: Session, at: string, names: readonly string[]) => {
      for (const object of this.own.objects.filter((o) => o.at === at && names.includes(o.name))) {
        try {
          if ((await this.make(session, object)) !== false) made.push(object.name);
        } catch (error) {
          failures.push(`${object.name}: ${messageOf(error)}`);
        }
      }
    };
    await within(this.sessions.home(LIMIT_MS, LOCK_MS), (session) => each(session, 'anywhere', missing));
    await within(this.sessions.into(HOME, LIMIT_MS, LOCK_MS), async (session) => {
      // Checked again, because a dropped role has lost its grants, and a database that was just created is empty.
      await each(session, 'home', await this.missing(session));
    });
    if (failures.length > 0) throw new KeeperError('FURNISH_FAILED', failures.join('; '));
    return made;
  }

  /** Resolves with false if the object was right already. */
  private async make(session: Session, { name, how, statements }: OwnObject): Promise<unknown> {
    if (name === KEEPER) return ensureRole(session, KEEPER_ROLE, 'SUPERUSER', noLogin);
    if (name === MONITOR) return this.ensureInternal(session, 'monitor');
    if (name === REPLICATION) return this.ensureInternal(session, 'replication');
    if (name === DATABASE) return ensureHome(session);
    if (name === PASSWORD) return setPassword(session, this.application);
    // The SQL name is the last word of the name for people, as in `table failover.canary`.
    if (how === 'replace') await dropWhatever(session, name.split(' ').at(-1) ?? '');
    return session.query(statements);
  }

  /** Returns false if the role was right already. From now on it is known to be right. */
  private async ensureInternal(session: Session, key: 'monitor' | 'replication'): Promise<boolean> {
    const [role, attributes] = key === 'monitor' ? [MONITOR_ROLE, ''] : [REPLICATION_ROLE, 'REPLICATION'];
    const password = derivedPassword(this.clusterKey, key);
    const ordinary = `INHERIT CONNECTION LIMIT -1 VALID UNTIL 'infinity' ${attributes}`;
    const login: Login = (stored) => newVerifier(password, stored, KEY_ITERATIONS);
    const { stored, wasRight } = await ensureRole(session, role, ordinary, login);
    const isNews = this.verifiers.has(role) || !wasRight;
    if (stored !== null) this.verifiers.set(role, stored);
    return isNews;
  }

  private async ensureDatabase(session: Session, settings: NodeSettings): Promise<void> {
    const { databaseName, databaseUser } = settings;
    const exists = await session.query('SELECT FROM pg_database WHERE datname = $1', [databaseName]);
    if (exists.length > 0) return;
    await session.query(`CREATE DATABASE ${identifier(databaseName)} OWNER ${identifier(databaseUser)}`);
  }

  private async ensureTable({ databaseName, databaseUser }: NodeSettings): Promise<void> {
    await within(this.sessions.into(databaseName, LIMIT_MS, LOCK_MS), async (own) => {
      await own.query(`GRANT ALL ON SCHEMA public TO ${identifier(databaseUser)};
        SET ROLE ${identifier(databaseUser)}; SET search_path = public`);
      await own.query(template('users.sql'));
    });
  }
}

/** The application's role and database. */
interface Application {
  user: string;
  database: string;
  /** The program's verifier of the role's password; null: the monitor is one of 0.1.0, which sends the password. */
  verifier: string | null;
  /** {@link APPLIED_PASSWORD} once this verifier was put in force. */
  digest: string | null;
}

function applicationOf({ databaseUser: user, databaseName: database, databaseVerifier }: NodeSettings): Application {
  if (databaseVerifier === undefined) return { user, database, verifier: null, digest: null };
  return { user, database, verifier: databaseVerifier, digest: passwordDigest(databaseVerifier) };
}

/**
 * Puts the program's password in force, and notes that, in one transaction: a password that a person sets by SQL later
 * stays until the program has another one. Resolves with false if the role had it already.
 */
async function setPassword(session: Session, application: Application | null): Promise<boolean> {
  const { user = '', verifier = null, digest = null } = application ?? {};
  if (verifier === null || digest === null) return false;
  const stored = await storedOf(session, user);
  if (stored === undefined) return false;
  const set = stored === verifier ? '' : `ALTER ROLE ${identifier(user)} PASSWORD ${literal(verifier)};`;
  await session.query(`${set} COMMENT ON ROLE ${KEEPER_ROLE} IS ${literal(digest)}`);
  return set !== '';
}

/** Sets the password that a monitor of 0.1.0 sends. */
async function setOldPassword(session: Session, settings: NodeSettings): Promise<void> {
  const stored = await storedOf(session, settings.databaseUser);
  const verifier = stored === undefined ? null : await ownerLogin(settings)(stored);
  if (verifier === null) return;
  await session.query(`ALTER ROLE ${identifier(settings.databaseUser)} PASSWORD ${literal(verifier)}`);
}

/** The verifier of a role's password; null: it has none; undefined: there is no such role. */
async function storedOf(session: Session, role: string): Promise<string | null | undefined> {
  const text = 'SELECT rolpassword AS stored FROM pg_authid WHERE rolname = $1';
  const [row] = await session.query<{ stored: string | null }>(text, [role]);
  return row?.stored;
}

/** The verifier that a role should get, or null when the stored one may stay. */
type Login = (stored: string | null) => Promise<string | null>;

const noLogin: Login = async () => null;

/** The login of the database's owner. A monitor of 0.1.0 sends the password itself. */
export function ownerLogin({ databaseVerifier: verifier, databasePassword: password }: NodeSettings): Login {
  if (verifier !== undefined) return async (stored) => (stored === verifier ? null : verifier);
  return password === undefined ? noLogin : (stored) => newVerifier(password, stored);
}

/**
 * Creates the role, or sets its attributes and, where `login` says so, its password. Resolves with the verifier that
 * the role has now, and whether the role was right already.
 */
async function ensureRole(session: Session, role: string, attributes: string, login: Login) {
  const stored = await storedOf(session, role);
  const verifier = await login(stored ?? null);
  const secret = verifier === null ? '' : ` PASSWORD ${literal(verifier)}`;
  if (stored === undefined) await session.query(`CREATE ROLE ${identifier(role)} LOGIN ${attributes}${secret}`);
  else if (attributes !== '' || verifier !== null)
    await session.query(`ALTER ROLE ${identifier(role)} LOGIN ${attributes}${secret}`);
  return { stored: verifier ?? stored ?? null, wasRight: stored !== undefined && verifier === null };
}

/**
 * Makes the failover's database exist and accept sessions. A database whose removal was interrupted (`datconnlimit` -2)
 * is dropped and made again.
 */
async function ensureHome(session: Session): Promise<void> {
  const [row] = await session.query<{ usable: boolean }>(
    'SELECT datconnlimit <> -2 AS usable FROM pg_database WHERE datname = $1',
    [HOME],
  );
  if (row?.usable === true) {
    await session.query(`ALTER DATABASE ${HOME} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT -1`);
    return;
  }
  if (row !== undefined) await session.query(`DROP DATABASE ${HOME} WITH (FORCE)`);
  // template0 accepts no sessions, so no session can delay this.
  await session.query(`CREATE DATABASE ${HOME} TEMPLATE template0`);
}

/** Drops what a person may have created under one of the failover's own names: a table, a view or something else. */
async function dropWhatever(session: Session, name: string): Promise<void> {
  const [row] = await session.query<{ kind: string }>(
    `SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
      WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' WHEN 'i' THEN 'INDEX' ELSE 'TABLE' END AS kind
    FROM pg_class WHERE oid = to_regclass($1)`,
    [name],
  );
  if (row !== undefined) await session.query(`DROP ${row.kind} ${name} CASCADE`);
}
