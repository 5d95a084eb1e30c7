/**
 * HAProxy, through which all clients connect: its container with the published ports of database, statistics and
 * backend, and the step that applies its config.
 */
import * as command from '@pulumi/command';
import type * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import { IDS, PATHS, PORTS } from '../failover/contract/layout';
import { boundAddresses, IPV6_LOOPBACK } from '../stack/addresses';
import { labels, NAMES } from '../stack/naming';
import { type ContainerArgs, makeContainer, makeVolume, publishedPort, volumeMount } from './container';

const STOP_SECONDS = 10;

export interface HaProxyArgs extends ContainerArgs {
  /** Name of the inner network (nodes, monitor). */
  readonly innerNetwork: pulumi.Input<string>;
  /** Fixed address on the inner network. */
  readonly address: string;
  /** Name of the front network (backend), on which HAProxy is known as `haproxy`. */
  readonly frontNetwork: pulumi.Input<string>;
  /** Name of the volume with the config. */
  readonly configVolume: string;
  /** Name of the volume with the sockets of the runtime API and the master CLI. */
  readonly socketsVolume: string;
  /** Host address on which the ports are published. */
  readonly bindAddress: string;
  /** The ports for reading and writing are published on ::1, too. */
  readonly ipv6Loopback: boolean;
  /**
   * Host ports: for reading and writing, for reading only, for statistics, and if there are any, for clients of
   * replication and for the backends' API.
   */
  readonly ports: {
    readonly writePort: number;
    readonly readPort: number;
    readonly statsPort: number;
    readonly replicationPort?: number;
    readonly backendPort?: number;
  };
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
    const volume = (part: string, volumeName: string) =>
      makeVolume(this, `${name}-${part}`, {
        name: volumeName,
        labels: labels(args.stackLabel, 'haproxy'),
        keep: false,
      });
    const config = volume('config', args.configVolume);
    this.sockets = volume('sockets', args.socketsVolume);
    this.container = makeContainer(this, name, args, {
      role: 'haproxy',
      user: `${IDS.haproxy}:${IDS.sockets}`,
      readOnly: true,
      tmpfs: { '/tmp': 'rw,noexec,nosuid,nodev,size=16m' },
      networksAdvanced: [
        { name: args.innerNetwork, ipv4Address: args.address },
        { name: args.frontNetwork, aliases: [NAMES.haproxy] },
      ],
      ports: publishedPorts(args),
      mounts: [volumeMount(config, PATHS.haproxyConfig), volumeMount(this.sockets, PATHS.haproxySockets)],
      stopSeconds: STOP_SECONDS,
    });
    const apply = `docker exec -i ${args.name} apply-config`;
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
function publishedPorts({ ports, bindAddress, ipv6Loopback }: HaProxyArgs) {
  const publish = (internal: number, port: number, address = bindAddress) =>
    publishedPort(internal, { bindAddress: address, port });
  const onIpv6 = [
    publish(PORTS.haproxyWriteIpv6, ports.writePort, IPV6_LOOPBACK),
    publish(PORTS.haproxyReadIpv6, ports.readPort, IPV6_LOOPBACK),
  ];
  const all = [
    publish(PORTS.haproxyStats, ports.statsPort),
    publish(PORTS.haproxyWritePublished, ports.writePort),
    publish(PORTS.haproxyReadPublished, ports.readPort),
    ...(boundAddresses(bindAddress, ipv6Loopback).includes(IPV6_LOOPBACK) ? onIpv6 : []),
    ...(ports.replicationPort === undefined ? [] : [publish(PORTS.haproxyReplication, ports.replicationPort)]),
    ...(ports.backendPort === undefined ? [] : [publish(PORTS.haproxyApi, ports.backendPort)]),
  ];
  return all.sort((a, b) => a.internal - b.internal);
}
