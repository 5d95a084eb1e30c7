/** Real PostgreSQL nodes in containers for the keeper's tests, on a network of their own. */
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { RestoreSource } from '../../failover/contract/inputs';
import { PATHS } from '../../failover/contract/layout';
import type { NodeSettings, Status, SyncConfig } from '../../failover/contract/messages';
import { stageImage } from '../../scripts/lib/staging';
import type { ImageName } from '../../stack/naming';
import { ScriptedMonitor } from './scripted-monitor';

const execute = promisify(execFile);
/** A limit, not an expectation: the machine may be very busy, ms. */
const START_LIMIT_MS = 120_000;

export async function docker(...args: string[]): Promise<string> {
  const { stdout } = await execute('docker', args, { maxBuffer: 16 * 1024 * 1024 });
  return stdout.trim();
}

/** Runs docker and ignores that what it names is not there. */
export async function dockerQuietly(...args: string[]): Promise<void> {
  await docker(...args).catch(() => undefined);
}

/** A statement of the superuser over the node's socket; rows are lines. */
export const psql = (node: string, text: string) => docker('exec', node, 'psql', '-U', 'postgres', '-Atc', text);

/** A shell line in the node, as its user. */
export const shell = (node: string, line: string) => docker('exec', node, 'bash', '-c', line);

/** The leader waits for no standby. */
export const alone = (leader: string): SyncConfig => ({ leader, k: 0, members: [] });

/** The leader waits for this standby. */
export const both = (leader: string, member: string): SyncConfig => ({ leader, k: 1, members: [member] });

/** True when the node streams from this one and has carried out its order. */
export const streamsFrom = (leader: string) => (status: Status) =>
  status.done && status.postgres.streamingFrom === leader;

/** Builds an image from a staged folder, as a stack does. @throws with the builder's last lines */
export async function buildImage(
  tag: string,
  buildArgs: Readonly<Record<string, string>> = {},
  image: ImageName = 'postgres',
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), `${image}-image-`));
  try {
    await stageImage(image, folder);
    const args = Object.entries(buildArgs).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]);
    const env = { ...process.env, DOCKER_BUILDKIT: '0' };
    await execute('docker', ['build', '-q', '-t', tag, ...args, folder], { env });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface NodeOptions {
  name: string;
  image: string;
  network: string;
  address: string;
  monitor: { host: string; port: number };
  clusterKey: string;
  /** Volume of the backups' repository. @default none */
  backupVolume?: string;
  /** What it restores as a new cluster's first node, and the volume with that repository; none: it is in S3. */
  restore?: { source: RestoreSource; volume?: string };
  /** Further names that the container knows, as `NAME:ADDRESS`. */
  hosts?: readonly string[];
}

