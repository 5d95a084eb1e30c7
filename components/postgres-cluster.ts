/**
 * The whole cluster: networks, secrets, images, HAProxy, monitor, the chain of nodes, backends, and the wait until the
 * cluster serves.
 */
import { readFileSync } from 'node:fs';
import * as command from '@pulumi/command';
import * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import * as random from '@pulumi/random';
import { budgetFor } from '../failover/contract/budget';
import { authorityOf } from '../failover/contract/certificates';
import { inBackground } from '../failover/contract/errors';
import { LEFT_STOPPED } from '../failover/contract/naming';
import { derivedPassword } from '../failover/contract/proof';
import { verifierOf } from '../failover/contract/scram';
import type { Settings } from '../stack/config';
import { type ConnectionUrls, connectionUrls } from '../stack/endpoints';
import { renderHaproxyConfig } from '../stack/haproxy-config';
import { imageArgs } from '../stack/image-args';
import { monitorConfig } from '../stack/monitor-config';
import { type ImageName, imageContext, imagePart, imageTag, labels, NAMES } from '../stack/naming';
import { poolerConfig } from '../stack/pooler-config';
import { buildTopology, type StackIdentity, type Topology } from '../stack/topology';
import { Backend } from './backend';
import { BackupCheck } from './backup-check';
import { makeVolume } from './container';
import { HaProxy } from './haproxy';
import { buildImage } from './image';
import { Monitor } from './monitor';
import { Monitoring } from './monitoring';
import { passwordInForce, tellBackends } from './password-change';
import { PgAdmin } from './pgadmin';
import { Pooler } from './pooler';
import { PostgresNode } from './postgres-node';
import { checkBeforeChange } from './settings-check';

const GENERATED_LENGTH = 48;
const SALT_BYTES = 16;
const SERVING_LIMIT_SECONDS = 180;

export interface PostgresClusterArgs {
  /** Checked settings: `readSettings()` gives those of the stack's config, `settingsOf({ … })` those of a program. */
  readonly settings: Settings;
  /** The engine's platform, for example `linux/amd64`; `preflight` returns it. */
  readonly platform: string;
  /**
   * The engine's machine has ::1, and the ports for reading and writing are published there, too; `preflight` returns it.
   * @default false
   */
  readonly ipv6Loopback?: boolean;
  /**
   * Password of the database's owner. Takes the place of the one in the settings.
   * @default that of the settings, and without one there: generated once, kept as a secret
   */
  readonly databasePassword?: pulumi.Input<string>;
  /**
   * Folder with the staged images (`npm run bundle`), relative to the program's own folder.
   * @default build/images
   */
  readonly imagesFolder?: string;
  /**
   * The stack in the labels, and the folder under which the monitor's log is written.
   * @default the running program's project and stack, and the folder in which it runs
   */
  readonly identity?: StackIdentity;
}

export class PostgresCluster extends pulumi.ComponentResource {
  readonly databasePassword: pulumi.Output<string>;
  /** Certificate of the stack's own authority, which clients may trust (`sslrootcert`), as PEM. No secret. */
  readonly caCertificate: pulumi.Output<string>;
  /** Connection strings for reading and writing, and for reading only, through the published ports. Secret. */
  readonly writeUrl: pulumi.Output<string>;
  readonly readUrl: pulumi.Output<string>;
  /** Connection string through the pooler; undefined without one. Secret. */
  readonly poolUrl: pulumi.Output<string> | undefined;
  /** Token of the monitor's commands (`Authorization: Bearer …`). Secret. */
  readonly adminToken: pulumi.Output<string>;
  /** Passphrase of the backups' repository. No backup can be restored without it. Secret; undefined without backups. */
  readonly backupPassphrase: pulumi.Output<string> | undefined;
  /** Password of pgAdmin's login page; undefined without pgAdmin. Secret. */
  readonly pgadminLogin: pulumi.Output<string> | undefined;
  /** Command that ends when the cluster serves. */
  readonly serving: command.local.Command;
  private readonly topology: Topology;
  private readonly verifier: pulumi.Output<string>;

