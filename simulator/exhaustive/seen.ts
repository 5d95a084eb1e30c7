/** The states that were seen, and the first path to each of them. */
export class Seen {
  private readonly states = new Set<string>();
  private readonly parents: number[] = [];
  private readonly labels: string[] = [];
  /** Every label once, because millions of steps share them. */
  private readonly words = new Map<string, string>();

  get size(): number {
    return this.states.size;
  }

  /** Adds a state, as text, and returns its number; null: it was there already. */
  add(state: string, parent: number, label: string): number | null {
    if (this.states.has(state)) return null;
    this.states.add(state);
    const known = this.words.get(label) ?? label;
    this.words.set(known, known);
    this.labels.push(known);
    return this.parents.push(parent) - 1;
  }

  /** The path to a state, step by step. */
  pathTo(index: number): string[] {
    const path: string[] = [];
    for (let i = index; i > 0; i = this.parents[i] ?? 0) path.unshift(this.labels[i] ?? '');
    return path;
  }
}
