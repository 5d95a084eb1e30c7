/** The functions that faults are written with, and the class that lets faults strike and ends them. */
import type { SimMonitor, StoreDisk } from './monitor-container';
import type { SimNode } from './node';
import type { World } from './world';

/**
 * A fault strikes once. A fault of several steps is an async function, which may wait for conditions. If all faults end
 * before such a condition holds, the later steps do not happen.
 */
export type Fault = (nemesis: Nemesis) => unknown;
/** Faults by their names. Of two faults, the one with twice the weight strikes twice as often. */
export type Faults = Readonly<Record<string, readonly [weight: number, fault: Fault]>>;

/** Longest duration of a fault that must strike alone, ms. */
const ALONE_LIMIT_MS = 600_000;
const LOOK_MS = 5;

/**
 * Makes a fault that ends by itself after `fromMs` to `toMs`, ms. `begin` begins it and returns the function that ends
 * it, or undefined when the fault does not fit the cluster.
 */
export function passing(fromMs: number, toMs: number, begin: (nemesis: Nemesis) => (() => void) | undefined): Fault {
  return (nemesis) => {
    const end = begin(nemesis);
    if (end !== undefined) nemesis.later(fromMs, toMs, end);
  };
}

export class Nemesis {
  /** The faults have ended. Steps that were still planned do not happen. */
  over = false;
  /** Monitors that another monitor has replaced. */
  readonly strangers: SimMonitor[] = [];
  private storeLost = false;
  /** Nodes that were removed from the stack, after which the cluster served well without them. */
  private readonly removed = new Set<SimNode>();
  private readonly undo: (() => void)[] = [];
  private busyUntilMs = 0;
  /** Number of planned steps of faults. */
  private pending = 0;
  /** A fault that must strike alone is under way. */
  private occupied = false;

  constructor(
    readonly world: World,
    /** The faults from which each strike takes one. */
    private readonly faults: Faults,
    /** True for small faults. Each should end before the next one, because together they would be a large one. */
    private readonly areSmall: boolean,
  ) {}

  async rage(): Promise<void> {
    const { world } = this;
    const { random, engine } = world;
    const count = random.integer(2, 7);
    for (let i = 0; i < count; i++) {
      this.strike();
      await engine.settled();
      const pause = this.areSmall
        ? random.between(3_500, 6_000)
        : random.chance(0.4)
          ? random.between(5, 300)
          : random.between(300, 6_000);
      await engine.run(engine.nowMs + pause);
      if (this.occupied) await engine.run(engine.nowMs + ALONE_LIMIT_MS, () => !this.occupied);
    }
    await engine.run(Number.POSITIVE_INFINITY, () => engine.nowMs >= this.busyUntilMs);
  }

  private strike(): void {
    const { world } = this;
    const faults = Object.values(this.faults);
    let dice = world.random.unit() * faults.reduce((sum, [weight]) => sum + weight, 0);
    const fault = faults.find(([weight]) => {
      dice -= weight;
      return dice <= 0;
    })?.[1];
    const play = async () => fault?.(this);
    play().catch((error: unknown) => world.fail(`a fault broke: ${String(error)}`));
  }

  // Time

  /** Keeps the phase of faults from ending before this fault is over. */
  takes(ms: number): void {
    this.busyUntilMs = this.world.engine.nowMs + ms;
  }

  /** Registers a step to do when the faults end. */
  onHeal(undo: () => void): void {
    this.undo.push(undo);
  }

  /** Runs a step after `fromMs` to `toMs`, ms. */
  later(fromMs: number, toMs: number, run: () => void): void {
    const { engine, random } = this.world;
    this.pending += 1;
    engine.after(random.between(fromMs, toMs), null, () => {
      this.pending -= 1;
      run();
    });
  }

  /** Resolves after `fromMs` to `toMs`, ms. */
  passes(fromMs: number, toMs = fromMs): Promise<void> {
    return new Promise((resolve) => this.later(fromMs, toMs, resolve));
  }

  /** True as soon as the condition holds, false at the limit. Never resolves when the faults end before that. */
  until(limitMs: number, holds: () => boolean): Promise<boolean> {
    const { engine } = this.world;
    const endMs = engine.nowMs + limitMs;
    return new Promise((resolve) => {
      const look = () => {
        if (this.over) return;
        if (holds()) resolve(true);
        else if (engine.nowMs < endMs) this.later(LOOK_MS, LOOK_MS, look);
        else resolve(false);
      };
      look();
    });
  }

