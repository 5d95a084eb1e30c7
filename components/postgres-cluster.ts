/**
 * The whole cluster: networks, secrets, images, HAProxy, monitor, the chain of nodes, backends, and the wait until the
 * cluster serves.
 */
import * as command from '@pulumi/command';
import * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import * as random from '@pulumi/random';
import { derivedPassword } from '../failover/contract/proof';
import { type ConnectionUrls, connectionUrls } from '../stack/endpoints';
import { renderHaproxyConfig, SERVER_CONNECTIONS_MAX } from '../stack/haproxy-config';
import { type ImageName, labels, NAMES } from '../stack/naming';
import type { Topology } from '../stack/topology';
import { Backend } from './backend';
import { HaProxy } from './haproxy';
import { buildImage } from './image';
import { Monitor } from './monitor';
import { Monitoring } from './monitoring';
import { passwordInForce, tellBackends } from './password-change';
import { PgAdmin } from './pgadmin';
import { PostgresNode } from './postgres-node';
import { checkBeforeChange } from './settings-check';

const GENERATED_LENGTH = 48;
const SERVING_LIMIT_SECONDS = 180;

export interface PostgresClusterArgs {
  /** Names, addresses, ports and policy. */
  readonly topology: Topology;
  /** The engine's platform, for example `linux/amd64`. */
  readonly platform: string;
  /**
   * Password of the database's owner.
   * @default generated once, kept as a secret
   */
  readonly databasePassword?: pulumi.Input<string>;
}

export class PostgresCluster extends pulumi.ComponentResource {
  readonly databasePassword: pulumi.Output<string>;
  /** Connection strings for reading and writing, and for reading only, through the published ports. Secret. */
  readonly writeUrl: pulumi.Output<string>;
  readonly readUrl: pulumi.Output<string>;
  /** Token of the monitor's commands (`Authorization: Bearer …`). Secret. */
  readonly adminToken: pulumi.Output<string>;
  /** Password of pgAdmin's login page; undefined without pgAdmin. Secret. */
  readonly pgadminLogin: pulumi.Output<string> | undefined;
  /** Command that ends when the cluster serves. */
  readonly serving: command.local.Command;

  constructor(name: string, args: PostgresClusterArgs, opts?: pulumi.ComponentResourceOptions) {
    super('postgres-failover:index:PostgresCluster', name, {}, opts);
    const { topology } = args;
    const inner = this.network(NAMES.innerNetwork, topology.networks.inner, topology, {
      ipamConfigs: [{ subnet: topology.subnet }],
    });
    // Created after the inner network, so that Docker chooses a subnet other than the one in the config.
    const front = this.network(NAMES.frontNetwork, topology.networks.front, topology, {}, [inner]);
    const clusterKey = this.generated('cluster-key');
    this.databasePassword = pulumi.secret(args.databasePassword ?? this.generated('database-password'));
    const urls = pulumi.secret(this.databasePassword.apply((password) => connectionUrls(topology, password)));
    const image = (of: ImageName) => buildImage(of, topology, args.platform, { parent: this }).repoDigest;

    const haproxy = new HaProxy(
      NAMES.haproxy,
      {
        topology,
        image: image('haproxy'),
        innerNetwork: inner.name,
        frontNetwork: front.name,
        config: haproxyConfig(topology),
      },
      { parent: this },
    );
    const postgresImage = image('postgres');
    const check = checkBeforeChange(topology, postgresImage, this);
    const beforeMonitor = [
      ...(check === undefined ? [] : [check]),
      ...(topology.backends.length > 0 ? [tellBackends(topology, this.databasePassword, this)] : []),
    ];
    const monitor = new Monitor(
      NAMES.monitor,
      {
        topology,
        image: image('monitor'),
        network: inner.name,
        haproxySockets: haproxy.sockets,
        clusterKey,
        databasePassword: this.databasePassword,
        after: beforeMonitor,
      },
      { parent: this },
    );
    const nodes = this.nodes(topology, postgresImage, inner, monitor, clusterKey);
    const hasClients = topology.backends.length > 0 || topology.pgadmin !== undefined;
    const inForce = hasClients ? [passwordInForce(topology, this.databasePassword, monitor.container, this)] : [];
    const backends =
      topology.backends.length > 0 ? this.backends(topology, image('backend'), front, urls, inForce) : [];
    this.pgadminLogin = this.pgadmin(topology, image, front, inForce);

    if (topology.prometheus !== undefined)
      new Monitoring(
        NAMES.prometheus,
        { topology, prometheus: topology.prometheus, image: image('prometheus'), network: inner.name },
        { parent: this },
      );

    this.serving = this.waitUntilServing(
      topology,
      monitor,
      [haproxy.container, ...[...nodes, ...backends].map(({ container }) => container)],
      [haproxy.applied],
    );
    this.writeUrl = urls.write;
    this.readUrl = urls.read;
    this.adminToken = pulumi.secret(clusterKey.apply((key) => derivedPassword(key, 'admin')));
    this.registerOutputs({ writeUrl: this.writeUrl, readUrl: this.readUrl });
  }

