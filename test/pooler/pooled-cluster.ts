/** A cluster with a pooler in containers: two nodes, HAProxy, the pooler, and the shipped monitor in this process. */
import { execFile } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { Client } from 'pg';
import { budgetFor } from '../../failover/contract/budget';
import { authorityOf, type Leaf } from '../../failover/contract/certificates';
import { PATHS, PORTS } from '../../failover/contract/layout';
import type { TlsMode } from '../../failover/contract/messages';
import type { PoolerConfig } from '../../failover/contract/pooler';
import { derivedPassword } from '../../failover/contract/proof';
import { verifierOf } from '../../failover/contract/scram';
import { seal } from '../../failover/contract/seal';
import { isDone, statusOf } from '../../failover/core/facts/view';
import type { Decision } from '../../failover/core/state/cluster';
import type { Observation } from '../../failover/core/state/observation';
import { createMonitor } from '../../failover/monitor/monitor';
import type { Store } from '../../failover/monitor/ports';
import { renderHaproxyConfig } from '../../stack/haproxy-config';
import { backendsQuery } from '../../stack/pooler-config';
import { buildImage, docker, dockerQuietly, removeNode, startNode } from '../keeper/node-containers';
import { applyConfig } from '../rig/apply-config';
import { waitFor } from '../rig/wait';

const execute = promisify(execFile);
const ROOT = join(__dirname, '../..');
export const PASSWORD = 'secret';
const KEY = 'p'.repeat(48);
const DAY_MS = 24 * 3_600_000;
/** A limit, not an expectation: the machine may be very busy, ms. */
const START_LIMIT_MS = 120_000;

/** The monitor's store. It survives the monitor, as its volume does. */
class MemoryStore implements Store {
  incarnation = 0;
  loaded: string | null = null;
  open(): this {
    this.incarnation += 1;
    return this;
  }
  async save(text: string): Promise<void> {
    this.loaded = text;
  }
  async raiseAbove(other: number): Promise<number> {
    this.incarnation = Math.max(this.incarnation, other) + 1;
    return this.incarnation;
  }
}

export interface PooledClusterOptions {
  /** What the names of containers, images and the network begin with. */
  prefix: string;
  /** The first three numbers of the addresses. */
  subnet: string;
  /** Of the monitor, on the bridge's own address; the pooler's is the next one. */
  port: number;
}

export class PooledCluster {
  readonly nodes: readonly { readonly name: string; readonly address: string }[];
  readonly haproxy: string;
  readonly pooler: string;
  readonly log: string[] = [];
  decision: Decision | null = null;
  observation: Observation | null = null;
  private readonly host: string;
  private readonly network: string;
  private readonly images: Readonly<Record<'postgres' | 'haproxy' | 'pooler', string>>;
  private readonly sockets = mkdtempSync(join(tmpdir(), 'pooled-sockets-'));
  private readonly store = new MemoryStore();
  /** Which clients use TLS. */
  private tls: TlsMode = 'on';
  private leaf: Leaf | null = null;
  private issued = 0;
  private monitor: ReturnType<typeof createMonitor> | null = null;
  private ran: Promise<void> = Promise.resolve();

  constructor(private readonly options: PooledClusterOptions) {
    const { prefix, subnet } = options;
    this.nodes = ['a', 'b'].map((name, i) => ({ name: `${prefix}-${name}`, address: `${subnet}.${20 + i}` }));
    [this.haproxy, this.pooler, this.network] = [`${prefix}-haproxy`, `${prefix}-pooler`, `${prefix}-inner`];
    this.host = `${subnet}.1`;
    const image = (name: string) => `${prefix}-${name}:test`;
    this.images = { postgres: image('postgres'), haproxy: image('haproxy'), pooler: image('pooler') };
  }

  get leader(): string | null {
    return this.decision?.state.leader ?? null;
  }

  /** The node that does not lead. */
  get standby(): string {
    return this.nodes.find(({ name }) => name !== this.leader)?.name ?? '';
  }

  /** Where clients of the pooler connect. */
  get at() {
    return { host: `${this.options.subnet}.13`, port: PORTS.pooler };
  }

  async start(): Promise<void> {
    await this.removeContainers();
    await docker('network', 'create', '--subnet', `${this.options.subnet}.0/24`, '--gateway', this.host, this.network);
    chmodSync(this.sockets, 0o777);
    await buildImage(this.images.postgres);
    await this.buildOthers();
    this.leaf = await this.nextLeaf();
    await this.startHaproxy();
    await this.startMonitor();
    const monitor = { host: this.host, port: this.options.port };
    const base = { image: this.images.postgres, network: this.network, monitor, clusterKey: KEY };
    await Promise.all(this.nodes.map((node) => startNode({ ...base, ...node })));
    await this.startPooler();
    await this.isWell(START_LIMIT_MS);
  }

