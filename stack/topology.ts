/**
 * Derives the fixed facts of the stack from the checked config: names, addresses and ports. They are computed once,
 * frozen, and passed to the cluster, to the checks before a deployment and to the scripts.
 */
import { resolve } from 'node:path';
import { type PoolRole, poolRolesOf, portsOf, type Settings } from './config';
import { addressIn } from './config-values';
import { backendName, dataVolumeName, NAMES, replicaName } from './naming';
import { type Tls, tlsOf } from './tls';

/** Host numbers on the inner network; a replica's is the primary's plus its index. Addresses never swap (S14). */
export const HOST = { haproxy: 10, monitor: 11, prometheus: 12, pooler: 13, backupCheck: 14, primary: 20 } as const;

/** The stack whose values are in the repository, for trials. */
const TRIAL_STACK = 'dev';
/** Name of the monitor's log inside its folder. */
export const LOG_FILE = 'failover.log';

/** A PostgreSQL node. `logical` is its name in Pulumi, `name` its container's. */
export interface NodeTopology {
  readonly logical: string;
  readonly name: string;
  readonly address: string;
  readonly volume: string;
}

/** A FastAPI backend. `logical` is its name in Pulumi, `name` its container's. */
export interface BackendTopology {
  readonly logical: string;
  readonly name: string;
}

export interface Topology {
  readonly project: string;
  readonly stack: string;
  /** Value of the label on everything that belongs to the stack: `<project>/<stack>`. */
  readonly stackLabel: string;
  /** The checked config, for those that need a value of it. */
  readonly settings: Settings;
  readonly networks: { readonly inner: string; readonly front: string };
  readonly haproxy: {
    readonly name: string;
    readonly address: string;
    readonly configVolume: string;
    readonly socketsVolume: string;
  };
  readonly monitor: {
    readonly name: string;
    readonly address: string;
    readonly storeVolume: string;
    /** Host folder of failover.log, absolute. */
    readonly logFolder: string;
    /** Link to failover.log in the project's folder, absolute; only the stack for trials has one. */
    readonly logLink: string | undefined;
  };
  readonly tls: Tls;
  /** Undefined when the stack runs no Prometheus. */
  readonly prometheus: { readonly name: string; readonly address: string; readonly volume: string } | undefined;
  /** Empty when the stack runs no backend. Backends are interchangeable, so the engine chooses their addresses. */
  readonly backends: readonly BackendTopology[];
  /** Undefined when the stack runs no pgAdmin. */
  readonly pgadmin: { readonly name: string } | undefined;
  /**
   * Undefined when the stack runs no pooler. `roles`: every role that has a port, the stack's own one first, with the port
   * inside the container and on the host.
   */
  readonly pooler: { readonly name: string; readonly address: string; readonly roles: readonly PoolRole[] } | undefined;
  /** Volume with the backups, the same one in every node, also while there are none. */
  readonly backupVolume: string;
  /** Folder of the host in its place; undefined: none. */
  readonly backupFolder: string | undefined;
  /** The container that tests restores, and the volume for their copies. Undefined when the stack tests none. */
  readonly backupCheck: { readonly name: string; readonly address: string; readonly volume: string } | undefined;
  /** The primary first, then the replicas in order. */
  readonly nodes: readonly NodeTopology[];
  /** Host ports by config key; those of backend, Prometheus and pgAdmin only when they run. */
  readonly ports: Readonly<ReturnType<typeof portsOf>>;
}

/** Identity of a stack. `projectRoot` is the project's folder, absolute. */
export interface StackIdentity {
  readonly project: string;
  readonly stack: string;
  readonly projectRoot: string;
}

/** Builds the stack's topology. Pure. */
export function buildTopology(settings: Settings, { project, stack, projectRoot }: StackIdentity): Topology {
  const named = (name: string) => `${settings.namePrefix}${name}`;
  const address = (host: number) => addressIn(settings.subnet, host);
  const node = (logical: string, index: number): NodeTopology => ({
    logical,
    name: named(logical),
    address: address(HOST.primary + index),
    volume: dataVolumeName(named(logical)),
  });
  const replicas = Array.from({ length: settings.replicas }, (_, i) => node(replicaName(i + 1), i + 1));
  return deepFreeze({
    project,
    stack,
    stackLabel: `${project}/${stack}`,
    settings,
    networks: { inner: named(NAMES.innerNetwork), front: named(NAMES.frontNetwork) },
    haproxy: {
      name: named(NAMES.haproxy),
      address: address(HOST.haproxy),
      configVolume: named(NAMES.haproxyConfig),
      socketsVolume: named(NAMES.haproxySockets),
    },
    monitor: {
      name: named(NAMES.monitor),
      address: address(HOST.monitor),
      storeVolume: named(NAMES.monitorStore),
      logFolder: resolve(projectRoot, 'logs', stack),
      logLink: stack === TRIAL_STACK ? resolve(projectRoot, LOG_FILE) : undefined,
    },
    tls: tlsOf(settings, [
      ...new Set([NAMES.haproxy, named(NAMES.haproxy)]),
      address(HOST.haproxy),
      ...(settings.pooler ? [...new Set([NAMES.pooler, named(NAMES.pooler)]), address(HOST.pooler)] : []),
    ]),
    prometheus: settings.monitoring
      ? { name: named(NAMES.prometheus), address: address(HOST.prometheus), volume: named(NAMES.prometheusData) }
      : undefined,
    backends: Array.from({ length: settings.backend ? settings.backendReplicas : 0 }, (_, i) => ({
      logical: backendName(i + 1),
      name: named(backendName(i + 1)),
    })),
    pgadmin: settings.pgadmin ? { name: named(NAMES.pgadmin) } : undefined,
    pooler: settings.pooler
      ? { name: named(NAMES.pooler), address: address(HOST.pooler), roles: poolRolesOf(settings) }
      : undefined,
    backupVolume: named(NAMES.backupVolume),
    backupFolder: settings.backupFolder === '' ? undefined : settings.backupFolder,
    backupCheck:
      settings.backup && settings.backupCheckEveryMs !== undefined
        ? {
            ...{ name: named(NAMES.backupCheck), address: address(HOST.backupCheck) },
            volume: named(NAMES.backupCheckVolume),
          }
        : undefined,
    nodes: [node(NAMES.primary, 0), ...replicas],
    ports: portsOf(settings),
  });
}

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value)) if (typeof member === 'object' && member !== null) deepFreeze(member);
  return Object.freeze(value);
}
