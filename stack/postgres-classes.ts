/**
 * Every setting of PostgreSQL 17, with its class and the reason: `free`, `bounded` (the failover lives with some values
 * only), or `owned` (the failover sets it itself, or would be blind without it). A setting that is in no row is
 * refused. test/contract/postgres.docker.test.ts compares the rows with `pg_settings` of the real server, so a new
 * version cannot bring a setting without a class. `npm run docs` writes the rows into docs/postgres-settings.md.
 */
import { budgetOf, RESERVED, SUPERUSER_RESERVED } from '../failover/contract/budget';
import { type Limit, noneOf, offOr, oneOf, size, time, whole } from './postgres-values';

/** Settings with one reason. */
export interface Family {
  readonly names: readonly string[];
  /** Completes the sentence "it cannot be set, because …", or is the reason why every value is harmless. */
  readonly reason: string;
}

export interface Bounded extends Limit {
  readonly name: string;
  /** A sentence: what a value beyond the limits would do. */
  readonly reason: string;
}

/** With fewer there is no room for what keeper and monitor need beside the clients of two ports (S24). */
const CONNECTIONS_MIN = 175;
const KEPT_CONNECTIONS = SUPERUSER_RESERVED + RESERVED;

function family(reason: string, names: string): Family {
  return { reason, names: names.trim().split(/\s+/) };
}

/** Settings that cannot be set, with what completes the sentence "it cannot be set, because …". */
export const OWNED: readonly Family[] = [
  family(
    'the failover decides where files are',
    `config_file data_directory external_pid_file hba_file ident_file krb_server_keyfile ssl_ca_file ssl_cert_file
    ssl_crl_file ssl_dh_params_file ssl_key_file`,
  ),
  family(
    'the failover sets it on each node',
    `archive_cleanup_command cluster_name primary_conninfo primary_slot_name restore_command
    synchronous_standby_names wal_init_zero wal_receiver_create_temp_slot wal_recycle`,
  ),
  family(
    'the failover decides how a node recovers',
    `hot_standby recovery_end_command recovery_init_sync_method recovery_min_apply_delay recovery_target
    recovery_target_action recovery_target_inclusive recovery_target_lsn recovery_target_name recovery_target_time
    recovery_target_timeline recovery_target_xid restart_after_crash`,
  ),
  family(
    'the promise that an acknowledged write is on two nodes depends on it',
    'fsync full_page_writes synchronous_commit wal_log_hints',
  ),
  family(
    'each standby follows the leader by it',
    `max_replication_slots max_wal_senders wal_receiver_status_interval wal_retrieve_retry_interval`,
  ),
  family(
    'with it a promotion waits until the write-ahead log is summarized, and fails when that takes a minute',
    'summarize_wal',
  ),
  family(
    'it decides whether queries on the read port may delay a promotion',
    'hot_standby_feedback max_standby_archive_delay max_standby_streaming_delay',
  ),
  family(
    'the failover sets it, so that logical replication slots move to the next leader',
    'sync_replication_slots synchronized_standby_slots',
  ),
  family(
    'the keeper of each node needs it',
    `listen_addresses port unix_socket_directories unix_socket_group unix_socket_permissions update_process_title`,
  ),
  family('only the keeper changes the settings of a node', 'allow_alter_system'),
  family('the failover proves a new leader by a write', 'default_transaction_read_only'),
  family('the failover reads in pg_stat_activity what each process waits for', 'track_activities'),
  family('a leader knows its standbys by this name', 'application_name'),
  family(
    'each standby has to find the library that receives the write-ahead log',
    'dynamic_library_path extension_destdir',
  ),
  family('each connection of the failover would wait for so long', 'post_auth_delay pre_auth_delay'),
  family('each connection of the failover would wait for a name server', 'log_hostname'),
  family('a client that does not log in takes one of the places that HAProxy gives', 'authentication_timeout'),
  family('these connections are kept for monitor and keeper', 'reserved_connections superuser_reserved_connections'),
  family('pg_hba.conf of the nodes lets clients in by scram-sha-256 only', 'password_encryption'),
  family('the config key tls decides it', 'ssl ssl_passphrase_command ssl_passphrase_command_supports_reload'),
  family(
    "the keeper reads PostgreSQL's log and prints it for people",
    `lc_messages log_destination log_directory log_file_mode log_filename log_line_prefix log_rotation_age
    log_rotation_size log_truncate_on_rotation logging_collector`,
  ),
  family(
    'the log would have the password verifiers that the keeper sets; log_min_duration_statement is free',
    'log_statement',
  ),
  family('after a failed flush the node has to stop, so that another one takes over', 'data_sync_retry'),
  family(
    'damaged data has to be noticed, and must not be passed over',
    'ignore_checksum_failure ignore_invalid_pages ignore_system_indexes zero_damaged_pages',
  ),
  family(
    'a process that ends by a fault would first write its memory into the data directory, and the node would end later',
    'send_abort_for_crash send_abort_for_kill',
  ),
  family(
    'the config key sharedMemory is for this kind of shared memory',
    'dynamic_shared_memory_type shared_memory_type',
  ),
  family(
    "it is for tests of PostgreSQL itself, and may make a node's data impossible to copy or to read",
    `allow_in_place_tablespaces allow_system_table_mods debug_io_direct jit_debugging_support jit_dump_bitcode
    jit_profiling_support`,
  ),
  family(
    'it belongs to one transaction, and PostgreSQL takes no value of it from its file',
    'transaction_deferrable transaction_isolation transaction_read_only',
  ),
  family(
    'PostgreSQL itself decides it',
    `block_size data_checksums data_directory_mode debug_assertions huge_pages_status in_hot_standby integer_datetimes
    max_function_args max_identifier_length max_index_keys segment_size server_encoding server_version
    server_version_num shared_memory_size shared_memory_size_in_huge_pages ssl_library wal_block_size wal_segment_size`,
  ),
];

