/** Labels: the program writes a list of pairs, the daemon a map. */
import { objects, type Props, type Value } from '../values';

export function labelMap(inputs: Props): Record<string, string> {
  return Object.fromEntries(objects(inputs, 'labels').map(({ label, value }) => [String(label), String(value)]));
}

export function labelList(map: Record<string, string> | null | undefined): Value[] {
  return Object.entries(map ?? {}).map(([label, value]) => ({ label, value }));
}

/**
 * Whether an object that is in the way is what an interrupted run left: it carries all labels that the program gives, and
 * the program gives some. Labels of our own would be lost, or seen as a change, at a change of provider.
 */
export function isLeftover(wanted: Record<string, string>, found: Record<string, string> | null | undefined): boolean {
  const pairs = Object.entries(wanted);
  return pairs.length > 0 && pairs.every(([label, value]) => found?.[label] === value);
}
