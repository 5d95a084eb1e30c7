/** The effect of a change of an input, and the comparison of two of its values. */
import { equal, hasUnknown, isProps, type Props, stable, type Value } from './values';

export interface Rule {
  /** A change replaces the resource. */
  replace?: boolean;
  /** The order of its elements does not matter. */
  set?: boolean;
  /** A change of the number of elements replaces the resource, while a change within an element does not. */
  replaceOnCount?: boolean;
  /**
   * A map in which an entry counts even if it is empty, false or zero. In other objects such a field counts as absent.
   */
  exact?: boolean;
  /** If the program gives no value, the daemon's value is kept. So its removal is not a change. */
  computed?: boolean;
  /** The value that applies when none is given. */
  default?: Value;
  /** Defaults for the fields of the object, or of the objects in the list. */
  fieldDefaults?: Props;
  /** Names of fields, at any depth, whose lists are sets. */
  setFields?: string[];
}

export type Rules = Record<string, Rule>;

export interface Change {
  /** Property path in the engine's format: `envs[0]`, `build.args.VERSION`. */
  path: string;
  kind: 'add' | 'delete' | 'update';
  replace: boolean;
}

/**
 * Compares the present values with the wanted ones. The present values are the outputs, or the old inputs if there is
 * no output of that name. Outputs are used because a refresh by the vendor's provider rewrites the inputs.
 * @param ignored property paths of `ignoreChanges`
 */
export function findChanges(rules: Rules, is: Props, wanted: Props, ignored: string[] = []): Change[] {
  const changes: Change[] = [];
  for (const [key, rule] of Object.entries(rules)) {
    const before = is[key] ?? rule.default;
    const after = wanted[key] ?? rule.default;
    if (rule.computed && isUnsaid(rule, after)) continue;
    if (!hasUnknown(after) && equal(canonical(rule, before), canonical(rule, after))) continue;
    const found: Change[] = [];
    const replace = rule.replace || (rule.replaceOnCount && countOf(before) !== countOf(after));
    compare(key, before, after, { ...rule, replace }, found);
    changes.push(...found.filter((change) => !ignored.some((path) => isWithin(change.path, path))));
  }
  return changes;
}

/** Whether two values of a property mean the same. */
export function sameMeaning(rule: Rule, a: Value | undefined, b: Value | undefined): boolean {
  return equal(canonical(rule, a), canonical(rule, b));
}

/**
 * Updates the outputs with the present values. A value that means the same keeps its earlier form, so the order and the
 * spelling of a daemon's answer do not look like a change, and secrets keep their marks.
 */
export function refreshed(rules: Rules, outputs: Props, seen: Props): Props {
  const result = { ...outputs };
  for (const [key, value] of Object.entries(seen)) {
    const rule = rules[key];
    const before = outputs[key];
    // A daemon lists objects in its own order, even if the program's order counts.
    const unordered = rule?.set || (Array.isArray(value) && value.some(isProps));
    if (!rule || before === undefined || !sameMeaning({ ...rule, set: unordered }, before, value)) result[key] = value;
  }
  return result;
}

/** Adds the fields that the program leaves out, as the vendor's provider does in its state. */
export function withFieldDefaults(rules: Rules, outputs: Props): Props {
  const result = { ...outputs };
  for (const [key, { fieldDefaults }] of Object.entries(rules)) {
    const value = outputs[key];
    if (!fieldDefaults) continue;
    if (isProps(value)) result[key] = { ...fieldDefaults, ...value };
    if (Array.isArray(value)) result[key] = value.map((item) => (isProps(item) ? { ...fieldDefaults, ...item } : item));
  }
  return result;
}

/** The same form for all values that mean the same; undefined for a value without meaning. */
function canonical(rule: Rule, value: Value | undefined): Value | undefined {
  const withDefaults = isProps(value) && rule.fieldDefaults ? { ...rule.fieldDefaults, ...value } : value;
  return simplify(withDefaults, rule, rule.set === true);
}