  constructor(
    private readonly name: string,
    private readonly args: PostgresClusterArgs,
    opts?: pulumi.ComponentResourceOptions,
  ) {
    super('postgres-failover:index:PostgresCluster', name, {}, opts);
    this.topology = buildTopology(args.settings, args.identity ?? runningProgram());
    const { topology } = this;
    this.tellOfTls();
    const inner = this.network(NAMES.innerNetwork, topology.networks.inner, {
      ipamConfigs: [{ subnet: args.settings.subnet }],
    });
    // Created after the inner network, so that Docker chooses a subnet other than the one in the config.
    const front = this.network(NAMES.frontNetwork, topology.networks.front, {}, [inner]);
    const clusterKey = this.generated('cluster-key');
    const authoritySecret = this.generated('certificate-authority');
    this.caCertificate = pulumi.unsecret(authoritySecret.apply(async (s) => (await authorityOf(s)).certificate()));
    this.databasePassword = pulumi.secret(
      args.databasePassword ?? args.settings.databasePassword ?? this.generated('database-password'),
    );
    this.verifier = this.databaseVerifier();
    const urls = pulumi.secret(this.databasePassword.apply((password) => connectionUrls(topology, password)));

    const haproxy = this.haproxy(inner, front);
    const postgresImage = this.image('postgres');
    const secrets = { clusterKey, authoritySecret };
    const backupVolume = makeVolume(this, this.part(NAMES.backupVolume), {
      name: topology.backupVolume,
      labels: labels(topology.stackLabel, 'backup'),
      keep: true,
    });
    const monitor = this.monitor(inner, haproxy, secrets, this.beforeMonitor(postgresImage));
    const nodes = this.nodes(postgresImage, inner, monitor, clusterKey, backupVolume);
    this.backupCheck(postgresImage, inner, backupVolume, clusterKey, nodes);
    const inForce = this.afterPasswordChange(monitor);
    const pooler = this.pooler(inner, front, clusterKey, [haproxy.applied, monitor.container, ...inForce]);
    const before = pooler === undefined ? inForce : [...inForce, pooler.container];
    const backends = topology.backends.length > 0 ? this.backends(front, urls, before) : [];
    this.pgadminLogin = this.pgadmin(front, inForce);
    this.monitoring(inner);

    this.serving = this.waitUntilServing(
      monitor,
      [haproxy.container, ...[...nodes, ...backends].map(({ container }) => container)],
      [haproxy.applied, ...nodes.map(({ ready }) => ready)],
    );
    this.writeUrl = urls.write;
    this.readUrl = urls.read;
    this.poolUrl = pooler && pulumi.secret(urls.apply(({ pool = '' }) => pool));
    this.adminToken = pulumi.secret(clusterKey.apply((key) => derivedPassword(key, 'admin')));
    this.backupPassphrase = args.settings.backup
      ? pulumi.secret(clusterKey.apply((key) => derivedPassword(key, 'backup')))
      : undefined;
    this.registerOutputs({ writeUrl: this.writeUrl, readUrl: this.readUrl });
  }

  /**
   * The outputs that contain a secret. An output of a part that does not run is absent: Pulumi warns of an undefined
   * one on every run.
   */
  secretOutputs(): Record<string, pulumi.Output<string>> {
    const { writeUrl, readUrl, poolUrl, databasePassword, adminToken, backupPassphrase, pgadminLogin } = this;
    return {
      ...{ writeUrl, readUrl, databasePassword, adminToken },
      ...(poolUrl === undefined ? {} : { poolUrl }),
      ...(backupPassphrase === undefined ? {} : { backupPassphrase }),
      ...(pgadminLogin === undefined ? {} : { pgadminLogin }),
    };
  }

  /** Warns when the program has chosen a mode of TLS that the config does not name. */
  private tellOfTls(): void {
    const { mode, because } = this.topology.tls;
    if (because === undefined) return;
    const message = `tls is ${mode}, because ${because}: clients without TLS are refused (config set tls on lets them in)`;
    inBackground(() => pulumi.log.warn(message, this));
  }

  /** Name of a part in Pulumi. */
  private part(name: string): string {
    return `${this.name}-${name}`;
  }

  private network(
    part: string,
    name: string,
    args: docker.NetworkArgs,
    dependsOn: pulumi.Resource[] = [],
  ): docker.Network {
    return new docker.Network(
      this.part(part),
      { name, labels: labels(this.topology.stackLabel, 'network'), ...args },
      { parent: this, deleteBeforeReplace: true, dependsOn },
    );
  }

  private generated(part: string): pulumi.Output<string> {
    const args = { length: GENERATED_LENGTH, special: false };
    return pulumi.secret(new random.RandomPassword(this.part(part), args, { parent: this }).result);
  }

  private image(image: ImageName): pulumi.Output<string> {
    const { settings, platform, imagesFolder } = this.args;
    const tag = imageTag(image, settings.namePrefix, this.topology.stack);
    const args = { tag, context: imageContext(image, imagesFolder), args: imageArgs(image, settings), platform };
    return buildImage(this.part(imagePart(image)), args, { parent: this }).repoDigest;
  }

  /** What every container of the cluster has. */
  private container(image: ImageName) {
    return { image: this.image(image), stackLabel: this.topology.stackLabel };
  }

  private database() {
    const { databaseName: name, databaseUser: user } = this.args.settings;
    return { name, user };
  }

