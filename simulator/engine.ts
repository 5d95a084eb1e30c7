/**
 * Virtual time. Every event is a task in one queue, which is ordered by time. Between two tasks all promises settle.
 * Each task belongs to a process: a paused process keeps its tasks until it wakes, and a dead process loses them.
 * Shipped code runs unchanged: the process that it belongs to is passed on through its promises and callbacks
 * (AsyncLocalStorage).
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Random } from './random';

const realSetImmediate = globalThis.setImmediate;
/**
 * Runs all pending promise reactions at once. Node does not document this call. Node's own timers end with it, and it
 * is three times as fast as waiting for the next turn of the event loop after each task.
 */
const settle = (process as unknown as { _tickCallback: () => void })._tickCallback;
/** Tasks per turn of the event loop. The turns let the program handle signals. */
const TURN = 2_000;
/** More tasks than a run of a seed has. A run that reaches this number is in an endless loop. */
const TASKS_MAX = 3_000_000;

export interface Task {
  atMs: number;
  order: number;
  /**
   * The first values of `atMs` and `order`. A process that wakes from a pause runs its tasks in the order in which they
   * arrived.
   */
  readonly cameMs: number;
  readonly came: number;
  owner: Process | null;
  run: () => void;
  cancelled: boolean;
}

const context = new AsyncLocalStorage<Process>();
/** Runs code that belongs to no process. */
const ownerless = context.exit(() => AsyncLocalStorage.snapshot());

export class Process {
  state: 'running' | 'paused' | 'dead' = 'running';
  /** While the machine lacks CPU: time at which this process gets the CPU again. */
  busyUntilMs = 0;
  /** Time when the process last woke from a pause. */
  wokeMs = Number.NEGATIVE_INFINITY;
  readonly deferred: Task[] = [];
  /** Called by the simulated kernel when the process ends; this closes its sockets. */
  readonly onDeath = new Set<() => void>();
  /** Runs code as this process, now. */
  readonly enter: (run: () => void) => void;

  constructor(
    readonly engine: Engine,
    readonly name: string,
    readonly host: string,
  ) {
    this.enter = context.run(this, () => AsyncLocalStorage.snapshot());
  }

  get dead(): boolean {
    return this.state === 'dead';
  }

  /** SIGSTOP. Tasks that fall into the pause run when the process wakes. */
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
    const closes = [...this.onDeath];
    this.onDeath.clear();
    for (const close of closes) close();
  }
}

/** The process to which the running code belongs; undefined outside of a simulation. */
export function currentProcess(): Process | undefined {
  return context.getStore();
}

export class Engine {
  nowMs = 0;
  /** CPU time of each task while the machine lacks CPU, ms. A process runs its tasks one after the other (S28). */
  cpuMs = 0;
  /** The run breaks after this number of tasks. */
  tasksMax = TASKS_MAX;
  readonly random: Random;
  private readonly heap: Task[] = [];
  private count = 0;
  private done = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  /** Runs `run` after `delayMs` as the owner. */
  after(delayMs: number, owner: Process | null, run: () => void): Task {
    const atMs = this.nowMs + Math.max(0, delayMs);
    const order = ++this.count;
    const task: Task = { atMs, order, cameMs: atMs, came: order, owner, run, cancelled: false };
    this.push(task);
    return task;
  }

  /** Sleeps as the owner. A dead process never wakes, so code that waits for the sleep never continues. */
  sleep(ms: number, owner: Process | null): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, owner, resolve);
    });
  }

  requeue(task: Task): void {
    task.order = ++this.count;
    this.push(task);
  }

  /** Resolves when all promises have settled that need no further task. */
  settled(): Promise<void> {
    return new Promise((resolve) => realSetImmediate(resolve));
  }

  /** Runs until the time, or until `until` holds, which is checked after each task. Returns true when it held. */
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

  /** Runs up to {@link TURN} tasks. Null: there are more to run. */
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
      if (++this.done > this.tasksMax) throw new Error('an endless loop: too many tasks');
      if (task.owner === null) ownerless(task.run);
      else task.owner.enter(task.run);
      settle();
      if (this.cpuMs > 0 && task.owner !== null) task.owner.busyUntilMs = this.nowMs + this.random.delay(this.cpuMs);
      if (until()) return true;
    }
    return null;
  }

  /** Forgets the tasks that will never run: cancelled ones and those of dead processes. They would go with time. */
  sweep(): void {
    for (const task of this.heap.splice(0)) if (!task.cancelled && task.owner?.dead !== true) this.push(task);
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
