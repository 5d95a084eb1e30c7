/**
 * Replaces parts of Node's own modules by the simulated world: timers, TCP and Unix sockets, random bytes and
 * PostgreSQL's client. Code that runs for a simulated process gets the simulated parts. All other code, such as the
 * test runner, gets the real ones.
 */
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import timers from 'node:timers/promises';
import pg from 'pg';
import { currentProcess, type Process, type Task } from './engine';
import { networkOf, SimServer } from './network';
import { SimPgClient } from './pg-client';

let installed = false;

/** Idempotent. */
export function installBuiltins(): void {
  if (installed) return;
  installed = true;
  patchTimers();
  patchNetwork();
  patchRandom();
  syncBuiltinESMExports();
}

/** Timers fire a little late, like real ones. */
function lateness(process: Process): number {
  return process.engine.random.between(0, 1.2);
}

class Timer {
  readonly ref = (): this => this;
  readonly unref = (): this => this;
  private readonly everyMs: number | null;
  private task: Task;
  private readonly begin: () => Task;

  constructor(
    readonly process: Process,
    run: () => void,
    ms: number,
    repeat: boolean,
  ) {
    this.everyMs = repeat ? ms : null;
    const fire = () => {
      if (this.everyMs !== null) this.task = this.begin();
      run();
    };
    this.begin = () => process.engine.after(ms + lateness(process), process, fire);
    this.task = this.begin();
  }

  /** Begins anew, as Node's own timers do. */
  refresh(): this {
    this.task.cancelled = true;
    this.task = this.begin();
    return this;
  }

  clear(): void {
    this.task.cancelled = true;
  }
}

/** Replaces a function. Code that runs for no simulated process still gets the real one. */
function patch(owner: object, name: string, simulated: (process: Process, ...args: never[]) => unknown): void {
  const functions = owner as Record<string, (...args: never[]) => unknown>;
  const real = functions[name];
  if (real === undefined) throw new Error(`there is no ${name} to be replaced`);
  const value = (...args: never[]) => {
    const process = currentProcess();
    return process === undefined ? real.apply(owner, args) : simulated(process, ...args);
  };
  // `util.promisify(setTimeout)` and similar functions need properties of the original.
  const properties = Object.getOwnPropertyDescriptors(real);
  Object.defineProperty(owner, name, {
    configurable: true,
    writable: true,
    value: Object.defineProperties(value, properties),
  });
}

function patchTimers(): void {
  const timer =
    (repeats: boolean) =>
    (process: Process, run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]): Timer =>
      new Timer(process, () => run(...args), Math.max(1, ms), repeats);
  patch(globalThis, 'setTimeout', timer(false));
  patch(globalThis, 'setInterval', timer(true));
  patch(timers, 'setTimeout', (process, ms?: number, value?: unknown, options?: { signal?: AbortSignal }) =>
    simDelay(process, ms ?? 1, value, options?.signal),
  );
  const { clearTimeout: real } = globalThis;
  const clear = (timer: unknown) => {
    if (timer instanceof Timer) timer.clear();
    else real(timer as NodeJS.Timeout);
  };
  Object.assign(globalThis, { clearTimeout: clear, clearInterval: clear });
}

function simDelay(process: Process, ms: number, value: unknown, signal: AbortSignal | undefined): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      timer.clear();
      reject(new Error('aborted'));
    };
    const timer = new Timer(
      process,
      () => {
        signal?.removeEventListener('abort', abort);
        resolve(value);
      },
      ms,
      false,
    );
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}

function patchNetwork(): void {
  patch(net, 'connect', (process, target: string | { host: string; port: number }) => {
    const network = networkOf(process);
    return typeof target === 'string' ? network.connectUnix(process, target) : network.connect(process, target);
  });
  patch(net, 'createServer', (process, ...args: unknown[]) => {
    const handler = args.find((a) => typeof a === 'function') as SimServer['handler'];
    return new SimServer(networkOf(process), process, handler);
  });
  // Only the simulator creates clients while it runs, because tests of other files run in processes of their own.
  Object.assign(pg, { Client: SimPgClient });
}

function patchRandom(): void {
  patch(crypto, 'randomBytes', ({ engine }, count: number) => Buffer.from(engine.random.hex(count), 'hex'));
  patch(globalThis.crypto, 'randomUUID', ({ engine }) => `dir-${engine.random.hex(4)}`);
}
