/** The monitor: decides which node leads, controls HAProxy and the keepers, and reports events. */
import * as command from '@pulumi/command';
import * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import type { MonitorConfig } from '../failover/contract/inputs';
import { IDS, PATHS, PORTS } from '../failover/contract/layout';
import { labels, NAMES } from '../stack/naming';
import { LOG_FILE, type Topology } from '../stack/topology';
import { containerDefaults, containerOptions, secretFile, volumeMount, volumeOptions } from './container';

const STOP_SECONDS = 10;

export interface MonitorArgs {
  /** Names, addresses, nodes and policy. */
  readonly topology: Topology;
  /** Image reference that changes with the content (`repoDigest`). */
  readonly image: pulumi.Input<string>;
  /** Name of the inner network. */
  readonly network: pulumi.Input<string>;
  /** Volume with HAProxy's sockets. */
  readonly haproxySockets: docker.Volume;
  /** Shared secret of keepers and monitor. */
  readonly clusterKey: pulumi.Input<string>;
  /** Password of the database's owner. */
  readonly databasePassword: pulumi.Input<string>;
  /**
   * Steps that must have succeeded before the monitor is changed, because a new monitor carries settings and password
   * to the nodes.
   */
  readonly after: readonly pulumi.Resource[];
}

/**
 * A change of policy, members or passwords replaces the monitor's container. This does no harm, because the leader
 * keeps serving.
 */
export class Monitor extends pulumi.ComponentResource {
  readonly container: docker.Container;
  readonly store: docker.Volume;

  constructor(name: string, args: MonitorArgs, opts?: pulumi.ComponentResourceOptions) {
    super('postgres-failover:index:Monitor', name, {}, opts);
    const { monitor, stackLabel, ports, bindAddress } = args.topology;
    this.store = new docker.Volume(
      NAMES.monitorStore,
      { name: monitor.storeVolume, labels: labels(stackLabel, 'monitor') },
      volumeOptions(this, true),
    );
    const logFolder = new command.local.Command(
      `${name}-log-folder`,
      {
        create: CREATE_LOG_FOLDER,
        delete: DELETE_LOG_FOLDER,
        environment: {
          LOG_FOLDER: monitor.logFolder,
          LOG_LINK: monitor.logLink ?? '',
          LOG_OWNER: String(IDS.monitor),
        },
      },
      { parent: this, deleteBeforeReplace: true },
    );
    this.container = new docker.Container(
      name,
      {
        ...containerDefaults(stackLabel, 'monitor'),
        name: monitor.name,
        image: args.image,
        user: `${IDS.monitor}:${IDS.sockets}`,
        networksAdvanced: [{ name: args.network, ipv4Address: monitor.address }],
        ports: [{ internal: PORTS.monitorHttp, external: ports.monitorPort, ip: bindAddress, protocol: 'tcp' }],
        mounts: [
          volumeMount(this.store, PATHS.monitorVolume),
          { type: 'bind', source: monitor.logFolder, target: PATHS.logFolder },
          volumeMount(args.haproxySockets, PATHS.haproxySockets),
        ],
        uploads: [secretFile(PATHS.monitorConfig, monitorConfig(args))],
        stopTimeout: STOP_SECONDS,
        destroyGraceSeconds: STOP_SECONDS,
      },
      containerOptions(this, [logFolder, ...args.after]),
    );
    this.registerOutputs({ container: this.container.name, store: this.store.name });
  }
}

/**
 * The monitor writes the log as its own user. Root can give that user the folder; any other user opens the folder to
 * all (sticky, like /tmp). A person's own file is never replaced by the link.
 */
const CREATE_LOG_FOLDER = `
set -e
mkdir -p "$LOG_FOLDER"
if [ "$(id -u)" = 0 ]; then chown "$LOG_OWNER" "$LOG_FOLDER"; else chmod 1777 "$LOG_FOLDER"; fi
if [ -n "$LOG_LINK" ] && { [ -L "$LOG_LINK" ] || [ ! -e "$LOG_LINK" ]; }; then
  ln -sfn "$LOG_FOLDER/${LOG_FILE}" "$LOG_LINK"
fi
`.trim();

/** Removes only the monitor's own files. A folder with other files stays. */
const DELETE_LOG_FOLDER = `
if [ -L "$LOG_LINK" ]; then rm -f "$LOG_LINK"; fi
rm -f "$LOG_FOLDER"/${LOG_FILE}*
rmdir "$LOG_FOLDER" 2>/dev/null || true
`.trim();

function monitorConfig({ topology, ...args }: MonitorArgs): pulumi.Output<string> {
  return pulumi.secret(
    pulumi.all([args.clusterKey, args.databasePassword]).apply(([clusterKey, databasePassword]) => {
      const config: MonitorConfig = {
        stack: topology.stack,
        listenAddress: topology.monitor.address,
        haproxyAddress: topology.haproxy.address,
        subnet: topology.subnet,
        nodes: topology.nodes.map(({ name, address }) => ({ name, address })),
        clusterKey,
        databaseName: topology.database.name,
        databaseUser: topology.database.user,
        databasePassword,
        postgresSettings: topology.postgresSettings,
        rebuildInPlace: topology.rebuildInPlace,
        hostNames: [...new Set([topology.monitor.name, NAMES.monitor])],
        logFormat: topology.log.format,
        logBytes: topology.log.bytes,
        notifyWebhook: topology.notifyWebhook,
        policy: topology.policy,
      };
      return JSON.stringify(config);
    }),
  );
}
