/**
 * Creates what every leader has beside the user's data: the roles, the heartbeat's sequence and the canary table.
 * People may drop or change any of these. {@link Furnishing.missing} finds in one statement which are missing or wrong,
 * and only those are made again. The application's database and table are created once, at bootstrap. All commits are
 * local, so none waits for a standby.
 *
 * Data of an earlier version has a table failover.heartbeat. It stays, although nothing in this version reads or writes
 * it: in the middle of an upgrade, a keeper of the earlier version that takes the lead needs it.
 */

import { messageOf } from '../../contract/errors';
import type { NodeSettings } from '../../contract/messages';
import { KEEPER_ROLE, MONITOR_ROLE, REPLICATION_ROLE } from '../../contract/naming';
import { derivedPassword } from '../../contract/proof';
import { KEY_ITERATIONS, newVerifier } from '../../contract/scram';
import { GRANTED_SETTINGS } from '../../contract/session-settings';
import { KeeperError } from '../ports';
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
  'pg_ls_dir(text, boolean, boolean)',
  'pg_stat_file(text, boolean)',
  'pg_read_binary_file(text)',
  'pg_read_binary_file(text, bigint, bigint, boolean)',
];
/** Functions that both roles call. PostgreSQL grants them to PUBLIC, but a person may have revoked that. */
const COMMON_FUNCTIONS = ['current_setting(text)', 'pg_is_in_recovery()', 'now()', 'pg_database_size(oid)'];

const MONITOR_MEMBER_OF = ['pg_monitor', 'pg_use_reserved_connections'];
const REPLICATION_MEMBER_OF = ['pg_read_all_stats'];

/** Lowest allowed connection limit of the failover's database. A lower one might lock out the monitor or a standby. */
const CONNECTIONS_MIN = 20;

/** The canary table's expected columns, in the format of {@link CANARY_COLUMNS}. */
const CANARY_SHAPE = 'term bigint true,node text true,at timestamptz true';
const CANARY_COLUMNS = `(SELECT string_agg(attname || ' ' || CASE atttypid WHEN 20 THEN 'bigint' WHEN 25 THEN 'text' WHEN 1184 THEN 'timestamptz'
    ELSE '?' END || ' ' || attnotnull, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = t.canary AND attnum > 0 AND NOT attisdropped)`;

/** SQL conditions that must be true. The keys name the objects for people. */
type Checks = Readonly<Record<string, string>>;

const allOf = (parts: readonly string[]) => parts.map((part) => `coalesce(${part}, false)`).join(' AND ');

function roleHas(role: string, attributes: string): string {
  return `EXISTS (SELECT FROM pg_authid WHERE oid = t.${role} AND rolcanlogin AND ${attributes})`;
}

const ORDINARY = `rolinherit AND rolconnlimit = -1 AND (rolvaliduntil IS NULL OR rolvaliduntil = 'infinity')`;
const NAMES = {
  keeper: `role ${KEEPER_ROLE}`,
  monitor: `role ${MONITOR_ROLE}`,
  replication: `role ${REPLICATION_ROLE}`,
  database: `database ${HOME}`,
  connect: `CONNECT to database ${HOME}`,
  grants: 'grants of the internal roles',
  schema: 'schema failover',
  canary: 'table failover.canary',
  beat: `sequence ${BEAT_SEQUENCE}`,
  tableGrants: 'grants in schema failover',
} as const;

/** Checked in every database. $1, $2: the password verifiers of the monitor's and the replication role. */
const EVERYWHERE: Checks = {
  [NAMES.keeper]: roleHas('keeper', 'rolsuper'),
  [NAMES.monitor]: roleHas('monitor', `${ORDINARY} AND rolpassword = $1::text`),
  [NAMES.replication]: roleHas('replication', `${ORDINARY} AND rolreplication AND rolpassword = $2::text`),
  [NAMES.database]: `EXISTS (SELECT FROM pg_database WHERE oid = t.home AND datallowconn
    AND (datconnlimit = -1 OR datconnlimit >= ${CONNECTIONS_MIN}))`,
  [NAMES.connect]: allOf(
    ['monitor', 'replication'].map((role) => `has_database_privilege(t.${role}, t.home, 'CONNECT')`),
  ),
};