function simplify(value: Value | undefined, rule: Rule, isSet: boolean): Value | undefined {
  if (Array.isArray(value)) {
    const items = value.map((item) => {
      const whole = isProps(item) && rule.fieldDefaults ? { ...rule.fieldDefaults, ...item } : item;
      return simplify(whole, rule, false) ?? null;
    });
    if (isSet) items.sort((a, b) => (stable(a) < stable(b) ? -1 : 1));
    return items.length === 0 ? undefined : items;
  }
  if (!isProps(value)) return (rule.exact ? isNothing(value) : isZero(value)) ? undefined : value;
  const fields: Props = {};
  for (const [key, item] of Object.entries(value)) {
    // The vendor's bridge uses keys of this form for its own notes.
    if (key.startsWith('__')) continue;
    const field = simplify(
      item,
      { setFields: rule.setFields, exact: rule.exact },
      rule.setFields?.includes(key) === true,
    );
    if (field !== undefined) fields[key] = field;
  }
  return Object.keys(fields).length === 0 ? undefined : fields;
}

function isNothing(value: Value | undefined): value is undefined | null {
  return value === undefined || value === null;
}

function isZero(value: Value | undefined): boolean {
  return isNothing(value) || value === '' || value === false || value === 0;
}

function countOf(value: Value | undefined): number {
  return Array.isArray(value) ? value.length : 0;
}

/** An empty set from the program does have a meaning, with the vendor's provider too. */
function isUnsaid(rule: Rule, value: Value | undefined): boolean {
  if (isNothing(value) || value === '') return true;
  return !rule.set && typeof value === 'object' && Object.keys(value).length === 0;
}

/** Collects the smallest parts that differ. */
function compare(
  path: string,
  before: Value | undefined,
  after: Value | undefined,
  rule: Rule,
  changes: Change[],
): void {
  const replace = rule.replace === true;
  if (Array.isArray(before) && Array.isArray(after)) {
    if (rule.set) compareSets(path, before, after, rule, changes);
    else compareKeys(path, indexed(before), indexed(after), (key) => `${path}[${key}]`, rule, changes);
  } else if (isProps(before) && isProps(after)) {
    compareKeys(path, before, after, (key) => `${path}${fieldPath(key)}`, rule, changes);
  } else {
    changes.push({ path, kind: before === undefined ? 'add' : after === undefined ? 'delete' : 'update', replace });
  }
}

function indexed(items: Value[]): Props {
  return Object.fromEntries(items.map((item, index) => [String(index), item]));
}

function compareKeys(
  path: string,
  before: Props,
  after: Props,
  pathOf: (key: string) => string,
  rule: Rule,
  changes: Change[],
): void {
  const countBefore = changes.length;
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (key.startsWith('__')) continue;
    const field: Rule = { ...rule, fieldDefaults: undefined, set: rule.setFields?.includes(key) };
    const was = before[key] ?? rule.fieldDefaults?.[key];
    const willBe = after[key] ?? rule.fieldDefaults?.[key];
    if (!hasUnknown(willBe) && sameMeaning(field, was, willBe)) continue;
    compare(pathOf(key), was, willBe, field, changes);
  }
  if (changes.length === countBefore) changes.push({ path, kind: 'update', replace: rule.replace === true });
}

function compareSets(path: string, before: Value[], after: Value[], rule: Rule, changes: Change[]): void {
  const element: Rule = { ...rule, set: false };
  const removed = unmatched(before, after, element);
  const added = unmatched(after, before, element);
  for (const index of new Set([...removed, ...added])) {
    const kind = !removed.has(index) ? 'add' : !added.has(index) ? 'delete' : 'update';
    if (kind === 'update') compare(`${path}[${index}]`, before[index], after[index], element, changes);
    else changes.push({ path: `${path}[${index}]`, kind, replace: rule.replace === true });
  }
}

/** Indexes of the elements of `items` without an equal element in `others`. */
function unmatched(items: Value[], others: Value[], rule: Rule): Set<number> {
  const left = others.map((item) => stable(canonical(rule, item)));
  const result = new Set<number>();
  items.forEach((item, index) => {
    const match = left.indexOf(stable(canonical(rule, item)));
    if (match < 0) result.add(index);
    else left.splice(match, 1);
  });
  return result;
}

/** How the engine writes a field in a property path. */
function fieldPath(key: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}

function isWithin(path: string, ancestor: string): boolean {
  return path === ancestor || path.startsWith(`${ancestor}.`) || path.startsWith(`${ancestor}[`);
}
