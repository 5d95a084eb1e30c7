/** What a fault has at hand: who is who, what the actors see, the log, and what to undo afterwards. */
import type { ClusterStatus } from '../../../failover/contract/api';
import { MonitorLog } from '../../rig/events';
import { untilView } from '../../rig/view';
import { epochMs } from '../../rig/wait';
import type { Actors } from './actors';
import { kill } from './docker';
import type { ActorEvent } from './events';
import { addressOf, own, STACK } from './stack';

/** What has to be undone when the whole program is ended early. */
const unfinished = new Set<Scene>();

/** Undoes what the running case has done to the machine. */
export async function undoUnfinished(): Promise<void> {
  for (const scene of unfinished) await scene.undoAll();
}

/** Waits until writes wait for a node and the monitor's sentence says to start it. */
export async function untilNamed(node: string, limitMs: number): Promise<void> {
  const says = new RegExp(`start ${node}`);
  await untilView(STACK, `the monitor to name ${node}`, limitMs, (now) => !now.serving && says.test(now.sentence));
}

export class Scene {
  /** Leads when the fault begins. */
  leader = '';
  readonly notes: string[] = [];
  /** When the fault began, and when its cause was gone (everything runs again), ms since the epoch. */
  sinceMs = epochMs();
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

  /** The fault is made now, and this node leads: on a starved machine the lead may have moved since it was looked at. */
  begins(leader: string): void {
    this.leader = leader;
    this.sinceMs = epochMs();
    this.log.begin();
  }

  get standbys(): string[] {
    return this.nodes.filter((n) => n !== this.leader);
  }

  /** The first standby: the only one where there is one replica. */
  get standby(): string {
    const [first] = this.standbys;
    if (first === undefined) throw new Error('the stack has no replica');
    return first;
  }

  /** The cause of the fault is gone; the time to recovery is counted from here. */
  over(): void {
    this.endedMs = epochMs();
  }

  /** Done after the case in any event, last one first. */
  afterwards(step: () => Promise<void>): void {
    this.undo.push(step);
  }

  async undoAll(): Promise<void> {
    unfinished.delete(this);
    for (let step = this.undo.pop(); step !== undefined; step = this.undo.pop()) await step();
  }

  /** Waits until a client's write is acknowledged that began after this call. */
  async acknowledged(limitMs: number, clients: readonly string[] = ['held', 'fresh']): Promise<void> {
    await this.actors.acknowledged(epochMs(), limitMs, clients);
  }

  /** Waits until a node is seen taking writes. */
  async promoted(nodes: readonly string[], limitMs: number): Promise<void> {
    const fits = (e: ActorEvent) => e.what === 'writable' && e.writable === true && nodes.includes(e.node);
    await this.actors.next('a promotion', limitMs, fits);
  }

  /** Waits until the write slot is seen closed. */
  async closed(limitMs: number): Promise<void> {
    await this.actors.next('a closed slot', limitMs, (e) => e.what === 'slot' && e.address === null);
  }

  /** Waits until the write slot is seen leading to one of these nodes. */
  async opened(nodes: readonly string[], limitMs: number): Promise<void> {
    const addresses = nodes.map(addressOf);
    await this.actors.next('an open slot', limitMs, (e) => e.what === 'slot' && addresses.includes(e.address ?? ''));
  }

  /** Waits until a node is a standby that acknowledged writes wait for. */
  async counted(node: string, limitMs: number): Promise<void> {
    const isCounted = (now: ClusterStatus) => now.serving && !now.sync.changing && now.sync.members.includes(node);
    await untilView(STACK, `${node} to be counted`, limitMs, isCounted);
  }

  /** Waits until the leader goes on alone, proven: what is written now is on no other node. */
  async alone(limitMs: number): Promise<void> {
    const isAlone = ({ serving, sync }: ClusterStatus) => serving && !sync.changing && sync.members.length === 0;
    await untilView(STACK, 'the leader to go on alone', limitMs, isAlone);
  }

  /**
   * Kills the leader, which alone has the newest rows, and waits until the monitor says that writes wait for it: in the
   * status and in the log.
   */
  async killAndAwaitName(limitMs: number): Promise<void> {
    const named = async () => {
      await kill(this.leader);
      await untilNamed(this.leader, limitMs);
    };
    await Promise.all([named(), this.log.line(new RegExp(`writes wait.*start ${this.leader}`), limitMs)]);
  }

  /** Fails the case. */
  expect(holds: boolean, words: string): void {
    if (!holds) throw new Error(words);
  }
}
