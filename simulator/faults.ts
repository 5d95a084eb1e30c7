/** The faults that strike at random times, with their words for the story. */
import { AIMED, APART, type Fault, FLAPPING, FROZEN, STARVATION } from './aimed-faults';
import { DEADLINES } from './deadlines';
import { DISK_FAULTS } from './disk-faults';
import type { SimMonitor, StoreDisk } from './monitor-container';
import type { SimNode } from './node';
import { PEOPLE } from './people';
import { REPEATS } from './repeats';
import { TOO_MUCH_MEMORY } from './settings';
import type { World } from './world';

/** Longest duration of a fault that must strike alone, ms. */
const ALONE_LIMIT_MS = 600_000;

export class Nemesis {
  /** The faults have ended. Steps that were still planned do not happen. */
  over = false;
  /** Monitors that another monitor has replaced. */
  readonly strangers: SimMonitor[] = [];
  private storeLost = false;
  /** Nodes that were removed from the stack, after which the cluster served well without them. */
  private readonly removed = new Set<SimNode>();

  private readonly only: readonly string[] | undefined;
  private readonly undo: (() => void)[] = [];
  private busyUntilMs = 0;
  /** Number of planned steps of faults. */
  pending = 0;
  /** A fault that must strike alone is under way. */
  private occupied = false;

  /** `only`: names of the faults that strike; undefined: all of them. */
  constructor(
    readonly world: World,
    only?: readonly string[],
  ) {
    this.only = only;
  }

  /** Keeps the phase of faults from ending before this fault is over. */
  takes(ms: number): void {
    this.busyUntilMs = this.world.engine.nowMs + ms;
  }

  /** Registers a step to do when the faults end. */
  onHeal(undo: () => void): void {
    this.undo.push(undo);
  }

  /** True when no step of any fault is planned. */
  get isCalm(): boolean {
    return this.pending === 0;
  }

  /** Lets no other fault strike before `done` is called. */
  alone(begin: (done: () => void) => void): void {
    if (this.occupied) return;
    this.occupied = true;
    begin(() => {
      this.occupied = false;
    });
  }

