/**
 * HAProxy, through which all clients connect: its container with the published ports of database, statistics and
 * backend, and the step that applies its config.
 */
import * as command from '@pulumi/command';
import * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import { IDS, PATHS, PORTS } from '../failover/contract/layout';
import { labels, NAMES } from '../stack/naming';
import type { Topology } from '../stack/topology';
import { containerDefaults, containerOptions, volumeMount, volumeOptions } from './container';

const STOP_SECONDS = 10;

export interface HaProxyArgs {
  /** Names, addresses and host ports. */
  readonly topology: Topology;
  /** Image reference that changes with the content (`repoDigest`). */
  readonly image: pulumi.Input<string>;
  /** Name of the inner network (nodes, monitor). */
  readonly innerNetwork: pulumi.Input<string>;
  /** Name of the front network (backend). */
  readonly frontNetwork: pulumi.Input<string>;
  /** The rendered haproxy.cfg. */
  readonly config: string;
}

/**
 * The config is applied to the running container, which checks it and reloads. So a new config never replaces the
 * container and never breaks a session. It is applied again to a new container.
 */
export class HaProxy extends pulumi.ComponentResource {
  readonly container: docker.Container;
  /** Volume with the sockets of the runtime API and the master CLI, shared with the monitor. */
  readonly sockets: docker.Volume;
  readonly applied: command.local.Command;

  constructor(name: string, args: HaProxyArgs, opts?: pulumi.ComponentResourceOptions) {
    super('postgres-failover:index:HaProxy', name, {}, opts);
    const { haproxy, stackLabel } = args.topology;
    const volume = (logical: string, volumeName: string) =>
      new docker.Volume(
        logical,
        { name: volumeName, labels: labels(stackLabel, 'haproxy') },
        volumeOptions(this, false),
      );
    const config = volume(NAMES.haproxyConfig, haproxy.configVolume);
    this.sockets = volume(NAMES.haproxySockets, haproxy.socketsVolume);
    this.container = new docker.Container(
      name,
      {
        ...containerDefaults(stackLabel, 'haproxy'),
        name: haproxy.name,
        image: args.image,
        user: `${IDS.haproxy}:${IDS.sockets}`,
        readOnly: true,
        tmpfs: { '/tmp': 'rw,noexec,nosuid,nodev,size=16m' },
        networksAdvanced: [
          { name: args.innerNetwork, ipv4Address: haproxy.address },
          { name: args.frontNetwork, aliases: [NAMES.haproxy] },
        ],
        ports: publishedPorts(args.topology),
        mounts: [volumeMount(config, PATHS.haproxyConfig), volumeMount(this.sockets, PATHS.haproxySockets)],
        stopTimeout: STOP_SECONDS,
        destroyGraceSeconds: STOP_SECONDS,
      },
      containerOptions(this),
    );
    const apply = `docker exec -i ${haproxy.name} apply-config`;
    this.applied = new command.local.Command(
      `${name}-apply-config`,
      { create: apply, update: apply, stdin: args.config, triggers: [this.container.id] },
      { parent: this },
    );
    this.registerOutputs({ container: this.container.name });
  }
}

/**
 * Ports in ascending order of the inner port. The provider reads the list back in this order and would otherwise see a
 * change.
 */
function publishedPorts({ ports, bindAddress }: Topology) {
  const publish = (internal: number, external: number) => ({ internal, external, ip: bindAddress, protocol: 'tcp' });
  const all = [
    publish(PORTS.haproxyStats, ports.statsPort),
    publish(PORTS.haproxyWrite, ports.writePort),
    publish(PORTS.haproxyRead, ports.readPort),
    ...(ports.backendPort === undefined ? [] : [publish(PORTS.haproxyApi, ports.backendPort)]),
  ];
  return all.sort((a, b) => a.internal - b.internal);
}
