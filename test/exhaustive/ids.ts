/** Small numbers for things that are equal in content: what a state is remembered by. */
export class Ids {
  private readonly byObject = new WeakMap<object, number>();
  private readonly byText = new Map<string, number>();

  /** Objects are never changed after they were made, so each is looked at once. */
  of(thing: object | null): number {
    if (thing === null) return 0;
    const known = this.byObject.get(thing);
    if (known !== undefined) return known;
    const text = JSON.stringify(thing);
    let id = this.byText.get(text);
    if (id === undefined) {
      id = this.byText.size + 1;
      this.byText.set(text, id);
    }
    this.byObject.set(thing, id);
    return id;
  }
}
