/** The container that tests restores: the monitor orders a test, and it restores the newest backup beside the stack. */
import * as command from '@pulumi/command';
import type * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import { IDS, PATHS, PORTS } from '../failover/contract/layout';
import type { CheckerConfig } from '../failover/contract/restore-tests';
import { labels } from '../stack/naming';
import { type ContainerArgs, makeContainer, makeVolume, volumeMount } from './container';
import { backupMount, type PostgresNodeArgs } from './postgres-node';

/** A test that is under way is ended, and its copy deleted, within it. */
const STOP_SECONDS = 20;
/** A limit, not a reservation, MB. pgBackRest and a PostgreSQL with small buffers need much less. */
const MEMORY_MB = 1_024;
const SHARED_MEMORY_MB = 256;
/** Every other container has 1024 shares, so PostgreSQL's work for clients goes first. */
const CPU_SHARES = 64;
const PIDS = 256;

export interface BackupCheckArgs extends ContainerArgs, Pick<PostgresNodeArgs, 'backupVolume' | 'backupFolder'> {
  /** Volume for the copies, which are deleted after each test. */
  readonly volume: string;
  /** Name of the inner network. */
  readonly network: pulumi.Input<string>;
  /** Fixed address on the inner network. */
  readonly address: string;
  readonly monitorAddress: string;
  /** See `derivedPassword` in failover/contract/proof.ts. Secret. */
  readonly key: pulumi.Input<string>;
  /** Resources that must exist first. */
  readonly after: readonly pulumi.Resource[];
}

/**
 * It has the repository read-only, and no secret but the key of its connection to the monitor: passphrase and keys of S3
 * come with each order and stay in memory.
 */
export class BackupCheck extends pulumi.ComponentResource {
  readonly container: docker.Container;

  constructor(name: string, args: BackupCheckArgs, opts?: pulumi.ComponentResourceOptions) {
    super('postgres-failover:index:BackupCheck', name, {}, opts);
    const volume = makeVolume(this, `${name}-scratch`, {
      name: args.volume,
      labels: labels(args.stackLabel, 'backup-check'),
      keep: false,
    });
    this.container = makeContainer(this, name, args, {
      role: 'backup-check',
      user: `${IDS.postgres}:${IDS.postgres}`,
      command: ['nice', '-n', '10', 'node', '--disable-sigusr1', '/app/keeper.mjs', 'restore-tests'],
      readOnly: true,
      tmpfs: { '/tmp': 'rw,noexec,nosuid,nodev,size=16m,mode=1777' },
      memory: MEMORY_MB,
      shmSize: SHARED_MEMORY_MB,
      cpuShares: CPU_SHARES,
      networksAdvanced: [{ name: args.network, ipv4Address: args.address }],
      mounts: [volumeMount(volume, PATHS.nodeVolume), { ...backupMount(args), readOnly: true }],
      stopSeconds: STOP_SECONDS,
      after: args.after,
    });
    const config: pulumi.Output<CheckerConfig> = pulumi.output(args.key).apply((key) => ({
      monitor: { host: args.monitorAddress, port: PORTS.checkers },
      key,
    }));
    // The engine copies no file into a container whose root is read-only, and the provider cannot limit the processes.
    const tell = `docker update --pids-limit ${PIDS} ${args.name} && docker exec -i ${args.name} sh -c '${KEEP}'`;
    new command.local.Command(
      `${name}-config`,
      {
        ...{ create: tell, update: tell },
        stdin: pulumi.secret(pulumi.jsonStringify(config)),
        triggers: [this.container.id],
      },
      { parent: this },
    );
    this.registerOutputs({ container: this.container.name });
  }
}

/** A reader finds the whole file; only its own user may read it. */
const KEEP = `umask 077 && cat > ${PATHS.checkerConfig}.new && mv ${PATHS.checkerConfig}.new ${PATHS.checkerConfig}`;
