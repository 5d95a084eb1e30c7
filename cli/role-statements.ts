/**
 * The statements behind `role`. Names are quoted and never steer anything. A password is there as its SCRAM verifier
 * only, so no log, no process list and no view of PostgreSQL shows it. Pure.
 */
import { escapeIdentifier as identifier, escapeLiteral as literal } from 'pg';
import { z } from 'zod';
import { IDENTIFIER_BYTES_MAX } from '../failover/contract/limits';
import { KEEPER_ROLE, MONITOR_ROLE, REPLICATION_ROLE } from '../failover/contract/naming';
import { FIRST_OID, WITH_BARRED } from '../failover/contract/role-sql';

/** What a role may do in one database. */
export type Access = 'read-only' | 'read-write' | 'owner' | 'replication';

/** A role of the database, as the commands show it. */
export const RoleRow = z.object({
  name: z.string(),
  /** It has the right to log in, and that right has not run out. */
  login: z.boolean(),
  hasPassword: z.boolean(),
  /** It has the rights of a superuser, of REPLICATION or of the failover, so it may not log in over the network. */
  barred: z.boolean(),
  superuser: z.boolean(),
  /** Roles of which it is a direct member. */
  memberOf: z.array(z.string()),
  /** Names of the databases in which it owns something. */
  ownsIn: z.array(z.string()),
  sessions: z.number(),
});
export type RoleRow = z.infer<typeof RoleRow>;

/** The roles that people made, and `postgres`; with a name, that one alone. */
export function rolesQuery(name?: string): string {
  return `${WITH_BARRED}, sessions AS (SELECT usesysid, count(*) AS n FROM pg_stat_get_activity(NULL) GROUP BY usesysid)
SELECT coalesce(json_agg(json_build_object('name', r.rolname,
    'login', r.rolcanlogin AND (r.rolvaliduntil IS NULL OR r.rolvaliduntil > now()),
    'hasPassword', r.rolpassword IS NOT NULL, 'superuser', r.rolsuper,
    'barred', r.oid IN (SELECT oid FROM barred),
    'memberOf', (SELECT coalesce(json_agg(g.rolname ORDER BY g.rolname), '[]')
      FROM pg_auth_members m JOIN pg_authid g ON g.oid = m.roleid WHERE m.member = r.oid),
    'ownsIn', (SELECT coalesce(json_agg(DISTINCT coalesce(d.datname, t.datname)), '[]')
      FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
        LEFT JOIN pg_database t ON s.classid = 'pg_database'::regclass AND t.oid = s.objid
      WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid AND s.deptype = 'o'),
    'sessions', coalesce(a.n, 0)) ORDER BY r.rolname), '[]')
FROM pg_authid r LEFT JOIN sessions a ON a.usesysid = r.oid
WHERE ${name === undefined ? `r.oid >= ${FIRST_OID} OR r.rolname = 'postgres'` : `r.rolname = ${literal(name)}`};`;
}

/** Why a role cannot have this name; null: it can. */
export function nameProblem(name: string): string | null {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0) return 'it is empty';
  if (bytes > IDENTIFIER_BYTES_MAX) return `it has ${bytes} bytes, and PostgreSQL takes ${IDENTIFIER_BYTES_MAX}`;
  if (name.includes('\0')) return 'it contains NUL';
  if (name.startsWith('pg_')) return 'names that begin with pg_ are PostgreSQL’s own';
  if (['public', 'none'].includes(name)) return 'PostgreSQL keeps this word for itself';
  if (isOwn(name)) return 'this role is the failover’s own';
  return null;
}

export function isOwn(name: string): boolean {
  return [KEEPER_ROLE, MONITOR_ROLE, REPLICATION_ROLE].includes(name);
}

/** Privileges on tables and sequences. */
const GRANTS: Readonly<Record<Exclude<Access, 'owner'>, readonly [tables: string, sequences: string]>> = {
  'read-only': ['SELECT', 'SELECT'],
  'read-write': ['SELECT, INSERT, UPDATE, DELETE', 'SELECT, USAGE, UPDATE'],
  // A subscriber copies the tables first.
  replication: ['SELECT', 'SELECT'],
};

/** Schemas of people in the database of the session. */
const SCHEMAS = `SELECT nspname AS name FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'failover')`;

