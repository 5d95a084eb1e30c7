/** Starts the actors as processes, keeps what they tell and writes it down as evidence. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { ended } from '../../../scripts/lib/exec';
import { PATHS } from '../../../scripts/lib/paths';
import { ActorEvent, type RegisterEvent, type WriteEvent } from './events';
import { addressOf } from './stack';

const ACTORS = ['writers', 'readers', 'registers', 'poller'] as const;
const END_LIMIT_MS = 20_000;
const POLL_MS = 2;

/** Every actor of one run. */
export class Actors {
  readonly events: ActorEvent[] = [];
  private readonly children: ChildProcess[];
  private readonly broken: string[] = [];

  /** @param socket HAProxy's admin socket on this machine */
  constructor(run: string, nodes: readonly string[], socket: string, folder: string) {
    mkdirSync(folder, { recursive: true });
    const pairs = nodes.map((node) => `${node}=${addressOf(node)}`);
    this.children = ACTORS.map((actor) => this.launch(actor, actor === 'poller' ? [socket, ...pairs] : [run], folder));
  }

  private launch(actor: string, args: readonly string[], folder: string): ChildProcess {
    const script = join(__dirname, '..', 'actors', `${actor}.ts`);
    const child = spawn(process.execPath, ['--import', 'tsx', script, ...args], {
      cwd: PATHS.root,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (actor === 'poller' && child.pid !== undefined) first(child.pid);
    const file = createWriteStream(join(folder, `${actor}.jsonl`));
    createInterface({ input: child.stdout }).on('line', (line) => {
      file.write(`${line}\n`);
      const event = ActorEvent.safeParse(JSON.parse(line));
      if (event.success) this.events.push(event.data);
      else this.broken.push(`${actor}: ${line}`);
    });
    child.on('close', (code) => {
      file.end();
      if (code !== 0) this.broken.push(`${actor} ended with exit code ${code}`);
    });
    return child;
  }

  writes(): WriteEvent[] {
    return this.events.filter((e) => e.what === 'write');
  }

  registers(): RegisterEvent[] {
    return this.events.filter((e) => e.what === 'register');
  }

  /** Waits for an event that comes after this call. @throws Error naming `what` at the limit. */
  async next(what: string, limitMs: number, fits: (event: ActorEvent) => boolean): Promise<ActorEvent> {
    let from = this.events.length;
    const endMs = performance.now() + limitMs;
    while (performance.now() < endMs) {
      for (; from < this.events.length; from++) {
        const event = this.events[from];
        if (event !== undefined && fits(event)) return event;
      }
      await sleep(POLL_MS);
    }
    throw new Error(`waited ${limitMs / 1000} s in vain for ${what}`);
  }

  /** Waits until each of these writers was acknowledged a write that it began after `sinceMs`. */
  async acknowledged(sinceMs: number, limitMs: number, clients: readonly string[] = ['held', 'fresh']): Promise<void> {
    const endMs = performance.now() + limitMs;
    const wrote = (client: string) =>
      this.events.some(
        (e) => e.what === 'write' && e.client === client && e.outcome === 'acknowledged' && e.startMs > sinceMs,
      );
    while (!clients.every(wrote)) {
      if (performance.now() > endMs)
        throw new Error(`no write of ${clients.filter((c) => !wrote(c)).join(', ')} within ${limitMs / 1000} s`);
      await sleep(10 * POLL_MS);
    }
  }

  /** Waits until the poller has seen every node and HAProxy: what it does not see it cannot tell. */
  async watching(nodes: readonly string[], limitMs: number): Promise<void> {
    const endMs = performance.now() + limitMs;
    const seen = (node: string) =>
      this.events.some((e) => e.what === 'writable' && e.node === node && e.writable !== null);
    while (!(nodes.every(seen) && this.events.some((e) => e.what === 'slot' && e.address !== '?'))) {
      if (performance.now() > endMs) throw new Error(`the poller does not see everything within ${limitMs / 1000} s`);
      await sleep(10 * POLL_MS);
    }
  }

  /** Ends all and waits until all that they had to say is here. @throws Error when one of them broke. */
  async stop(): Promise<void> {
    const all = this.children.map(ended);
    for (const child of this.children) child.kill('SIGTERM');
    const hard = setTimeout(() => {
      for (const child of this.children) child.kill('SIGKILL');
    }, END_LIMIT_MS);
    await Promise.all(all);
    clearTimeout(hard);
    if (this.broken.length > 0) throw new Error(`an actor broke: ${this.broken.slice(0, 3).join('; ')}`);
  }
}

/** On a busy machine the one that watches comes before those that work: what it misses is missed for good. */
function first(pid: number): void {
  try {
    setPriority(pid, constants.priority.PRIORITY_HIGH);
  } catch {
    // Only root may. How densely was looked is checked in any case.
  }
}
