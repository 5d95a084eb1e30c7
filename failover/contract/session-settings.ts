/**
 * Settings that every session of the keeper and the monitor starts with. They are part of the start packet, which wins over
 * the configuration file and over ALTER ROLE … SET and ALTER DATABASE … SET (PostgreSQL manual, "Setting Parameters"), so
 * nothing that people set there makes a statement of the failover fail, wait or mean something else.
 */

/** Settings that any role may set. */
const FOR_ALL: Readonly<Record<string, string>> = {
  // A serializable transaction fails on every hot standby.
  default_transaction_isolation: 'read committed',
  default_transaction_read_only: 'off',
  default_transaction_deferrable: 'off',
  // The client of each session has a deadline of its own.
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  transaction_timeout: '0',
  // Every statement names the schema of objects that are not PostgreSQL's own.
  search_path: 'pg_catalog',
  role: 'none',
  row_security: 'on',
  default_tablespace: '',
  temp_tablespaces: '',
  default_table_access_method: 'heap',
  datestyle: 'ISO, MDY',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  standard_conforming_strings: 'on',
  transform_null_equals: 'off',
  bytea_output: 'hex',
  client_min_messages: 'warning',
  exit_on_error: 'off',
  local_preload_libraries: '',
  jit: 'off',
  max_parallel_workers_per_gather: '0',
  debug_parallel_query: 'off',
  plan_cache_mode: 'auto',
};

/**
 * Settings that a role may set when they were granted to it. Without them a login event trigger that raises, or a library that is not there,
 * locks out every role, the superuser too.
 */
const IF_GRANTED: Readonly<Record<string, string>> = {
  event_triggers: 'off',
  session_preload_libraries: '',
};

/** Names of the settings that the internal roles have to be granted. */
export const GRANTED_SETTINGS: readonly string[] = Object.keys(IF_GRANTED);

/** Settings that only a superuser may set. */
const FOR_SUPERUSER: Readonly<Record<string, string>> = {
  ...IF_GRANTED,
  session_replication_role: 'origin',
  track_activities: 'on',
  lc_messages: 'C',
  commit_delay: '0',
  log_statement: 'none',
  log_duration: 'off',
  log_min_duration_statement: '-1',
  plan_cache_mode: 'force_generic_plan',
};

/** Rights of a session's role: a superuser, granted {@link GRANTED_SETTINGS}, or not granted them (yet). */
export type SessionRights = 'superuser' | 'granted' | 'plain';

const BY_RIGHTS: Readonly<Record<SessionRights, Readonly<Record<string, string>>>> = {
  superuser: { ...FOR_ALL, ...FOR_SUPERUSER },
  granted: { ...FOR_ALL, ...IF_GRANTED },
  plain: FOR_ALL,
};

/**
 * Value of `options` in a start packet or a connection string. `more` adds settings or replaces some.
 * Spaces and backslashes are escaped as libpq's manual says ("options").
 */
export function sessionOptions(rights: SessionRights, more: Readonly<Record<string, string>> = {}): string {
  return Object.entries({ ...BY_RIGHTS[rights], ...more })
    .map(([name, value]) => `-c ${name}=${value.replaceAll(/[\\ ]/g, '\\$&')}`)
    .join(' ');
}

/** SQLSTATE of a setting in the start packet that the role may not set (and of a database that it may not enter). */
export const INSUFFICIENT_PRIVILEGE = '42501';
