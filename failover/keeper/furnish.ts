/**
 * What every leader has beside the user's data: roles, the application's database and table, the heartbeat and canary
 * tables. Each step may be run again; nothing is written when it is there. All commits are local: no waiting on standbys.
 */
import { derivedPassword, MONITOR_ROLE, type NodeSettings, REPLICATION_ROLE } from '../protocol';
import { KEY_ITERATIONS, newVerifier } from './scram';
import { identifier, literal, type Session } from './session';
import { template } from './template';

const LIMIT_MS = 15_000;
const LOCAL = 'SET synchronous_commit = local';

/** `open` gives a session of the superuser in a database, over the local socket. */
type Open = (database: string, limitMs: number, setup: string) => Promise<Session>;

/** Functions that pg_rewind needs for a role that is no superuser (manual, pg_rewind, Notes). */
const REWIND_FUNCTIONS = [
  'pg_ls_dir(text, boolean, boolean)',
  'pg_stat_file(text, boolean)',
  'pg_read_binary_file(text)',
  'pg_read_binary_file(text, bigint, bigint, boolean)',
];

/** The tables of the keeper and the monitor, in the database `postgres`. */
const FAILOVER_SCHEMA = `
CREATE SCHEMA IF NOT EXISTS failover;
CREATE TABLE IF NOT EXISTS failover.heartbeat (
  one boolean PRIMARY KEY DEFAULT true CHECK (one), n bigint NOT NULL, at timestamptz NOT NULL);
INSERT INTO failover.heartbeat (n, at) VALUES (0, now()) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS failover.canary (
  term bigint NOT NULL, node text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());`;

async function ensureRole(
  session: Session,
  role: string,
  attributes: string,
  password: string,
  iterations?: number,
): Promise<void> {
  const rows = await session.query<{ stored: string | null }>(
    'SELECT rolpassword AS stored FROM pg_authid WHERE rolname = $1',
    [role],
  );
  const verifier = await newVerifier(password, rows[0]?.stored ?? null, iterations);
  const secret = verifier === null ? '' : ` PASSWORD ${literal(verifier)}`;
  if (rows.length === 0) await session.query(`CREATE ROLE ${identifier(role)} LOGIN ${attributes}${secret}`);
  else if (verifier !== null) await session.query(`ALTER ROLE ${identifier(role)} LOGIN ${attributes}${secret}`);
}

async function furnishPostgres(session: Session, settings: NodeSettings, clusterKey: string): Promise<void> {
  const key = (role: 'replication' | 'monitor') => derivedPassword(clusterKey, role);
  await ensureRole(session, REPLICATION_ROLE, 'REPLICATION', key('replication'), KEY_ITERATIONS);
  await ensureRole(session, MONITOR_ROLE, '', key('monitor'), KEY_ITERATIONS);
  await ensureRole(session, settings.databaseUser, '', settings.databasePassword);
  const [there] = await session.query<{ ready: boolean }>(
    `SELECT to_regclass('failover.canary') IS NOT NULL
        AND pg_has_role(${literal(MONITOR_ROLE)}, 'pg_use_reserved_connections', 'USAGE') AS ready`,
  );
  if (there?.ready === true) return;
  const grants = REWIND_FUNCTIONS.map((f) => `GRANT EXECUTE ON FUNCTION pg_catalog.${f} TO ${REPLICATION_ROLE};`);
  await session.query(`BEGIN;${FAILOVER_SCHEMA}
GRANT USAGE ON SCHEMA failover TO ${MONITOR_ROLE};
GRANT SELECT ON failover.heartbeat TO ${MONITOR_ROLE};
GRANT SELECT, INSERT, UPDATE ON failover.canary TO ${MONITOR_ROLE};
GRANT pg_monitor, pg_use_reserved_connections TO ${MONITOR_ROLE};
GRANT pg_read_all_stats TO ${REPLICATION_ROLE};
${grants.join('\n')}
COMMIT;`);
}

/** Makes what is missing and sets passwords that no longer verify. Throws what PostgreSQL says. */
export async function furnish(open: Open, settings: NodeSettings, clusterKey: string): Promise<void> {
  const { databaseName, databaseUser } = settings;
  const session = await open('postgres', LIMIT_MS, LOCAL);
  try {
    await furnishPostgres(session, settings, clusterKey);
    const exists = await session.query('SELECT FROM pg_database WHERE datname = $1', [databaseName]);
    if (exists.length === 0) {
      await session.query(`CREATE DATABASE ${identifier(databaseName)} OWNER ${identifier(databaseUser)}`);
    }
  } finally {
    session.destroy();
  }
  const own = await open(databaseName, LIMIT_MS, LOCAL);
  try {
    const [there] = await own.query<{ found: boolean }>(`SELECT to_regclass('public.users') IS NOT NULL AS found`);
    if (there?.found !== true) {
      await own.query(
        `GRANT ALL ON SCHEMA public TO ${identifier(databaseUser)}; SET ROLE ${identifier(databaseUser)}`,
      );
      await own.query(template('users.sql'));
    }
  } finally {
    own.destroy();
  }
}