/** Checked in the failover's own database, which holds the grants and objects. */
const AT_HOME: Checks = {
  [NAMES.grants]: allOf([
    ...MONITOR_MEMBER_OF.map((role) => `pg_has_role(t.monitor, '${role}', 'USAGE')`),
    ...REPLICATION_MEMBER_OF.map((role) => `pg_has_role(t.replication, '${role}', 'USAGE')`),
    ...['monitor', 'replication'].flatMap((role) => [
      `has_schema_privilege(t.${role}, 'pg_catalog', 'USAGE')`,
      ...GRANTED_SETTINGS.map((name) => `has_parameter_privilege(t.${role}, '${name}', 'SET')`),
      ...COMMON_FUNCTIONS.map((f) => `has_function_privilege(t.${role}, 'pg_catalog.${f}', 'EXECUTE')`),
    ]),
    ...REWIND_FUNCTIONS.map((f) => `has_function_privilege(t.replication, 'pg_catalog.${f}', 'EXECUTE')`),
  ]),
  [NAMES.schema]: 't.schema IS NOT NULL',
  [NAMES.canary]: `EXISTS (SELECT FROM pg_class WHERE oid = t.canary AND relkind = 'r' AND relpersistence = 'p'
      AND NOT relrowsecurity AND NOT relhastriggers AND NOT relhasrules AND NOT relhassubclass)
    AND ${CANARY_COLUMNS} = '${CANARY_SHAPE}'
    AND (SELECT count(*) FROM pg_constraint WHERE conrelid = t.canary) = 1
    AND EXISTS (SELECT FROM pg_constraint WHERE conrelid = t.canary AND contype = 'p' AND conkey = '{2}')`,
  [NAMES.beat]: `EXISTS (SELECT FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid WHERE s.seqrelid = t.beat
    AND c.relpersistence = 'p' AND s.seqmin <= 1 AND s.seqmax >= ${BEAT_MAX * 2})`,
  [NAMES.tableGrants]: allOf([
    `has_schema_privilege(t.monitor, t.schema, 'USAGE')`,
    ...['SELECT', 'INSERT', 'UPDATE'].map((right) => `has_table_privilege(t.monitor, t.canary, '${right}')`),
  ]),
};

function missingOf(checks: Checks): string {
  const each = Object.entries(checks).map(([name, holds]) => `CASE WHEN ${holds} THEN NULL ELSE ${literal(name)} END`);
  const oidOf = (role: string) => `(SELECT oid FROM pg_authid WHERE rolname = ${literal(role)})`;
  return `SELECT array_remove(ARRAY[${each.join(',\n')}]::text[], NULL) AS missing, pg_is_in_recovery() AS recovery
FROM (SELECT ${oidOf(MONITOR_ROLE)} AS monitor, ${oidOf(REPLICATION_ROLE)} AS replication, ${oidOf(KEEPER_ROLE)} AS keeper,
  (SELECT oid FROM pg_database WHERE datname = ${literal(HOME)}) AS home, to_regnamespace('failover')::oid AS schema,
  to_regclass('failover.canary')::oid AS canary, to_regclass('${BEAT_SEQUENCE}')::oid AS beat OFFSET 0) t`;
}

const MISSING_AT_HOME = missingOf({ ...EVERYWHERE, ...AT_HOME });
const MISSING_ELSEWHERE = missingOf(EVERYWHERE);

const TABLE_GRANTS = `GRANT USAGE ON SCHEMA failover TO ${MONITOR_ROLE};
  GRANT SELECT, INSERT, UPDATE ON failover.canary TO ${MONITOR_ROLE}`;

/** Kinds of objects that a person may have created under one of the failover's own names. Such an object is dropped. */
const KINDS: Readonly<Record<string, string>> = {
  r: 'TABLE',
  p: 'TABLE',
  v: 'VIEW',
  m: 'MATERIALIZED VIEW',
  S: 'SEQUENCE',
  f: 'FOREIGN TABLE',
  c: 'TYPE',
  i: 'INDEX',
};