function bounded(name: string, limit: Limit, reason: string): Bounded {
  return { name, ...limit, reason };
}

const COMPARED = 'Standbys compare it with their leader (S23), so the keeper reads the number';
const STREAM =
  'A standby reports every second; a shorter time ends the stream of a busy one, and a longer one lets a dead connection keep the slot of a standby that is back.';
const KERNEL =
  'Linux refuses a larger number; PostgreSQL then goes on without it and logs an error at each login, several a second.';
const FLOOD = 'would fill the log with several lines a statement, of which the failover makes twenty a second.';

/** Settings that are refused outside of their limits. */
export const BOUNDED: readonly Bounded[] = [
  bounded(
    'max_connections',
    whole(CONNECTIONS_MIN, 10_000),
    `Clients get ${CONNECTIONS_MIN - budgetOf(CONNECTIONS_MIN).clients} fewer: ${KEPT_CONNECTIONS} are kept for the failover, and it uses some itself. ${COMPARED}.`,
  ),
  bounded('max_worker_processes', whole(0, 1_000), `${COMPARED}.`),
  bounded('max_prepared_transactions', whole(0, 10_000), `${COMPARED}.`),
  bounded('max_locks_per_transaction', whole(10, 10_000), `${COMPARED}.`),
  bounded(
    'shared_buffers',
    size('16MB', '1TB', '8kB'),
    'With less, statements of the failover find no free buffer. The check container refuses more than three quarters of the memory.',
  ),
  bounded(
    'huge_pages',
    oneOf('off', 'try'),
    'With on, a node does not start when the other nodes have taken the huge pages.',
  ),
  bounded('max_stack_depth', size('1MB', '1GB', 'kB'), 'With less, statements of the failover do not fit.'),
  bounded(
    'wal_level',
    oneOf('replica', 'logical'),
    'Standbys follow the leader by the write-ahead log. Before a change back to replica, drop all logical replication slots: PostgreSQL does not start with them.',
  ),
  bounded('wal_sender_timeout', time('5s', '1min', 'ms'), STREAM),
  bounded('wal_receiver_timeout', time('5s', '1min', 'ms'), STREAM),
  bounded(
    'tcp_user_timeout',
    offOr(time('2s', '1d', 'ms')),
    'A shorter one ends a connection after one lost packet, that of a standby too.',
  ),
  bounded('tcp_keepalives_idle', offOr(time('1s', '9h', 's')), KERNEL),
  bounded('tcp_keepalives_interval', offOr(time('1s', '9h', 's')), KERNEL),
  bounded('tcp_keepalives_count', whole(0, 127), KERNEL),
  bounded(
    'max_slot_wal_keep_size',
    size('256MB', '1TB', 'MB'),
    'With less, a node that was down for a moment has to be copied again. Without a limit (-1), a node that stays down fills the disk of the leader.',
  ),
  bounded(
    'wal_keep_size',
    size('64MB', '1TB', 'MB'),
    'With less, a former leader has removed the write-ahead log from before the fork, so that it cannot be rewound and all of its data is copied again.',
  ),
  bounded('min_wal_size', size('2MB', '64GB', 'MB'), 'The write-ahead log is kept on the disk of each node.'),
  bounded(
    'max_wal_size',
    size('32MB', '64GB', 'MB'),
    'With less, the leader writes checkpoints without a pause. A node that was killed replays up to so much before it is of use again.',
  ),
  bounded(
    'transaction_timeout',
    offOr(time('10s', '24d', 'ms')),
    'For PostgreSQL a login is a transaction, in which a session of the failover cannot name its own limit yet. A shorter one can be set for roles and databases (ALTER ROLE … SET).',
  ),
  bounded(
    'archive_timeout',
    offOr(time('10s', '1d', 's')),
    'The heartbeat writes all the time, so each switch sends a whole segment to each standby and to the archive.',
  ),
  bounded(
    'scram_iterations',
    whole(4_096, 20_000),
    'Each login costs this much processor time on both sides, also in a failover, when all clients come at once (S24).',
  ),
  bounded(
    'default_transaction_isolation',
    oneOf('read committed', 'repeatable read', 'read uncommitted'),
    'A standby refuses every statement of a serializable transaction, so the read port would serve nothing. Clients may begin serializable transactions themselves.',
  ),
  bounded('client_encoding', noneOf('mule_internal'), 'PostgreSQL cannot convert to it, so no client could log in.'),
  bounded(
    'log_min_messages',
    oneOf('info', 'notice', 'warning', 'error', 'log', 'fatal'),
    `A debug level ${FLOOD} With panic, it is not logged why a node does not start.`,
  ),
];

