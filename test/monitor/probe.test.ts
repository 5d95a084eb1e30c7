/** The quick connect that confirms a node's death, with real sockets. */
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { AnswerTimes, PROBE_LIMIT_MS, probePostgres } from '../../failover/monitor/nodes/probe';

const long = () => 5_000;
const servers: { server: Server; sockets: Socket[] }[] = [];

/** Listens on a free port, which it returns. `accept` gets each connection with its number, from 1. */
async function listen(accept: (socket: Socket, n: number) => void): Promise<number> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    sockets.push(socket);
    accept(socket, sockets.length);
  });
  servers.push({ server, sockets });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('no address');
  return address.port;
}

async function close({ server, sockets }: (typeof servers)[number]): Promise<void> {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
}

afterEach(async () => {
  for (const open of servers.splice(0)) await close(open);
});

describe('the quick connect', () => {
  const answer = (socket: Socket) => socket.on('data', () => socket.write('N'));

  it('finds a postmaster that answers', async () => {
    expect(await probePostgres('127.0.0.1', long, await listen(answer))).toBe('alive');
  });

  it('is refused where no process listens', async () => {
    const port = await listen(answer);
    for (const open of servers.splice(0)) await close(open);
    expect(await probePostgres('127.0.0.1', long, port)).toBe('refused');
  });

  it('does not take a connection that is closed without an answer for a postmaster', async () => {
    const port = await listen((socket) => socket.end());
    expect(await probePostgres('127.0.0.1', long, port)).toBe('broken');
    const rude = await listen((socket) => socket.resetAndDestroy());
    expect(await probePostgres('127.0.0.1', long, rude)).toBe('broken');
  });

  it('gets no answer within its limit from a server that accepts and sends nothing', async () => {
    const port = await listen(() => undefined);
    expect(await probePostgres('127.0.0.1', undefined, port)).toBe('silent');
    expect(servers[0]?.sockets.length).toBe(1);
  });

  it('tries again within a longer limit: a packet of the first attempt may be lost', async () => {
    const port = await listen((socket, n) => n > 2 && answer(socket));
    expect(await probePostgres('127.0.0.1', long, port)).toBe('alive');
    expect(servers[0]?.sockets.length).toBe(3);
  });
});

describe('how long an answer is awaited', () => {
  const answers = (...ms: readonly number[]) => {
    const times = new AnswerTimes();
    for (const each of ms) times.note(each);
    return times;
  };

  it('is unknown before the first answer', () => {
    expect(new AnswerTimes().limitMs([])).toBeNull();
  });

  it('is three times the slowest of the newest answers, and never below the limit of a quick network', () => {
    const times = answers(1);
    expect(times.limitMs([])).toBe(PROBE_LIMIT_MS);
    times.note(400);
    for (let n = 1; n < 32; n++) times.note(2);
    expect(times.limitMs([])).toBe(1_200);
    times.note(2);
    expect(times.limitMs([])).toBe(PROBE_LIMIT_MS);
  });

  it('is unknown after a stall until there are enough answers of other nodes', () => {
    const times = answers(1);
    times.age();
    expect(times.limitMs([])).toBeNull();
    expect(times.limitMs([answers(1, 1, 1, 1)])).toBeNull();
    expect(times.limitMs([answers(1, 1, 1, 1, 1)])).toBe(PROBE_LIMIT_MS);
    expect(times.limitMs([answers(1, 1, 1, 1, 1), answers(1, 1, 500, 1, 1)])).toBe(1_500);
    times.note(2);
    expect(times.limitMs([answers(1, 1, 500, 1, 1)])).toBe(PROBE_LIMIT_MS);
  });

  it('does not get shorter by a stall: a node with a slow network keeps it', () => {
    const far = answers(200);
    far.age();
    expect(far.limitMs([answers(1, 1, 1, 1, 1)])).toBe(600);
    const stalled = answers(1, 1, 1, 1, 1);
    stalled.age();
    expect(far.limitMs([stalled])).toBeNull();
  });
});
