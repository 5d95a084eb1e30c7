/** Watches all the time whether nodes are writable, from inside each of them, so that no cut of the network hides it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { linesOf } from './program';
import { epochMs } from './wait';

/** Between two looks at a node, seconds (for psql's `\watch`), and before a node that went away is asked again, ms. */
const EVERY_SECONDS = 0.02;
const AGAIN_MS = 200;
/** A node's own clock is believed within this; one that was moved is not. */
const CLOCK_TRUST_MS = 5_000;
const SQL = 'SELECT (extract(epoch from clock_timestamp()) * 1000)::numeric(20,1), not pg_is_in_recovery()';

/** Keeps a session inside each node that tells its state again and again; null: it could not be asked any more. */
export class WritableWatch {
  private readonly children = new Set<ChildProcess>();
  private stopped = false;

  constructor(
    nodes: Iterable<string>,
    private readonly onLook: (node: string, writable: boolean | null, atMs: number) => void,
  ) {
    for (const node of nodes) this.ask(node);
  }

  private ask(node: string): void {
    const args = ['exec', '-i', node, 'psql', '-U', 'postgres', '-AtqX', '-F', ' '];
    const child = spawn('docker', args, { stdio: ['pipe', 'pipe', 'ignore'] });
    this.children.add(child);
    child.stdin.on('error', () => undefined); // The node went away before it could be asked.
    child.stdin.write(`${SQL} \\watch ${EVERY_SECONDS}\n`);
    linesOf(child, (line) => {
      const [, toldMs, is] = /^([\d.]+) ([tf])$/.exec(line) ?? [];
      if (toldMs === undefined) return;
      const nowMs = epochMs();
      const atMs = Math.abs(nowMs - Number(toldMs)) < CLOCK_TRUST_MS ? Number(toldMs) : nowMs;
      this.onLook(node, is === 't', atMs);
    });
    child.on('close', () => {
      this.children.delete(child);
      this.onLook(node, null, epochMs());
      if (!this.stopped) setTimeout(() => this.stopped || this.ask(node), AGAIN_MS);
    });
  }

  stop(): void {
    this.stopped = true;
    for (const child of this.children) child.kill();
  }
}