  async remove(): Promise<void> {
    await this.stopMonitor();
    await this.removeContainers();
    for (const image of Object.values(this.images)) await dockerQuietly('rmi', image);
    rmSync(this.sockets, { recursive: true, force: true });
  }

  /** Waits until a leader serves, the other node is counted, and the pooler is connected. */
  async isWell(limitMs = START_LIMIT_MS): Promise<void> {
    await waitFor(
      'a cluster that is well',
      limitMs,
      () => {
        const { decision, observation } = this;
        if (decision?.code !== 'STEADY' || observation === null) return false;
        const { joint, orders } = decision.state;
        const done = this.nodes.every(({ name }) => isDone(statusOf(observation, name), orders[name]));
        return joint.length === 1 && joint[0]?.members.length === 1 && done && this.view !== null && this.mayHandOver();
      },
      20,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.log.slice(-40).join('\n')}\n${this.decision?.reason ?? ''}`);
    });
  }

  /** HAProxy's own health checks may not have reached every node yet. */
  private mayHandOver(): boolean {
    return this.monitor?.parts.requests.dryRun({ kind: 'switchover', to: null }).done === true;
  }

  /** What the monitor knows of the pooler. */
  get view() {
    return this.monitor?.parts.pooler.view() ?? null;
  }

  async startMonitor(): Promise<void> {
    const { host } = this;
    const { subnet, port } = this.options;
    const policy = { hangTimeoutMs: 2_000, syncMode: 'synchronous', onNoReplica: 'continue', syncCount: 1 } as const;
    const returns = { switchback: false, switchbackAfterMs: 30_000, switchbackLimitMs: 600_000 };
    const readers = { reportReplicas: 0, readLagGraceMs: 60_000 };
    const monitor = createMonitor({
      nodes: this.nodes,
      policy: { ...policy, ...returns, ...readers, maxLagBytes: 16e6, readFallback: true, startGraceMs: 10_000 },
      clusterKey: KEY,
      settings: {
        ...{ haproxyAddress: `${subnet}.10`, monitorAddress: host, subnet: `${subnet}.0/24` },
        ...{ databaseName: 'app', databaseUser: 'app', databaseVerifier: await this.verifier() },
        ...{ postgresSettings: {}, rebuildInPlace: false, tls: this.settings() },
      },
      listen: { address: host, port },
      pooler: { address: host, port: port + 1 },
      sockets: this.sockets,
      store: this.store.open(),
      clock: { nowMs: () => performance.now() },
      log: {
        write: (level, subject, code, message) => {
          this.log.push(`${Math.round(performance.now())} ${level} ${subject} ${code} ${message}`);
        },
      },
      onDecision: (decision, observation) => {
        this.decision = decision;
        this.observation = observation;
      },
    });
    if (this.leaf !== null) monitor.parts.pooler.encrypt(this.leaf);
    await monitor.parts.keepers.listen();
    await monitor.parts.pooler.listen();
    this.monitor = monitor;
    this.ran = monitor.run();
  }

  /** Replaces HAProxy's processes as a new container does: told to stop, and started again with every slot closed. */
  async restartHaproxy(): Promise<void> {
    const watcher = watch(this.sockets, () => this.monitor?.wake());
    await docker('restart', this.haproxy);
    watcher.close();
  }

  /** Ends the monitor as a crash does: all its connections break. */
  async stopMonitor(): Promise<void> {
    const { monitor } = this;
    if (monitor === null) return;
    this.monitor = null;
    monitor.stop();
    await Promise.all([monitor.parts.keepers.close(), monitor.parts.pooler.close()]);
    await this.ran;
  }

  /** A planned switchover to the other node, until that leads. @throws Error when the monitor refuses it or calls it off */
  async switchover(): Promise<void> {
    const { monitor, standby: to } = this;
    if (monitor === null) throw new Error('no monitor runs');
    await waitFor('a switchover to be possible', START_LIMIT_MS, () => Promise.resolve(this.mayHandOver()));
    const answer = await monitor.parts.requests.ask({ kind: 'switchover', to });
    if (!answer.done) throw new Error(`the switchover to ${to} was refused or called off: ${JSON.stringify(answer)}`);
    await waitFor(`${to} as the leader`, START_LIMIT_MS, () => Promise.resolve(this.leader === to));
  }

  /** A certificate of the stack's authority, or of another one, that is like no other before. */
  async nextLeaf(secret = 's'.repeat(48)): Promise<Leaf> {
    this.issued += 1;
    const authority = await authorityOf(secret);
    const names = [this.at.host, `${this.options.subnet}.10`, 'pooler'];
    const lifeMs = 90 * DAY_MS + this.issued * 1_000;
    return { ...authority.issue({ names, atMs: Date.now(), lifeMs }), authority: authority.certificate() };
  }

  /** Hands a certificate to nodes and pooler, as the monitor does. */
  renew(leaf: Leaf): void {
    this.leaf = leaf;
    this.monitor?.parts.keepers.encrypt(this.settings());
    this.hand(leaf);
  }

  /** Hands a certificate to the pooler alone. */
  hand(leaf: Leaf): void {
    this.monitor?.parts.pooler.encrypt(leaf);
  }

  /** Changes which clients use TLS: the nodes reload, the pooler's container is replaced. */
  async encrypt(tls: TlsMode): Promise<void> {
    this.tls = tls;
    this.monitor?.parts.keepers.encrypt(this.settings());
    await dockerQuietly('rm', '-f', '-v', this.pooler);
    await this.startPooler();
  }

  private settings() {
    const { tls: mode, leaf } = this;
    return { mode, ...(leaf !== null && { certificate: leaf.certificate, key: seal(KEY, leaf.key) }) };
  }

  /** A client of the pooler. */
  async client(database = 'app', ssl?: ConnectionOptions): Promise<Client> {
    const client = new Client({ ...this.at, user: 'app', password: PASSWORD, database, ssl });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  private verifier(): Promise<string> {
    return verifierOf(PASSWORD, Buffer.alloc(16, 7));
  }

  private async startHaproxy(): Promise<void> {
    await docker(
      ...[
        'run',
        '-d',
        '--name',
        this.haproxy,
        '--network',
        this.network,
        '--ip',
        `${this.options.subnet}.10`,
        '--init',
      ],
      ...['--cap-drop', 'ALL', '--restart', 'always', '-v', `${this.sockets}:${PATHS.haproxySockets}`],
      this.images.haproxy,
    );
    const config = renderHaproxyConfig({ holdTimeoutMs: 30_000, budget: budgetFor({}), backendHost: null });
    await applyConfig(this.haproxy, config);
  }

  private async startPooler(): Promise<void> {
    const { subnet, port } = this.options;
    const config: PoolerConfig = {
      monitor: { host: this.host, port: port + 1 },
      key: derivedPassword(KEY, 'pooler'),
      haproxy: { host: `${subnet}.10`, port: PORTS.haproxyPooled },
      ...{ database: 'app', tls: this.tls },
      ...{ holdTimeoutMs: 30_000, poolSize: 20 },
      pools: [{ role: 'app', verifier: await this.verifier(), port: PORTS.pooler }],
      backends: { alias: 'backends', connectQuery: backendsQuery() },
    };
    const owner = 'uid=10006,gid=10006';
    await docker(
      ...[
        'create',
        '--name',
        this.pooler,
        '--network',
        this.network,
        '--ip',
        this.at.host,
        '--init',
        '--cap-drop',
        'ALL',
      ],
      ...['--security-opt', 'no-new-privileges:true', '--restart', 'always'],
      ...['--tmpfs', `${PATHS.poolerRun}:rw,noexec,nosuid,nodev,size=16m,mode=0700,${owner}`, this.images.pooler],
    );
    const folder = mkdtempSync(join(tmpdir(), 'pooler-config-'));
    try {
      writeFileSync(join(folder, 'pooler.json'), JSON.stringify(config));
      chmodSync(folder, 0o755);
      await docker('cp', folder, `${this.pooler}:/etc/postgres-failover`);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    await docker('start', this.pooler);
  }

  private async buildOthers(): Promise<void> {
    const make = (tag: string, folder: string) =>
      execute('docker', ['build', '-q', '-t', tag, folder], { env: { ...process.env, DOCKER_BUILDKIT: '0' } });
    await make(this.images.haproxy, join(ROOT, 'images/haproxy'));
    const folder = mkdtempSync(join(tmpdir(), 'pooler-image-'));
    try {
      cpSync(join(ROOT, 'images/pooler'), folder, { recursive: true });
      await build({
        entryPoints: [join(ROOT, 'failover/pooler/main.ts')],
        outfile: join(folder, 'pooler.mjs'),
        ...{ bundle: true, platform: 'node', format: 'esm', target: 'node24', logLevel: 'silent' },
        external: ['pg-native'],
        banner: {
          js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
        },
      });
      await make(this.images.pooler, folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  private async removeContainers(): Promise<void> {
    for (const { name } of this.nodes) await removeNode(name);
    for (const name of [this.pooler, this.haproxy]) await dockerQuietly('rm', '-f', '-v', name);
    await dockerQuietly('network', 'rm', this.network);
  }
}
