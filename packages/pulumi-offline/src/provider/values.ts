/**
 * Property values in the engine's format: plain JSON, with markers for secrets and for values that a preview does not
 * know.
 */
import { Struct } from 'google-protobuf/google/protobuf/struct_pb';

export type Value = null | boolean | number | string | Value[] | Props;
export interface Props {
  [key: string]: Value;
}

const SIGNATURE = '4dabf18193072939515e22adb298388d';
const SECRET = '1b47061264138c4ac30d75fd1eb44270';

/** The engine's markers of unknown values, one per kind of value. */
const UNKNOWN = new Set([
  '04da6b54-80e4-46f7-96ec-b56ff0331ba9',
  '1c4a061d-8072-4f0a-a4cb-0ff528b18fe7',
  '3eeb2bf0-c639-47a8-9e75-3b44932eb421',
  '6a19a0b0-7e62-4c92-b797-7f8e31da9cc2',
  '030794c1-ac77-496b-92df-f27374a8bd58',
  'e48ece36-62e2-4504-bad9-02848725956a',
  'dd056dcd-154b-4c76-9bd3-c8f88648b5ff',
]);

/**
 * Key under which a vendor's bridged provider stores notes about its raw state. Outdated notes would crash that
 * provider.
 */
const RAW_STATE = '__pulumi_raw_state_delta';

export function fromStruct(struct: Struct | undefined): Props {
  return struct ? (struct.toJavaScript() as Props) : {};
}

/** The round trip through JSON removes `undefined`, on which the conversion would throw. */
export function toStruct(props: Props): Struct {
  return Struct.fromJavaScript(JSON.parse(JSON.stringify({ ...props, [RAW_STATE]: undefined })));
}

export function isProps(value: Value | undefined): value is Props {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSecret(value: Value): value is { value: Value } & Props {
  return isProps(value) && value[SIGNATURE] === SECRET;
}

/** @returns the value marked as a secret */
export function secret(value: Value): Value {
  return { [SIGNATURE]: SECRET, value };
}

/** @returns the value without any secret marker, at any depth */
export function reveal(value: Value): Value {
  if (isSecret(value)) return reveal(value.value);
  if (Array.isArray(value)) return value.map(reveal);
  return isProps(value) ? revealProps(value) : value;
}

export function revealProps(props: Props): Props {
  return Object.fromEntries(Object.entries(props).map(([key, value]) => [key, reveal(value)]));
}

/** Whether `test` is true for any part of the value. */
function some(value: Value, test: (part: Value) => boolean): boolean {
  if (test(value)) return true;
  if (Array.isArray(value)) return value.some((item) => some(item, test));
  return isProps(value) && Object.values(value).some((item) => some(item, test));
}

export function hasSecret(value: Value | undefined): boolean {
  return value !== undefined && some(value, isSecret);
}

export function hasUnknown(value: Value | undefined): boolean {
  return value !== undefined && some(value, (part) => typeof part === 'string' && UNKNOWN.has(part));
}

/**
 * Puts the secret markers of `marked` back into `plain`. An unchanged property keeps its exact form; a changed one
 * becomes a secret as a whole.
 */
export function markLike(marked: Props, plain: Props): Props {
  const result: Props = {};
  for (const [key, value] of Object.entries(plain)) {
    const before = marked[key];
    if (before === undefined || !hasSecret(before)) result[key] = value;
    else result[key] = equal(reveal(before), value) ? before : secret(value);
  }
  return result;
}

/** Equality of two plain values; the order of keys does not matter. */
export function equal(a: Value | undefined, b: Value | undefined): boolean {
  return stable(a) === stable(b);
}

/** JSON with sorted keys. */
export function stable(value: Value | undefined): string {
  return JSON.stringify(value ?? null, (_key, part: Value) =>
    isProps(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part,
  );
}

/** Reads a property whose type the SDK has already fixed. Another type is a mistake in the program. */
export function text(props: Props, key: string): string | undefined {
  const value = props[key];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string') throw wrongType(key, 'a string', value);
  return value;
}

export function number(props: Props, key: string): number | undefined {
  const value = props[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number') throw wrongType(key, 'a number', value);
  return value;
}

export function flag(props: Props, key: string): boolean | undefined {
  const value = props[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'boolean') throw wrongType(key, 'true or false', value);
  return value;
}

export function texts(props: Props, key: string): string[] {
  return list(props, key).map((item) => {
    if (typeof item !== 'string') throw wrongType(key, 'a list of strings', item);
    return item;
  });
}

export function objects(props: Props, key: string): Props[] {
  return list(props, key).map((item) => {
    if (!isProps(item)) throw wrongType(key, 'a list of objects', item);
    return item;
  });
}

/** Reads a map of strings; numbers and booleans are converted to text. */
export function textMap(props: Props, key: string): Record<string, string> | undefined {
  const value = object(props, key);
  return value && Object.fromEntries(Object.entries(value).map(([name, item]) => [name, String(item)]));
}

export function object(props: Props, key: string): Props | undefined {
  const value = props[key];
  if (value === undefined || value === null) return undefined;
  if (!isProps(value)) throw wrongType(key, 'an object', value);
  return value;
}

function list(props: Props, key: string): Value[] {
  const value = props[key];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw wrongType(key, 'a list', value);
  return value;
}

function wrongType(key: string, wanted: string, value: Value): Error {
  return new Error(`${key} must be ${wanted}, not ${JSON.stringify(value)}`);
}
