/** A cluster with a pooler in containers: two nodes, HAProxy, the pooler, and the shipped monitor in this process. */
import { chmodSync, mkdtempSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { Client } from 'pg';
import { authorityOf, type Leaf } from '../../failover/contract/certificates';
import { PATHS, PORTS } from '../../failover/contract/layout';
import type { TlsMode } from '../../failover/contract/messages';
import type { PoolerConfig } from '../../failover/contract/pooler';
import { derivedPassword } from '../../failover/contract/proof';
import { seal } from '../../failover/contract/seal';
import { isDone, statusOf } from '../../failover/core/facts/view';
import { backendsQuery } from '../../stack/pooler-config';
import { buildImage, docker, dockerQuietly } from '../keeper/node-containers';
import { ownersVerifier, PASSWORD, RealCluster, type RealClusterOptions } from '../monitor/real-cluster';
import { waitFor } from '../rig/wait';

const DAY_MS = 24 * 3_600_000;
/** A limit, not an expectation: the machine may be very busy, ms. */
const START_LIMIT_MS = 120_000;

export class PooledCluster extends RealCluster {
  readonly pooler: string;
  private readonly poolersImage: string;
  /** Which clients use TLS. */
  private tls: TlsMode = 'on';
  private leaf: Leaf | null = null;
  private issued = 0;

  constructor(options: RealClusterOptions) {
    super(options);
    [this.pooler, this.poolersImage] = [`${options.prefix}-pooler`, `${options.prefix}-pooler:test`];
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
    await dockerQuietly('rm', '-f', '-v', this.pooler);
    await this.create();
    await buildImage(this.poolersImage, {}, 'pooler');
    this.leaf = await this.nextLeaf();
    await this.startHaproxy();
    await this.startMonitor();
    await this.startNodes();
    await this.startPooler();
    await this.isWell();
  }

  /** Waits until a leader serves, the other node is counted, and the pooler is connected. */
  async isWell(): Promise<void> {
    await this.until('a cluster that is well', () => this.isSettled());
  }

  private isSettled(): boolean {
    const { decision, observation, standby } = this;
    if (decision === null || observation === null || !this.counts(decision.state.leader ?? '', [standby])) return false;
    const { orders } = decision.state;
    const done = this.nodes.every(({ name }) => isDone(statusOf(observation, name), orders[name]));
    return done && this.view !== null && this.mayHandOver();
  }

  /** HAProxy's own health checks may not have reached every node yet. */
  private mayHandOver(): boolean {
    return this.isMonitored && this.monitor.parts.requests.dryRun({ kind: 'switchover', to: null }).done;
  }

  /** What the monitor knows of the pooler. */
  get view() {
    return this.isMonitored ? this.monitor.parts.pooler.view() : null;
  }

  override async startMonitor(): Promise<void> {
    const pooler = { address: this.host, port: this.options.port + 1 };
    await super.startMonitor({ tls: this.settings() }, { pooler });
    if (this.leaf !== null) this.hand(this.leaf);
  }

  /** Replaces HAProxy's processes as a new container does: told to stop, and started again with every slot closed. */
  async restartHaproxy(): Promise<void> {
    const watcher = watch(this.haproxy.sockets, () => this.monitor.wake());
    await docker('restart', this.haproxy.name);
    watcher.close();
  }

  /**
   * A planned switchover to the other node, until that leads. @throws Error when the monitor refuses it or calls it off
   */
  async switchover(): Promise<void> {
    const { monitor, standby: to } = this;
    await waitFor('a switchover to be possible', START_LIMIT_MS, () => Promise.resolve(this.mayHandOver()));
    const answer = await monitor.parts.requests.ask({ kind: 'switchover', to });
    if (!answer.done) throw new Error(`the switchover to ${to} was refused or called off: ${JSON.stringify(answer)}`);
    await waitFor(`${to} as the leader`, START_LIMIT_MS, () => Promise.resolve(this.leader === to));
  }

  /** A certificate of the stack's authority, or of another one, that is like no other before. */
  async nextLeaf(secret = 's'.repeat(48)): Promise<Leaf> {
    this.issued += 1;
    const authority = await authorityOf(secret);
    const names = [this.at.host, this.haproxy.address, 'pooler'];
    const lifeMs = 90 * DAY_MS + this.issued * 1_000;
    return { ...authority.issue({ names, atMs: Date.now(), lifeMs }), authority: authority.certificate() };
  }

  /** Hands a certificate to nodes and pooler, as the monitor does. */
  renew(leaf: Leaf): void {
    this.leaf = leaf;
    if (this.isMonitored) this.monitor.parts.keepers.encrypt(this.settings());
    this.hand(leaf);
  }

  /** Hands a certificate to the pooler alone. */
  hand(leaf: Leaf): void {
    if (this.isMonitored) this.monitor.parts.pooler.encrypt(leaf);
  }

  /** Changes which clients use TLS: the nodes reload, the pooler's container is replaced. */
  async encrypt(tls: TlsMode): Promise<void> {
    this.tls = tls;
    if (this.isMonitored) this.monitor.parts.keepers.encrypt(this.settings());
    await dockerQuietly('rm', '-f', '-v', this.pooler);
    await this.startPooler();
  }

  private settings() {
    const { tls: mode, leaf } = this;
    return { mode, ...(leaf !== null && { certificate: leaf.certificate, key: seal(this.clusterKey, leaf.key) }) };
  }

  /** A client of the pooler. */
  async client(database = 'app', ssl?: ConnectionOptions): Promise<Client> {
    const client = new Client({ ...this.at, user: 'app', password: PASSWORD, database, ssl });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  private async startPooler(): Promise<void> {
    const config: PoolerConfig = {
      monitor: { host: this.host, port: this.options.port + 1 },
      key: derivedPassword(this.clusterKey, 'pooler'),
      haproxy: { host: this.haproxy.address, port: PORTS.haproxyPooled },
      ...{ database: 'app', tls: this.tls },
      ...{ holdTimeoutMs: 30_000, poolSize: 20 },
      pools: [{ role: 'app', verifier: await ownersVerifier(), port: PORTS.pooler }],
      backends: { alias: 'backends', connectQuery: backendsQuery() },
    };
    const owner = 'uid=10006,gid=10006';
    await docker(
      ...['create', '--name', this.pooler, '--network', this.haproxy.network, '--ip', this.at.host, '--init'],
      ...['--cap-drop', 'ALL'],
      ...['--security-opt', 'no-new-privileges:true', '--restart', 'always'],
      ...['--tmpfs', `${PATHS.poolerRun}:rw,noexec,nosuid,nodev,size=16m,mode=0700,${owner}`, this.poolersImage],
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

  override async remove(): Promise<void> {
    await dockerQuietly('rm', '-f', '-v', this.pooler);
    await super.remove();
    await dockerQuietly('rmi', this.poolersImage);
  }
}