  private published(port: number) {
    return { bindAddress: this.args.settings.bindAddress, port };
  }

  private haproxy(inner: docker.Network, front: docker.Network): HaProxy {
    const { haproxy, backends, ports, settings, nodes } = this.topology;
    return new HaProxy(
      this.part(NAMES.haproxy),
      {
        ...haproxy,
        ...this.container('haproxy'),
        innerNetwork: inner.name,
        frontNetwork: front.name,
        bindAddress: settings.bindAddress,
        ipv6Loopback: this.args.ipv6Loopback ?? false,
        ports,
        config: renderHaproxyConfig({
          holdTimeoutMs: settings.holdTimeoutMs,
          budget: budgetFor(settings.postgresSettings),
          clientNetworks: settings.clientNetworks,
          backendHost: backends.length > 0 ? NAMES.backend : null,
          https: this.topology.tls.https,
          gates: ports.replicationPort === undefined ? [] : nodes.map(({ address }) => address),
        }),
      },
      { parent: this },
    );
  }

  /** Steps that must have succeeded before the monitor carries settings and password to the nodes. */
  private beforeMonitor(image: pulumi.Output<string>): pulumi.Resource[] {
    const { stackLabel, settings, backends } = this.topology;
    const { postgresSettings, nodeMemoryBytes: memoryBytes } = settings;
    const check = { settings: postgresSettings, stackLabel, image, memoryBytes };
    return [
      ...checkBeforeChange(this.part('postgres-settings-check'), check, this),
      ...(backends.length > 0
        ? [tellBackends(this.part('tell-backends-password'), stackLabel, this.databasePassword, this)]
        : []),
    ];
  }

  private monitor(
    inner: docker.Network,
    haproxy: HaProxy,
    { clusterKey, authoritySecret }: Record<'clusterKey' | 'authoritySecret', pulumi.Output<string>>,
    after: readonly pulumi.Resource[],
  ): Monitor {
    const { topology } = this;
    const { own } = topology.tls;
    return new Monitor(
      this.part(NAMES.monitor),
      {
        ...topology.monitor,
        ...this.container('monitor'),
        ...this.published(topology.ports.monitorPort),
        https: topology.tls.https,
        network: inner.name,
        haproxySockets: haproxy.sockets,
        config: pulumi
          .all([clusterKey, authoritySecret, this.databasePassword, this.verifier])
          .apply(([key, authority, databasePassword, databaseVerifier]) =>
            monitorConfig(topology, {
              ...{ clusterKey: key, authoritySecret: authority, databasePassword, databaseVerifier },
              s3Ca: textOf(topology.settings.backupS3?.caFile),
            }),
          ),
        certificateFolders: own === undefined ? [] : [own.certificate, own.key],
        after,
      },
      { parent: this },
    );
  }

  /** The salt stays in Pulumi's state, so the verifier changes only with the password. */
  private databaseVerifier(): pulumi.Output<string> {
    const salt = new random.RandomBytes(this.part('password-salt'), { length: SALT_BYTES }, { parent: this });
    return pulumi.secret(
      pulumi
        .all([this.databasePassword, salt.base64])
        .apply(([password, base64]) => verifierOf(password, Buffer.from(base64, 'base64'))),
    );
  }

  /** Each node waits for the one before it, so an upgrade replaces them one by one, each ready before the next. */
  private nodes(
    image: pulumi.Output<string>,
    network: docker.Network,
    monitor: Monitor,
    clusterKey: pulumi.Output<string>,
    backupVolume: docker.Volume,
  ): PostgresNode[] {
    const { topology } = this;
    const { sharedMemoryBytes, nodeMemoryBytes, restoreFrom } = this.args.settings;
    const nodes: PostgresNode[] = [];
    for (const node of topology.nodes) {
      nodes.push(
        new PostgresNode(
          this.part(node.logical),
          {
            ...node,
            ...{ image, stackLabel: topology.stackLabel, database: this.database() },
            ...{ sharedMemoryBytes, memoryBytes: nodeMemoryBytes, backupVolume, backupFolder: topology.backupFolder },
            ...(nodes.length === 0 && { restoreFrom }),
            network: network.name,
            monitorAddress: topology.monitor.address,
            monitor: topology.monitor.name,
            clusterKey,
            after: [nodes.at(-1)?.ready ?? monitor.container],
          },
          { parent: this },
        ),
      );
    }
    return nodes;
  }

