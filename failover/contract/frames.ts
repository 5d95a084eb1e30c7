/**
 * Frames of the protocol on a TCP connection: JSON, one a line, each at most {@link FRAME_BYTES_MAX} bytes
 * (messages.ts).
 */
import type { Socket } from 'node:net';
import type { z } from 'zod';
import { fromJson } from './json';
import { FRAME_BYTES_MAX } from './messages';

/** Maximum number of bytes that may wait on one connection until the other side reads them. */
const UNSENT_MAX = 1024 * 1024;
const LINE_FEED = 10;

/**
 * Sends frames in one write. Returns false when more than {@link UNSENT_MAX} bytes wait, because the other side does
 * not read; the caller then has to end the connection.
 */
export function sendFrames(socket: Socket, frames: readonly object[]): boolean {
  socket.write(frames.map((frame) => `${JSON.stringify(frame)}\n`).join(''));
  return socket.writableLength <= UNSENT_MAX;
}

/**
 * Calls `each` with every frame that arrives, until the socket is destroyed. At the first frame that is too long or
 * does not fit the schema it calls `bad`, which has to end the connection, because later frames must not be used.
 */
export function onFrames<F>(
  socket: Socket,
  schema: z.ZodType<F>,
  each: (frame: F) => void,
  bad: (why: string) => void,
): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (!socket.destroyed) {
      const end = rest.indexOf(LINE_FEED);
      if ((end < 0 ? rest.length : end) > FRAME_BYTES_MAX) return bad('a frame was too long');
      if (end < 0) return;
      const frame = fromJson(schema, rest.subarray(0, end).toString('utf8'));
      if (frame === null) return bad('a frame was not understood');
      rest = rest.subarray(end + 1);
      each(frame);
    }
  });
}