  /**
   * The outputs that contain a secret. An output of a part that does not run is absent: Pulumi warns of an undefined
   * one on every run.
   */
  secretOutputs(): Record<string, pulumi.Output<string>> {
    const { writeUrl, readUrl, databasePassword, adminToken, pgadminLogin } = this;
    return {
      ...{ writeUrl, readUrl, databasePassword, adminToken },
      ...(pgadminLogin === undefined ? {} : { pgadminLogin }),
    };
  }

  private network(
    logical: string,
    name: string,
    topology: Topology,
    args: docker.NetworkArgs,
    dependsOn: pulumi.Resource[] = [],
  ): docker.Network {
    return new docker.Network(
      logical,
      { name, labels: labels(topology.stackLabel, 'network'), ...args },
      { parent: this, deleteBeforeReplace: true, dependsOn },
    );
  }

  private generated(name: string): pulumi.Output<string> {
    return pulumi.secret(
      new random.RandomPassword(name, { length: GENERATED_LENGTH, special: false }, { parent: this }).result,
    );
  }

  /** Each node waits for the one before it, so an upgrade replaces them one by one, each healthy before the next. */
  private nodes(
    topology: Topology,
    image: pulumi.Output<string>,
    network: docker.Network,
    monitor: Monitor,
    clusterKey: pulumi.Output<string>,
  ): PostgresNode[] {
    const nodes: PostgresNode[] = [];
    for (const node of topology.nodes) {
      const before = nodes.at(-1)?.container ?? monitor.container;
      nodes.push(
        new PostgresNode(
          node.logical,
          {
            node,
            stackLabel: topology.stackLabel,
            database: topology.database,
            image,
            network: network.name,
            monitorAddress: topology.monitor.address,
            clusterKey,
            after: [before],
          },
          { parent: this },
        ),
      );
    }
    return nodes;
  }

  private backends(
    topology: Topology,
    image: pulumi.Output<string>,
    front: docker.Network,
    urls: pulumi.Output<ConnectionUrls>,
    inForce: readonly pulumi.Resource[],
  ): Backend[] {
    const jwtKey = this.generated('jwt-key');
    const backends: Backend[] = [];
    for (const { logical, name } of topology.backends) {
      const before = backends.at(-1);
      backends.push(
        new Backend(
          logical,
          {
            containerName: name,
            stackLabel: topology.stackLabel,
            image,
            network: front.name,
            haproxyUrl: urls.innerWrite,
            haproxyReadUrl: urls.innerRead,
            jwtKey,
            after: before === undefined ? inForce : [before.container],
          },
          { parent: this },
        ),
      );
    }
    return backends;
  }

  /** Returns the password of its login page. */
  private pgadmin(
    topology: Topology,
    image: (of: ImageName) => pulumi.Output<string>,
    front: docker.Network,
    after: readonly pulumi.Resource[],
  ): pulumi.Output<string> | undefined {
    if (topology.pgadmin === undefined) return undefined;
    const loginPassword = this.generated('pgadmin-password');
    new PgAdmin(
      NAMES.pgadmin,
      {
        topology,
        containerName: topology.pgadmin.name,
        port: topology.pgadmin.port,
        image: image('pgadmin'),
        network: front.name,
        loginPassword,
        databasePassword: this.databasePassword,
        after,
      },
      { parent: this },
    );
    return loginPassword;
  }

  /** Runs again whenever one of the containers is new. A new monitor means changed members or policy. */
  private waitUntilServing(
    topology: Topology,
    monitor: Monitor,
    containers: docker.Container[],
    dependsOn: pulumi.Resource[],
  ): command.local.Command {
    return new command.local.Command(
      'serving',
      {
        create: `docker exec ${topology.monitor.name} wait-serving ${SERVING_LIMIT_SECONDS}`,
        triggers: [monitor.container.id, ...containers.map((container) => container.id)],
      },
      { parent: this, dependsOn },
    );
  }
}

function haproxyConfig({ haproxy, backends }: Topology): string {
  return renderHaproxyConfig({
    holdTimeoutMs: haproxy.holdTimeoutMs,
    serverMaxConnections: SERVER_CONNECTIONS_MAX,
    backendHost: backends.length > 0 ? NAMES.backend : null,
  });
}
