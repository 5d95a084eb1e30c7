/**
 * Values at both ends of what people set, and typical mistakes, by setting. Every pair of values of two settings comes
 * together in one of the groups (groups.ts). What stack/postgres-classes.ts bounds is here with its limits.
 */

/** Texts as in PostgreSQL's own configuration file, by setting. */
export type Extremes = Readonly<Record<string, readonly [string, string, ...string[]]>>;

const ON_OFF = ['on', 'off'] as const;

/** Limits of time: `30` meant as seconds is 30 ms in PostgreSQL. */
const TIMES: Extremes = {
  statement_timeout: ['1ms', '1d'],
  lock_timeout: ['1ms', '1d'],
  idle_in_transaction_session_timeout: ['1ms', '0'],
  idle_session_timeout: ['1ms', '1d'],
  transaction_timeout: ['10s', '1d'],
  deadlock_timeout: ['1ms', '1d'],
  client_connection_check_interval: ['1ms', '1d'],
  tcp_user_timeout: ['2s', '1d'],
  tcp_keepalives_idle: ['1s', '9h'],
  tcp_keepalives_interval: ['1s', '9h'],
  tcp_keepalives_count: ['1', '127'],
  wal_sender_timeout: ['5s', '1min'],
  wal_receiver_timeout: ['5s', '1min'],
};

const MEMORY: Extremes = {
  shared_buffers: ['16MB', '1GB'],
  huge_pages: ['off', 'try'],
  work_mem: ['64kB', '1GB'],
  hash_mem_multiplier: ['1', '1000'],
  maintenance_work_mem: ['64kB', '2GB'],
  temp_buffers: ['800kB', '1GB'],
  temp_file_limit: ['0', '-1'],
  wal_buffers: ['32kB', '64MB'],
  max_stack_depth: ['1MB', '7MB'],
  max_files_per_process: ['64', '100000'],
  min_dynamic_shared_memory: ['0', '64MB'],
  track_activity_query_size: ['100', '1MB'],
  max_connections: ['175', '1000'],
  max_worker_processes: ['0', '64'],
  max_prepared_transactions: ['0', '100'],
  max_locks_per_transaction: ['10', '1000'],
  max_pred_locks_per_transaction: ['10', '1000'],
  max_parallel_workers: ['0', '64'],
  effective_io_concurrency: ['0', '1000'],
  io_combine_limit: ['8kB', '256kB'],
};

const LOG_AND_DISK: Extremes = {
  archive_mode: ['off', 'on', 'always'],
  archive_command: ['true', 'false', 'sleep 300'],
  archive_timeout: ['0', '10s'],
  checkpoint_timeout: ['30s', '1d'],
  checkpoint_completion_target: ['0', '1'],
  checkpoint_flush_after: ['0', '2MB'],
  max_wal_size: ['32MB', '64GB'],
  min_wal_size: ['2MB', '1GB'],
  wal_keep_size: ['64MB', '1GB'],
  max_slot_wal_keep_size: ['256MB', '1TB'],
  commit_delay: ['0', '100000'],
  commit_siblings: ['0', '1000'],
  wal_compression: ['off', 'zstd'],
  wal_consistency_checking: ['', 'all'],
  wal_decode_buffer_size: ['64kB', '64MB'],
  wal_skip_threshold: ['0', '1GB'],
  wal_sync_method: ['fsync', 'open_datasync'],
  wal_writer_delay: ['1ms', '10s'],
  wal_writer_flush_after: ['0', '1GB'],
  recovery_prefetch: ON_OFF,
  bgwriter_delay: ['10ms', '10s'],
  bgwriter_lru_maxpages: ['0', '100000'],
  backend_flush_after: ['0', '2MB'],
};

const VACUUM_AND_STATISTICS: Extremes = {
  autovacuum: ON_OFF,
  autovacuum_max_workers: ['1', '20'],
  autovacuum_naptime: ['1s', '20d'],
  autovacuum_vacuum_cost_delay: ['0', '100ms'],
  autovacuum_vacuum_scale_factor: ['0', '100'],
  autovacuum_freeze_max_age: ['100000', '2000000000'],
  vacuum_cost_delay: ['0', '100ms'],
  track_counts: ON_OFF,
  track_functions: ['none', 'all'],
  track_io_timing: ON_OFF,
  track_wal_io_timing: ON_OFF,
  track_commit_timestamp: ON_OFF,
  compute_query_id: ['regress', 'on'],
  stats_fetch_consistency: ['snapshot', 'none'],
};