  /** Does something as soon as the condition holds, unless it does not hold before the limit. */
  when(limitMs: number, holds: () => boolean, then: () => void): void {
    void this.until(limitMs, holds).then((held) => {
      if (held) then();
    });
  }

  /** As {@link until}: true when the cluster is healthy and no step of any fault is planned. */
  well(limitMs = 20_000): Promise<boolean> {
    return this.until(limitMs, () => this.pending === 0 && this.world.healthy() !== null);
  }

  /** Plays a fault and lets no other one strike before it ends. */
  async alone(play: () => Promise<void>): Promise<void> {
    if (this.occupied) return;
    this.occupied = true;
    await play();
    this.occupied = false;
  }

  /** As {@link alone}, as soon as the cluster is well. */
  aloneWhenWell(play: () => Promise<void>): Promise<void> {
    return this.alone(async () => {
      if (await this.well()) await play();
    });
  }

  // Nodes

  anyNode(): SimNode {
    return this.world.random.pick(this.world.nodes);
  }

  leader(): SimNode | undefined {
    return this.world.node(this.world.state?.leader);
  }

  /** The members that follow the leader. */
  replicas(): SimNode[] {
    return this.world.members.filter((n) => n !== this.leader() && n.postgres?.isPrimary === false);
  }

  /** Gives the container engine this command. */
  docker(command: 'start' | 'stop' | 'kill' | 'pause' | 'unpause', node: SimNode): void {
    this.world.say(`docker ${command} ${node.name}`);
    node[command]();
  }

  start(node: SimNode): void {
    if (!node.up && this.world.members.includes(node)) this.docker('start', node);
  }

  /** Kills the node. Mostly it is started again after a while. */
  kill(node: SimNode): void {
    if (!node.up || this.over) return;
    this.docker('kill', node);
    if (this.world.random.chance(0.8)) this.later(50, 8_000, () => this.start(node));
  }

  killLeader(): void {
    const node = this.leader();
    if (node !== undefined) this.kill(node);
  }

  unpause(node: SimNode): void {
    if (node.process?.state === 'paused') this.docker('unpause', node);
  }

  crash(node: SimNode): void {
    if (node.postgres === null || node.process?.state !== 'running' || this.over) return;
    this.world.say(`PostgreSQL crashes in ${node.name}`);
    node.crashPostgres();
  }

  /** The node dies, and its volume is removed. */
  wipe(node: SimNode): void {
    this.world.say(`docker kill ${node.name}, and its volume is removed`);
    node.kill();
    node.wipe();
  }

  mend(): void {
    this.world.say('the network is whole again');
    this.world.network.heal();
  }

  // The monitor, and people

  killMonitor(): void {
    const { world } = this;
    world.monitor?.process.kill();
    world.monitor = null;
  }

  startMonitor(): void {
    const { world } = this;
    if (world.monitor !== null) return;
    world.say('docker start failover-monitor');
    world.startMonitor();
  }

  restartMonitor(): void {
    if (this.world.monitor === null) return;
    this.world.say('docker kill failover-monitor');
    this.killMonitor();
    this.later(20, 5_000, () => this.startMonitor());
  }

  /** The monitor's volume is lost or replaced by an old copy. The monitor starts again within the time. */
  restoreStore(copy?: StoreDisk, withinMs = 3_000): void {
    const { world } = this;
    const { random } = world;
    // Without the store, only the declared nodes know the past. If a node was taken out of the config before the
    // cluster could do without it, no monitor could know what that node has, so the fault does not fit.
    if (world.nodes.some((n) => !world.members.includes(n) && !this.removed.has(n))) return;
    this.storeLost = true;
    const old = copy ?? random.pick(world.storeCopies);
    const isLost = copy === undefined && random.chance(0.3);
    world.say('the monitor is killed, its volume is lost or an old copy');
    this.killMonitor();
    world.disk = isLost ? { incarnation: 0, state: null, full: false, moved: false } : { ...old };
    this.later(20, withinMs, () => this.startMonitor());
  }

  /** Pauses the monitor and starts a second one. */
  secondMonitor(old: SimMonitor, disk: StoreDisk): SimMonitor {
    this.world.say(`${old.label} is paused and a second monitor is started on a copy of its volume`);
    old.process.pause();
    this.strangers.push(old);
    return this.world.startMonitor('second monitor', { ...disk, full: false, moved: true });
  }

  /** The monitor that a second one has replaced wakes, and is killed after `fromMs` to `toMs`, ms. */
  wakeFirstMonitor(old: SimMonitor, fromMs: number, toMs: number): void {
    const { world } = this;
    if (old.process.dead) return;
    world.say('the first monitor wakes');
    old.process.resume();
    this.later(fromMs, toMs, () => {
      world.say('the first monitor is killed');
      old.process.kill();
    });
  }

