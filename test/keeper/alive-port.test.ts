/**
 * The keeper's port on which HAProxy asks whether the container is alive: it sends back what it gets, within bounds.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listenAlive } from '../../failover/keeper/alive-port';

/** Each thread of HAProxy has a connection; so many have a place. */
const PLACES = 256;

let server: Server;
const sockets: Socket[] = [];
const log: string[] = [];

async function dial(to = server): Promise<Socket> {
  const socket = connect((to.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => undefined);
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

/** Resolves with the answer to some bytes; empty when the connection is closed instead. */
async function ask(socket: Socket, bytes: string): Promise<string> {
  const over = new AbortController();
  const { signal } = over;
  const answer = Promise.race([
    once(socket, 'data', { signal }).then(([chunk]) => String(chunk)),
    once(socket, 'close', { signal }).then(() => ''),
  ]);
  socket.write(bytes);
  return answer.finally(() => over.abort());
}

beforeEach(async () => {
  server = listenAlive(0, (line) => log.push(line));
  await once(server, 'listening');
});

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  log.splice(0);
  server.close();
});

describe('the port that HAProxy asks', () => {
  it('sends back each byte, again and again on one connection', async () => {
    const socket = await dial();
    for (let i = 0; i < 100; i++) expect(await ask(socket, '.')).toBe('.');
  });

  it('closes a connection that sends more than a question', async () => {
    expect(await ask(await dial(), 'x'.repeat(17))).toBe('');
  });

  it('has places for some connections only, and the others keep theirs', async () => {
    const first = await dial();
    for (let i = 1; i < PLACES; i++) await dial();
    expect(await ask(await dial(), '.')).toBe('');
    expect(await ask(first, '.')).toBe('.');
    first.destroy();
    await once(first, 'close');
    // The server sees the close a moment later.
    let answer = '';
    while (answer === '') answer = await ask(await dial(), '.');
    expect(answer).toBe('.');
  });

  it('closes a connection on which nothing comes, so that it takes no place', async () => {
    const impatient = listenAlive(0, (line) => log.push(line), 50);
    try {
      await once(impatient, 'listening');
      await once(await dial(impatient), 'close');
    } finally {
      impatient.close();
    }
  });

  it('says so when it cannot listen, and the keeper goes on', async () => {
    const { port } = server.address() as AddressInfo;
    const second = listenAlive(port, (line) => log.push(line));
    await once(second, 'error');
    expect(log.join()).toContain(`port ${port}`);
  });
});
