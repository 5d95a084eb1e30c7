/** Times in which something held, from single looks; and how densely was looked. Pure. */
import { z } from 'zod';

/** Time in which something was seen at both ends and at every look between. */
export const Reign = z.object({
  /** `writable`: the node took writes. `routed`: HAProxy's slot or an established session led to it. */
  kind: z.enum(['writable', 'routed']),
  node: z.string(),
  fromMs: z.number(),
  toMs: z.number(),
});
export type Reign = z.infer<typeof Reign>;

/** How densely one source was looked at. */
export const Density = z.object({ source: z.string(), looks: z.number(), medianMs: z.number(), p99Ms: z.number() });

/** Joins looks of the same kind into times. A time ends at the last look that saw it, so nothing is assumed. */
export class Reigns {
  private readonly ended: Reign[] = [];
  private readonly open = new Map<string, Reign>();

  constructor(private readonly kind: Reign['kind']) {}

  /** One look: it holds for the node, or it does not, or it could not be seen (null). */
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

/** Times between two looks at one source, while it could be looked at. */
export class Coverage {
  private readonly gaps: number[] = [];
  private lastMs: number | null = null;

  constructor(private readonly source: string) {}

  look(atMs: number): void {
    if (this.lastMs !== null) this.gaps.push(atMs - this.lastMs);
    this.lastMs = atMs;
  }

  /** The source is gone: the time until it is back counts as no gap. */
  interrupt(): void {
    this.lastMs = null;
  }

  summary(): z.infer<typeof Density> {
    const sorted = [...this.gaps].sort((a, b) => a - b);
    const at = (part: number) => Math.round(sorted[Math.floor((sorted.length - 1) * part)] ?? 0);
    return { source: this.source, looks: sorted.length, medianMs: at(0.5), p99Ms: at(0.99) };
  }
}

/** Moments at which two nodes were writable and reachable for writes at once: the sum is the time, ms. Must be empty. */
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

/** Times in which two nodes were out of recovery at once; an old leader that was woken is so until it is stopped. */
export function twoPrimaries(reigns: readonly Reign[]): Span[] {
  const writable = reigns.filter((r) => r.kind === 'writable');
  return crossed(writable, writable, (a, b) => a.node < b.node);
}

/** The sum of {@link twoPrimaries}, ms. */
export function twoPrimariesMs(reigns: readonly Reign[]): number {
  return Math.round(twoPrimaries(reigns).reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0));
}

interface Span {
  node: string;
  fromMs: number;
  toMs: number;
}

/** All overlaps of a time of the one list with one of the other. */
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