  resume(): void {
    this.world.say('a person resumes automatic changes of leader');
    this.world.monitor?.ask({ kind: 'resume', by: 'person' });
  }

  promote({ name }: SimNode, acceptDataLoss: boolean): void {
    if (this.over) return;
    this.world.say(`a person promotes ${name}${acceptDataLoss ? ' with --accept-data-loss' : ''}`);
    this.world.monitor?.ask({ kind: 'promote', to: name, acceptDataLoss });
  }

  /** The stack's config gets these settings. The monitor reads it when it starts. */
  configure(settings: Record<string, string>): void {
    this.world.say(`postgresSettings become ${JSON.stringify(settings)}`);
    this.world.postgresSettings = settings;
  }

  // The stack's nodes

  /**
   * The stack is deployed with another number of replicas: the monitor is replaced, and the container is created or
   * removed.
   */
  resize(): void {
    const { world } = this;
    const { declared, nodes, random } = world;
    const added = nodes.find((n) => !world.members.includes(n));
    if (added !== undefined) {
      this.add(added);
      return;
    }
    const gone = nodes.at(-1);
    if (gone === undefined || nodes.length < 2) return;
    // Until the monitor has heard all nodes, this node may be the only one that knows what was in the lost store.
    if (this.storeLost && world.state?.adopting !== false) return;
    world.say(`${gone.name} is taken out of the stack`);
    world.declared = declared.slice(0, -1);
    this.restartMonitor();
    world.copies.forget(gone);
    this.takeOut(gone, random.integer(0, 100));
  }

  /** Removes the container when the cluster serves without it. `pulumi up` fails if that takes too long. */
  private takeOut(gone: SimNode, tries: number): void {
    const { world } = this;
    this.later(100, 300, () => {
      if (this.over || tries === 0 || !gone.up || world.members.includes(gone)) return;
      if (world.healthy() === null || this.leader() === gone) {
        this.takeOut(gone, tries - 1);
        return;
      }
      this.docker('stop', gone);
      this.removed.add(gone);
    });
  }

  private add(node: SimNode): void {
    const { world } = this;
    const lost = this.removed.delete(node) && !node.up && world.random.chance(0.5);
    world.say(`${node.name} is put into the stack${lost ? ' with an empty volume' : ''}`);
    if (lost) node.wipe();
    const { name, address } = node;
    world.declared = [...world.declared, { name, address }];
    this.restartMonitor();
    this.later(0, 2_000, () => this.start(node));
  }

  // The end

  /** Ends the faults: every process runs again, and one monitor is left. */
  heal(): void {
    const { world } = this;
    this.over = true;
    if (world.postgresSettings.shared_buffers !== undefined) {
      world.say('the setting that no machine can give is taken back');
      const { shared_buffers: _bad, ...settings } = world.postgresSettings;
      world.postgresSettings = settings;
      this.killMonitor();
    }
    for (const undo of this.undo.splice(0)) undo();
    world.engine.cpuMs = 0;
    for (const node of world.nodes) {
      // The cluster still needed this node when it was taken out of the config, so a person adds it again.
      if (!world.members.includes(node) && (!this.removed.has(node) || world.random.chance(0.7))) this.add(node);
    }
    world.network.heal();
    world.network.calm();
    for (const old of this.strangers) old.process.kill();
    if (world.haproxy.process.state === 'paused') world.haproxy.process.resume();
    if (world.haproxy.process.dead) world.haproxy.start();
    world.disk.full = false;
    world.monitor?.process.resume();
    this.startMonitor();
    // A person ends a pause now, at the latest. A monitor that searches for its state may refuse that for a while.
    this.resumeUntilHeard();
    for (const node of world.members) {
      node.disk.slowness = 1;
      node.disk.crashes = { starts: 0, promotions: 0 };
      node.disk.room.clear();
      if (node.postgres !== null) node.postgres.postmasterFrozen = false;
      node.unpause();
      this.startOnceStopped(node);
    }
  }

  /** If the node was told to stop, a person starts it again as soon as it has stopped. */
  private startOnceStopped(node: SimNode): void {
    if (!node.up || !node.stopping) this.start(node);
    else this.world.engine.after(50, null, () => this.startOnceStopped(node));
  }

  private resumeUntilHeard(): void {
    const { world } = this;
    if (world.state?.pause !== undefined) this.resume();
    if (!world.clientsEnd) world.engine.after(500, null, () => this.resumeUntilHeard());
  }
}
