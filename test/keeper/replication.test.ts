/** The client of the replication protocol where the server misbehaves; the real one is in `stream.docker.test.ts`. */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Replication } from '../../failover/keeper/postgres/replication';
import { sqlState } from '../../failover/keeper/postgres/session';

const HOST = '127.0.0.1';
const LIMIT_MS = 200;

const message = (type: string, body: Buffer) => {
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const READY = message('Z', Buffer.from('I'));
const HELLO = Buffer.concat([message('R', Buffer.alloc(4)), READY]);
const COPY_BOTH = message('W', Buffer.from([0, 0, 0]));
const COPY_DONE = message('c', Buffer.alloc(0));
const STARTED = message('C', Buffer.from('START_STREAMING\0'));
const refusal = (code: string) => message('E', Buffer.from(`SERROR\0C${code}\0Mno\0\0`));
const wal = (start: bigint, text: string) => {
  const head = Buffer.alloc(25);
  head.write('w', 'latin1');
  head.writeBigUInt64BE(start, 1);
  return message('d', Buffer.concat([head, Buffer.from(text)]));
};
const askingKeepalive = () => {
  const body = Buffer.alloc(18);
  body.write('k', 'latin1');
  body[17] = 1;
  return message('d', body);
};

/** Messages behind the start-up packet, by type and body. */
function parsed(bytes: Buffer): { type: string; body: Buffer }[] {
  const found = [];
  for (let at = 0; at + 5 <= bytes.length; ) {
    const length = bytes.readUInt32BE(at + 1);
    found.push({ type: bytes.toString('latin1', at, at + 1), body: bytes.subarray(at + 5, at + 1 + length) });
    at += 1 + length;
  }
  return found;
}

describe('Replication', () => {
  let server: Server | null = null;
  const sockets: Socket[] = [];
  let startup = '';
  const heard: { type: string; body: Buffer }[] = [];

  /** A server that takes everybody and answers each message with what the script gives for it. */
  async function serve(answer: (type: string, body: Buffer) => Buffer | null, hello: Buffer | null = HELLO) {
    heard.length = 0;
    server = createServer((socket) => {
      sockets.push(socket);
      let begun = false;
      socket
        .on('error', () => undefined)
        .on('data', (bytes) => {
          if (!begun) {
            begun = true;
            startup = bytes.toString('latin1');
            if (hello !== null) socket.write(hello);
            return;
          }
          for (const { type, body } of parsed(bytes)) {
            heard.push({ type, body });
            const reply = answer(type, body);
            if (reply !== null) socket.write(reply);
          }
        });
    });
    const { port } = await new Promise<AddressInfo>((resolve) => {
      const listening = server?.listen(0, HOST, () => resolve(listening?.address() as AddressInfo));
    });
    return { host: HOST, port, user: 'x', applicationName: 'n-check', limitMs: LIMIT_MS };
  }

  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server?.close();
  });

  it('asks for physical replication, and by the name that it was given', async () => {
    const replication = await Replication.open(await serve(() => null));
    expect(startup).toContain('replication\0true\0');
    expect(startup).toContain('application_name\0n-check\0');
    replication.destroy();
    expect(replication.usable).toBe(false);
    await expect(replication.identify()).rejects.toThrow('the session has ended');
  });

  it('waits no longer than its limit, for the connection, an answer or a stream', async () => {
    await expect(Replication.open(await serve(() => null, null))).rejects.toThrow(`within ${LIMIT_MS} ms`);
    const replication = await Replication.open(await serve(() => null));
    await expect(replication.identify()).rejects.toThrow(`within ${LIMIT_MS} ms`);
    expect(replication.usable).toBe(false);
    const streaming = await Replication.open(await serve((type) => (type === 'Q' ? COPY_BOTH : null)));
    await expect(streaming.stream({ lsn: '0/100' }, () => true)).rejects.toThrow(`within ${LIMIT_MS} ms`);
  });

  it('gives the SQLSTATE of a refusal, before the stream and in it, and goes on', async () => {
    const answers = [Buffer.concat([refusal('42704'), READY]), Buffer.concat([COPY_BOTH, refusal('58P01'), READY])];
    const replication = await Replication.open(
      await serve((type) => (type === 'Q' ? (answers.shift() ?? null) : null)),
    );
    for (const code of ['42704', '58P01']) {
      expect((await replication.stream({ lsn: '0/100' }, () => true))?.code).toBe(code);
    }
    expect(sqlState(Object.assign(new Error('x'), { code: 'EPIPE' }))).toBeNull();
    replication.destroy();
  });

  it('streams until it is told to end, answers a keepalive without a position, and says what it asks for', async () => {
    const replication = await Replication.open(
      await serve((type) => {
        if (type === 'Q') return Buffer.concat([COPY_BOTH, askingKeepalive(), wal(0x100n, 'ab'), wal(0x102n, 'cd')]);
        return type === 'c' ? Buffer.concat([wal(0x104n, 'late'), COPY_DONE, STARTED, READY]) : null;
      }),
    );
    const got: [string, string][] = [];
    await replication.stream({ lsn: '0/100', slot: 'n_1', timeline: 4 }, (lsn, bytes) => {
      got.push([lsn, bytes.toString()]);
      return got.length < 2;
    });
    expect(got).toEqual([
      ['0/100', 'ab'],
      ['0/102', 'cd'],
    ]);
    expect(heard[0]?.body.toString()).toBe('START_REPLICATION SLOT "n_1" PHYSICAL 0/100 TIMELINE 4\0');
    const status = heard.find(({ type }) => type === 'd')?.body;
    expect(status?.toString('latin1', 0, 1)).toBe('r');
    // Written, flushed and applied: nothing.
    expect(status?.subarray(1, 25).every((byte) => byte === 0)).toBe(true);
    replication.destroy();
  });

  it('sends an empty feedback before it ends a stream', async () => {
    const replication = await Replication.open(
      await serve((type) => {
        if (type === 'Q') return COPY_BOTH;
        return type === 'c' ? Buffer.concat([COPY_DONE, STARTED, READY]) : null;
      }),
    );
    const onBegun = () => {
      replication.feedback();
      return false;
    };
    await replication.stream({ lsn: '0/100' }, () => true, onBegun);
    expect(heard.map(({ type }) => type)).toEqual(['Q', 'd', 'c']);
    const feedback = heard[1]?.body;
    expect(feedback?.toString('latin1', 0, 1)).toBe('h');
    // Behind the time: xmin, its epoch, catalog xmin, its epoch.
    expect(feedback?.subarray(9)).toEqual(Buffer.alloc(16));
    replication.destroy();
  });

  it('takes only names and positions into a command', async () => {
    const replication = await Replication.open(await serve(() => null));
    await expect(replication.stream({ lsn: '0/1 TIMELINE 2' }, () => true)).rejects.toThrow('not a write-ahead log');
    await expect(replication.stream({ lsn: '0/1', slot: 'a"b' }, () => true)).rejects.toThrow('no name of a slot');
    expect(heard).toEqual([]);
    replication.destroy();
  });
});