/** Repairs of the objects, by their names for people. A repair resolves with false if the object was right already. */
type Repairs = Record<string, (session: Session) => Promise<unknown>>;

export class Furnishing {
  /** Stored verifiers that are known to match the roles' passwords, by role. */
  private readonly verifiers = new Map<string, string>();

  constructor(
    private readonly sessions: OwnSessions,
    private readonly clusterKey: string,
  ) {}

  /**
   * Creates what is missing and sets the passwords that no longer match. The application's database and table are
   * created only when `isNew`: the cluster was just bootstrapped. Later they belong to people, who may rename or drop
   * them. Throws PostgreSQL's error.
   */
  async furnish(settings: NodeSettings, isNew: boolean): Promise<void> {
    await within(this.sessions.home(LIMIT_MS, LOCK_MS), async (session) => {
      const missing = await this.missing(session);
      if (missing.length > 0) await this.repair(missing);
      await ensureRole(session, settings.databaseUser, '', ownerLogin(settings));
      if (isNew) await this.ensureDatabase(session, settings);
    });
    if (isNew) await this.ensureTable(settings);
  }

  /**
   * Names, for people, of the objects that are missing or wrong. Empty on a standby, which gets its objects from the
   * leader.
   */
  async missing(session: Session): Promise<string[]> {
    const [name, text] = session.database === HOME ? ['at home', MISSING_AT_HOME] : ['elsewhere', MISSING_ELSEWHERE];
    const verifiers = [MONITOR_ROLE, REPLICATION_ROLE].map((role) => this.verifiers.get(role) ?? null);
    const [row] = await session.ask<{ missing: string[]; recovery: boolean }>(`missing ${name}`, text, verifiers);
    if (row === undefined || row.recovery) return [];
    // The objects in the database postgres can be checked only from a session in it.
    return session.database === HOME ? row.missing : [...new Set([NAMES.database, ...row.missing])];
  }

  /**
   * Makes each object that {@link missing} named, one by one, so that a lock on one object does not delay another.
   * Resolves with the names of the objects that were wrong. A password that was right, but not yet known to be, is not
   * among them. Throws all failures together at the end.
   */
  async repair(missing: readonly string[]): Promise<string[]> {
    const [made, failures]: [string[], string[]] = [[], []];
    const each = async (session: Session, names: readonly string[], repairs: Repairs) => {
      for (const [name, work] of Object.entries(repairs)) {
        try {
          if (names.includes(name) && (await work(session)) !== false) made.push(name);
        } catch (error) {
          failures.push(`${name}: ${messageOf(error)}`);
        }
      }
    };
    await within(this.sessions.home(LIMIT_MS, LOCK_MS), (session) => each(session, missing, this.repairsAnywhere()));
    await within(this.sessions.into(HOME, LIMIT_MS, LOCK_MS), async (session) => {
      // Checked again, because a dropped role has lost its grants, and a database that was just created is empty.
      await each(session, await this.missing(session), this.repairsAtHome());
    });
    if (failures.length > 0) throw new KeeperError('FURNISH_FAILED', failures.join('; '));
    return made;
  }

  private repairsAnywhere(): Repairs {
    const key = (role: 'replication' | 'monitor') => derivedPassword(this.clusterKey, role);
    return {
      [NAMES.keeper]: (session) => ensureRole(session, KEEPER_ROLE, 'SUPERUSER', noLogin),
      [NAMES.monitor]: (session) => this.ensureInternal(session, MONITOR_ROLE, '', key('monitor')),
      [NAMES.replication]: (session) =>
        this.ensureInternal(session, REPLICATION_ROLE, 'REPLICATION', key('replication')),
      [NAMES.database]: ensureHome,
      [NAMES.connect]: (session) =>
        session.query(`GRANT CONNECT ON DATABASE ${HOME} TO ${MONITOR_ROLE}, ${REPLICATION_ROLE}`),
    };
  }

