/** Watches all the time which nodes are writable, from inside each node, so that two at once cannot hide. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { container } from './stack';

/** Between two looks of one node, seconds (for psql's `\watch`). */
const EVERY_SECONDS = 0.1;
const RESTART_MS = 300;

/** A time in which a node was seen writable at both ends and at every look between, ms on this machine's clock. */
export interface Reign {
  node: string;
  fromMs: number;
  toMs: number;
}

/** Asks each node ten times a second whether it is writable, and asks again when the node went away. */
export class WritableWatch {
  readonly reigns: Reign[] = [];
  private readonly children = new Set<ChildProcess>();
  private stopped = false;

  constructor(nodes: readonly string[]) {
    for (const node of nodes) this.ask(node);
  }

  private ask(node: string): void {
    const sql = 'select (extract(epoch from clock_timestamp()) * 1000)::bigint, not pg_is_in_recovery()';
    const args = ['exec', '-i', container(node), 'psql', '-U', 'postgres', '-AtqX', '-F', ' '];
    const child = spawn('docker', args, { stdio: ['pipe', 'pipe', 'ignore'] });
    this.children.add(child);
    child.stdin.on('error', () => {}); // The node went away before it could be asked.
    child.stdin.write(`${sql} \\watch ${EVERY_SECONDS}\n`);
    let reign: Reign | null = null;
    createInterface({ input: child.stdout }).on('line', (line) => {
      const match = /^(\d+) ([tf])$/.exec(line);
      if (!match) return;
      const atMs = Number(match[1]);
      if (match[2] === 'f') reign = null;
      else if (reign) reign.toMs = atMs;
      else {
        reign = { node, fromMs: atMs, toMs: atMs };
        this.reigns.push(reign);
      }
    });
    child.on('close', () => {
      this.children.delete(child);
      if (!this.stopped) setTimeout(() => this.stopped || this.ask(node), RESTART_MS);
    });
  }

  stop(): void {
    this.stopped = true;
    for (const child of this.children) child.kill();
  }

  /** Pairs of nodes that were writable at the same moment. Must be empty. */
  overlaps(): [Reign, Reign][] {
    return this.reigns.flatMap((a, index) =>
      this.reigns
        .slice(index + 1)
        .filter((b) => a.node !== b.node && a.fromMs <= b.toMs && b.fromMs <= a.toMs)
        .map((b): [Reign, Reign] => [a, b]),
    );
  }
}
