/** Breadth first through all states of the small world. */
import { Ids } from './ids';
import { Decider, monitorKey, routeKey } from './monitor';
import { type Bounds, Broken, firstOf, type State, Steps, violationsOf } from './steps';

export interface Result {
  states: number;
  transitions: number;
  depth: number;
  /** False: the limit of states was reached first. */
  complete: boolean;
  /** Steps that lead out of the bounds and were not followed. */
  outside: number;
  decisions: number;
  violation: { words: string; path: string[] } | null;
}

interface Options {
  statesMax?: number;
  /** Called now and then. */
  progress?: (states: number, depth: number, waiting: number) => void;
}

const PROGRESS_EVERY = 50_000;

/** 53 bits of a text: among ten million states the odds that two share one are 1 in 180. */
function hash(text: string): number {
  let [a, b] = [0x811c9dc5, 0x9e3779b9];
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    a = Math.imul(a ^ c, 0x01000193);
    b = Math.imul(b ^ c, 0x85ebca6b) ^ (b >>> 13);
  }
  return (a >>> 0) * 0x200000 + ((b ^ (b >>> 16)) & 0x1fffff);
}

function keyOf(ids: Ids, { world, monitor }: State): string {
  const { nodes, sent, acknowledged, writes, crashes, cuts, starts } = world;
  const of = [nodes.p, nodes.a, nodes.b].map((n) => ids.ofNode(n)).join(' ');
  const orders = [sent.p, sent.a, sent.b].map((o) => ids.ofOrders(o)).join(' ');
  return `${of} ${orders} ${ids.of(monitor.check)} ${acknowledged} ${writes}.${crashes}.${cuts}.${starts}.${monitor.changes} ${routeKey(world)} ${monitorKey(ids, monitor)}`;
}

export function search(bounds: Bounds, options: Options = {}): Result {
  const ids = new Ids();
  const decider = new Decider(bounds.k, bounds.early === true, ids);
  const steps = new Steps(bounds, decider);
  const seen = new Set<number>();
  // How each state was reached first, for the story of a violation.
  const parents: number[] = [];
  const labels: string[] = [];
  const known = new Map<string, string>();
  const shared = (label: string) => {
    const there = known.get(label);
    if (there === undefined) known.set(label, label);
    return there ?? label;
  };
  const add = (state: State, parent: number, label: string): number | null => {
    const key = hash(keyOf(ids, state));
    if (seen.has(key)) return null;
    seen.add(key);
    parents.push(parent);
    labels.push(shared(label));
    return labels.length - 1;
  };
  const pathTo = (index: number): string[] => {
    const path: string[] = [];
    for (let i = index; i > 0; i = parents[i] ?? 0) path.unshift(labels[i] ?? '');
    return path;
  };

  let transitions = 0;
  let depth = 0;
  let layer: { state: State; index: number }[] = [];
  const end = (complete: boolean, violation: Result['violation']): Result => ({
    states: seen.size,
    transitions,
    depth,
    complete,
    outside: steps.cut,
    decisions: decider.calls,
    violation,
  });
  const first = firstOf(bounds);
  add(first, -1, 'the beginning');
  layer.push({ state: first, index: 0 });
  while (layer.length > 0) {
    const next: typeof layer = [];
    for (const { state, index } of layer) {
      let following: ReturnType<Steps['from']>;
      try {
        following = steps.from(state);
      } catch (error) {
        if (!(error instanceof Broken)) throw error;
        return end(false, { words: error.message, path: pathTo(index) });
      }
      for (const step of following) {
        transitions += 1;
        const at = add(step.next, index, step.label);
        if (at === null) continue;
        const [words] = violationsOf(step.next);
        if (words !== undefined) return end(false, { words, path: pathTo(at) });
        next.push({ state: step.next, index: at });
        if (seen.size % PROGRESS_EVERY === 0) options.progress?.(seen.size, depth, next.length);
        if (seen.size >= (options.statesMax ?? Number.POSITIVE_INFINITY)) return end(false, null);
      }
    }
    layer = next;
    depth += 1;
  }
  return end(true, null);
}
