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
  readonly everyMs: number | null;
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

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

function patchTimers(): void {
  const g = globalThis as unknown as Record<string, (...args: never[]) => unknown>;
  const real = { ...g, setTimeout: g.setTimeout, setInterval: g.setInterval, clearTimeout: g.clearTimeout };
  const make =
    (name: 'setTimeout' | 'setInterval') =>
    (run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) => {
      const process = currentProcess();
      if (process === undefined) {
        return (real[name] as (...a: unknown[]) => unknown)(run, ms, ...args);
      }
      return new Timer(process, () => run(...args), Math.max(1, ms), name === 'setInterval');
    };
  const clear = (timer: unknown) => {
    if (timer instanceof Timer) timer.clear();
    else (real.clearTimeout as (t: unknown) => void)(timer);
  };
  const originalTimeout = globalThis.setTimeout;
  const patched = make('setTimeout');
  // `util.promisify(setTimeout)` and similar functions need properties of the original.
  Object.defineProperties(patched, Object.getOwnPropertyDescriptors(originalTimeout));
  Object.assign(globalThis, {
    setTimeout: patched,
    setInterval: make('setInterval'),
    clearTimeout: clear,
    clearInterval: clear,
  });
  const realDelay = timers.setTimeout;
  Object.assign(timers, {
    setTimeout: (ms?: number, value?: unknown, options?: { signal?: AbortSignal }) => {
      const process = currentProcess();
      if (process === undefined) return realDelay(ms, value, options);
      return simDelay(process, ms ?? 1, value, options?.signal);
    },
  });
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
  const realConnect = net.connect as unknown as (...args: unknown[]) => unknown;
  const realCreate = net.createServer as unknown as (...args: unknown[]) => unknown;
  Object.assign(net, {
    connect: (...args: unknown[]) => {
      const process = currentProcess();
      if (process === undefined) return realConnect(...args);
      const [target] = args;
      const network = networkOf(process);
      return typeof target === 'string'
        ? network.connectUnix(process, target)
        : network.connect(process, target as { host: string; port: number });
    },
    createServer: (...args: unknown[]) => {
      const process = currentProcess();
      if (process === undefined) return realCreate(...args);
      const handler = args.find((a) => typeof a === 'function') as SimServer['handler'];
      return new SimServer(networkOf(process), process, handler);
    },
  });
  // Only the simulator creates clients while it runs, because tests of other files run in processes of their own.
  Object.assign(pg, { Client: SimPgClient });
}

function patchRandom(): void {
  const realBytes = crypto.randomBytes as unknown as (...args: unknown[]) => unknown;
  Object.assign(crypto, {
    randomBytes: (...args: unknown[]) => {
      const process = currentProcess();
      if (process === undefined) return realBytes(...args);
      return Buffer.from(process.engine.random.hex(Number(args[0])), 'hex');
    },
  });
  const realUuid = globalThis.crypto.randomUUID.bind(globalThis.crypto);
  Object.defineProperty(globalThis.crypto, 'randomUUID', {
    configurable: true,
    value: () => {
      const process = currentProcess();
      return process === undefined ? realUuid() : `dir-${process.engine.random.hex(4)}`;
    },
  });
}
