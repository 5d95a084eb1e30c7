/** Seeded random numbers (mulberry32): the same seed gives the same run. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = (seed * 2654435761 + 1013904223) >>> 0;
    for (let i = 0; i < 4; i++) this.unit();
  }

  /** A number in [0, 1). */
  unit(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  between(from: number, to: number): number {
    return from + this.unit() * (to - from);
  }

  /** An integer in [from, to]. */
  integer(from: number, to: number): number {
    return Math.floor(this.between(from, to + 1));
  }

  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.unit() * items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  /** A duration on a busy machine, ms: mostly short, now and then long. */
  delay(typicalMs: number, tail = 0.02): number {
    const base = typicalMs * this.between(0.5, 1.5);
    return this.chance(tail) ? base * this.between(4, 20) : base;
  }

  hex(bytes: number): string {
    let text = '';
    while (text.length < bytes * 2) text += this.integer(0, 255).toString(16).padStart(2, '0');
    return text;
  }
}
