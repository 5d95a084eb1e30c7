/** Watches whether nodes are writable. It asks inside each node's container, so that a cut network hides nothing. */
import { type ChildProcess, spawn } from 'node:child_process';
import { linesOf } from './program';
import { epochMs } from './wait';

/** Time between two looks at a node, seconds (for psql's `\watch`). */
const EVERY_SECONDS = 0.02;
/** Wait before a new session to a node whose session ended, ms. */
const AGAIN_MS = 200;
/** A node's clock that differs more than this was changed by a fault; then the time of arrival is used, ms. */
const CLOCK_TRUST_MS = 5_000;
const SQL = 'SELECT (extract(epoch from clock_timestamp()) * 1000)::numeric(20,1), not pg_is_in_recovery()';

/** Keeps a psql session in each node's container. `onLook` gets each look; null: the session has ended. */
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
    child.stdin.on('error', () => undefined); // The container stopped before psql read the statement.
    child.stdin.write(`${SQL} \\watch ${EVERY_SECONDS}\n`);
    linesOf(child, (line) => {
      const [, nodeMs, is] = /^([\d.]+) ([tf])$/.exec(line) ?? [];
      if (nodeMs === undefined) return;
      const nowMs = epochMs();
      const atMs = Math.abs(nowMs - Number(nodeMs)) < CLOCK_TRUST_MS ? Number(nodeMs) : nowMs;
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
