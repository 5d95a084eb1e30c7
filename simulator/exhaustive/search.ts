/** Breadth-first search through all states of the small world. */
import { Ids } from './ids';
import { Decider } from './monitor';
import { Packer } from './pack';
import { Seen } from './seen';
import { type Bounds, Broken, firstOf, Steps, violationsOf } from './steps';

export interface Result {
  states: number;
  transitions: number;
  depth: number;
  /** False: the search reached the limit of states before the end. */
  complete: boolean;
  /** Number of steps that lead out of the bounds and were not followed. */
  outside: number;
  decisions: number;
  violation: { words: string; path: string[] } | null;
}

interface Options {
  statesMax?: number;
  /** Called now and then with the progress. */
  progress?: (states: number, depth: number, waiting: number) => void;
}

const PROGRESS_EVERY = 50_000;

export function search(bounds: Bounds, options: Options = {}): Result {
  const ids = new Ids();
  const decider = new Decider(bounds.k, bounds.early === true, ids);
  const steps = new Steps(bounds, decider);
  const packer = new Packer(ids);
  const seen = new Seen();
  const first = packer.pack(firstOf(bounds));
  /** The states whose next steps were not made yet: as text, with their numbers. */
  let layer: { text: string; index: number }[] = [{ text: first, index: 0 }];
  let transitions = 0;
  let depth = 0;
  const end = (complete: boolean, violation: Result['violation']): Result => ({
    states: seen.size,
    transitions,
    depth,
    complete,
    outside: steps.cut,
    decisions: decider.calls,
    violation,
  });
  seen.add(first, -1, 'the beginning');
  while (layer.length > 0) {
    const next: typeof layer = [];
    for (const { text, index } of layer) {
      let following: ReturnType<Steps['from']>;
      try {
        following = steps.from(packer.unpack(text));
      } catch (error) {
        if (!(error instanceof Broken)) throw error;
        return end(false, { words: error.message, path: seen.pathTo(index) });
      }
      for (const step of following) {
        transitions += 1;
        const packed = packer.pack(step.next);
        const found = seen.add(packed, index, step.label);
        if (found === null) continue;
        const [words] = violationsOf(step.next);
        if (words !== undefined) return end(false, { words, path: seen.pathTo(found) });
        next.push({ text: packed, index: found });
        if (seen.size % PROGRESS_EVERY === 0) options.progress?.(seen.size, depth, next.length);
        if (seen.size >= (options.statesMax ?? Number.POSITIVE_INFINITY)) return end(false, null);
      }
    }
    layer = next;
    depth += 1;
  }
  return end(true, null);
}
