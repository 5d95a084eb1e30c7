/** Makes spans of time from single looks at nodes and HAProxy, and measures how often these were looked at. Pure. */
import { z } from 'zod';

/** A span of time at whose ends, and at every look between, a node was seen to be writable or routed to. */
export const Reign = z.object({
  /** `writable`: the node took writes. `routed`: HAProxy's open slot or an established session led to the node. */
  kind: z.enum(['writable', 'routed']),
  node: z.string(),
  fromMs: z.number(),
  toMs: z.number(),
});
export type Reign = z.infer<typeof Reign>;

/** How often one source was looked at: number of looks, and the time between two looks, ms. */
export const Density = z.object({ source: z.string(), looks: z.number(), medianMs: z.number(), p99Ms: z.number() });

/** Joins looks of one kind into spans. A span ends at the last look that saw it, not between two looks. */
export class Reigns {
  private readonly ended: Reign[] = [];
  private readonly open = new Map<string, Reign>();

  constructor(private readonly kind: Reign['kind']) {}

  /** One look. `holds` is null when the node could not be looked at. */
  look(node: string, holds: boolean | null, atMs: number): void {
    const reign = this.open.get(node) ?? { kind: this.kind, node, fromMs: atMs, toMs: atMs };
    if (holds === true) {
      reign.toMs = atMs;
      this.open.set(node, reign);
    } else if (this.open.delete(node)) this.ended.push(reign);
  }

  all(): Reign[] {
    return [...this.ended, ...this.open.values()];
  }
}

/** Collects the times between two looks at one source. */
export class Coverage {
  private readonly gaps: number[] = [];
  private lastMs: number | null = null;

  constructor(private readonly source: string) {}

  look(atMs: number): void {
    if (this.lastMs !== null) this.gaps.push(atMs - this.lastMs);
    this.lastMs = atMs;
  }

  /** Call this when the source cannot be looked at: the time until the next look is not counted. */
  interrupt(): void {
    this.lastMs = null;
  }

  summary(): z.infer<typeof Density> {
    const sorted = [...this.gaps].sort((a, b) => a - b);
    const at = (part: number) => Math.round(sorted[Math.floor((sorted.length - 1) * part)] ?? 0);
    return { source: this.source, looks: sorted.length, medianMs: at(0.5), p99Ms: at(0.99) };
  }
}

/** Spans in which two nodes were writable and HAProxy led writes to both. There must be none. */
export function doubleRoutes(reigns: readonly Reign[]): { nodes: [string, string]; fromMs: number; toMs: number }[] {
  const routes = crossed(
    reigns.filter((r) => r.kind === 'writable'),
    reigns.filter((r) => r.kind === 'routed'),
    (a, b) => a.node === b.node,
  );
  return crossed(routes, routes, (a, b) => a.node < b.node).map(({ fromMs, toMs, of }) => ({
    nodes: [of[0].node, of[1].node],
    fromMs,
    toMs,
  }));
}

/** Spans in which two nodes were out of recovery. A former leader that wakes up is, until its keeper stops it. */
export function twoPrimaries(reigns: readonly Reign[]): Span[] {
  const writable = reigns.filter((r) => r.kind === 'writable');
  return crossed(writable, writable, (a, b) => a.node < b.node);
}

/** Total length of {@link twoPrimaries}, ms. */
export function twoPrimariesMs(reigns: readonly Reign[]): number {
  return Math.round(twoPrimaries(reigns).reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0));
}

interface Span {
  node: string;
  fromMs: number;
  toMs: number;
}

/** All overlaps of a span of one list with a span of the other list, for pairs that fit. */
function crossed<T extends Span>(
  some: readonly T[],
  others: readonly T[],
  fits: (a: T, b: T) => boolean,
): (Span & { of: [T, T] })[] {
  return some.flatMap((a) =>
    others
      .filter((b) => fits(a, b) && a.fromMs <= b.toMs && b.fromMs <= a.toMs)
      .map((b): Span & { of: [T, T] } => ({
        node: a.node,
        fromMs: Math.max(a.fromMs, b.fromMs),
        toMs: Math.min(a.toMs, b.toMs),
        of: [a, b],
      })),
  );
}
