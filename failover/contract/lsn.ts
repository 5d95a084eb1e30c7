/** Arithmetic on write-ahead log positions (LSNs), which PostgreSQL prints as two hexadecimal halves. */

/**
 * Turns `0/3000060` into a comparable number. Throws on any other text, because messages are validated when they
 * arrive.
 */
export function parseLsn(lsn: string): bigint {
  const match = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(lsn);
  if (match === null) throw new Error(`"${lsn}" is not a write-ahead log position`);
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** Negative when `a` is before `b`, 0 when they are equal, positive when `a` is after `b`. */
export function compareLsn(a: string, b: string): number {
  return lsnDistance(b, a);
}

/** Bytes from `a` to `b`; negative when `b` is before `a`. */
export function lsnDistance(a: string, b: string): number {
  return Number(parseLsn(b) - parseLsn(a));
}

/** The later of two positions. Null means that a position is not known; then the other one is the answer. */
export function laterLsn(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return parseLsn(a) >= parseLsn(b) ? a : b;
}

/** Prints a number of {@link parseLsn} as PostgreSQL prints positions. */
export function printLsn(value: bigint): string {
  return `${(value >> 32n).toString(16).toUpperCase()}/${(value & 0xffffffffn).toString(16).toUpperCase()}`;
}
