/** Cuts between pairs of containers. */
import { addRules, removeRules } from '../../rig/packet-rules';
import { addressOf, STACK } from './stack';

export type Pair = readonly [string, string];

/** Drops everything between the pairs, both ways. Returns how to mend it; mending twice does no harm. */
export async function cut(pairs: readonly Pair[]): Promise<() => Promise<void>> {
  const ends = pairs.map(([a, b]) => [addressOf(a), addressOf(b)] as const);
  await addRules(STACK.name, ends, ['-j', 'DROP']);
  return mendAll;
}

/** Removes every cut, also of a run that was killed. */
export async function mendAll(): Promise<void> {
  await removeRules(STACK.name);
}
