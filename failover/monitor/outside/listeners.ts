/** Server-sent events (HTML standard, "Server-sent events"): a bounded number of listeners, each with a bounded queue. */

/** Listeners at a time. */
export const LISTENERS_MAX = 32;
/** What may wait to be read by one listener, bytes: several statuses. Whoever is slower is dropped, and may come again. */
export const QUEUE_BYTES_MAX = 256 * 1024;
/** A browser comes again after this, ms. */
const RETRY_MS = 1_000;

interface Message {
  name: string;
  data: string;
  id?: number;
}

export class Listeners {
  private readonly all = new Set<ReadableStreamDefaultController<Uint8Array>>();
  private readonly encoder = new TextEncoder();

  get count(): number {
    return this.all.size;
  }

  /** One more listener; null when there are enough. */
  open(greeting: readonly Message[]): ReadableStream<Uint8Array> | null {
    if (this.all.size >= LISTENERS_MAX) return null;
    let own: ReadableStreamDefaultController<Uint8Array> | null = null;
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          own = controller;
          this.all.add(controller);
          const text = `retry: ${RETRY_MS}\n\n${greeting.map(format).join('')}`;
          controller.enqueue(this.encoder.encode(text));
        },
        cancel: () => {
          if (own !== null) this.all.delete(own);
        },
      },
      new ByteLengthQueuingStrategy({ highWaterMark: QUEUE_BYTES_MAX }),
    );
  }

  /** To everybody; encoded once. */
  send(name: string, data: string, id?: number): void {
    if (this.all.size === 0) return;
    const bytes = this.encoder.encode(format({ name, data, id }));
    for (const controller of this.all) {
      if ((controller.desiredSize ?? 0) < bytes.length) this.drop(controller);
      else controller.enqueue(bytes);
    }
  }

  /** Ends all streams. */
  close(): void {
    for (const controller of this.all) controller.close();
    this.all.clear();
  }

  private drop(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.all.delete(controller);
    // What waits to be read is dropped with it.
    controller.error(new Error('too slow'));
  }
}

/** JSON has no line breaks, so one `data:` line is enough. */
function format({ name, data, id }: Message): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${name}\ndata: ${data}\n\n`;
}