const LOGGING: Extremes = {
  log_min_messages: ['info', 'fatal'],
  log_min_error_statement: ['debug5', 'panic'],
  log_error_verbosity: ['terse', 'verbose'],
  log_connections: ON_OFF,
  log_disconnections: ON_OFF,
  log_duration: ON_OFF,
  log_min_duration_statement: ['0', '-1'],
  log_parameter_max_length: ['0', '-1'],
  log_autovacuum_min_duration: ['0', '-1'],
  log_checkpoints: ON_OFF,
  log_lock_waits: ON_OFF,
  log_recovery_conflict_waits: ON_OFF,
  log_replication_commands: ON_OFF,
  log_temp_files: ['0', '-1'],
  log_statement_stats: ON_OFF,
  log_timezone: ['Asia/Ho_Chi_Minh', 'America/St_Johns'],
  debug_print_plan: ON_OFF,
  trace_notify: ON_OFF,
};

const CLIENTS: Extremes = {
  default_transaction_isolation: ['read committed', 'repeatable read'],
  default_transaction_deferrable: ON_OFF,
  default_table_access_method: ['heap', 'nowhere'],
  default_tablespace: ['', 'nowhere'],
  temp_tablespaces: ['', 'nowhere'],
  search_path: ['"$user", public', 'nowhere'],
  row_security: ON_OFF,
  event_triggers: ON_OFF,
  exit_on_error: ON_OFF,
  session_replication_role: ['origin', 'replica'],
  standard_conforming_strings: ON_OFF,
  escape_string_warning: ON_OFF,
  transform_null_equals: ON_OFF,
  array_nulls: ON_OFF,
  quote_all_identifiers: ON_OFF,
  bytea_output: ['hex', 'escape'],
  client_encoding: ['LATIN1', 'SQL_ASCII'],
  client_min_messages: ['debug5', 'error'],
  datestyle: ['SQL, DMY', 'German'],
  intervalstyle: ['iso_8601', 'sql_standard'],
  timezone: ['Asia/Ho_Chi_Minh', 'America/St_Johns'],
  lc_time: ['C', 'vi_VN.UTF-8'],
  lc_numeric: ['C', 'vi_VN.UTF-8'],
  extra_float_digits: ['-15', '3'],
  restrict_nonsystem_relation_kind: ['', 'view, foreign-table'],
  scram_iterations: ['4096', '20000'],
};

const PLANS: Extremes = {
  jit: ON_OFF,
  jit_above_cost: ['0', '-1'],
  debug_parallel_query: ['off', 'regress'],
  plan_cache_mode: ['force_generic_plan', 'force_custom_plan'],
  enable_seqscan: ON_OFF,
  enable_hashjoin: ON_OFF,
  enable_nestloop: ON_OFF,
  from_collapse_limit: ['1', '1000'],
  geqo_threshold: ['2', '100'],
  random_page_cost: ['0', '1e10'],
  cpu_tuple_cost: ['0', '1e300'],
};

const LIBRARIES: Extremes = {
  shared_preload_libraries: ['libpqwalreceiver', 'pg_stat_statements, auto_explain'],
  session_preload_libraries: ['', 'auto_explain'],
  'auto_explain.log_min_duration': ['0', '-1'],
  'pg_stat_statements.track': ['none', 'all'],
};

export const EXTREMES: Extremes = {
  ...{ ...TIMES, ...MEMORY, ...LOG_AND_DISK, ...VACUUM_AND_STATISTICS },
  ...{ ...LOGGING, ...CLIENTS, ...PLANS, ...LIBRARIES },
};

/**
 * Limits that end a client's statement or session. An application that needs other limits sets them for its role, and
 * so does this test for the role of its clients (`ALTER ROLE … SET`). The sessions of the failover are not of that role.
 */
export const CLIENTS_OWN: Readonly<Record<string, string>> = {
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  transaction_timeout: '0',
  // A parallel worker checks the settings of its session. It fails where a default tablespace or table access method
  // does not exist, while the session itself goes on.
  debug_parallel_query: 'off',
};
