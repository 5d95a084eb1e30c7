/**
 * Server-sent events (HTML standard, "Server-sent events"): a bounded number of listeners, each with a bounded queue.
 */

/** Maximum number of listeners. */
export const LISTENERS_MAX = 32;
/**
 * Maximum number of bytes that wait for one listener: several statuses. A slower listener is dropped and may connect
 * again.
 */
export const QUEUE_BYTES_MAX = 256 * 1024;
/** A browser reconnects after this time, ms. */
const RETRY_MS = 1_000;

export interface Message {
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

  /** Adds a listener; null when there are {@link LISTENERS_MAX} already. */
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

  /** Sends a message to all listeners, encoded once. */
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
    // This also drops what still waits for that listener. The server prints the reason; an error would have a stack.
    controller.error('a listener of /api/v1/stream does not read and was dropped');
  }
}

/** JSON has no line breaks, so one `data:` line is enough. */
function format({ name, data, id }: Message): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${name}\ndata: ${data}\n\n`;
}