  private repairsAtHome(): Repairs {
    const run = (text: string) => (session: Session) => session.query(text);
    const both = `${MONITOR_ROLE}, ${REPLICATION_ROLE}`;
    return {
      [NAMES.grants]: run(
        [
          ...MONITOR_MEMBER_OF.map((role) => `GRANT ${role} TO ${MONITOR_ROLE} WITH INHERIT TRUE`),
          ...REPLICATION_MEMBER_OF.map((role) => `GRANT ${role} TO ${REPLICATION_ROLE} WITH INHERIT TRUE`),
          `GRANT USAGE ON SCHEMA pg_catalog TO ${both}`,
          `GRANT SET ON PARAMETER ${GRANTED_SETTINGS.join(', ')} TO ${both}`,
          ...COMMON_FUNCTIONS.map((f) => `GRANT EXECUTE ON FUNCTION pg_catalog.${f} TO ${both}`),
          ...REWIND_FUNCTIONS.map((f) => `GRANT EXECUTE ON FUNCTION pg_catalog.${f} TO ${REPLICATION_ROLE}`),
        ].join(';'),
      ),
      [NAMES.schema]: run('CREATE SCHEMA IF NOT EXISTS failover'),
      [NAMES.canary]: async (session) => {
        await dropWhatever(session, 'canary');
        await session.query(`CREATE TABLE failover.canary (
          term bigint NOT NULL, node text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
          ${TABLE_GRANTS}`);
      },
      [NAMES.beat]: async (session) => {
        await dropWhatever(session, 'beat');
        // Starts at ten counts per second since 1970. The heartbeat counts at that rate, too, so a new sequence begins
        // higher than the lost one ended.
        const [row] = await session.query<{ count: string }>(
          'SELECT floor(extract(epoch FROM clock_timestamp()) * 10)::bigint::text AS count',
        );
        await session.query(`CREATE SEQUENCE ${BEAT_SEQUENCE} START ${row?.count ?? '1'}`);
      },
      [NAMES.tableGrants]: run(TABLE_GRANTS),
    };
  }

  /** Returns false if the role was right already. From now on it is known to be right. */
  private async ensureInternal(session: Session, role: string, attributes: string, password: string): Promise<boolean> {
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
      const [there] = await own.query<{ found: boolean }>(`SELECT to_regclass('public.users') IS NOT NULL AS found`);
      if (there?.found === true) return;
      await own.query(`GRANT ALL ON SCHEMA public TO ${identifier(databaseUser)};
        SET ROLE ${identifier(databaseUser)}; SET search_path = public`);
      await own.query(template('users.sql'));
    });
  }
}

/** The verifier that a role should get, or null when the stored one may stay. */
type Login = (stored: string | null) => Promise<string | null>;

const noLogin: Login = async () => null;

/** The login of the database's owner. A monitor of 0.1.0 sends the password itself. */
export function ownerLogin({ databaseVerifier: verifier, databasePassword: password }: NodeSettings): Login {
  if (verifier !== undefined) return async (stored) => (stored === verifier ? null : verifier);
  return password === undefined ? noLogin : (stored) => newVerifier(password, stored);
}

/** Creates the role, or sets its attributes and, where `login` says so, its password. */
async function ensureRole(
  session: Session,
  role: string,
  attributes: string,
  login: Login,
): Promise<{ stored: string | null; wasRight: boolean }> {
  const [row] = await session.query<{ stored: string | null }>(
    'SELECT rolpassword AS stored FROM pg_authid WHERE rolname = $1',
    [role],
  );
  const verifier = await login(row?.stored ?? null);
  const secret = verifier === null ? '' : ` PASSWORD ${literal(verifier)}`;
  if (row === undefined) await session.query(`CREATE ROLE ${identifier(role)} LOGIN ${attributes}${secret}`);
  else if (attributes !== '' || verifier !== null)
    await session.query(`ALTER ROLE ${identifier(role)} LOGIN ${attributes}${secret}`);
  return { stored: verifier ?? row?.stored ?? null, wasRight: row !== undefined && verifier === null };
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

async function dropWhatever(session: Session, name: string): Promise<void> {
  const [row] = await session.query<{ kind: string }>(
    'SELECT relkind AS kind FROM pg_class WHERE oid = to_regclass($1)',
    [`failover.${name}`],
  );
  if (row === undefined) return;
  await session.query(`DROP ${KINDS[row.kind] ?? 'TABLE'} failover.${identifier(name)} CASCADE`);
}
