/**
 * Cuts a stream of PostgreSQL's protocol into messages (manual, "Message Flow"). A message whose kind is not held goes
 * through piece by piece, so that write-ahead log is not gathered in memory.
 */

const HEAD = 5;

export interface FrameRules {
  /** Kinds that are handed over whole. */
  readonly held: ReadonlySet<number>;
  /** Longest such message, bytes. */
  readonly heldMax: number;
  /** Called for each message that begins, before anything of it goes on; throws to end the session. */
  begins?(kind: number): void;
  /** Receives a held message, with its head. */
  whole(kind: number, message: Buffer): void;
  /** Receives a piece of another message. */
  pass(piece: Buffer): void;
}

/** One direction of a session. */
export class Frames {
  private head = Buffer.alloc(0);
  /** Bytes of the present message that are still to come. */
  private left = 0;
  /** Pieces of the held message. */
  private held: { kind: number; pieces: Buffer[] } | null = null;
  private readonly waiting: Buffer[] = [];
  private paused = false;

  constructor(private readonly rules: FrameRules) {}

  get isPaused(): boolean {
    return this.paused;
  }

  /** Handles no further message until {@link resume}. Call it from `whole` only. */
  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.drain();
  }

  /** Takes what has come. Throws when it is no message, or a held one is too long. */
  push(chunk: Buffer): void {
    this.waiting.push(chunk);
    this.drain();
  }

  private drain(): void {
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      let rest = next;
      while (rest.length > 0 && !this.paused) rest = this.left > 0 ? this.body(rest) : this.begin(rest);
      if (rest.length > 0) this.waiting.unshift(rest);
      if (this.paused) return;
    }
  }

  private begin(chunk: Buffer): Buffer {
    const missing = HEAD - this.head.length;
    this.head = Buffer.concat([this.head, chunk.subarray(0, missing)]);
    const rest = chunk.subarray(missing);
    if (this.head.length < HEAD) return rest;
    const { head, rules } = this;
    this.head = Buffer.alloc(0);
    const kind = head.readUInt8(0);
    const length = head.readUInt32BE(1);
    if (length < 4) throw new Error('this is no message of PostgreSQL’s protocol');
    this.left = length - 4;
    rules.begins?.(kind);
    if (rules.held.has(kind)) {
      if (this.left > rules.heldMax) throw new Error('a message is too long');
      this.held = { kind, pieces: [head] };
      if (this.left === 0) this.end();
    } else rules.pass(head);
    return rest;
  }

  private body(chunk: Buffer): Buffer {
    const piece = chunk.subarray(0, this.left);
    this.left -= piece.length;
    if (this.held === null) this.rules.pass(piece);
    else {
      this.held.pieces.push(piece);
      if (this.left === 0) this.end();
    }
    return chunk.subarray(piece.length);
  }

  private end(): void {
    const { held } = this;
    this.held = null;
    if (held !== null) this.rules.whole(held.kind, Buffer.concat(held.pieces));
  }
}
