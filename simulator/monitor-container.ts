/** The monitor's container: the shipped monitor over simulated ports. */

import type { Answer } from '../failover/contract/api';
import { messageOf } from '../failover/contract/errors';
import type { Level } from '../failover/contract/log-line';
import type { Decision } from '../failover/core/state/cluster';
import type { Request } from '../failover/core/state/observation';
import type { Loop } from '../failover/monitor/loop';
import { createMonitor } from '../failover/monitor/monitor';
import type { Log, Seen, Store } from '../failover/monitor/ports';
import { BACKUP } from './archive';
import { Process } from './engine';
import { CLUSTER_KEY, type Machine, MONITOR_ADDRESS, STACK_SETTINGS } from './machine';
import { REPLICATION } from './replication-clients';

/** The monitor's volume. */
export interface StoreDisk {
  incarnation: number;
  state: string | null;
  full: boolean;
  /** The file is a copy, not the file into which the state was written. */
  moved: boolean;
}

/** What the oracles get from the monitors, besides the story. */
export interface MonitorWatch {
  /** The monitor that the container engine starts again when its process fails. */
  readonly monitor: SimMonitor | null;
  stored: (state: string | null) => void;
  decided: (decision: Decision, names: readonly string[]) => void;
  onLog: (subject: string, code: string, message: string, level: Level) => void;
}

/** Approximate size of one of the two slots of the store's file, bytes. */
const SLOT_BYTES = 250 * 1024;

export class SimStore implements Store {
  incarnation = 0;
  loaded: string | null = null;
  moved = false;
  private state: string | null = null;

  constructor(
    private readonly world: Pick<MonitorWatch, 'stored'>,
    private readonly process: Process,
    private readonly disk: StoreDisk,
  ) {}

  async open(): Promise<void> {
    this.loaded = this.disk.state;
    this.moved = this.disk.moved && this.loaded !== null;
    this.state = this.disk.state;
    this.incarnation = this.disk.incarnation;
    await this.raiseAbove(this.incarnation);
  }

  async save(text: string): Promise<void> {
    if (text.length > SLOT_BYTES) throw new Error(`the state has ${text.length} bytes, too many for the store`);
    this.state = text;
    await this.write(true);
  }

  async raiseAbove(other: number): Promise<number> {
    this.incarnation = Math.max(this.incarnation, other) + 1;
    await this.write();
    return this.incarnation;
  }

  /** The file has two slots, so an interrupted write leaves the old or the new state. */
  private async write(saved = false): Promise<void> {
    const { disk, process, state, incarnation, world } = this;
    const { random } = process.engine;
    if (disk.full) throw new Error('no space left on device');
    const put = () => {
      disk.state = state;
      disk.incarnation = incarnation;
      if (saved) disk.moved = false;
      world.stored(state);
    };
    const early = random.chance(0.5);
    if (early) put();
    await process.engine.sleep(random.delay(1.2), process);
    if (!early) put();
  }
}

export class SimMonitor {
  process: Process;
  seen: Seen | null = null;
  private monitor: Loop | null = null;

  constructor(
    private readonly world: Machine & MonitorWatch,
    readonly label: string,
    readonly disk: StoreDisk,
  ) {
    this.process = new Process(world.engine, label, 'monitor');
    this.start();
  }

  /** The engine restarts a container whose process fails. */
  private start(): void {
    const { world, label, process } = this;
    world.engine.after(world.random.delay(60), process, () => {
      this.run().catch((error: unknown) => {
        world.log(`${label} ends: ${messageOf(error)}`);
        process.kill();
        world.engine.after(500, null, () => {
          if (world.monitor !== this) return;
          this.process = new Process(world.engine, label, 'monitor');
          this.start();
        });
      });
    });
  }

  /** A person sends a request. */
  ask(request: Request, answered: (answer: Answer) => void = () => undefined): void {
    const { world, process, monitor } = this;
    world.engine.after(0, process, () => {
      monitor?.parts.requests
        .ask(request)
        .then((answer) => {
          world.say(`the monitor answers: ${answer.message}`);
          answered(answer);
        })
        .catch((error: unknown) => world.fail(String(error)));
    });
  }

  private async run(): Promise<void> {
    const { world, process, disk, label } = this;
    const { engine } = world;
    const log: Log = {
      write: (level, subject, code, message) => {
        world.log(`${label}: ${subject} ${code} ${message}`);
        world.onLog(subject, code, message, level);
      },
    };
    const store = new SimStore(world, process, disk);
    await store.open();
    world.log(`${label}: start ${store.incarnation}`);
    const monitor = createMonitor({
      nodes: world.declared,
      policy: world.policy,
      clusterKey: CLUSTER_KEY,
      settings: {
        ...STACK_SETTINGS,
        postgresSettings: world.postgresSettings,
        rebuildInPlace: world.rebuildInPlace,
        ...(world.policy.backup === true && { backup: BACKUP }),
        ...(world.policy.replication === true && { replication: REPLICATION }),
      },
      listen: { address: MONITOR_ADDRESS, port: 7400 },
      sockets: '/run/haproxy',
      store,
      clock: { nowMs: () => engine.nowMs },
      log,
      wallMs: () => world.wallMs(),
      newId: () => `request ${world.nextId()}`,
      onDecision: (decision, observation) => {
        this.seen = { decision, observation };
        const { declared, retiring } = observation;
        world.decided(
          decision,
          declared.map(({ name }) => name).filter((name) => name !== retiring),
        );
      },
    });
    this.monitor = monitor;
    await monitor.parts.keepers.listen();
    await monitor.run();
  }
}