const STATEMENTS =
  'it changes what statements of clients do or how long they take; each session of the failover names its own value or gives the same answer with any';

/** Settings that may have every value that PostgreSQL accepts, with the reason why each value is harmless. */
export const FREE: readonly Family[] = [
  family(
    'how queries are planned: statements of the failover are short with every plan',
    `constraint_exclusion cpu_index_tuple_cost cpu_operator_cost cpu_tuple_cost cursor_tuple_fraction
    debug_parallel_query default_statistics_target effective_cache_size enable_async_append enable_bitmapscan
    enable_gathermerge enable_group_by_reordering enable_hashagg enable_hashjoin enable_incremental_sort
    enable_indexonlyscan enable_indexscan enable_material enable_memoize enable_mergejoin enable_nestloop
    enable_parallel_append enable_parallel_hash enable_partition_pruning enable_partitionwise_aggregate
    enable_partitionwise_join enable_presorted_aggregate enable_seqscan enable_sort enable_tidscan from_collapse_limit
    geqo geqo_effort geqo_generations geqo_pool_size geqo_seed geqo_selection_bias geqo_threshold
    gin_fuzzy_search_limit jit jit_above_cost jit_expressions jit_inline_above_cost jit_optimize_above_cost
    jit_provider jit_tuple_deforming join_collapse_limit max_parallel_maintenance_workers max_parallel_workers
    max_parallel_workers_per_gather min_parallel_index_scan_size min_parallel_table_scan_size
    parallel_leader_participation parallel_setup_cost parallel_tuple_cost plan_cache_mode random_page_cost
    recursive_worktable_factor seq_page_cost`,
  ),
  family(
    STATEMENTS,
    `array_nulls backslash_quote bytea_output check_function_bodies client_min_messages composite_type_mismatch
    createrole_self_grant datestyle debug_discard_caches default_table_access_method default_tablespace
    default_text_search_config default_toast_compression default_transaction_deferrable escape_string_warning
    event_triggers exit_on_error extra_float_digits icu_validation_level intervalstyle lc_monetary lc_numeric lc_time
    lo_compat_privileges quote_all_identifiers restrict_nonsystem_relation_kind row_security search_path
    session_replication_role standard_conforming_strings temp_tablespaces timezone timezone_abbreviations
    transform_null_equals xmlbinary xmloption`,
  ),
  family(
    "it ends sessions, statements or transactions of clients; the failover's own sessions name their own limits",
    `client_connection_check_interval deadlock_timeout idle_in_transaction_session_timeout idle_session_timeout
    lock_timeout statement_timeout`,
  ),
  family(
    'memory and files: what does not fit is refused by the check container, or makes statements slow',
    `autovacuum_work_mem backend_flush_after commit_timestamp_buffers effective_io_concurrency file_extend_method
    gin_pending_list_limit hash_mem_multiplier huge_page_size io_combine_limit logical_decoding_work_mem
    maintenance_io_concurrency maintenance_work_mem max_files_per_process max_notify_queue_pages
    max_pred_locks_per_page max_pred_locks_per_relation max_pred_locks_per_transaction min_dynamic_shared_memory
    multixact_member_buffers multixact_offset_buffers notify_buffers serializable_buffers subtransaction_buffers
    synchronize_seqscans temp_buffers temp_file_limit track_activity_query_size transaction_buffers work_mem`,
  ),
  family(
    'vacuum, background writer and statistics: neither a promotion nor a copy waits for them',
    `autovacuum autovacuum_analyze_scale_factor autovacuum_analyze_threshold autovacuum_freeze_max_age
    autovacuum_max_workers autovacuum_multixact_freeze_max_age autovacuum_naptime autovacuum_vacuum_cost_delay
    autovacuum_vacuum_cost_limit autovacuum_vacuum_insert_scale_factor autovacuum_vacuum_insert_threshold
    autovacuum_vacuum_scale_factor autovacuum_vacuum_threshold bgwriter_delay bgwriter_flush_after
    bgwriter_lru_maxpages bgwriter_lru_multiplier compute_query_id stats_fetch_consistency track_commit_timestamp
    track_counts track_functions track_io_timing track_wal_io_timing vacuum_buffer_usage_limit vacuum_cost_delay
    vacuum_cost_limit vacuum_cost_page_dirty vacuum_cost_page_hit vacuum_cost_page_miss vacuum_failsafe_age
    vacuum_freeze_min_age vacuum_freeze_table_age vacuum_multixact_failsafe_age vacuum_multixact_freeze_min_age
    vacuum_multixact_freeze_table_age`,
  ),
  family(
    'how write-ahead log and checkpoints are written: a switchover writes its own checkpoint before clients are held',
    `checkpoint_completion_target checkpoint_flush_after checkpoint_timeout checkpoint_warning commit_delay
    commit_siblings recovery_prefetch wal_buffers wal_compression wal_consistency_checking
    wal_decode_buffer_size wal_skip_threshold wal_summary_keep_time wal_sync_method wal_writer_delay
    wal_writer_flush_after`,
  ),
  family(
    'an archive: a hand-over gives it a limited time, and `doctor` names one that fails (`ARCHIVE_LATE`)',
    'archive_command archive_library archive_mode',
  ),
  family(
    'what PostgreSQL writes into its log, which people read and the failover does not',
    `backtrace_functions debug_pretty_print debug_print_parse debug_print_plan debug_print_rewritten
    log_autovacuum_min_duration log_checkpoints log_connections log_disconnections log_duration log_error_verbosity
    log_executor_stats log_lock_waits log_min_duration_sample log_min_duration_statement log_min_error_statement
    log_parameter_max_length log_parameter_max_length_on_error log_parser_stats log_planner_stats
    log_recovery_conflict_waits log_replication_commands log_startup_progress_interval log_statement_sample_rate
    log_statement_stats log_temp_files log_timezone log_transaction_sample_rate trace_connection_negotiation
    trace_notify trace_sort`,
  ),
  family(
    'libraries: a container of its own loads them and logs in before anything is changed',
    'local_preload_libraries session_preload_libraries shared_preload_libraries',
  ),
  family(
    'logical replication of a person, which no part of the failover uses',
    `debug_logical_replication_streaming max_logical_replication_workers max_parallel_apply_workers_per_subscription
    max_sync_workers_per_subscription output_plugin_libraries`,
  ),
  family(
    'TLS with clients: which ways of encryption PostgreSQL offers',
    'ssl_ciphers ssl_ecdh_curve ssl_max_protocol_version ssl_min_protocol_version ssl_prefer_server_ciphers',
  ),
  family(
    'it has no effect here, because what it belongs to is off (client certificates, Kerberos, syslog, Bonjour)',
    `bonjour bonjour_name event_source gss_accept_delegation krb_caseins_users remove_temp_files_after_crash
    ssl_crl_dir syslog_facility syslog_ident
    syslog_sequence_numbers syslog_split_messages`,
  ),
];

