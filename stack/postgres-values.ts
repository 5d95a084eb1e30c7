/**
 * Limits of settings of PostgreSQL: what a value may be, in words and as a check. Values are written as in PostgreSQL's
 * own configuration file (manual, "Parameter Names and Values"): `90`, `1.5GB`, `10 s`. Pure.
 */

/** What a setting may be. */
export interface Limit {
  /** Completes the sentence "must be …". */
  readonly allowed: string;
  readonly accepts: (value: string) => boolean;
}

type Units = Readonly<Record<string, number>>;

/** In bytes. */
const SIZES: Units = { B: 1, kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3, TB: 1024 ** 4 };
/** In milliseconds. */
const TIMES: Units = { us: 0.001, ms: 1, s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** A whole number, written in digits. */
export function whole(min: number, max: number): Limit {
  return {
    allowed: `a whole number from ${min} to ${max}`,
    accepts: (value) => /^\d{1,9}$/.test(value) && Number(value) >= min && Number(value) <= max,
  };
}

/** An amount of memory or disk. `base`: the unit of a number without one, in bytes or as a unit. */
export function size(min: string, max: string, base: string): Limit {
  return amount('size', SIZES, min, max, base);
}

/** A duration. `base`: the unit of a number without one. */
export function time(min: string, max: string, base: string): Limit {
  return amount('time', TIMES, min, max, base);
}

/** 0, which switches the setting off, or what the limit says. */
export function offOr({ allowed, accepts }: Limit): Limit {
  return { allowed: `0 (off) or ${allowed}`, accepts: (value) => value === '0' || accepts(value) };
}

/** One of these words. */
export function oneOf(...words: readonly string[]): Limit {
  return { allowed: words.join(' or '), accepts: (value) => words.includes(value) };
}

/** Any word but these, which PostgreSQL reads without regard to case. */
export function noneOf(...words: readonly string[]): Limit {
  return {
    allowed: `another one than ${words.join(', ')}`,
    accepts: (value) => !words.includes(value.trim().toLowerCase()),
  };
}

function amount(what: string, units: Units, min: string, max: string, base: string): Limit {
  const from = amountOf(min, units, base) ?? Number.NaN;
  const to = amountOf(max, units, base) ?? Number.NaN;
  return {
    allowed: `a ${what} from ${min} to ${max} (without a unit: in ${base})`,
    accepts: (value) => {
      const number = amountOf(value, units, base);
      return number !== null && number >= from && number <= to;
    },
  };
}

/** The amount in the smallest unit; null when the text is no amount. */
function amountOf(text: string, units: Units, base: string): number | null {
  const match = /^\s*(\d{1,12}(?:\.\d{1,6})?)\s*([a-zA-Z]*)\s*$/.exec(text);
  if (match === null) return null;
  const [, number = '', unit = ''] = match;
  // "8kB" is the unit of settings that count pages.
  const [, pages = '1', plain = base] = /^(\d+)(\D+)$/.exec(base) ?? [];
  const factor = unit === '' ? Number(pages) * (units[plain] ?? Number.NaN) : units[unit];
  return factor === undefined ? null : Number(number) * factor;
}
