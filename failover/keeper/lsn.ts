/** Write-ahead log positions as PostgreSQL prints them (`0/3000060`). */

/** The position as a number that can be compared. Throws on anything that is not a position. */
export function lsnValue(lsn: string): bigint {
  const match = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(lsn);
  if (match === null) throw new Error(`"${lsn}" is not a write-ahead log position`);
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** The later of two positions; null counts as nothing known. */
export function laterLsn(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return lsnValue(a) >= lsnValue(b) ? a : b;
}

/** The number of {@link lsnValue} as PostgreSQL prints it. */
export function printLsn(value: bigint): string {
  return `${(value >> 32n).toString(16).toUpperCase()}/${(value & 0xffffffffn).toString(16).toUpperCase()}`;
}
