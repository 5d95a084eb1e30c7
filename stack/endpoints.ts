/**
 * The cluster's endpoints for clients: connection strings and addresses, on the host and inside the front network.
 * Pure.
 */
import { budgetFor, budgetInWords } from '../failover/contract/budget';
import { PATHS, PORTS } from '../failover/contract/layout';
import { NAMES } from './naming';
import { backendsAlias } from './pooler-config';
import { LOG_FILE, type Topology } from './topology';

/** Addresses on the host, for people. They contain no secret. The address of a part that does not run is absent. */
export interface Endpoints {
  readonly psql: string;
  readonly apiUrl?: string;
  readonly apiDocsUrl?: string;
  readonly pgadminUrl?: string;
  readonly monitorUrl: string;
  readonly statsUrl: string;
  readonly prometheusUrl?: string;
  readonly logFile: string;
  /** How many clients a node takes, and what `max_connections` has for the failover. */
  readonly clientPlaces: string;
}

export function endpoints(topology: Topology): Endpoints {
  const { ports, settings, monitor } = topology;
  const host = hostOf(topology);
  const scheme = topology.tls.https ? 'https' : 'http';
  const apiUrl = `${scheme}://${host}:${ports.backendPort}`;
  return {
    psql: `psql -h ${host} -p ${ports.writePort} -U ${quoted(settings.databaseUser)} -d ${quoted(settings.databaseName)}`,
    ...(ports.backendPort === undefined ? {} : { apiUrl, apiDocsUrl: `${apiUrl}/docs` }),
    ...(ports.pgadminPort === undefined ? {} : { pgadminUrl: `http://${host}:${ports.pgadminPort}` }),
    monitorUrl: `${scheme}://${host}:${ports.monitorPort}`,
    statsUrl: `http://${host}:${ports.statsPort}/stats`,
    ...(ports.prometheusPort === undefined ? {} : { prometheusUrl: `http://${host}:${ports.prometheusPort}` }),
    logFile: `${monitor.logFolder}/${LOG_FILE}`,
    clientPlaces: budgetInWords(budgetFor(settings.postgresSettings)),
  };
}

/** Connection strings: `write` and `read` through the published ports, `innerWrite` and `innerRead` for the backend. */
export interface ConnectionUrls {
  readonly write: string;
  readonly read: string;
  readonly innerWrite: string;
  readonly innerRead: string;
  /** Through the pooler: for clients on the host, and for the backends. Absent without a pooler. */
  readonly pool?: string;
  readonly innerPool?: string;
}

/** @param password becomes a part of each string, so the result must be treated as a secret. */
export function connectionUrls(topology: Topology, password: string): ConnectionUrls {
  const { settings, ports } = topology;
  const [user, secret, name] = [settings.databaseUser, password, settings.databaseName].map(encodeURIComponent);
  const isRequired = topology.tls.mode === 'require';
  const outer = isRequired ? '?sslmode=require' : '';
  // After a failover all backends connect at once, and a handshake would cost each processor time. Inside the machine's
  // own networks it is left out where it may be.
  const inner = isRequired ? required(topology) : '?sslmode=disable';
  const url = (host: string, port: number, more: string) =>
    `postgresql://${user}:${secret}@${host}:${port}/${name}${more}`;
  const host = hostOf(topology);
  return {
    write: url(host, ports.writePort, outer),
    read: url(host, ports.readPort, outer),
    innerWrite: url(NAMES.haproxy, PORTS.haproxyWrite, inner),
    innerRead: url(NAMES.haproxy, PORTS.haproxyRead, inner),
    ...(ports.poolPort !== undefined && {
      pool: url(host, ports.poolPort, outer),
      innerPool: `postgresql://${user}:${secret}@${NAMES.pooler}:${PORTS.pooler}/${backendsAlias(topology)}${inner}`,
    }),
  };
}

/**
 * The nodes' certificate is valid for HAProxy's name in the networks, so a backend checks that name, too. A certificate
 * of the user's own knows no such name, and its authority is not known here: then the backend encrypts without a check.
 */
function required({ tls }: Topology): string {
  return tls.own === undefined ? `?sslmode=verify-full&sslrootcert=${PATHS.backendCa}` : '?sslmode=require';
}

/** With loopback or "every interface" the host is `localhost`; any other address is reachable only as itself. */
function hostOf({ settings: { bindAddress } }: Topology): string {
  return bindAddress === '0.0.0.0' || bindAddress === '127.0.0.1' ? 'localhost' : bindAddress;
}

/** Quotes a word for a shell if necessary. */
function quoted(word: string): string {
  return /^[\w.-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
