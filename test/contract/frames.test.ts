import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { onFrames, sendFrames } from '../../failover/contract/frames';
import { FRAME_BYTES_MAX, KeeperFrame } from '../../failover/contract/messages';

/**
 * Frames and errors that a reader gets from these chunks. At the first bad frame it closes its socket, as both sides
 * do.
 */
async function read(...chunks: (string | Buffer)[]): Promise<{ frames: number[]; bad: string[] }> {
  const socket = new PassThrough();
  const result = { frames: [] as number[], bad: [] as string[] };
  onFrames(
    socket as unknown as Socket,
    KeeperFrame,
    (frame) => result.frames.push(frame.type === 'pong' ? frame.n : -1),
    (why) => {
      result.bad.push(why);
      socket.destroy();
    },
  );
  for (const chunk of chunks) {
    if (!socket.destroyed) socket.write(chunk);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return result;
}

const pong = (n: number) => `${JSON.stringify({ type: 'pong', n })}\n`;

describe('frames', () => {
  it('arrive complete, wherever the connection splits them, also several at once', async () => {
    const bytes = Buffer.from(pong(1) + pong(2) + pong(3));
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(await read(bytes.subarray(0, cut), bytes.subarray(cut))).toEqual({ frames: [1, 2, 3], bad: [] });
    }
  });

  it.each([
    ['no JSON', 'nonsense\n'],
    ['of no known type', '{"type":"hullo"}\n'],
    ['with a value that does not fit', '{"type":"pong","n":"1"}\n'],
    ['empty', '\n'],
  ])('end the connection at the first one that is %s; later frames do not count', async (_what, text) => {
    expect(await read(pong(1) + text + pong(2))).toEqual({ frames: [1], bad: ['a frame was not understood'] });
  });

  it('end the connection when one is too long, also before its end has arrived', async () => {
    const blank = ' '.repeat(FRAME_BYTES_MAX);
    expect(await read(`${blank} `)).toEqual({ frames: [], bad: ['a frame was too long'] });
    expect(await read(`${blank}${pong(1)}`)).toEqual({ frames: [], bad: ['a frame was too long'] });
    const fits = blank.slice(pong(1).length - 1) + pong(1);
    expect(await read(fits)).toEqual({ frames: [1], bad: [] });
  });

  it('are sent in one write; the result is false when the other side does not read', () => {
    const written: string[] = [];
    const socket = { write: (text: string) => written.push(text), writableLength: 0 };
    expect(sendFrames(socket as unknown as Socket, [{ n: 1 }, { n: 2 }])).toBe(true);
    expect(written).toEqual(['{"n":1}\n{"n":2}\n']);
    socket.writableLength = 2 * 1024 * 1024;
    expect(sendFrames(socket as unknown as Socket, [{ n: 3 }])).toBe(false);
  });
});
