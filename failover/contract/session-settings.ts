/**
 * Settings that every session of the keeper and the monitor starts with. They are part of the startup packet, which
 * wins over the configuration file and over ALTER ROLE … SET and ALTER DATABASE … SET (PostgreSQL manual, "Setting
 * Parameters"). So no setting that a person changes there can make a statement of the failover fail, wait or mean
 * something else.
 */

/** Settings that any role may set. */
const FOR_ALL: Readonly<Record<string, string>> = {
  // A serializable transaction fails on every hot standby.
  default_transaction_isolation: 'read committed',
  default_transaction_read_only: 'off',
  default_transaction_deferrable: 'off',
  // No server-side timeouts: the client code of each session has its own deadline.
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  transaction_timeout: '0',
  // Statements name the schema of every object that is not PostgreSQL's own, so no other schema has to be searched.
  search_path: 'pg_catalog',
  role: 'none',
  row_security: 'on',
  default_tablespace: '',
  temp_tablespaces: '',
  default_table_access_method: 'heap',
  datestyle: 'ISO, MDY',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  client_encoding: 'UTF8',
  standard_conforming_strings: 'on',
  transform_null_equals: 'off',
  bytea_output: 'hex',
  // pg_rewind lists all files in one statement, which must not need a temporary file: `temp_file_limit` may be 0.
  work_mem: '64MB',
  // A lower value would round positions and sizes.
  extra_float_digits: '1',
  client_min_messages: 'warning',
  exit_on_error: 'off',
  local_preload_libraries: '',
  jit: 'off',
  max_parallel_workers_per_gather: '0',
  debug_parallel_query: 'off',
  plan_cache_mode: 'auto',
};

/**
 * Settings that a role may set only when they were granted to it. Without them a login event trigger that raises an
 * error, or a preload library that is missing, locks out every role, the superuser too.
 */
const IF_GRANTED: Readonly<Record<string, string>> = {
  event_triggers: 'off',
  session_preload_libraries: '',
};

/** Names of the settings that the keeper has to grant to the internal roles. */
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

/**
 * Rights of a session's role: a superuser, a role that was granted {@link GRANTED_SETTINGS}, or a role that was not
 * (yet).
 */
export type SessionRights = 'superuser' | 'granted' | 'plain';

const BY_RIGHTS: Readonly<Record<SessionRights, Readonly<Record<string, string>>>> = {
  superuser: { ...FOR_ALL, ...FOR_SUPERUSER },
  granted: { ...FOR_ALL, ...IF_GRANTED },
  plain: FOR_ALL,
};

/**
 * Value of `options` in a startup packet or a connection string. `more` adds settings or replaces some of them. Spaces
 * and backslashes are escaped as libpq's manual says ("options").
 */
export function sessionOptions(rights: SessionRights, more: Readonly<Record<string, string>> = {}): string {
  return Object.entries({ ...BY_RIGHTS[rights], ...more })
    .map(([name, value]) => `-c ${name}=${value.replaceAll(/[\\ ]/g, '\\$&')}`)
    .join(' ');
}

/**
 * Value of `options` for sessions of the replication protocol: PostgreSQL ends them, too, when they idle between two
 * commands. The other settings above mean nothing to them, and PostgreSQL keeps 1,023 characters of a standby's
 * connection string.
 */
export const STREAM_OPTIONS = '-c idle_session_timeout=0';

/** SQLSTATE of a refused startup packet: the role may not set one of its settings, or may not enter the database. */
export const INSUFFICIENT_PRIVILEGE = '42501';
