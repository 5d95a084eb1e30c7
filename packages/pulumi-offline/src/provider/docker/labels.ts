/** Labels: the program gives a list of pairs, the daemon a map. */
import { objects, type Props, type Value } from '../values';

export function labelMap(inputs: Props): Record<string, string> {
  return Object.fromEntries(objects(inputs, 'labels').map(({ label, value }) => [String(label), String(value)]));
}

export function labelList(map: Record<string, string> | null | undefined): Value[] {
  return Object.entries(map ?? {}).map(([label, value]) => ({ label, value }));
}

/**
 * Whether an object with a needed name was left by an interrupted run. This is so if the program gives labels and the
 * object has all of them. Labels of the kit's own would be lost, or look like a change, when the provider changes.
 */
export function isLeftover(wanted: Record<string, string>, found: Record<string, string> | null | undefined): boolean {
  const pairs = Object.entries(wanted);
  return pairs.length > 0 && pairs.every(([label, value]) => found?.[label] === value);
}
