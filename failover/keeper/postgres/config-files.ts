/** Renders PostgreSQL's configuration. Pure. */
import Mustache from 'mustache';
import type { NodeSettings } from '../../contract/messages';
import { KEEPER_ROLE, MONITOR_ROLE, REPLICATION_ROLE, slotName } from '../../contract/naming';
import { STREAM_OPTIONS } from '../../contract/session-settings';
import type { ServerConfig } from '../ports';
import type { TlsFiles } from './certificate-files';
import type { Place } from './place';
import { template } from './template';

type NodeOfConf = Pick<Place, 'node' | 'port' | 'passfile'>;

const MB = 1024 * 1024;
/** Memory to assume when the container has no limit. It is modest, because other containers share the machine. */
const UNLIMITED_BYTES = 1024 * MB;

/** A value for postgresql.conf in single quotes. */
export function quoted(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

/** Memory settings derived from the container's limit (bytes; null: no limit). */
export function sizing(memoryLimitBytes: number | null): { sharedBuffers: string; maxConnections: number } {
  const memory = memoryLimitBytes ?? UNLIMITED_BYTES;
  const buffersMb = Math.max(32, Math.min(8192, Math.floor(memory / MB / 4)));
  // Not below initdb's own value, because a standby with less than its control file says does not start (S23).
  const connections = Math.max(100, Math.min(200, Math.floor(memory / MB / 5)));
  return { sharedBuffers: `${buffersMb}MB`, maxConnections: connections };
}

/** Renders postgresql.conf, without the settings that an order decides. `tls`: null turns TLS off. */
export function renderPostgresqlConf(
  node: string,
  settings: Pick<NodeSettings, 'postgresSettings'>,
  memoryLimitBytes: number | null,
  tls: TlsFiles | null = null,
): string {
  const extra = Object.entries(settings.postgresSettings)
    .filter(([name]) => /^[a-z][a-z0-9_.]*$/i.test(name))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => ({ name, value: quoted(value) }));
  return Mustache.render(template('postgresql.conf'), {
    ...sizing(memoryLimitBytes),
    clusterName: quoted(node),
    extra,
    tls: tls === null ? null : { certificate: quoted(tls.certificate), key: quoted(tls.key) },
  });
}

/** Returns a function that gives the number of a name in postgresql.conf under the stack's settings. */
export function settingValues(
  node: string,
  memoryLimitBytes: number | null,
): (name: string, postgresSettings: Readonly<Record<string, string>>) => number {
  // Kept, because every look asks for them.
  let last: { key: string; numbers: ReadonlyMap<string, number> } | null = null;
  return (name, postgresSettings) => {
    const key = JSON.stringify(postgresSettings);
    if (last?.key !== key) {
      last = { key, numbers: numbersIn(renderPostgresqlConf(node, { postgresSettings }, memoryLimitBytes)) };
    }
    return last.numbers.get(name) ?? LOCKS_DEFAULT;
  };
}

/**
 * PostgreSQL's own default of `max_locks_per_transaction`, the one setting that the template leaves out and that must
 * not be lower on a standby (S23).
 */
const LOCKS_DEFAULT = 64;

/** The numbers that postgresql.conf sets, by name. The last line with a name counts. */
function numbersIn(text: string): ReadonlyMap<string, number> {
  const lines = text.matchAll(/^(\w+)\s*=\s*'?(-?\d+)/gm);
  return new Map([...lines].map(([, name = '', value]) => [name, Number(value)]));
}

export function renderPgHba(settings: NodeSettings): string {
  const { haproxyAddress, monitorAddress, nodes, tls } = settings;
  return Mustache.render(template('pg_hba.conf'), {
    ...{ haproxyAddress, monitorAddress, nodes },
    ...{ monitorRole: MONITOR_ROLE, keeperRole: KEEPER_ROLE, keeperMap: KEEPER_MAP, replicationRole: REPLICATION_ROLE },
    rolesFile: ROLES_FILE,
    gate: settings.replication && { address: GATE_ADDRESS, rolesFile: REPLICATORS_FILE },
    clientRecord: (tls?.mode === 'require' ? 'hostssl' : 'host').padEnd(7),
  });
}

/** Address from which the gate connects (gate/gate.ts); pg_hba.conf lets roles with REPLICATION in from there alone. */
export const GATE_ADDRESS = '127.0.0.2';
/** Name of the file with the roles that may log in (role-list.ts), beside pg_hba.conf. */
export const ROLES_FILE = 'pg_hba.roles';
/** The same for roles that may log in as clients of replication. */
export const REPLICATORS_FILE = 'pg_hba.replicators';
const KEEPER_MAP = 'keeper';

/** pg_ident.conf. It lets the container's operating system user `postgres` log in with the keeper's role. */
export const PG_IDENT = `# MAP  SYSTEM-USER  POSTGRES-ROLE\n${KEEPER_MAP} postgres ${KEEPER_ROLE}\n`;

/**
 * Connection string to another node in libpq's format. The password comes from the passfile. `more`: further
 * parameters. `options`: further settings of the session, each as `-c name=value`.
 */
export function conninfo(
  { port, passfile }: Omit<NodeOfConf, 'node'>,
  address: string,
  applicationName: string,
  more: Readonly<Record<string, string>> = {},
  ...options: string[]
): string {
  const parts: Record<string, string> = {
    host: address,
    port: String(port),
    user: REPLICATION_ROLE,
    passfile,
    application_name: applicationName,
    connect_timeout: '2',
    tcp_user_timeout: '5000',
    keepalives_idle: '5',
    keepalives_interval: '1',
    keepalives_count: '3',
    sslmode: 'disable',
    gssencmode: 'disable',
    // A caller's options are added, so that they do not take away the ones that every stream needs.
    options: [STREAM_OPTIONS, ...options].join(' '),
    ...more,
  };
  return Object.entries(parts)
    .map(([key, value]) => `${key}='${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`)
    .join(' ');
}

/** The database that pg_hba.conf lets the nodes enter. */
const HOME_DATABASE = 'postgres';

/** A setting of the keeper's own. It counts the changes of the configuration. */
export const VERSION_NAME = 'failover.configuration';

/**
 * Renders failover.conf, the settings that the newest order decides (S5). `blind`: the server accepts no sessions until
 * it is promoted, see tunables.ts. `logical`: it was started with `wal_level = logical`. A standby that was not must
 * not copy slots: with that, a PostgreSQL before 17.6 ends.
 */
export function renderFailoverConf(
  place: NodeOfConf,
  config: ServerConfig,
  version = 0,
  { blind = false, logical = false } = {},
): string {
  const { node } = place;
  const { upstream, syncNames, consumerSlots = '', lateReplay = false } = config;
  // PostgreSQL asks the leader for its slots in an ordinary session, which needs a database.
  const more = logical ? { dbname: HOME_DATABASE } : undefined;
  return Mustache.render(template('failover.conf'), {
    ...{ hasUpstream: upstream !== null, blind, logical, lateReplay, versionName: VERSION_NAME },
    conninfo: quoted(upstream === null ? '' : conninfo(place, upstream.address, node, more)),
    consumerSlots: quoted(consumerSlots),
    slot: quoted(upstream === null ? '' : slotName(node)),
    syncNames: quoted(syncNames),
    version: quoted(String(version)),
  });
}
