/** What a fault has at hand: who is who, what the actors see, the log, and what to undo afterwards. */
import type { ClusterStatus } from '../../../failover/contract/api';
import { MonitorLog } from '../../rig/events';
import { epochMs } from '../../rig/wait';
import type { Actors } from './actors';
import { untilView, view } from './cluster';
import { kill } from './docker';
import { addressOf, own } from './stack';

/** What has to be undone when the whole program is ended early. */
const unfinished = new Set<Scene>();

/** Undoes what the running case has done to the machine. */
export async function undoUnfinished(): Promise<void> {
  for (const scene of unfinished) await scene.undoAll();
}

export interface SceneOptions {
  actors: Actors;
  nodes: readonly string[];
  /** Leader and standbys when the fault begins. */
  leader: string;
  run: string;
}

export class Scene {
  readonly actors: Actors;
  readonly nodes: readonly string[];
  leader: string;
  standbys: readonly string[];
  readonly run: string;
  readonly notes: string[] = [];
  /** When the fault began, and when its cause was gone (everything runs again), ms since the epoch. */
  sinceMs: number;
  endedMs: number | null = null;
  private readonly undo: (() => Promise<void>)[] = [];
  private readonly lines = new MonitorLog(own.log);

  constructor({ actors, nodes, leader, run }: SceneOptions) {
    this.actors = actors;
    this.nodes = nodes;
    this.leader = leader;
    this.standbys = nodes.filter((n) => n !== leader);
    this.run = run;
    this.sinceMs = epochMs();
    unfinished.add(this);
  }

  /** The fault is made now, and this node leads: on a starved machine the lead may have moved since it was looked at. */
  begins(leader: string): void {
    this.leader = leader;
    this.standbys = this.nodes.filter((n) => n !== leader);
    this.sinceMs = epochMs();
    this.lines.begin();
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

  note(words: string): void {
    this.notes.push(words);
  }

  /** Done after the case in any event, last one first. */
  afterwards(step: () => Promise<void>): void {
    this.undo.push(step);
  }

  async undoAll(): Promise<void> {
    unfinished.delete(this);
    for (let step = this.undo.pop(); step !== undefined; step = this.undo.pop()) await step();
  }

  /** What was logged since the fault began. */
  log(): string {
    return this.lines.text();
  }

  /** Waits for a line of the log that was not there when this was called. */
  logged(pattern: RegExp, limitMs: number): Promise<string> {
    return this.lines.line(pattern, limitMs);
  }

  /** Waits until a client's write is acknowledged that began after this call. */
  async acknowledged(limitMs: number, clients: readonly string[] = ['held', 'fresh']): Promise<void> {
    await this.actors.acknowledged(epochMs(), limitMs, clients);
  }

  /** Waits until a node is seen taking writes. */
  async promoted(nodes: readonly string[], limitMs: number): Promise<void> {
    const fits = (node: string) => nodes.includes(node);
    await this.actors.next('a promotion', limitMs, (e) => e.what === 'writable' && e.writable === true && fits(e.node));
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
    await untilView(`${node} to be counted`, limitMs, isCounted);
  }

  /** Waits until the leader goes on alone, proven: what is written now is on no other node. */
  async alone(limitMs: number): Promise<void> {
    await untilView('the leader to go on alone', limitMs, (now) => {
      return now.serving && !now.sync.changing && now.sync.members.length === 0;
    });
  }

  /**
   * Kills the leader, which alone has the newest rows, and waits until the monitor says that writes wait for it: in the
   * status and in the log.
   */
  async killAndAwaitName(limitMs: number): Promise<void> {
    const says = new RegExp(`start ${this.leader}`);
    const named = async () => {
      await kill(this.leader);
      await untilView(`${this.leader} to be named`, limitMs, (now) => !now.serving && says.test(now.sentence));
    };
    await Promise.all([named(), this.logged(new RegExp(`writes wait.*start ${this.leader}`), limitMs)]);
  }

  nodesLeaderFirst(): readonly string[] {
    return [this.leader, ...this.standbys];
  }

  /** The monitor's view now. */
  view(): Promise<ClusterStatus> {
    return view();
  }

  /** Fails the case. */
  expect(holds: boolean, words: string): void {
    if (!holds) throw new Error(words);
  }
}
