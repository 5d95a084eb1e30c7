/** Paths, ports and ids inside the containers, on which the images, the Pulumi program, keeper and monitor agree. */

/** Fixed paths inside the containers. */
export const PATHS = {
  keeperConfig: '/etc/postgres-failover/keeper.json',
  monitorConfig: '/etc/postgres-failover/monitor.json',
  /** Volume of a PostgreSQL node: `data` (PGDATA), `keeper` (durable state), `data.new`, `data.old` during a copy. */
  nodeVolume: '/var/lib/postgresql',
  /** Volume of the backups' repository, the same one in every PostgreSQL node. */
  backupVolume: '/var/lib/postgres-backup',
  /** The repository from which the first node of a new cluster restores, read-only. */
  restoreVolume: '/var/lib/postgres-restore',
  /** Input of the container that tests restores, in its own volume, which has the copy, too. */
  checkerConfig: '/var/lib/postgresql/checker.json',
  /** Folder in memory with pgBackRest's config, which holds the passphrase, and its locks. */
  archiveRun: '/dev/shm/postgres-archive',
  /** Volume of the monitor: the store. */
  monitorVolume: '/var/lib/postgres-failover',
  /** The bundled status page. */
  page: '/app/page',
  /** Bind mount of the host's log folder. */
  logFolder: '/var/log/postgres-failover',
  /** Volume shared by HAProxy and monitor: `admin.sock` (runtime API) and `master.sock`. */
  haproxySockets: '/run/haproxy',
  /** Input of the pooler's supervisor. */
  poolerConfig: '/etc/postgres-failover/pooler.json',
  /** Folder in memory for PgBouncer's files and its Unix sockets; only the pooler's own user may enter it. */
  poolerRun: '/run/pooler',
  /** Folder in which the pooler keeps the last certificate for clients; only its own user may enter it. */
  poolerKeep: '/var/lib/pooler',
  /** Volume of HAProxy that holds `haproxy.cfg`, written by the image's `apply-config`. */
  haproxyConfig: '/etc/haproxy/run',
  /** The entry point of HAProxy's image puts both there, so that an earlier image starts with a config that names them. */
  cancelScript: '/etc/haproxy/run/cancel.lua',
  aliveScript: '/etc/haproxy/run/alive.lua',
  /** In a backend's container: the certificate of the stack's authority. */
  backendCa: '/etc/backend/ca.pem',
  prometheusConfig: '/etc/pgfailover-prometheus/prometheus.yml',
  /** Rules of the alerts, part of Prometheus's image. */
  prometheusRules: '/etc/pgfailover-prometheus/alerts.yml',
  /** Volume of Prometheus with the collected data. */
  prometheusVolume: '/var/lib/pgfailover-prometheus',
} as const;

/**
 * File in {@link PATHS}`.haproxySockets`: certificate and key of HAProxy's port for the backends. The monitor writes it;
 * HAProxy's image puts a certificate there that nobody trusts, as long as there is none.
 */
export const API_CERTIFICATE = 'api.pem';

/** Files in {@link PATHS}`.archiveRun`: pgBackRest's config of each place, for the jobs. They hold the passphrase. */
export const BACKUP_CONFIG = { local: 'backup.conf', s3: 'backup-s3.conf' } as const;

/** File in {@link PATHS}`.backupVolume` of a stack that began with a restore: what was restored (`Restored`). */
export const RESTORED_FILE = 'restored.json';

/** Fixed ports inside the networks. The stack's config decides what is published on the host. */
export const PORTS = {
  postgres: 5432,
  haproxyWrite: 5432,
  haproxyRead: 5433,
  /** What Docker publishes on an IPv4 address leads to these two, so that `clientNetworks` holds for it alone. */
  haproxyWritePublished: 5436,
  haproxyReadPublished: 5437,
  /**
   * The same for ::1. Docker lists several bindings of one inner port in an order that depends on its release, which the
   * provider would take for a change.
   */
  haproxyWriteIpv6: 5438,
  haproxyReadIpv6: 5439,
  /** Writes of the pooler. */
  haproxyPooled: 5440,
  /** Clients of replication; also the port of each node's gate. */
  haproxyReplication: 5441,
  gate: 5441,
  haproxyStats: 5000,
  haproxyApi: 8000,
  keepers: 7400,
  /** Of each keeper: HAProxy asks here whether the node's container is alive. */
  keeperAlive: 7402,
  /** The pooler's supervisor connects here to the monitor. */
  poolers: 7401,
  /** The container that tests restores connects here to the monitor. */
  checkers: 7403,
  monitorHttp: 8008,
  /** What Docker publishes where the monitor speaks HTTPS. The stack's own containers use the port above. */
  monitorHttps: 8443,
  backend: 8000,
  prometheus: 9090,
  pgadmin: 5050,
  /** Of the stack's own role; the roles of `poolRoles` have the ports after it. */
  pooler: 6432,
} as const;

/** Fixed numeric ids inside the images. `sockets` is the group that HAProxy and monitor share. */
export const IDS = {
  postgres: 10000,
  haproxy: 10001,
  monitor: 10002,
  backend: 10003,
  prometheus: 10004,
  pgadmin: 10005,
  pooler: 10006,
  sockets: 10010,
} as const;

/**
 * Signals that keeper and monitor ignore, because the default action would end the process. The images start Node with
 * `--disable-sigusr1`, which blocks SIGUSR1; Node itself ignores SIGPIPE.
 */
export const UNUSED_SIGNALS = ['SIGHUP', 'SIGUSR2', 'SIGALRM'] as const;

/** Files of the bundled status page, in {@link PATHS}`.page`. */
export const PAGE_FILES = ['index.html', 'page.css', 'page.js', 'icon.svg'] as const;
/** Contents of the page's files, by file name. */
export type PageFiles = Record<(typeof PAGE_FILES)[number], string>;