/** Creates and starts a node the way the program does: config uploaded, all capabilities dropped, an init as PID 1. */
export async function startNode(options: NodeOptions): Promise<void> {
  const { name, image, network, address, monitor, clusterKey, backupVolume, restore, hosts = [] } = options;
  const backup = `type=volume,source=${backupVolume},target=${PATHS.backupVolume}`;
  await docker(
    ...['create', '--name', name, '--network', network, '--ip', address, '--init', '--cap-drop', 'ALL'],
    ...['--security-opt', 'no-new-privileges:true', '--stop-timeout', '60', '--shm-size', '128m', '--memory', '512m'],
    ...['--log-driver', 'json-file', '--log-opt', 'max-size=10m', '--log-opt', 'max-file=3'],
    ...(backupVolume === undefined ? [] : ['--mount', backup]),
    ...(restore?.volume === undefined
      ? []
      : ['--mount', `type=volume,source=${restore.volume},target=${PATHS.restoreVolume},readonly`]),
    ...hosts.flatMap((host) => ['--add-host', host]),
    ...['--memory-swap', '512m', '--mount', `type=volume,source=${name}-data,target=${PATHS.nodeVolume}`, image],
  );
  const folder = mkdtempSync(join(tmpdir(), 'keeper-config-'));
  try {
    writeFileSync(
      join(folder, 'keeper.json'),
      JSON.stringify({ node: name, monitor, clusterKey, restoreFrom: restore?.source }),
    );
    chmodSync(folder, 0o755);
    await docker('cp', folder, `${name}:/etc/postgres-failover`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  await docker('start', name);
}

export interface PairOptions {
  /** What the names of nodes, network and image begin with. */
  prefix: string;
  /** The first three numbers of the addresses. */
  subnet: string;
  /** Of the scripted monitor. */
  port: number;
  postgresSettings?: NodeSettings['postgresSettings'];
  /** Further settings, or others than usual. */
  settings?: Partial<NodeSettings>;
  hosts?: readonly string[];
  /** By the names in the image's Dockerfile. */
  buildArgs?: Readonly<Record<string, string>>;
  /** Size of the backups' volume, which is in memory then, MB. @default on the disk */
  backupMb?: number;
}

/** Two nodes in containers, a and b, and the monitor that the test scripts. */
export class NodePair {
  readonly a: string;
  readonly b: string;
  readonly address: Readonly<Record<string, string>>;
  readonly clusterKey: string;
  readonly settings: NodeSettings;
  readonly monitor: ScriptedMonitor;
  readonly image: string;
  readonly host: string;

  constructor(private readonly options: PairOptions) {
    const { prefix, subnet, postgresSettings = {} } = options;
    [this.a, this.b] = [`${prefix}-a`, `${prefix}-b`];
    this.address = { [this.a]: `${subnet}.20`, [this.b]: `${subnet}.21` };
    this.clusterKey = prefix.slice(0, 1).repeat(48);
    [this.image, this.host] = [`${prefix}-postgres:test`, `${subnet}.1`];
    this.settings = {
      nodes: Object.entries(this.address).map(([name, address]) => ({ name, address })),
      ...{ haproxyAddress: this.host, monitorAddress: this.host, subnet: `${subnet}.0/24` },
      ...{ databaseName: 'app', databaseUser: 'app', databasePassword: 'secret', postgresSettings },
      ...options.settings,
    };
    this.monitor = new ScriptedMonitor(this.clusterKey, this.settings);
  }

  get backupVolume(): string {
    return `${this.options.prefix}-backup`;
  }

  get network(): string {
    return `${this.options.prefix}-inner`;
  }

  /** True when b streams from a and is done with its order. */
  readonly streams = (s: Status): boolean => streamsFrom(this.a)(s);

  /** Makes both nodes from nothing; a leads alone and b follows it, by a copy. */
  async start(): Promise<void> {
    const { a, b, monitor } = this;
    await this.create([a, b]);
    await monitor.done(b, 1, { kind: 'follow', leader: a, method: 'copy' }, START_LIMIT_MS);
  }

  /** Makes a from nothing, which leads alone. There is no b. */
  startAlone(): Promise<void> {
    return this.create([this.a]);
  }

  private async create(nodes: readonly string[]): Promise<void> {
    const { a, monitor } = this;
    await this.prepare();
    await this.startNodes(nodes);
    for (const name of nodes)
      await monitor.until(name, (s) => s.postgres.state === 'absent', 'first status', START_LIMIT_MS);
    await monitor.done(a, 1, { kind: 'bootstrap' }, START_LIMIT_MS);
    await monitor.done(a, 1, { kind: 'lead', sync: alone(a) }, START_LIMIT_MS);
  }

  /** Makes network, volume and image, after it has removed what an earlier run left; and lets the monitor listen. */
  async prepare(): Promise<void> {
    const { monitor, network, image, host } = this;
    await this.removeNodes();
    await this.createBackupVolume();
    await docker('network', 'create', '--subnet', this.settings.subnet, '--gateway', host, network);
    await monitor.listen(host, this.options.port);
    await buildImage(image, this.options.buildArgs);
  }

  async startNodes(nodes: readonly string[]): Promise<void> {
    const { network, image, host, clusterKey, backupVolume } = this;
    const { port, hosts } = this.options;
    const base = { image, network, monitor: { host, port }, clusterKey, backupVolume, hosts };
    await Promise.all(nodes.map((name) => startNode({ ...base, name, address: this.address[name] ?? '' })));
  }

  private async createBackupVolume(): Promise<void> {
    const { backupMb } = this.options;
    if (backupMb === undefined) return;
    const settings = ['type=tmpfs', 'device=tmpfs', `o=size=${backupMb}m,uid=10000,gid=10000,mode=700`];
    await docker('volume', 'create', ...settings.flatMap((one) => ['--opt', one]), this.backupVolume);
  }

  private async removeNodes(): Promise<void> {
    await Promise.all([this.a, this.b].map(removeNode));
    await dockerQuietly('network', 'rm', this.network);
    await dockerQuietly('volume', 'rm', this.backupVolume);
  }

  /** Removes all that it made, unless KEEP_NODES is set. */
  async remove(): Promise<void> {
    if (process.env.KEEP_NODES !== undefined) return;
    this.monitor.close();
    await this.removeNodes();
    await dockerQuietly('rmi', this.image);
  }
}

export async function removeNode(name: string): Promise<void> {
  await dockerQuietly('rm', '-f', '-v', name);
  await dockerQuietly('volume', 'rm', `${name}-data`);
}
