/** Looks at a node from inside its container: its disk, and its PostgreSQL over the local socket. */

import { escapeLiteral as literal } from 'pg';
import { PATHS } from '../../failover/contract/layout';
import { PASSWORD_BY_SQL, WITH_BARRED } from '../../failover/contract/role-sql';
import { run } from '../../scripts/lib/exec';
import { asSuperuser } from '../superuser';
import { DatabaseFact, type NodeFact } from './facts';

/** Limit per node, ms, so that a node that hangs does not make doctor hang. */
const NODE_MS = 6_000;

/** Values of `synchronous_commit` that wait for a standby's disk (manual, "Write Ahead Log"). */
export const WAITS_FOR_STANDBY = ['on', 'true', 'yes', '1', 'remote_apply'];

/** Largest number of rows of each kind. The oldest one is the one to end. */
const ROWS_MAX = 20;

/**
 * A standby's entries of pg_prepared_xacts end with those of its leader. For `inactive_since` of a slot see the manual,
 * "pg_replication_slots". The server's own `synchronous_commit` belongs to the keeper: neither `postgresSettings` nor
 * ALTER SYSTEM may set it.
 */
export const queryFor = (user: string, database: string) => `SELECT json_build_object(
  'standby', pg_is_in_recovery(),
  'connections', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  'room', current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - current_setting('reserved_connections')::int,
  'slots', (SELECT coalesce(json_agg(json_build_object('name', slot_name, 'active', active,
      'lost', coalesce(wal_status = 'lost', false) OR invalidation_reason IS NOT NULL,
      'heldSeconds', CASE WHEN NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL)
        THEN extract(epoch FROM now() - inactive_since)::int END,
      'keptBytes', CASE WHEN NOT active AND NOT (synced AND pg_is_in_recovery()) THEN pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery()
        THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::float8 END)), '[]')
    FROM pg_replication_slots),
  'archive', CASE WHEN current_setting('archive_mode') <> 'off' THEN (SELECT json_build_object(
      'fails', coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false),
      'waitSeconds', (SELECT extract(epoch FROM now() - min(modification))::int
        FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')) FROM pg_stat_archiver) END,
  'oldest', (SELECT json_build_object('database', datname, 'transactions', greatest(age(datfrozenxid), mxid_age(datminmxid)))
    FROM pg_database ORDER BY greatest(age(datfrozenxid), mxid_age(datminmxid)) DESC LIMIT 1),
  'replayPaused', CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() <> 'not paused' ELSE false END,
  'barred', CASE
    WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ${literal(user)}) THEN 'role missing'
    WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ${literal(user)} AND rolcanlogin AND rolconnlimit <> 0
      AND (rolvaliduntil IS NULL OR rolvaliduntil > now())) THEN 'role closed'
    WHEN EXISTS (${WITH_BARRED} SELECT FROM pg_roles JOIN barred USING (oid) WHERE rolname = ${literal(user)}) THEN 'role barred'
    WHEN NOT EXISTS (SELECT FROM pg_database WHERE datname = ${literal(database)}) THEN 'database missing'
    WHEN NOT EXISTS (SELECT FROM pg_database WHERE datname = ${literal(database)} AND datallowconn
      AND datconnlimit NOT IN (0, -2) AND has_database_privilege(${literal(user)}, oid, 'CONNECT')) THEN 'database closed' END,
  'passwordBySql', coalesce((SELECT ${PASSWORD_BY_SQL}
    FROM pg_authid WHERE rolname = ${literal(user)}), false),
  'commitSettings', (SELECT coalesce(json_agg(row_to_json(s)), '[]') FROM (
      SELECT r.rolname AS role, d.datname AS database, split_part(c, '=', 2) AS value
      FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole LEFT JOIN pg_database d ON d.oid = setdatabase,
        unnest(setconfig) c WHERE c LIKE 'synchronous\\_commit=%'
        -- Many harmless ones must not hide the others. findings.ts has the same list.
        AND lower(split_part(c, '=', 2)) <> ALL ('{${WAITS_FOR_STANDBY.join(',')}}') LIMIT ${ROWS_MAX}) s),
  'holders', (SELECT coalesce(json_agg(h), '[]') FROM (
      (SELECT json_build_object('kind', 'session', 'pid', pid, 'role', coalesce(usename, ''),
          'database', coalesce(datname, ''),
          'seconds', extract(epoch FROM now() - xact_start)::int) AS h
        FROM pg_stat_activity WHERE backend_type = 'client backend' AND xact_start IS NOT NULL
          AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) ORDER BY xact_start LIMIT ${ROWS_MAX})
      UNION ALL
      (SELECT json_build_object('kind', 'prepared', 'name', gid, 'database', database,
          'seconds', extract(epoch FROM now() - prepared)::int)
        FROM pg_prepared_xacts WHERE NOT pg_is_in_recovery() ORDER BY prepared LIMIT ${ROWS_MAX})) all_holders))`;

/**
 * Two checks in parallel, so that a PostgreSQL that hangs does not hide a full disk.
 * @param query see {@link queryFor}
 */
export async function lookAtNode(name: string, query: string): Promise<NodeFact> {
  const inside = (...args: string[]) => run('docker', ['exec', name, ...args], { deadlineMs: NODE_MS });
  const [disk, answer] = await Promise.all([
    inside('df', '-P', '-B1', PATHS.nodeVolume),
    asSuperuser(run, name, ['-At', '-d', 'postgres', '-c', query], NODE_MS),
  ]);
  return {
    name,
    disk: disk.code === 0 ? diskOf(disk.stdout) : null,
    database: answer.code === 0 ? databaseOf(answer.stdout) : null,
    message:
      answer.code === 124
        ? 'no answer in time'
        : (answer.tail.find((line) => /error|FATAL/.test(line)) ?? answer.tail.at(-1) ?? ''),
  };
}

function databaseOf(text: string): DatabaseFact | null {
  try {
    return DatabaseFact.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** POSIX `df -P`: the second line's fourth and fifth columns. */
export function diskOf(text: string): NodeFact['disk'] {
  const columns = text.trim().split('\n').at(-1)?.trim().split(/\s+/) ?? [];
  const [free, percent] = [Number(columns[3]), Number(columns[4]?.replace('%', ''))];
  return Number.isFinite(free) && Number.isFinite(percent) ? { freeBytes: free, usedPercent: percent } : null;
}
