/** Starts the actors (test/chaos/actors) as processes, collects their events and writes these to files as evidence. */
import { createWriteStream, mkdirSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { Program, script } from '../../rig/program';
import { waitFor } from '../../rig/wait';
import { type ClientPlan, type WriteEvent, type WriterPlan, writerProgram, wroteSince } from '../../rig/writer';
import { ActorEvent, type RegisterEvent } from './events';
import { addressOf, STACK } from './stack';

const POLL_MS = 2;
const ERROR_PACE_MS = 20;

/**
 * The writing clients: one keeps its connection, one connects for each write, three connect again after some writes,
 * and one repeats each id until it is acknowledged. A repeated write is confirmed by a commit of its own, never by
 * finding the row (S7).
 */
function writers(run: string): WriterPlan {
  const repeats = `INSERT INTO chaos_retried (run, id) VALUES ('${run}', $1)
    ON CONFLICT (run, id) DO UPDATE SET tries = chaos_retried.tries + 1`;
  const clients: ClientPlan[] = [
    { name: 'held', paceMs: 5 },
    { name: 'fresh', paceMs: 30, perConnection: 1 },
    ...[0, 1, 2].map((i) => ({ name: `pool${i}`, paceMs: 25, perConnection: 10 })),
    { name: 'retry', paceMs: 30, repeats },
  ];
  return {
    ...{ target: STACK, prefix: '', insert: `INSERT INTO chaos_writes (run, id) VALUES ('${run}', $1)` },
    clients: clients.map((client) => ({ ...client, errorPaceMs: ERROR_PACE_MS })),
  };
}

/** Names of the writing clients. */
export const WRITERS = writers('').clients.map(({ name }) => name);

/** All actors of one run. */
export class Actors {
  readonly events: ActorEvent[] = [];
  private readonly programs: Program[];
  private readonly broken: string[] = [];

  /** @param socket HAProxy's admin socket on this machine */
  constructor(run: string, nodes: readonly string[], socket: string, folder: string) {
    mkdirSync(folder, { recursive: true });
    const pairs = nodes.map((node) => `${node}=${addressOf(node)}`);
    const own = (name: string, ...args: string[]) => {
      return this.launch(name, script(`test/chaos/actors/${name}.ts`, args), folder);
    };
    this.programs = [
      this.launch('writers', writerProgram(writers(run)), folder),
      ...[own('readers', run), own('registers', run), own('poller', socket, ...pairs)],
    ];
    first(this.programs.at(-1)?.child.pid);
  }

  private launch(actor: string, command: ReturnType<typeof script>, folder: string): Program {
    const file = createWriteStream(join(folder, `${actor}.jsonl`));
    const program = new Program(...command, (line) => {
      file.write(`${line}\n`);
      const event = ActorEvent.safeParse(JSON.parse(line));
      if (event.success) this.events.push(event.data);
      else this.broken.push(`${actor}: ${line}`);
    });
    const ended = (how: unknown) => {
      file.end();
      if (how !== 0) this.broken.push(`${actor} ended with ${how}`);
    };
    program.ended.then(ended, ended);
    return program;
  }

  writes(): WriteEvent[] {
    return this.events.filter((e) => e.what === 'write');
  }

  registers(): RegisterEvent[] {
    return this.events.filter((e) => e.what === 'register');
  }

  /** Waits for an event that comes after this call. @throws Error at the limit; it names `what`. */
  async next(what: string, limitMs: number, fits: (event: ActorEvent) => boolean): Promise<ActorEvent> {
    let from = this.events.length;
    const look = () => {
      const found = this.events.slice(from).find(fits);
      from = this.events.length;
      return found;
    };
    return waitFor(what, limitMs, look, POLL_MS);
  }

  /** Waits until each of these clients has an acknowledged write that began after `sinceMs`. */
  async acknowledged(sinceMs: number, limitMs: number, clients: readonly string[] = ['held', 'fresh']): Promise<void> {
    const wrote = () => wroteSince(this.writes(), sinceMs, clients);
    await waitFor(`a write of each of ${clients.join(', ')}`, limitMs, wrote, 10 * POLL_MS);
  }

  /** Waits until the poller has looked at every node and at HAProxy; only from then on it can report a double route. */
  async watching(nodes: readonly string[], limitMs: number): Promise<void> {
    const seen = (node: string) =>
      this.events.some((e) => e.what === 'writable' && e.node === node && e.writable !== null);
    const all = () => nodes.every(seen) && this.events.some((e) => e.what === 'slot' && e.address !== '?');
    await waitFor('the poller to see everything', limitMs, all, 10 * POLL_MS);
  }

  /** Ends all actors and waits until all their events are here. @throws Error when one of them failed. */
  async stop(): Promise<void> {
    await Promise.all(this.programs.map((program) => program.stop()));
    if (this.broken.length > 0) throw new Error(`an actor broke: ${this.broken.slice(0, 3).join('; ')}`);
  }
}

/** Gives the poller a higher priority than the other programs: on a busy machine it would miss something. */
function first(pid: number | undefined): void {
  try {
    if (pid !== undefined) setPriority(pid, constants.priority.PRIORITY_HIGH);
  } catch {
    // Only root may raise a priority. The trial checks in any case how often the poller looked.
  }
}
