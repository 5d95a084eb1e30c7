/** Real PostgreSQL nodes in containers for the keeper's tests, on a network of their own. */
import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import type { RestoreSource } from '../../failover/contract/inputs';
import { PATHS } from '../../failover/contract/layout';
import type { NodeSettings, Status } from '../../failover/contract/messages';
import { ScriptedMonitor } from './scripted-monitor';

const execute = promisify(execFile);
const ROOT = join(__dirname, '../..');
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

/** Builds the image from a staged folder, as the shipped one is. @throws with the builder's last lines */
export async function buildImage(tag: string, buildArgs: Readonly<Record<string, string>> = {}): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'keeper-image-'));
  try {
    for (const name of ['Dockerfile', 'keeper-health']) {
      copyFileSync(join(ROOT, 'images/postgres', name), join(folder, name));
    }
    chmodSync(join(folder, 'keeper-health'), 0o755);
    await build({
      entryPoints: [join(ROOT, 'failover/keeper/main.ts')],
      outfile: join(folder, 'keeper.mjs'),
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node24',
      external: ['pg-native'],
      loader: { '.conf': 'text', '.sql': 'text' },
      banner: {
        js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
      },
      logLevel: 'silent',
    });
    const args = Object.entries(buildArgs).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]);
    await execute('docker', ['build', '-q', '-t', tag, ...args, folder], {
      env: { ...process.env, DOCKER_BUILDKIT: '0' },
    });
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
  readonly streams = (s: Status): boolean => s.done && s.postgres.streamingFrom === this.a;

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
    const { a, monitor, network, image, host, clusterKey, backupVolume } = this;
    await this.removeNodes();
    await this.createBackupVolume();
    await docker('network', 'create', '--subnet', this.settings.subnet, '--gateway', host, network);
    await monitor.listen(host, this.options.port);
    await buildImage(image, this.options.buildArgs);
    const base = {
      image,
      network,
      monitor: { host, port: this.options.port },
      clusterKey,
      backupVolume,
      hosts: this.options.hosts,
    };
    await Promise.all(nodes.map((name) => startNode({ ...base, name, address: this.address[name] ?? '' })));
    for (const name of nodes)
      await monitor.until(name, (s) => s.postgres.state === 'absent', 'first status', START_LIMIT_MS);
    await monitor.done(a, 1, { kind: 'bootstrap' }, START_LIMIT_MS);
    await monitor.done(a, 1, { kind: 'lead', sync: { leader: a, k: 0, members: [] } }, START_LIMIT_MS);
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

  async remove(): Promise<void> {
    this.monitor.close();
    await this.removeNodes();
    await dockerQuietly('rmi', this.image);
  }
}

export async function removeNode(name: string): Promise<void> {
  await dockerQuietly('rm', '-f', '-v', name);
  await dockerQuietly('volume', 'rm', `${name}-data`);
}
