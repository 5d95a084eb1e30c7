/**
 * PgBouncer's configuration and list of users as text (PgBouncer's manual, pgbouncer.ini and "Authentication file
 * format"). Pure.
 */
import { PATHS } from '../contract/layout';
import type { Pool, PoolerConfig } from '../contract/pooler';

/**
 * How much longer than HAProxy PgBouncer waits, s: HAProxy's answer, not PgBouncer's limit, must end a held connection.
 */
const LONGER_S = 5;
/**
 * After a failed connect PgBouncer tries again no sooner than this, s. Until one succeeds it refuses every statement
 * for which it has no connection, so its default of 15 s would be an outage.
 */
const RETRY_S = 0.1;
/** Clients of one process at most. The next one is told "no more connections allowed". */
export const CLIENTS_MAX = 2_000;
/** Number of prepared statements that PgBouncer keeps for each connection (its `max_prepared_statements`). */
const PREPARED_MAX = 200;

/** Paths of the certificate for clients, its key, and the certificate of the authority. */
export const TLS_FILES = {
  certificate: `${PATHS.poolerRun}/tls.crt`,
  key: `${PATHS.poolerRun}/tls.key`,
  authority: `${PATHS.poolerRun}/ca.crt`,
} as const;

/** Which of {@link TLS_FILES} are there. */
export interface HeldTls {
  readonly leaf: boolean;
  readonly authority: boolean;
}

/** Paths of the files of one process. */
export function filesOf({ port }: Pick<Pool, 'port'>): { ini: string; users: string } {
  const base = `${PATHS.poolerRun}/${port}`;
  return { ini: `${base}.ini`, users: `${base}.users` };
}

/**
 * The configuration of one process. What it must never contain, because of PgBouncer's known holes, is tested one by
 * one (docs/pooler.md): a second user, an admin, `auth_query`, a list of ignored parameters without `options`, and a
 * larger `max_packet_size`.
 */
export function iniOf(config: PoolerConfig, pool: Pool, held: HeldTls): string {
  const { haproxy, database, poolSize, backends, holdTimeoutMs } = config;
  const waits = Math.ceil(holdTimeoutMs / 1_000) + LONGER_S;
  const target = `host=${haproxy.host} port=${haproxy.port} dbname=${value(database)}`;
  const databases = [`${database} = ${target}`];
  if (backends !== undefined && pool === config.pools[0])
    databases.push(`${backends.alias} = ${target} connect_query=${value(backends.connectQuery)}`);
  const settings: Record<string, string | number> = {
    listen_addr: '0.0.0.0',
    listen_port: pool.port,
    unix_socket_dir: PATHS.poolerRun,
    // The console is for the supervisor alone: the same user of the operating system, over this socket, without a
    // password.
    unix_socket_mode: '0700',
    admin_users: '',
    stats_users: '',
    auth_type: 'scram-sha-256',
    auth_file: filesOf(pool).users,
    ...tlsOf(config.tls, held),
    // Without `options` in this list, and without the space after a comma, an empty name in a client's options makes
    // PgBouncer spin (CVE-2026-107349): its search for an empty word ends only at an empty place in the list.
    // `search_path` is not in it: a client that asks for one is refused rather than served in another schema.
    ignore_startup_parameters: 'extra_float_digits, options',
    pool_mode: 'transaction',
    max_prepared_statements: PREPARED_MAX,
    max_client_conn: CLIENTS_MAX,
    default_pool_size: poolSize,
    min_pool_size: 0,
    reserve_pool_size: 0,
    server_connect_timeout: waits,
    query_wait_timeout: waits,
    server_login_retry: RETRY_S,
    server_idle_timeout: 600,
    server_lifetime: 3_600,
    cancel_wait_timeout: 10,
    tcp_keepalive: 1,
    tcp_keepidle: 10,
    tcp_keepintvl: 5,
    tcp_keepcnt: 3,
    log_connections: 0,
    log_disconnections: 0,
    log_stats: 0,
  };
  const lines = Object.entries(settings).map(([key, word]) => `${key} = ${word}`.trimEnd());
  return ['[databases]', ...databases, '', '[pgbouncer]', ...lines, ''].join('\n');
}

/**
 * TLS with clients, and with PostgreSQL (PgBouncer's manual, "TLS settings"). PgBouncer passes nothing through: it ends
 * one connection and begins the other.
 */
function tlsOf(mode: PoolerConfig['tls'], { leaf, authority }: HeldTls): Record<string, string> {
  const files = { client_tls_cert_file: TLS_FILES.certificate, client_tls_key_file: TLS_FILES.key };
  // With `require` and no certificate PgBouncer does not start, rather than serve a client without TLS.
  if (mode === 'require') return { client_tls_sslmode: 'require', ...files, ...toServer(authority) };
  const client = mode === 'on' && leaf ? { client_tls_sslmode: 'allow', ...files } : { client_tls_sslmode: 'disable' };
  // Not `disable`: while `tls` changes, the nodes may ask for TLS before or after this container is replaced.
  return { ...client, server_tls_sslmode: 'prefer' };
}

/**
 * HAProxy's address is in the stack's own certificate. Which names and which authority the user's own has is not known.
 */
function toServer(authority: boolean): Record<string, string> {
  if (!authority) return { server_tls_sslmode: 'require' };
  return { server_tls_sslmode: 'verify-full', server_tls_ca_file: TLS_FILES.authority };
}

/** The list of users: the pool's role alone. */
export function usersOf({ role, verifier }: Pool): string {
  return `${name(role)} ${name(verifier)}\n`;
}

/** A name in double quotes. */
function name(word: string): string {
  return `"${word.replaceAll('"', '""')}"`;
}

/** A value of a connection string. */
function value(word: string): string {
  return `'${word.replaceAll("'", "''")}'`;
}
