/** The surroundings of a fault: roles of the nodes, events of the actors, the monitor's log, and steps to be undone. */
import type { ClusterStatus } from '../../../failover/contract/api';
import { MonitorLog } from '../../rig/events';
import { untilView } from '../../rig/view';
import { epochMs } from '../../rig/wait';
import type { Actors } from './actors';
import { kill } from './docker';
import type { ActorEvent } from './events';
import { addressOf, own, STACK } from './stack';

/** Scenes with steps that have to be undone when the program is ended early. */
const unfinished = new Set<Scene>();

/** Undoes the changes that the running case made to the machine. */
export async function undoUnfinished(): Promise<void> {
  for (const scene of unfinished) await scene.undoAll();
}

/** Waits until writes wait and the monitor's sentence says to start this node. */
export async function untilNamed(node: string, limitMs: number): Promise<void> {
  const says = new RegExp(`start ${node}`);
  await untilView(STACK, `the monitor to name ${node}`, limitMs, (now) => !now.serving && says.test(now.sentence));
}

export class Scene {
  /** The leader when the fault begins. */
  leader = '';
  readonly notes: string[] = [];
  /** When the fault began, ms since the epoch. */
  sinceMs = epochMs();
  /** When the fault's cause ended and every container ran again, ms since the epoch. */
  endedMs: number | null = null;
  /** The monitor's log since the fault began. */
  readonly log = new MonitorLog(own.log);
  private readonly undo: (() => Promise<void>)[] = [];

  constructor(
    readonly actors: Actors,
    readonly nodes: readonly string[],
  ) {
    unfinished.add(this);
  }

  /** The fault begins now. `leader` is read at this moment, because the lead may have moved on a busy machine. */
  begins(leader: string): void {
    this.leader = leader;
    this.sinceMs = epochMs();
    this.log.begin();
  }

  get standbys(): string[] {
    return this.nodes.filter((n) => n !== this.leader);
  }

  /** The first standby. */
  get standby(): string {
    const [first] = this.standbys;
    if (first === undefined) throw new Error('the stack has no replica');
    return first;
  }

  /** The cause of the fault has ended; the time to recovery counts from now. */
  over(): void {
    this.endedMs = epochMs();
  }

  /** Adds a step that is done after the case, also when it fails. The last step is done first. */
  afterwards(step: () => Promise<void>): void {
    this.undo.push(step);
  }

  async undoAll(): Promise<void> {
    unfinished.delete(this);
    for (let step = this.undo.pop(); step !== undefined; step = this.undo.pop()) await step();
  }

  /** Waits until each of these clients has an acknowledged write that began after this call. */
  async acknowledged(limitMs: number, clients: readonly string[] = ['held', 'fresh']): Promise<void> {
    await this.actors.acknowledged(epochMs(), limitMs, clients);
  }

  /** Waits until the poller sees one of these nodes writable. */
  async promoted(nodes: readonly string[], limitMs: number): Promise<void> {
    const fits = (e: ActorEvent) => e.what === 'writable' && e.writable === true && nodes.includes(e.node);
    await this.actors.next('a promotion', limitMs, fits);
  }

  /** Waits until the poller sees the write slot closed. */
  async closed(limitMs: number): Promise<void> {
    await this.actors.next('a closed slot', limitMs, (e) => e.what === 'slot' && e.address === null);
  }

  /** Waits until the poller sees the write slot open to one of these nodes. */
  async opened(nodes: readonly string[], limitMs: number): Promise<void> {
    const addresses = nodes.map(addressOf);
    await this.actors.next('an open slot', limitMs, (e) => e.what === 'slot' && addresses.includes(e.address ?? ''));
  }

  /** Waits until the node is counted. */
  async counted(node: string, limitMs: number): Promise<void> {
    const isCounted = (now: ClusterStatus) => now.serving && !now.sync.changing && now.sync.members.includes(node);
    await untilView(STACK, `${node} to be counted`, limitMs, isCounted);
  }

  /** Waits until the leader is alone, proven: from then on new rows are on the leader only. */
  async alone(limitMs: number): Promise<void> {
    const isAlone = ({ serving, sync }: ClusterStatus) => serving && !sync.changing && sync.members.length === 0;
    await untilView(STACK, 'the leader to go on alone', limitMs, isAlone);
  }

  /**
   * Kills the leader, which alone has the newest rows. Waits until the monitor says, in its status and in its log, that
   * writes wait and that the leader has to be started.
   */
  async killAndAwaitName(limitMs: number): Promise<void> {
    const named = async () => {
      await kill(this.leader);
      await untilNamed(this.leader, limitMs);
    };
    await Promise.all([named(), this.log.line(new RegExp(`writes wait.*start ${this.leader}`), limitMs)]);
  }

  /** Fails the case with this message unless `holds` is true. */
  expect(holds: boolean, message: string): void {
    if (!holds) throw new Error(message);
  }
}
