/** Writes ASN.1 in its one unambiguous encoding, DER (ITU-T X.690), as far as certificates need it. Pure. */

/** One element: its tag, and the parts of its content. */
export function element(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag]), lengthOf(content.length), content]);
}

export const sequence = (...parts: readonly Buffer[]): Buffer => element(0x30, ...parts);
export const set = (...parts: readonly Buffer[]): Buffer => element(0x31, ...parts);
export const octets = (...parts: readonly Buffer[]): Buffer => element(0x04, ...parts);
export const utf8 = (text: string): Buffer => element(0x0c, Buffer.from(text, 'utf8'));
export const TRUE = element(0x01, Buffer.from([0xff]));
/** A tag whose meaning depends on the place, with elements as its content. */
export const tagged = (number: number, ...parts: readonly Buffer[]): Buffer => element(0xa0 + number, ...parts);

/** A whole number that is not negative, big-endian. */
export function integer(bytes: Buffer): Buffer {
  const from = bytes.findIndex((byte) => byte !== 0);
  const digits = from === -1 ? Buffer.from([0]) : bytes.subarray(from);
  // Without the zero a first bit of 1 would make it negative.
  return element(0x02, (digits[0] ?? 0) > 0x7f ? Buffer.concat([Buffer.from([0]), digits]) : digits);
}

/** Bits; the last `unused` ones are not part of the value. */
export function bits(content: Buffer, unused = 0): Buffer {
  return element(0x03, Buffer.from([unused]), content);
}

/** An object identifier, for example 2.5.29.17. */
export function identifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return element(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

/**
 * A moment, in whole seconds. X.509 wants two digits for the year before 2050, and four from then on (RFC 5280
 * 4.1.2.5).
 */
export function time(atMs: number): Buffer {
  const digits = new Date(atMs).toISOString().slice(0, 19).replaceAll(/[-:T]/g, '');
  const isShort = digits < '2050';
  return element(isShort ? 0x17 : 0x18, Buffer.from(`${isShort ? digits.slice(2) : digits}Z`, 'latin1'));
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const bytes = length > 0xff ? [length >> 8, length & 0xff] : [length];
  if (length > 0xffff) throw new Error(`an element of ${length} bytes is longer than any certificate's`);
  return Buffer.from([0x80 + bytes.length, ...bytes]);
}

function base128(number: number): number[] {
  const groups = [number & 0x7f];
  for (let rest = number >> 7; rest > 0; rest >>= 7) groups.unshift(0x80 | (rest & 0x7f));
  return groups;
}
