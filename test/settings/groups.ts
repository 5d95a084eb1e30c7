/**
 * Groups of extreme values. Each group gives every setting a value, and every pair of values is in one of them. Pure.
 */
import { criteria, make } from 'covertable';
import type { Extremes } from './extremes';

export interface Group {
  name: string;
  settings: Readonly<Record<string, string>>;
}

/** The same groups each time for the same values. */
export function groupsOf(extremes: Extremes): Group[] {
  const factors = Object.fromEntries(Object.entries(extremes).map(([name, values]) => [name, [...values]]));
  // The library's other way makes one row in ten fewer and takes a minute.
  const rows = make(factors, { criterion: criteria.simple });
  return rows.map((row, index) => ({
    name: `g${String(index + 1).padStart(2, '0')}`,
    settings: inOrder(row, extremes),
  }));
}

function inOrder(row: Readonly<Record<string, string>>, extremes: Extremes): Record<string, string> {
  return Object.fromEntries(Object.keys(extremes).map((name) => [name, row[name] ?? '']));
}

/** Pairs of values of two settings that are in no group, as `a = 1, b = 2`. */
export function missingPairs(extremes: Extremes, groups: readonly Group[]): string[] {
  const seen = new Set(groups.flatMap(({ settings }) => pairsOf(Object.entries(settings))));
  const values = Object.entries(extremes).flatMap(([name, all]) => all.map((value) => [name, value] as const));
  return pairsOf(values).filter((pair) => !seen.has(pair));
}

function pairsOf(values: readonly (readonly [name: string, value: string])[]): string[] {
  return values.flatMap(([name, value], i) =>
    values.slice(i + 1).flatMap(([other, its]) => (other === name ? [] : [`${name} = ${value}, ${other} = ${its}`])),
  );
}
