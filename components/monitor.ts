/** The monitor: decides which node leads, controls HAProxy and the keepers, and reports events. */
import * as command from '@pulumi/command';
import type * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import type { MonitorConfig } from '../failover/contract/inputs';
import { IDS, PATHS, PORTS } from '../failover/contract/layout';
import { labels } from '../stack/naming';
import { LOG_FILE } from '../stack/topology';
import {
  type ContainerArgs,
  makeContainer,
  makeVolume,
  type PublishedPortArgs,
  publishedPort,
  secretFile,
  volumeMount,
} from './container';

const STOP_SECONDS = 10;

export interface MonitorArgs extends ContainerArgs, PublishedPortArgs {
  /** Name of the inner network. */
  readonly network: pulumi.Input<string>;
  /** Fixed address on the inner network. */
  readonly address: string;
  /** The published port speaks HTTPS. */
  readonly https: boolean;
  /** Volume with HAProxy's sockets. */
  readonly haproxySockets: docker.Volume;
  /** Name of the volume with the monitor's state. It is kept when the stack is destroyed. */
  readonly storeVolume: string;
  /** Host folder of failover.log, absolute. */
  readonly logFolder: string;
  /**
   * Path of a link to failover.log, absolute.
   * @default no link
   */
  readonly logLink?: string;
  /** Names, addresses, secrets and settings, as the monitor's process reads them. Secret. */
  readonly config: pulumi.Input<MonitorConfig>;
  /** Folders with certificate and key of the user's own, on the host and in the container. */
  readonly certificateFolders: readonly { readonly source: string; readonly target: string }[];
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
    this.store = makeVolume(this, `${name}-store`, {
      name: args.storeVolume,
      labels: labels(args.stackLabel, 'monitor'),
      keep: true,
    });
    const logFolder = new command.local.Command(
      `${name}-log-folder`,
      {
        create: CREATE_LOG_FOLDER,
        delete: DELETE_LOG_FOLDER,
        environment: { LOG_FOLDER: args.logFolder, LOG_LINK: args.logLink ?? '', LOG_OWNER: String(IDS.monitor) },
      },
      { parent: this, deleteBeforeReplace: true },
    );
    this.container = makeContainer(this, name, args, {
      role: 'monitor',
      user: `${IDS.monitor}:${IDS.sockets}`,
      networksAdvanced: [{ name: args.network, ipv4Address: args.address }],
      ports: [publishedPort(args.https ? PORTS.monitorHttps : PORTS.monitorHttp, args)],
      mounts: [
        volumeMount(this.store, PATHS.monitorVolume),
        { type: 'bind', source: args.logFolder, target: PATHS.logFolder },
        volumeMount(args.haproxySockets, PATHS.haproxySockets),
        ...args.certificateFolders.map(({ source, target }) => ({ type: 'bind', source, target, readOnly: true })),
      ],
      uploads: [secretFile(PATHS.monitorConfig, pulumi.secret(pulumi.jsonStringify(args.config)))],
      stopSeconds: STOP_SECONDS,
      after: [logFolder, ...args.after],
    });
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