  async rage(): Promise<void> {
    const { world } = this;
    const { random, engine } = world;
    const count = random.integer(2, 7);
    for (let i = 0; i < count; i++) {
      this.strike();
      // Each small fault should end before the next one, because together they would be a large one.
      const small = this.only?.every((name) => name in STARVATION) === true;
      const pause = small
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
    const { random } = this.world;
    const all: Record<string, [number, () => void]> = {
      kill: [14, () => this.kill(this.anyNode())],
      killLeader: [6, () => this.killLeader()],
      killCandidate: [5, () => this.killCandidate()],
      stop: [5, () => this.stop(this.anyNode())],
      pause: [8, () => this.pause(this.anyNode())],
      crash: [6, () => this.crash(this.anyNode())],
      partition: [8, () => this.partition()],
      switchover: [8, () => this.switchover()],
      slowDisk: [4, () => this.slowDisk(this.anyNode())],
      restartMonitor: [7, () => this.restartMonitor()],
      pauseMonitor: [4, () => this.pauseMonitor()],
      restoreStore: [4, () => this.restoreStore()],
      secondMonitor: [3, () => this.secondMonitor()],
      diskFull: [2, () => this.diskFull()],
      haproxyRestarts: [5, () => this.haproxyRestarts()],
      haproxyReloads: [3, () => this.haproxyReloads()],
      haproxyFreezes: [3, () => this.haproxyFreezes()],
      network: [3, () => this.network()],
      freezePostmaster: [2, () => this.freezePostmaster(this.anyNode())],
      wipe: [3, () => this.wipe(this.anyNode())],
      everything: [4, () => this.everything()],
      twoAtOnce: [5, () => this.twoAtOnce()],
      badMinute: [5, () => this.badMinute()],
      starve: [4, () => this.starve()],
      stall: [3, () => this.stall()],
      resize: [4, () => this.resize()],
      acceptLoss: [3, () => this.acceptLoss()],
      fallOff: [4, () => this.fallOff()],
      changeSettings: [6, () => this.changeSettings()],
      behind: [7, () => this.behind()],
      pauseFailover: [5, () => this.pauseFailover()],
      rebuild: [3, () => this.rebuild()],
      ...this.bound(AIMED),
      ...this.bound(DEADLINES),
      ...this.bound(DISK_FAULTS),
      ...this.bound(PEOPLE),
      ...this.bound(REPEATS),
    };
    const steady = { ...STARVATION, ...FROZEN, ...APART, ...FLAPPING };
    const known = { ...all, ...mapped(steady, (fault): [number, () => void] => [1, () => fault(this)]) };
    const names = this.only ?? Object.keys(all);
    const faults = names.map((name) => {
      const fault = known[name];
      if (fault === undefined) {
        throw new Error(`there is no fault ${name}; there are: ${Object.keys(known).join(', ')}`);
      }
      return fault;
    });
    let dice = random.unit() * faults.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, fault] of faults) {
      dice -= weight;
      if (dice > 0) continue;
      fault();
      return;
    }
  }

  private bound(
    faults: Readonly<Record<string, [weight: number, fault: Fault]>>,
  ): Record<string, [number, () => void]> {
    return mapped(faults, ([weight, fault]): [number, () => void] => [weight, () => fault(this)]);
  }

  anyNode(): SimNode {
    return this.world.random.pick(this.world.nodes);
  }

  later(fromMs: number, toMs: number, run: () => void): void {
    const { engine, random } = this.world;
    this.pending += 1;
    engine.after(random.between(fromMs, toMs), null, () => {
      this.pending -= 1;
      run();
    });
  }

  start(node: SimNode): void {
    if (node.up || !this.world.members.includes(node)) return;
    this.world.say(`docker start ${node.name}`);
    node.start();
  }

  kill(node: SimNode): void {
    if (!node.up || this.over) return;
    this.world.say(`docker kill ${node.name}`);
    node.kill();
    if (this.world.random.chance(0.8)) this.later(50, 8_000, () => this.start(node));
  }

  killLeader(): void {
    const node = this.leader();
    if (node !== undefined) this.kill(node);
  }

  /** The leader dies. Its successor dies before it is open, or just after. */
  private killCandidate(): void {
    this.killLeader();
    const { engine, random } = this.world;
    const tries = { left: 200 };
    const look = () => {
      const state = this.world.monitor?.seen?.decision.state;
      if (state?.activity.kind !== 'promote') {
        tries.left -= 1;
        if (tries.left > 0) this.later(5, 5, look);
        return;
      }
      const candidate = this.world.nodes.find((n) => n.name === state.leader);
      engine.after(random.between(0, 60), null, () => {
        if (candidate !== undefined) this.kill(candidate);
      });
    };
    look();
  }

  stop(node: SimNode): void {
    if (!node.up || node.process?.state !== 'running') return;
    this.world.say(`docker stop ${node.name}`);
    node.stop();
    if (this.world.random.chance(0.8)) this.later(500, 15_000, () => this.start(node));
  }

  private pause(node: SimNode): void {
    if (!node.up) return;
    this.world.say(`docker pause ${node.name}`);
    node.pause();
    this.later(50, 7_000, () => this.unpause(node));
  }

  unpause(node: SimNode): void {
    if (node.process?.state !== 'paused') return;
    this.world.say(`docker unpause ${node.name}`);
    node.unpause();
  }

  crash(node: SimNode): void {
    if (node.postgres === null || node.process?.state !== 'running' || this.over) return;
    this.world.say(`PostgreSQL crashes in ${node.name}`);
    node.crashPostgres();
  }

  private partition(): void {
    const { world } = this;
    const hosts = ['monitor', 'haproxy', ...world.nodes.map((n) => n.name)];
    const from = world.random.pick(hosts);
    const others = hosts.filter((h) => h !== from);
    const to = world.random.chance(0.3) ? others : [world.random.pick(others)];
    const both = world.random.chance(0.5);
    world.say(`packets from ${from} to ${to.join(', ')} are lost${both ? ', and back' : ''}`);
    for (const host of to) {
      world.network.block(from, host);
      if (both) world.network.block(host, from);
    }
    this.later(50, 9_000, () => {
      world.say('the network is whole again');
      world.network.heal();
    });
  }

  private slowDisk(node: SimNode): void {
    const { world } = this;
    const frozen = world.random.chance(0.4);
    world.say(`the disk of ${node.name} ${frozen ? 'is frozen' : 'is slow'}`);
    node.disk.slowness = frozen ? Number.POSITIVE_INFINITY : world.random.between(5, 60);
    this.later(100, 6_000, () => {
      world.say(`the disk of ${node.name} is well again`);
      node.disk.slowness = 1;
    });
  }

  private restartMonitor(): void {
    const { world } = this;
    if (world.monitor === null) return;
    world.say('docker kill failover-monitor');
    world.monitor.process.kill();
    world.monitor = null;
    this.later(20, 5_000, () => this.startMonitor());
  }

  startMonitor(): void {
    const { world } = this;
    if (world.monitor !== null) return;
    world.say('docker start failover-monitor');
    world.startMonitor();
  }

  private pauseMonitor(): void {
    const { world } = this;
    const { monitor } = world;
    if (monitor === null || monitor.process.state !== 'running') return;
    world.say(`docker pause ${monitor.label}`);
    monitor.process.pause();
    this.later(50, 6_000, () => {
      if (monitor.process.state !== 'paused') return;
      world.say(`docker unpause ${monitor.label}`);
      monitor.process.resume();
    });
  }

  /** The monitor's volume is lost or replaced by an old copy. The monitor starts again within the time. */
  restoreStore(copy?: StoreDisk, withinMs = 3_000): void {
    const { world } = this;
    const { random } = world;
    // With the store lost, only the declared nodes know the past. No system could know the data of a node that is not
    // declared and was not released yet.
    if (world.nodes.some((n) => !world.members.includes(n) && !this.removed.has(n))) return;
    this.storeLost = true;
    const old = copy ?? random.pick(world.storeCopies);
    const isLost = copy === undefined && random.chance(0.3);
    world.say('the monitor is killed, its volume is lost or an old copy');
    world.monitor?.process.kill();
    world.monitor = null;
    world.disk = isLost ? { incarnation: 0, state: null, full: false, moved: false } : { ...old };
    this.later(20, withinMs, () => this.startMonitor());
  }

  /** The old monitor wakes while the new one works. */
  private secondMonitor(): void {
    const { world } = this;
    const { random } = world;
    const old = world.monitor;
    if (old === null || old.process.state !== 'running' || this.strangers.length > 0) return;
    world.say(`${old.label} is paused and a second monitor is started on a copy of its volume`);
    old.process.pause();
    this.strangers.push(old);
    const copy = { ...(random.chance(0.5) ? old.disk : random.pick(world.storeCopies)), full: false, moved: true };
    world.startMonitor('second monitor', copy);
    this.later(500, 6_000, () => {
      if (old.process.dead) return;
      world.say('the first monitor wakes');
      old.process.resume();
      this.later(100, 4_000, () => {
        world.say('the first monitor is killed');
        old.process.kill();
      });
    });
  }

  /**
   * One replica acknowledges while the stream to the others is held up. Then its answer is late (S1) or it restarts
   * (S6), and the leader dies, or freezes and wakes in the middle of the election.
   */
  private behind(): void {
    const { world } = this;
    const { random, network } = world;
    const leader = this.leader();
    const followers = world.members.filter((n) => n !== leader);
    const ahead = followers.length < 2 ? undefined : random.pick(followers);
    if (leader === undefined || ahead === undefined) {
      this.killLeader();
      return;
    }
    world.say(`only ${ahead.name} still gets the log of ${leader.name}`);
    for (const node of followers) if (node !== ahead) network.block(leader.name, node.name);
    const restarts = random.chance(0.6);
    const deadMs = restarts ? random.between(40, 300) : random.between(200, 1_500);
    if (restarts) {
      // Its last checkpoint is old, so replay begins far behind the end of its WAL.
      ahead.replay = { behind: random.integer(20, 100), stepMs: random.between(20, 100) };
      this.later(deadMs - 40, deadMs + 40, () => this.crash(ahead));
    } else {
      this.later(20, 100, () => {
        world.say(`${ahead.name} is late with its word to the monitor`);
        network.block(ahead.name, 'monitor');
      });
    }
    this.later(deadMs, deadMs, () => {
      if (restarts || random.chance(0.6)) this.kill(leader);
      else if (!this.over) {
        world.say(`docker pause ${leader.name}`);
        leader.pause();
        this.later(1_900, 2_400, () => this.unpause(leader));
      }
    });
    this.later(deadMs + 50, deadMs + 900, () => {
      ahead.replay = undefined;
      world.say('the network is whole again');
      network.heal();
    });
  }

  private switchover(): void {
    const to = this.world.random.chance(0.5) ? null : this.anyNode().name;
    this.world.say(`somebody asks for a switchover to ${to ?? 'any node'}`);
    this.world.monitor?.ask({ kind: 'switchover', to });
  }

  /** A person pauses automatic changes of the leader. Later a person resumes them, or the pause ends by itself. */
  private pauseFailover(): void {
    const { world } = this;
    const { random } = world;
    const forMs = random.chance(0.5) ? random.between(300, 8_000) : null;
    world.say(`somebody pauses automatic changes of leader${forMs === null ? '' : ` for ${forMs.toFixed(0)} ms`}`);
    const sinceWallMs = world.wallMs();
    const pause = {
      reason: 'work on the disks',
      sinceWallMs,
      untilWallMs: forMs === null ? null : sinceWallMs + forMs,
    };
    world.monitor?.ask({ kind: 'pause', pause });
    if (random.chance(0.6)) this.later(50, 2_000, () => this.killLeader());
    if (random.chance(0.3)) this.later(500, 4_000, () => this.promoteWithoutLoss());
    if (random.chance(0.7)) this.later(500, 9_000, () => this.resume());
  }

  private resume(): void {
    this.world.say('somebody resumes automatic changes of leader');
    this.world.monitor?.ask({ kind: 'resume', by: 'person' });
  }

  /**
   * A person promotes a node without accepting a loss. This is refused unless only a pause keeps that node from
   * leading.
   */
  private promoteWithoutLoss(): void {
    if (this.over) return;
    const { name } = this.anyNode();
    this.world.say(`somebody promotes ${name}`);
    this.world.monitor?.ask({ kind: 'promote', to: name, acceptDataLoss: false });
  }

  private rebuild(): void {
    const { name } = this.anyNode();
    this.world.say(`somebody wants ${name} copied anew`);
    this.world.monitor?.ask({ kind: 'rebuild', node: name });
  }

  private diskFull(): void {
    const { world } = this;
    const { disk } = world;
    world.say('the disk of the monitor is full');
    disk.full = true;
    this.later(200, 5_000, () => {
      disk.full = false;
    });
  }

  private haproxyRestarts(): void {
    const { haproxy, random } = this.world;
    this.world.say('docker kill haproxy');
    haproxy.kill();
    this.later(20, random.chance(0.7) ? 400 : 5_000, () => {
      if (!haproxy.process.dead) return;
      this.world.say('docker start haproxy');
      haproxy.start();
    });
  }

  private haproxyReloads(): void {
    this.world.say('haproxy is reloaded');
    this.world.haproxy.reload();
  }

  private haproxyFreezes(): void {
    const { process } = this.world.haproxy;
    if (process.state !== 'running') return;
    this.world.say('docker pause haproxy');
    process.pause();
    this.later(50, 5_000, () => {
      if (process.state !== 'paused') return;
      this.world.say('docker unpause haproxy');
      process.resume();
    });
  }

  private network(): void {
    const { network, random } = this.world;
    network.latencyMs = random.between(1, 30);
    network.doubled = random.chance(0.5) ? 0.3 : 0;
    this.world.say(
      `messages take ${network.latencyMs.toFixed(0)} ms, ${network.doubled > 0 ? 'some orders arrive twice' : 'none is doubled'}`,
    );
    this.later(500, 8_000, () => this.calm());
  }

  private calm(): void {
    const { network } = this.world;
    network.latencyMs = 0.3;
    network.doubled = 0;
  }

  private freezePostmaster(node: SimNode): void {
    const { postgres } = node;
    if (postgres === null) return;
    this.world.say(`the postmaster of ${node.name} is stopped`);
    postgres.postmasterFrozen = true;
    this.later(500, 6_000, () => {
      postgres.postmasterFrozen = false;
    });
  }

  private wipe(node: SimNode): void {
    // No rule can protect against the removal of all data.
    const others = this.world.members.filter((n) => n !== node && n.volume.data !== null);
    if (!node.up || others.length === 0) return;
    this.world.say(`docker kill ${node.name}, and its volume is removed`);
    node.kill();
    node.wipe();
    this.later(50, 6_000, () => this.start(node));
  }

  private everything(): void {
    this.world.say('the machine is switched off: all nodes and the monitor');
    this.restartMonitor();
    for (const node of this.world.nodes) {
      if (!node.up) continue;
      node.kill();
      if (this.world.random.chance(0.75)) this.later(50, 6_000, () => this.start(node));
    }
  }

  leader(): SimNode | undefined {
    const name = this.world.monitor?.seen?.decision.state.leader;
    return this.world.nodes.find((n) => n.name === name);
  }

  /** The leader loses its replicas and crashes, and is killed when clients are connected to it again. */
  private badMinute(): void {
    const { world } = this;
    const leader = this.leader();
    if (leader === undefined) return;
    const others = world.nodes.filter((n) => n !== leader);
    world.say(`packets between ${leader.name} and the other nodes are lost`);
    for (const other of others) {
      world.network.cut(leader.name, other.name);
    }
    this.later(50, 1_200, () => this.crash(leader));
    this.later(1_200, 2_500, () => this.kill(leader));
    this.later(1_000, 5_000, () => {
      world.say('the network is whole again');
      world.network.heal();
    });
  }

  /** The leader and another node's PostgreSQL die at the same moment. */
  private twoAtOnce(): void {
    const other = this.anyNode();
    if (this.world.random.chance(0.5)) this.crash(other);
    else {
      this.kill(other);
      this.later(50, 1_500, () => this.start(other));
    }
    this.killLeader();
  }

  /** The machine lacks CPU, so everything is late while the fault lasts (S28). */
  private starve(): void {
    const { engine, random } = this.world;
    engine.cpuMs = random.between(0.5, 8);
    this.world.say(`the machine is starved of CPU: everything takes ${engine.cpuMs.toFixed(1)} ms more`);
    this.later(500, 8_000, () => {
      this.world.say('the machine has its CPU again');
      engine.cpuMs = 0;
    });
  }

  /** The whole machine is suspended, and then all processes continue at once. */
  stall(fromMs = 100, toMs = 5_000): void {
    const { world } = this;
    const { engine, random, monitor, haproxy } = world;
    const processes = [
      monitor?.process,
      haproxy.process,
      ...world.nodes.flatMap((n) => [n.postgres?.process, n.process]),
    ];
    const running = processes.filter((p) => p?.state === 'running');
    const ms = random.between(fromMs, toMs);
    world.say(`the machine stands still for ${ms.toFixed(0)} ms`);
    for (const process of running) process?.pause();
    engine.after(ms, null, () => {
      for (const process of running) process?.resume();
    });
  }

  /**
   * The stack is deployed with another number of replicas: the monitor is replaced, and the container is created or
   * removed.
   */
  private resize(): void {
    const { world } = this;
    const { declared, nodes, random } = world;
    const added = nodes.find((n) => !world.members.includes(n));
    if (added !== undefined) {
      this.add(added);
      return;
    }
    const gone = nodes.at(-1);
    if (gone === undefined || nodes.length < 2) return;
    // Until the monitor has heard all nodes, only this node may know something that was in the lost store.
    if (this.storeLost && world.monitor?.seen?.decision.state.adopting !== false) return;
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
      world.say(`docker stop ${gone.name}`);
      gone.stop();
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

  /**
   * A replica misses what the leader writes alone. The leader dies, and a person accepts the loss and promotes the
   * replica.
   */
  private acceptLoss(): void {
    const { world } = this;
    const { random } = world;
    const leader = this.leader();
    const to = this.anyNode();
    if (leader === undefined || to === leader) return;
    for (const node of random.chance(0.7) ? world.nodes : [to]) {
      if (node === leader || !node.up) continue;
      world.say(`docker kill ${node.name}`);
      node.kill();
    }
    const leaderMs = random.between(300, 2_500);
    this.later(leaderMs, leaderMs, () => this.kill(leader));
    this.later(leaderMs, leaderMs + 500, () => this.start(to));
    for (const node of world.nodes) this.later(leaderMs + 1_000, leaderMs + 9_000, () => this.start(node));
    for (let i = 0; i < 3; i++) this.later(leaderMs + 400, leaderMs + 3_500, () => this.promoteByWord(to));
  }

  private promoteByWord({ name }: SimNode): void {
    const { world } = this;
    if (this.over) return;
    world.say(`somebody promotes ${name} with --accept-data-loss`);
    world.monitor?.ask({ kind: 'promote', to: name, acceptDataLoss: true });
  }

  /** A replica is away for so long that the other nodes remove the WAL that it needs. */
  private fallOff(): void {
    const { world } = this;
    const { random } = world;
    const away = this.anyNode();
    if (random.chance(0.5)) this.kill(away);
    else this.pause(away);
    this.later(300, 3_000, () => {
      const kept = random.integer(0, 30);
      world.say(`every node removes its log but for the last ${kept} records`);
      for (const { postgres } of world.nodes) if (postgres?.process.state === 'running') postgres.removeLog(kept);
    });
  }

  /**
   * The stack's settings change, and with them the monitor. Some settings need a restart, and one is more than any
   * machine has.
   */
  private changeSettings(): void {
    const { world } = this;
    const { random } = world;
    const settings: Record<string, string> = {};
    if (random.chance(0.7)) settings.max_connections = String(random.pick([180, 220, 300]));
    if (random.chance(0.3)) settings.max_locks_per_transaction = '128';
    if (random.chance(0.15)) settings.shared_buffers = TOO_MUCH_MEMORY;
    world.say(`postgresSettings become ${JSON.stringify(settings)}`);
    world.postgresSettings = settings;
    this.restartMonitor();
  }

  /** Ends the faults: every process runs again, and one monitor is left. */
  heal(): void {
    const { world } = this;
    this.over = true;
    if (world.postgresSettings.shared_buffers !== undefined) {
      world.say('the setting that nobody can give is taken back');
      const { shared_buffers: _bad, ...settings } = world.postgresSettings;
      world.postgresSettings = settings;
      world.monitor?.process.kill();
      world.monitor = null;
    }
    for (const undo of this.undo.splice(0)) undo();
    world.engine.cpuMs = 0;
    for (const node of world.nodes) {
      // A node that the cluster still needed was never released. A person adds it again.
      if (!world.members.includes(node) && (!this.removed.has(node) || world.random.chance(0.7))) this.add(node);
    }
    world.network.heal();
    this.calm();
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
    if (world.monitor?.seen?.decision.state.pause !== undefined) this.resume();
    if (!world.clientsEnd) world.engine.after(500, null, () => this.resumeUntilHeard());
  }
}

function mapped<T, R>(record: Readonly<Record<string, T>>, to: (value: T) => R): Record<string, R> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, to(value)]));
}
