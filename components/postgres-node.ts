/** A PostgreSQL node: its data volume and the container in which the keeper supervises PostgreSQL. */
import * as command from '@pulumi/command';
import type * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import type { KeeperConfigFile } from '../failover/contract/inputs';
import { IDS, PATHS, PORTS } from '../failover/contract/layout';
import { dataLabels } from '../stack/naming';
import { type RestoreFrom, withAuthorities } from '../stack/restore-from';
import { type ContainerArgs, makeContainer, makeVolume, secretFile, volumeMount } from './container';

/**
 * Docker's own order to stop waits this long for the hand-over and the shutdown checkpoint (S18). The keeper's limits
 * together are shorter.
 */
export const STOP_SECONDS = 60;
/** Limit for a node that carries out its order; it begins anew as long as the node's copy of the data goes on. */
const READY_LIMIT_SECONDS = 300;
/** Pulumi's own limit for that step: a copy of a large database takes days at the most. */
const COPY_LIMIT = '168h';
const MIB = 1024 ** 2;

/** The container's name is also the node's name in the cluster. */
export interface PostgresNodeArgs extends ContainerArgs {
  /** Name of the data volume. It is kept when the stack is destroyed. */
  readonly volume: string;
  /** Volume of the backups. Always mounted, so that turning backups on replaces no container. */
  readonly backupVolume: docker.Volume;
  /** Folder of the host in its place; undefined: none. */
  readonly backupFolder: string | undefined;
  /** What the first node restores when its volume has no data. Other nodes have none. */
  readonly restoreFrom?: RestoreFrom;
  /** The database and its owner, recorded in the volume's labels. */
  readonly database: { readonly name: string; readonly user: string };
  /** Size of /dev/shm. */
  readonly sharedMemoryBytes: number;
  /** Limit of the container's memory; 0: none. */
  readonly memoryBytes: number;
  /** Name of the inner network. */
  readonly network: pulumi.Input<string>;
  /** Fixed address on the inner network. */
  readonly address: string;
  /** Name of the monitor's container. */
  readonly monitor: string;
  /** Address of the monitor on the inner network. */
  readonly monitorAddress: string;
  /** Shared secret of keepers and monitor. */
  readonly clusterKey: pulumi.Input<string>;
  /**
   * Parts that must run before: the monitor for the first node, and the previous node for each other one, so that nodes
   * are replaced one by one.
   */
  readonly after: readonly pulumi.Resource[];
}

/**
 * The container's inputs contain no setting of PostgreSQL or of the failover, so no change of these replaces a running
 * PostgreSQL. The keeper gets settings, members and policy from the monitor, and sees the memory limit in its container.
 */
export class PostgresNode extends pulumi.ComponentResource {
  readonly container: docker.Container;
  readonly volume: docker.Volume;
  /** Ends when the node has carried out its order. An interrupted `up` waits on at the next time, for the same container. */
  readonly ready: command.local.Command;

  constructor(name: string, args: PostgresNodeArgs, opts?: pulumi.ComponentResourceOptions) {
    super('postgres-failover:index:PostgresNode', name, {}, opts);
    this.volume = makeVolume(this, `${name}-data`, {
      name: args.volume,
      labels: dataLabels(args.stackLabel, args.database),
      keep: true,
    });
    this.container = makeContainer(this, name, args, {
      role: 'postgres',
      user: `${IDS.postgres}:${IDS.postgres}`,
      networksAdvanced: [{ name: args.network, ipv4Address: args.address }],
      mounts: [
        volumeMount(this.volume, PATHS.nodeVolume),
        backupMount(args),
        ...(args.restoreFrom?.mount === undefined
          ? []
          : [{ ...args.restoreFrom.mount, target: PATHS.restoreVolume, readOnly: true }]),
      ],
      uploads: [secretFile(PATHS.keeperConfig, keeperConfig(args))],
      shmSize: Math.ceil(args.sharedMemoryBytes / MIB),
      ...(args.memoryBytes > 0 && { memory: Math.floor(args.memoryBytes / MIB) }),
      healthcheck: { tests: ['CMD', 'keeper-health'], interval: '15s', timeout: '5s', retries: 2 },
      stopSeconds: STOP_SECONDS,
      after: args.after,
    });
    this.ready = new command.local.Command(
      `${name}-ready`,
      {
        create: `docker exec ${args.monitor} pgfailover wait-node ${args.name} ${READY_LIMIT_SECONDS}`,
        triggers: [this.container.id],
      },
      { parent: this, customTimeouts: { create: COPY_LIMIT, update: COPY_LIMIT } },
    );
    this.registerOutputs({ container: this.container.name, volume: this.volume.name });
  }
}

/** Where the node has its backups, unless they are in S3 alone. */
export function backupMount({ backupVolume, backupFolder }: Pick<PostgresNodeArgs, 'backupVolume' | 'backupFolder'>) {
  if (backupFolder === undefined) return volumeMount(backupVolume, PATHS.backupVolume);
  return { type: 'bind', source: backupFolder, target: PATHS.backupVolume };
}

function keeperConfig(args: PostgresNodeArgs): pulumi.Output<string> {
  return pulumi.secret(
    pulumi.output(args.clusterKey).apply((clusterKey) => {
      const config: KeeperConfigFile = {
        node: args.name,
        monitor: { host: args.monitorAddress, port: PORTS.keepers },
        clusterKey,
        ...(args.restoreFrom && { restoreFrom: withAuthorities(args.restoreFrom) }),
      };
      return JSON.stringify(config);
    }),
  );
}
