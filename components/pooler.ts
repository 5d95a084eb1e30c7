/** The pooler: PgBouncer in front of HAProxy's write port, so that idle clients do not notice a change of leader. */
import type * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import { IDS, PATHS } from '../failover/contract/layout';
import type { PoolerConfig } from '../failover/contract/pooler';
import type { PoolRole } from '../stack/config';
import { NAMES } from '../stack/naming';
import { type ContainerArgs, makeContainer, publishedPort, secretFile } from './container';

/** Running transactions may end within two seconds of it. */
const STOP_SECONDS = 10;

export interface PoolerArgs extends ContainerArgs {
  /** Name of the inner network, on which HAProxy and the monitor are. */
  readonly innerNetwork: pulumi.Input<string>;
  /** Fixed address on the inner network. */
  readonly address: string;
  /** Name of the front network, on which the backends know it as `pooler`. */
  readonly frontNetwork: pulumi.Input<string>;
  /** Host address on which the ports are published. */
  readonly bindAddress: string;
  /** A port for each role. */
  readonly roles: readonly PoolRole[];
  /** As the supervisor reads it. Secret. */
  readonly config: pulumi.Input<PoolerConfig>;
  /** Resources that must exist first, for example the one that puts a changed password in force. */
  readonly after: readonly pulumi.Resource[];
}

/** A change of its config replaces the container: its clients connect again. */
export class Pooler extends pulumi.ComponentResource {
  readonly container: docker.Container;

  constructor(name: string, args: PoolerArgs, opts?: pulumi.ComponentResourceOptions) {
    super('postgres-failover:index:Pooler', name, {}, opts);
    const owner = `uid=${IDS.pooler},gid=${IDS.pooler}`;
    this.container = makeContainer(this, name, args, {
      role: 'pooler',
      user: `${IDS.pooler}:${IDS.pooler}`,
      tmpfs: { [PATHS.poolerRun]: `rw,noexec,nosuid,nodev,size=16m,mode=0700,${owner}` },
      networksAdvanced: [
        { name: args.innerNetwork, ipv4Address: args.address },
        { name: args.frontNetwork, aliases: [NAMES.pooler] },
      ],
      ports: args.roles.map(({ port, hostPort }) =>
        publishedPort(port, { bindAddress: args.bindAddress, port: hostPort }),
      ),
      uploads: [secretFile(PATHS.poolerConfig, pulumi.secret(pulumi.jsonStringify(args.config)))],
      healthcheck: { tests: ['CMD', 'pooler-health'], interval: '15s', timeout: '5s', retries: 2 },
      stopSeconds: STOP_SECONDS,
      after: args.after,
    });
    this.registerOutputs({ container: this.container.name });
  }
}
