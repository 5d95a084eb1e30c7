/** A cluster in containers, nodes and HAProxy on a network of their own, with the shipped monitor in this process. */
import { budgetFor } from '../../failover/contract/budget';
import type { Policy } from '../../failover/contract/inputs';
import { verifierOf } from '../../failover/contract/scram';
import type { Decision } from '../../failover/core/state/cluster';
import type { Observation } from '../../failover/core/state/observation';
import { createMonitor } from '../../failover/monitor/monitor';
import type { MonitorPorts, Store } from '../../failover/monitor/ports';
import { renderHaproxyConfig } from '../../stack/haproxy-config';
import { buildImage, docker, dockerQuietly, type NodeOptions, removeNode, startNode } from '../keeper/node-containers';
import { RealHaproxy } from '../rig/real-haproxy';
import { waitFor } from '../rig/wait';

/** A limit, not an expectation: the machine may be very busy, ms. */
const START_LIMIT_MS = 120_000;
const POLL_MS = 20;
/** The password of the database's owner, `app`. */
export const PASSWORD = 'secret';
export const ownersVerifier = () => verifierOf(PASSWORD, Buffer.alloc(16, 7));

const POLICY: Policy = {
  ...{ hangTimeoutMs: 2_000, syncMode: 'synchronous', onNoReplica: 'continue', syncCount: 1 },
  ...{ maxLagBytes: 16 * 1024 ** 2, readLagGraceMs: 60_000, reportReplicas: 0, readFallback: true },
  ...{ startGraceMs: 10_000, switchback: false, switchbackAfterMs: 30_000, switchbackLimitMs: 600_000 },
};

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

type Settings = Partial<MonitorPorts['settings']>;

export interface RealClusterOptions {
  /** The begin of the names of nodes, containers, images and the network. */
  prefix: string;
  /** The first three numbers of the addresses. */
  subnet: string;
  /** The monitor's port, on the bridge's own address. */
  port: number;
  /** The last parts of the nodes' names. @default a, b */
  nodes?: readonly string[];
  /** What differs from {@link POLICY}. */
  policy?: Partial<Policy>;
  /** Further settings that the nodes get. */
  settings?: Settings;
}

export class RealCluster {
  readonly nodes: readonly { readonly name: string; readonly address: string }[];
  readonly haproxy: RealHaproxy;
  /** The bridge's own address, on which the monitor listens. */
  readonly host: string;
  readonly clusterKey: string;
  readonly log: string[] = [];
  decision: Decision | null = null;
  observation: Observation | null = null;
  private readonly image: string;
  private readonly store = new MemoryStore();
  private running: ReturnType<typeof createMonitor> | null = null;
  private ran: Promise<void> = Promise.resolve();

  constructor(protected readonly options: RealClusterOptions) {
    const { prefix, subnet, nodes = ['a', 'b'] } = options;
    this.nodes = nodes.map((name, i) => ({ name: `${prefix}-${name}`, address: `${subnet}.${20 + i}` }));
    this.haproxy = new RealHaproxy(prefix, subnet);
    [this.host, this.image] = [`${subnet}.1`, `${prefix}-postgres:test`];
    this.clusterKey = prefix.slice(0, 1).repeat(48);
  }

  /** @throws Error when no monitor runs */
  get monitor(): ReturnType<typeof createMonitor> {
    if (this.running === null) throw new Error('no monitor runs');
    return this.running;
  }

  get isMonitored(): boolean {
    return this.running !== null;
  }

  get leader(): string | null {
    return this.decision?.state.leader ?? null;
  }

  /** Makes the network and the image of the nodes, after it has removed what an earlier run left. */
  async create(): Promise<void> {
    await this.removeNodes();
    await this.haproxy.createNetwork();
    await buildImage(this.image);
  }

  async startHaproxy(gates?: readonly string[]): Promise<void> {
    await this.haproxy.start();
    const budget = budgetFor({});
    await this.haproxy.apply(renderHaproxyConfig({ holdTimeoutMs: 30_000, budget, backendHost: null, gates }));
  }

  async startNodes(more: Partial<NodeOptions> = {}): Promise<void> {
    const { haproxy, clusterKey, image, host, options } = this;
    const base = { image, network: haproxy.network, monitor: { host, port: options.port }, clusterKey, ...more };
    await Promise.all(this.nodes.map((node) => startNode({ ...base, ...node })));
  }

  /** Starts the monitor with what the store has. The arguments: settings and ports that differ this time. */
  async startMonitor(settings: Settings = {}, ports: Partial<MonitorPorts> = {}): Promise<void> {
    const { nodes, host, haproxy, clusterKey, options } = this;
    const monitor = createMonitor({
      ...{ nodes, clusterKey, sockets: haproxy.sockets, policy: { ...POLICY, ...options.policy } },
      settings: {
        ...{ haproxyAddress: haproxy.address, monitorAddress: host, subnet: `${options.subnet}.0/24` },
        ...{ databaseName: 'app', databaseUser: 'app', databaseVerifier: await ownersVerifier(), postgresSettings: {} },
        ...options.settings,
        ...settings,
      },
      listen: { address: host, port: options.port },
      store: this.store.open(),
      clock: { nowMs: () => performance.now() },
      log: {
        write: (level, subject, code, message) => {
          this.log.push(`${Math.round(performance.now())} ${level} ${subject} ${code} ${message}`);
        },
      },
      onDecision: (decision, observation) => {
        Object.assign(this, { decision, observation });
      },
      ...ports,
    });
    this.running = monitor;
    await Promise.all([monitor.parts.keepers.listen(), monitor.parts.pooler.listen()]);
    this.ran = monitor.run();
  }

  /** Ends the monitor as a crash does: all its connections break. */
  async stopMonitor(): Promise<void> {
    const monitor = this.running;
    if (monitor === null) return;
    this.running = null;
    monitor.stop();
    await Promise.all([monitor.parts.keepers.close(), monitor.parts.pooler.close()]);
    await this.ran;
  }

  /** Waits for a condition. @throws Error with the last lines of the log. Returns how long it took, ms. */
  async until(what: string, holds: () => boolean | Promise<boolean>, limitMs = START_LIMIT_MS): Promise<number> {
    const fromMs = performance.now();
    await waitFor(what, limitMs, holds, POLL_MS).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.log.slice(-40).join('\n')}\n${this.decision?.reason ?? ''}`);
    });
    return Math.round(performance.now() - fromMs);
  }

  /** True when this node leads, exactly these standbys are counted, and nothing is to be done. */
  counts(leader: string, standbys: readonly string[]): boolean {
    if (this.decision?.code !== 'STEADY' || this.leader !== leader) return false;
    const { joint } = this.decision.state;
    return joint.length === 1 && joint[0]?.members.join() === standbys.join();
  }

  /** A statement of the superuser in the database of the application. */
  sql(node: string, text: string): Promise<string> {
    return docker('exec', node, 'psql', '-U', 'postgres', '-d', 'app', '-Atc', text);
  }

  async remove(): Promise<void> {
    await this.stopMonitor();
    await this.removeNodes();
    await this.haproxy.remove();
    await dockerQuietly('rmi', this.image);
  }

  private async removeNodes(): Promise<void> {
    for (const { name } of this.nodes) await removeNode(name);
  }
}
