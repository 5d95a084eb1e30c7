/**
 * Assigns small numbers to objects; objects with equal content get the same number. The search remembers a state by
 * these numbers. An object must not be changed after it was given.
 */
import type { Given, Node } from './world';

export class Ids {
  private readonly byObject = new WeakMap<object, number>();
  private readonly byText = new Map<string, number>();
  /** The first object of each number. */
  private readonly things: (object | null)[] = [null];

  of(thing: object | null): number {
    return thing === null ? 0 : this.number(thing, JSON.stringify);
  }

  /**
   * Returns the object of a number. It has the content for which the number was assigned, and is always the same
   * object. The caller knows its type.
   */
  get<T extends object | null>(id: number): T {
    return this.things[id] as T;
  }

  /** Like {@link of}, but faster, because nodes are created by the million. */
  ofNode(node: Node): number {
    return this.number(node, () => this.textOf(node));
  }

  ofOrders(orders: readonly Given[]): number {
    return this.number(orders, () => `orders ${orders.map((o) => this.of(o)).join()}`);
  }

  private number(thing: object, text: (thing: object) => string): number {
    const known = this.byObject.get(thing);
    if (known !== undefined) return known;
    const words = text(thing);
    let id = this.byText.get(words);
    if (id === undefined) {
      id = this.byText.size + 1;
      this.byText.set(words, id);
      this.things.push(thing);
    }
    this.byObject.set(thing, id);
    return id;
  }

  /** Contains every field. A test compares it with the type. */
  private textOf(n: Node): string {
    const { p = '', a = '', b = '' } = n.confirmed;
    const flags = `${n.up ? 1 : 0}${n.cut ? 1 : 0}${n.clean ? 1 : 0}${n.ordered ? 1 : 0}${n.held ? 1 : 0}${n.byHand ? 1 : 0}`;
    const terms = `${n.promotingTerm} ${n.promotedTerm} ${n.leadTerm} ${n.joined} ${n.upstream}`;
    const data = `${n.log} ${n.timeline} ${n.history.join('/')} ${n.directory} ${n.countsFrom} ${p}.${a}.${b}`;
    return `${flags}${n.role} ${terms} ${data} ${this.of(n.accepted)} ${this.of(n.shown)} ${this.of(n.inForce)}`;
  }
}
