/**
 * Virtual time. Everything that happens is a task in one queue, ordered by time; between two tasks all promises settle.
 * Each task belongs to a process: a paused one keeps its tasks until it wakes, a dead one loses them. Shipped code runs
 * unchanged: which process it belongs to follows its promises and callbacks (AsyncLocalStorage).
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Random } from './random';

const realSetImmediate = globalThis.setImmediate;
/**
 * Runs every promise reaction that is due, at once. Node documents no such call; this one is what its own timers end
 * with, and three times as fast as to wait for the event loop's next turn after each task.
 */
const settle = (process as unknown as { _tickCallback: () => void })._tickCallback;
/** Tasks in one turn of the event loop: the program stays open to signals. */
const TURN = 2_000;
/** More tasks than any sane run has: something spins. */
const TASKS_MAX = 3_000_000;

export interface Task {
  atMs: number;
  order: number;
  /** What `atMs` and `order` were at first: who is paused and wakes does things in the order in which they came. */
  readonly cameMs: number;
  readonly came: number;
  owner: Process | null;
  run: () => void;
  cancelled: boolean;
}

const context = new AsyncLocalStorage<Process>();
/** Runs something in no process's name. */
const nobody = context.exit(() => AsyncLocalStorage.snapshot());

export class Process {
  readonly name: string;
  readonly host: string;
  readonly engine: Engine;
  state: 'running' | 'paused' | 'dead' = 'running';
  /** While the machine is starved: the CPU is its own again only then. */
  busyUntilMs = 0;
  /** When it woke last from a pause. */
  wokeMs = Number.NEGATIVE_INFINITY;
  readonly deferred: Task[] = [];
  /** Called by the kernel when the process ends: its sockets are closed. */
  readonly onDeath: (() => void)[] = [];
  /** Runs something in this process's name, now. */
  readonly enter: (run: () => void) => void;

  constructor(engine: Engine, name: string, host: string) {
    this.engine = engine;
    this.name = name;
    this.host = host;
    this.enter = context.run(this, () => AsyncLocalStorage.snapshot());
  }

  get dead(): boolean {
    return this.state === 'dead';
  }

  /** SIGSTOP. What would have happened meanwhile happens at the wake. */
  pause(): void {
    if (this.state === 'running') this.state = 'paused';
  }

  resume(): void {
    if (this.state !== 'paused') return;
    this.state = 'running';
    this.wokeMs = this.engine.nowMs;
    for (const task of this.deferred.splice(0).sort((a, b) => a.cameMs - b.cameMs || a.came - b.came)) {
      task.atMs = this.engine.nowMs;
      this.engine.requeue(task);
    }
  }

  kill(): void {
    if (this.state === 'dead') return;
    this.state = 'dead';
    this.deferred.length = 0;
    for (const close of this.onDeath.splice(0)) close();
  }
}

/** The process that the running code belongs to; undefined outside of a simulation. */
export function currentProcess(): Process | undefined {
  return context.getStore();
}

export class Engine {
  nowMs = 0;
  /** The machine is starved of CPU: what each task takes, ms; a process does one after the other (S28). */
  cpuMs = 0;
  readonly random: Random;
  private readonly heap: Task[] = [];
  private count = 0;
  private done = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  /** Does `run` after `delayMs` in the owner's name. */
  after(delayMs: number, owner: Process | null, run: () => void): Task {
    const atMs = this.nowMs + Math.max(0, delayMs);
    const order = ++this.count;
    const task: Task = { atMs, order, cameMs: atMs, came: order, owner, run, cancelled: false };
    this.push(task);
    return task;
  }

  /** The owner sleeps. A dead process never wakes: what waited for it is simply gone. */
  sleep(ms: number, owner: Process | null): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, owner, resolve);
    });
  }

  requeue(task: Task): void {
    task.order = ++this.count;
    this.push(task);
  }

  /** Runs until the time or until `until` holds (looked at after each task); true when it held. */
  run(untilMs: number, until: () => boolean = () => false): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const turn = () => {
        try {
          const result = this.turn(untilMs, until);
          if (result === null) realSetImmediate(turn);
          else resolve(result);
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      realSetImmediate(turn);
    });
  }

  /** Null: there is more to do. */
  private turn(untilMs: number, until: () => boolean): boolean | null {
    for (let i = 0; i < TURN; i++) {
      const task = this.heap[0];
      if (task === undefined || task.atMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs);
        return until();
      }
      this.pop();
      if (task.cancelled || task.owner?.dead) continue;
      if (task.owner?.state === 'paused') {
        task.owner.deferred.push(task);
        continue;
      }
      if (task.owner !== null && task.owner.busyUntilMs > task.atMs) {
        task.atMs = task.owner.busyUntilMs;
        this.requeue(task);
        continue;
      }
      this.nowMs = Math.max(this.nowMs, task.atMs);
      if (++this.done > TASKS_MAX) throw new Error('something spins: too many tasks');
      if (task.owner === null) nobody(task.run);
      else task.owner.enter(task.run);
      settle();
      if (this.cpuMs > 0 && task.owner !== null) task.owner.busyUntilMs = this.nowMs + this.random.delay(this.cpuMs);
      if (until()) return true;
    }
    return null;
  }

  get tasks(): number {
    return this.done;
  }

  private push(task: Task): void {
    const { heap } = this;
    let i = heap.push(task) - 1;
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || !before(task, parent)) break;
      heap[i] = parent;
      i = up;
    }
    heap[i] = task;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      const [left, right] = [heap[child], heap[child + 1]];
      if (left === undefined) break;
      if (right !== undefined && before(right, left)) child += 1;
      const least = heap[child];
      if (least === undefined || !before(least, last)) break;
      heap[i] = least;
      i = child;
    }
    heap[i] = last;
  }
}

function before(a: Task, b: Task): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
