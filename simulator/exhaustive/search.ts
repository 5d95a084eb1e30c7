/** Breadth-first search through all states of the small world. */
import { Ids } from './ids';
import { Decider } from './monitor';
import { INTS, Packer } from './pack';
import { hash, Ints, Seen } from './seen';
import { type Bounds, Broken, firstOf, type State, Steps, violationsOf } from './steps';

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
  const ints = new Int32Array(INTS);
  const add = (state: State, parent: number, label: string): number | null => {
    packer.write(state, ints, 0);
    return seen.add(hash(ints), parent, label);
  };

  let transitions = 0;
  let depth = 0;
  // A layer has each state's integers, followed by the state's number.
  let [layer, next] = [new Ints(), new Ints()];
  const keep = (index: number) => {
    const at = next.reserve(INTS + 1);
    next.array.set(ints, at);
    next.array[at + INTS] = index;
  };
  const end = (complete: boolean, violation: Result['violation']): Result => ({
    states: seen.size,
    transitions,
    depth,
    complete,
    outside: steps.cut,
    decisions: decider.calls,
    violation,
  });
  add(firstOf(bounds), -1, 'the beginning');
  keep(0);
  while (next.size > 0) {
    [layer, next] = [next, layer];
    next.clear();
    for (let at = 0; at < layer.size; at += INTS + 1) {
      const index = layer.at(at + INTS);
      let following: ReturnType<Steps['from']>;
      try {
        following = steps.from(packer.read(layer.array, at));
      } catch (error) {
        if (!(error instanceof Broken)) throw error;
        return end(false, { words: error.message, path: seen.pathTo(index) });
      }
      for (const step of following) {
        transitions += 1;
        const found = add(step.next, index, step.label);
        if (found === null) continue;
        const [words] = violationsOf(step.next);
        if (words !== undefined) return end(false, { words, path: seen.pathTo(found) });
        keep(found);
        if (seen.size % PROGRESS_EVERY === 0) options.progress?.(seen.size, depth, next.size / (INTS + 1));
        if (seen.size >= (options.statesMax ?? Number.POSITIVE_INFINITY)) return end(false, null);
      }
    }
    depth += 1;
  }
  return end(true, null);
}