/**
 * Makes a role and gives it its rights in the database of the session, in one transaction. With `read-only` and
 * `read-write` it gets them on every schema, table and sequence that is there, and on those that the database's owner,
 * the application's role or the owner of a present table makes later. With `owner` it is a member of the database's
 * owner and acts as that one, so what it makes belongs to the owner, too. With `replication` it also has REPLICATION.
 */
export function createRole(role: {
  name: string;
  verifier: string;
  access: Access;
  database: string;
  /** The owner of that database. */
  owner: string;
  /** The application's role. */
  application: string;
}): string {
  const [name, database, owner] = [role.name, role.database, role.owner].map(identifier);
  const replicates = role.access === 'replication' ? 'REPLICATION ' : '';
  const begin = `CREATE ROLE ${name} LOGIN ${replicates}PASSWORD ${literal(role.verifier)};
GRANT CONNECT ON DATABASE ${database} TO ${name};`;
  if (role.access === 'owner') {
    return `${begin}
GRANT ${owner} TO ${name} WITH INHERIT TRUE, SET TRUE;
ALTER ROLE ${name} IN DATABASE ${database} SET role TO ${literal(role.owner)};`;
  }
  const [tables, sequences] = GRANTS[role.access];
  const block = `DECLARE r text := ${literal(role.name)}; s record;
BEGIN
  FOR s IN ${SCHEMAS} LOOP
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', s.name, r);
    EXECUTE format('GRANT ${tables} ON ALL TABLES IN SCHEMA %I TO %I', s.name, r);
    EXECUTE format('GRANT ${sequences} ON ALL SEQUENCES IN SCHEMA %I TO %I', s.name, r);
  END LOOP;
  FOR s IN SELECT rolname AS name FROM pg_authid WHERE rolname IN (${literal(role.owner)}, ${literal(role.application)})
    OR oid IN (SELECT c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname IN (${SCHEMAS})) LOOP
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT USAGE ON SCHEMAS TO %I', s.name, r);
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT ${tables} ON TABLES TO %I', s.name, r);
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT ${sequences} ON SEQUENCES TO %I', s.name, r);
  END LOOP;
END`;
  return `${begin}\nDO ${literal(block)};`;
}

/** The owner of the session's database, and whether that role may not log in over the network. */
export const OWNER = `${WITH_BARRED}
SELECT json_build_object('owner', rolname, 'barred', oid IN (SELECT oid FROM barred))
FROM pg_authid WHERE oid = (SELECT datdba FROM pg_database WHERE datname = current_database());`;

export function changePassword(name: string, verifier: string): string {
  return `ALTER ROLE ${identifier(name)} PASSWORD ${literal(verifier)};`;
}

/** Ends the role's sessions and lets it begin none. */
export function lockRole(name: string): string {
  return `ALTER ROLE ${identifier(name)} NOLOGIN;
SELECT pg_terminate_backend(a.pid) FROM pg_stat_get_activity(NULL) a JOIN pg_authid r ON r.oid = a.usesysid
WHERE r.rolname = ${literal(name)};`;
}

/**
 * Takes everything in the session's database away from the role: gives what it owns to another role, if one is named,
 * and removes its privileges. A role that owns something would lose it with DROP OWNED, so without the other role an
 * owner is an error.
 */
export function emptyRole(name: string, to: string | null): string {
  const owns = `EXISTS (SELECT FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
    AND refobjid = (SELECT oid FROM pg_authid WHERE rolname = ${literal(name)})
    AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))`;
  const give =
    to === null
      ? `DO ${literal(`BEGIN IF ${owns} THEN RAISE 'the role owns something here'; END IF; END`)};`
      : `REASSIGN OWNED BY ${identifier(name)} TO ${identifier(to)};`;
  return `${give}\nDROP OWNED BY ${identifier(name)};`;
}

export function dropRole(name: string): string {
  return `DROP ROLE ${identifier(name)};`;
}

/** Names of the databases that accept sessions. */
export const DATABASES = `SELECT json_agg(datname ORDER BY datname) FROM pg_database WHERE datallowconn AND datconnlimit <> -2;`;

/** A connection string of libpq with this database's name, which must not be read as a connection string itself. */
export function inDatabase(name: string): string {
  return `dbname='${name.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
