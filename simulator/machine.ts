/**
 * A simulated machine and everything of a stack on it except the nodes and the monitor: time, random numbers, network,
 * disks, HAProxy, the config, and the story of the run.
 */
import type { DeclaredNode, Policy } from '../failover/core/state/cluster';
import { Repository } from './archive';
import { installBuiltins } from './builtins';
import { Disk, LIGHT, type Load } from './disks';
import { Engine } from './engine';
import { HaproxyModel } from './haproxy-model';
import { at, History } from './history';
import { Network } from './network';
import type { Witness } from './postgres';
import type { Random } from './random';
import { LOGICAL_SETTINGS } from './replication-clients';
import { ReportReplicas } from './report-replicas';

export const CLUSTER_KEY = 'simulated cluster key of more than 32 characters';
export const MONITOR_ADDRESS = '10.0.0.11';

export interface MachineOptions {
  seed: number;
  replicas: number;
  policy?: Partial<Policy>;
  /** Longest time between two operations of a client, ms. */
  thinkMs?: number;
  /** Part of the commits that clients cancel during their wait, while no fault raises this part (S7). */
  cancels?: number;
  /** No node is far away, and no reader stays in a transaction. */
  calm?: boolean;
  /** All volumes are on one disk, as on one Docker host. Otherwise each node has its own. @default true */
  sharedDisk?: boolean;
}

/** The settings of every simulated stack, besides its nodes and PostgreSQL's settings. */
export const STACK_SETTINGS = {
  haproxyAddress: '10.0.0.10',
  monitorAddress: MONITOR_ADDRESS,
  subnet: '10.0.0.0/24',
  databaseName: 'db',
  databaseUser: 'user',
  databasePassword: 'secret',
};

const WALL_START_MS = Date.parse('2026-01-01T00:00:00Z');

/** Number of lines that are kept for a failing run's story. */
const STORY_LINES = 4_000;

export class Machine {
  readonly engine: Engine;
  readonly random: Random;
  readonly network: Network;
  readonly haproxy: HaproxyModel;
  /** The nodes in the stack's config. The monitor reads it when it starts. */
  declared: DeclaredNode[];
  readonly policy: Policy;
  /** PostgreSQL's settings in the stack's config. The monitor reads it when it starts. */
  postgresSettings: Record<string, string> = {};
  /**
   * The stack's config allows the removal of old data before its copy is complete, when the disk is too small for both.
   */
  readonly rebuildInPlace: boolean;
  thinkMs: number;
  private readonly restingCancels: number;
  /** Number of active faults that make clients cancel. They may overlap; clients cancel until the last one ends. */
  cancelling = 0;
  /** Part of the reads that stay in a transaction, and part of the writes that change a table (S16). */
  holds: number;
  /** Readers keep the session that they have, as a report does (S13). */
  readersStay = false;
  clientsEnd = false;
  /** Size of the data, and amount of WAL per write. It changes in the middle of a run. */
  readonly load: Load = { ...LIGHT };
  /** The machine's disk, if it is shared. */
  readonly sharedDisk: Disk | null;
  readonly history = new History((words) => this.fail(words));
  readonly reports = new ReportReplicas(this);
  readonly violations: string[] = [];
  readonly repository = new Repository((words) => this.fail(words));
  readonly story: string[] = [];
  /** Receives what the nodes' PostgreSQL servers report. */
  readonly witness: Witness = {
    say: (words) => this.say(words),
    unsure: (change) => this.history.tag(change),
    inserted: (change) => this.history.inserted(change, this.engine.nowMs),
    broken: (words) => this.fail(words),
    mayBeHeldUp: (node) => this.reports.mayBeHeldUp(node),
    nextId: () => this.nextId(),
  };
  private ids = 0;
  private rowCount = 0;

  constructor(options: MachineOptions) {
    installBuiltins();
    this.engine = new Engine(options.seed);
    this.random = this.engine.random;
    this.network = new Network(this.engine);
    this.network.hosts.set(MONITOR_ADDRESS, 'monitor');
    this.policy = {
      hangTimeoutMs: 2_000,
      syncMode: 'synchronous',
      onNoReplica: 'continue',
      syncCount: 1,
      maxLagBytes: 16 * 1024 * 1024,
      reportReplicas: 0,
      readLagGraceMs: 60_000,
      readFallback: true,
      startGraceMs: 5_000,
      switchback: false,
      switchbackAfterMs: 5_000,
      switchbackLimitMs: 600_000,
      ...options.policy,
    };
    if (this.policy.replication === true) this.postgresSettings = LOGICAL_SETTINGS;
    this.rebuildInPlace = this.policy.onNoReplica === 'block';
    this.thinkMs = options.thinkMs ?? this.random.pick([30, 80, 150]);
    this.restingCancels = options.cancels ?? 0.01;
    this.holds = options.calm === true ? 0 : 0.02;
    this.haproxy = new HaproxyModel(this.engine, this.network);
    const names = ['primary', ...Array.from({ length: options.replicas }, (_, i) => `replica-${i + 1}`)];
    this.declared = names.map((name, i) => ({ name, address: `10.0.0.2${i}` }));
    this.sharedDisk = options.sharedDisk === false ? null : new Disk();
    // An asynchronous leader acknowledges writes that only it has. They may be lost with it.
    this.history.asynchronous = this.policy.syncMode === 'asynchronous';
  }

  /** Part of the commits that are cancelled during their wait at present (S7). */
  get cancels(): number {
    return this.cancelling > 0 ? 0.5 : this.restingCancels;
  }

  /** The simulated machine's wall clock. */
  wallMs(): number {
    return WALL_START_MS + this.engine.nowMs;
  }

  nextId(): number {
    return ++this.ids;
  }

  nextRow(): number {
    return ++this.rowCount;
  }

  /** Adds a line to the story. */
  say(words: string): void {
    this.story.push(`${at(this.engine.nowMs).padStart(10)}  ${words}`);
    if (this.story.length > STORY_LINES) this.story.splice(0, STORY_LINES / 4);
  }

  log(words: string): void {
    this.say(`    ${words}`);
  }

  fail(words: string): void {
    this.say(`!!! ${words}`);
    this.violations.push(words);
  }
}
