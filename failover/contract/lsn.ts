/** Arithmetic on write-ahead log positions, printed by PostgreSQL as two hexadecimal halves. */

/** `0/3000060` → a comparable number. Throws on anything else: a position is validated at the protocol's border. */
export function parseLsn(lsn: string): bigint {
  const match = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(lsn);
  if (match === null) throw new Error(`"${lsn}" is not a write-ahead log position`);
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** Negative when a is before b. */
export function compareLsn(a: string, b: string): number {
  const [x, y] = [parseLsn(a), parseLsn(b)];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** Bytes from a to b; negative when b is before a. */
export function lsnDistance(a: string, b: string): number {
  return Number(parseLsn(b) - parseLsn(a));
}

/** The later of two positions; null counts as nothing known. */
export function laterLsn(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return parseLsn(a) >= parseLsn(b) ? a : b;
}

/** The number of {@link parseLsn} as PostgreSQL prints it. */
export function printLsn(value: bigint): string {
  return `${(value >> 32n).toString(16).toUpperCase()}/${(value & 0xffffffffn).toString(16).toUpperCase()}`;
}
