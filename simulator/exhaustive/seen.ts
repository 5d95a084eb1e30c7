/** The states that were seen, and the first path to each of them: sixteen bytes per state and some reserve. */
import { INTS } from './pack';

const FIRST = 1 << 16;
/** Largest used part of the table's places. */
const LOAD = 0.6;

/**
 * A hash of 53 bits of a state's integers. Among ten million states, the probability that two share one is 1 in 180.
 */
export function hash(ints: Int32Array): number {
  let [a, b] = [0x811c9dc5, 0x9e3779b9];
  for (let i = 0; i < INTS; i++) {
    const n = ints[i] ?? 0;
    a = Math.imul(a ^ n, 0x85ebca6b);
    a ^= a >>> 15;
    b = Math.imul(b ^ n ^ (b >>> 13), 0xc2b2ae35);
  }
  a = Math.imul(a ^ (a >>> 13), 0x27d4eb2f);
  return ((a ^ (a >>> 16)) >>> 0) * 0x200000 + ((b ^ (b >>> 16)) & 0x1fffff);
}

/** A growing array of numbers. */
export class Ints {
  size = 0;
  private items = new Int32Array(FIRST);

  /** The array itself; valid until the next {@link reserve}. */
  get array(): Int32Array {
    return this.items;
  }

  /** Makes room for this many more numbers and returns the position of the first one. */
  reserve(count: number): number {
    const at = this.size;
    this.size += count;
    if (this.size > this.items.length) {
      const larger = new Int32Array(this.items.length * 2);
      larger.set(this.items);
      this.items = larger;
    }
    return at;
  }

  push(item: number): void {
    const at = this.reserve(1);
    this.items[at] = item;
  }

  at(index: number): number {
    return this.items[index] ?? 0;
  }

  clear(): void {
    this.size = 0;
  }
}

export class Seen {
  /** 0 means a free place. */
  private table = new Float64Array(FIRST);
  private readonly parents = new Ints();
  private readonly labels = new Ints();
  private readonly words: string[] = [];
  private readonly byWords = new Map<string, number>();

  get size(): number {
    return this.parents.size;
  }

  /** Adds a state and returns its number; null: it was there already. */
  add(key: number, parent: number, label: string): number | null {
    if (this.size >= this.table.length * LOAD) this.grow();
    const place = this.placeOf(this.table, key + 1);
    if (this.table[place] !== 0) return null;
    this.table[place] = key + 1;
    this.parents.push(parent);
    this.labels.push(this.labelOf(label));
    return this.size - 1;
  }

  /** The path to a state, step by step. */
  pathTo(index: number): string[] {
    const path: string[] = [];
    for (let i = index; i > 0; i = this.parents.at(i)) path.unshift(this.words[this.labels.at(i)] ?? '');
    return path;
  }

  private labelOf(label: string): number {
    let known = this.byWords.get(label);
    if (known === undefined) {
      known = this.words.push(label) - 1;
      this.byWords.set(label, known);
    }
    return known;
  }

  private placeOf(table: Float64Array, key: number): number {
    const mask = table.length - 1;
    const mixed = Math.imul((key >>> 0) ^ Math.floor(key / 0x100000000), 0x9e3779b1);
    let place = (mixed ^ (mixed >>> 15)) & mask;
    while (table[place] !== 0 && table[place] !== key) place = (place + 1) & mask;
    return place;
  }

  private grow(): void {
    const larger = new Float64Array(this.table.length * 2);
    for (const key of this.table) if (key !== 0) larger[this.placeOf(larger, key)] = key;
    this.table = larger;
  }
}