  /** Comes after the nodes: an upgrade begins with what serves clients. */
  private backupCheck(
    image: pulumi.Output<string>,
    network: docker.Network,
    backupVolume: docker.Volume,
    clusterKey: pulumi.Output<string>,
    nodes: readonly PostgresNode[],
  ): void {
    const { backupCheck, backupFolder, monitor, stackLabel } = this.topology;
    if (backupCheck === undefined) return;
    new BackupCheck(
      this.part(NAMES.backupCheck),
      {
        ...backupCheck,
        ...{ image, stackLabel, backupVolume, backupFolder },
        network: network.name,
        monitorAddress: monitor.address,
        key: clusterKey.apply((key) => derivedPassword(key, 'checker')),
        after: nodes.map(({ ready }) => ready),
      },
      { parent: this },
    );
  }

  /** A client that knows only the new password waits until it is in force. */
  private afterPasswordChange(monitor: Monitor): pulumi.Resource[] {
    const { backends, pgadmin, pooler, monitor: named } = this.topology;
    if (backends.length === 0 && pgadmin === undefined && pooler === undefined) return [];
    const part = this.part('password-in-force');
    return [passwordInForce(part, named.name, this.databasePassword, monitor.container, this)];
  }

  private pooler(
    inner: docker.Network,
    front: docker.Network,
    clusterKey: pulumi.Output<string>,
    after: readonly pulumi.Resource[],
  ): Pooler | undefined {
    const { topology } = this;
    if (topology.pooler === undefined) return undefined;
    return new Pooler(
      this.part(NAMES.pooler),
      {
        ...topology.pooler,
        ...this.container('pooler'),
        innerNetwork: inner.name,
        frontNetwork: front.name,
        bindAddress: topology.settings.bindAddress,
        config: pulumi.all([clusterKey, this.verifier]).apply(([key, databaseVerifier]) => {
          return poolerConfig(topology, { key: derivedPassword(key, 'pooler'), databaseVerifier });
        }),
        after,
      },
      { parent: this },
    );
  }

  private backends(
    front: docker.Network,
    urls: pulumi.Output<ConnectionUrls>,
    inForce: readonly pulumi.Resource[],
  ): Backend[] {
    const container = this.container('backend');
    const jwtKey = this.generated('jwt-key');
    const { mode, own } = this.topology.tls;
    const checked = mode === 'require' && own === undefined;
    const backends: Backend[] = [];
    for (const { logical, name } of this.topology.backends) {
      const before = backends.at(-1);
      backends.push(
        new Backend(
          this.part(logical),
          {
            ...container,
            name,
            network: front.name,
            haproxyUrl: urls.apply(({ innerWrite, innerPool = innerWrite }) => innerPool),
            haproxyReadUrl: urls.innerRead,
            jwtKey,
            ...(checked && { ca: this.caCertificate }),
            after: before === undefined ? inForce : [before.container],
          },
          { parent: this },
        ),
      );
    }
    return backends;
  }

  /** Returns the password of its login page. */
  private pgadmin(front: docker.Network, after: readonly pulumi.Resource[]): pulumi.Output<string> | undefined {
    const { pgadmin, settings, stack } = this.topology;
    if (pgadmin === undefined) return undefined;
    const loginPassword = this.generated('pgadmin-password');
    new PgAdmin(
      this.part(NAMES.pgadmin),
      {
        ...pgadmin,
        ...this.container('pgadmin'),
        ...this.published(settings.pgadminPort),
        network: front.name,
        loginPassword,
        serverName: `postgres-failover (${stack})`,
        database: this.database(),
        databasePassword: this.databasePassword,
        after,
      },
      { parent: this },
    );
    return loginPassword;
  }

  private monitoring(inner: docker.Network): void {
    const { prometheus, monitor, haproxy, settings, stack } = this.topology;
    if (prometheus === undefined) return;
    new Monitoring(
      this.part(NAMES.prometheus),
      {
        ...prometheus,
        ...this.container('prometheus'),
        ...this.published(settings.prometheusPort),
        network: inner.name,
        stack,
        monitorAddress: monitor.address,
        haproxyAddress: haproxy.address,
      },
      { parent: this },
    );
  }

  /** Runs again whenever one of the containers is new. A new monitor means changed members or policy. */
  private waitUntilServing(
    monitor: Monitor,
    containers: docker.Container[],
    dependsOn: pulumi.Resource[],
  ): command.local.Command {
    return new command.local.Command(
      this.part('serving'),
      {
        create: `docker exec -e ${LEFT_STOPPED} ${this.topology.monitor.name} wait-serving ${SERVING_LIMIT_SECONDS}`,
        triggers: [monitor.container.id, ...containers.map((container) => container.id)],
      },
      { parent: this, dependsOn },
    );
  }
}

/** Text of a file of the user's; preflight has looked at it. */
function textOf(path: string | undefined): string | undefined {
  return path === undefined ? undefined : readFileSync(path, 'utf8');
}

function runningProgram(): StackIdentity {
  return { project: pulumi.getProject(), stack: pulumi.getStack(), projectRoot: process.cwd() };
}