/** Class of a setting, with the row that it is in. */
export type Classed =
  | { readonly class: 'free' }
  | { readonly class: 'owned'; readonly reason: string }
  | { readonly class: 'bounded'; readonly limit: Bounded };

/** Lines of PostgreSQL's configuration file that are no settings (manual, "Configuration File Includes"). */
const DIRECTIVES = ['include', 'include_dir', 'include_if_exists'];
/** The keeper's own settings begin so. */
const KEEPERS_OWN = 'failover.';

const byName = new Map<string, Classed>([
  ...FREE.flatMap(({ names }) => names.map((name) => [name, { class: 'free' }] as const)),
  ...BOUNDED.map((limit) => [limit.name, { class: 'bounded', limit }] as const),
  ...OWNED.flatMap(({ names, reason }) => names.map((name) => [name, { class: 'owned', reason }] as const)),
]);

/** Names of all settings in the rows, in lower case and in the order of the alphabet. */
export const CLASSED_NAMES: readonly string[] = [...byName.keys()].sort();

/**
 * Class of a setting by its name in lower case; null when it is in no row. Settings of extensions, whose names have a
 * dot, are free.
 */
export function classOf(name: string): Classed | null {
  if (DIRECTIVES.includes(name)) return { class: 'owned', reason: 'the failover decides where files are' };
  if (name.startsWith(KEEPERS_OWN)) return { class: 'owned', reason: 'the keeper of each node needs it' };
  return name.includes('.') ? { class: 'free' } : (byName.get(name) ?? null);
}
