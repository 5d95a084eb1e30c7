/** How clocks and TCP behave, as the shipped code relies on it. Each case runs with the real and the simulated ones. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import type { Clock } from '../../failover/keeper/ports';

export const CLOCK_CONTRACT: Readonly<Record<string, (clock: Clock) => Promise<void>>> = {
  'never goes back and sleeps at least as long as asked': async (clock) => {
    const from = clock.nowMs();
    await clock.sleep(30);
    // Node's timers may fire a fraction of a millisecond before the time that `performance.now()` shows.
    expect(clock.nowMs() - from).toBeGreaterThanOrEqual(29);
    expect(clock.nowMs()).toBeGreaterThanOrEqual(from);
  },
  'ends a sleep at once, without an error, when the signal aborts': async (clock) => {
    const control = new AbortController();
    const from = clock.nowMs();
    const sleep = clock.sleep(60_000, control.signal);
    await clock.sleep(5);
    control.abort();
    await sleep;
    expect(clock.nowMs() - from).toBeLessThan(30_000);
  },
  'does not sleep when the signal has aborted before': async (clock) => {
    const control = new AbortController();
    control.abort();
    const from = clock.nowMs();
    await clock.sleep(60_000, control.signal);
    expect(clock.nowMs() - from).toBeLessThan(30_000);
  },
};

/** Starts another process that connects, sends a message and can be killed. */
export type Doomed = (port: number) => { kill(): void };

const ADDRESS = '127.0.0.1';
let nextPort = 17_990;

async function listening(serve: (socket: Socket) => void): Promise<{ server: Server; port: number }> {
  const server = createServer({ noDelay: true }, serve);
  nextPort += 1;
  const port = nextPort;
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, ADDRESS, resolve));
  return { server, port };
}

/** Adds the events of a socket to a list. */
function watch(socket: Socket, events: string[]): void {
  socket.on('data', (chunk: Buffer) => {
    if (events.at(-1)?.startsWith('data ') === true) events[events.length - 1] += chunk.toString();
    else events.push(`data ${chunk.toString()}`);
  });
  socket.on('end', () => events.push('end'));
  socket.on('error', (error: NodeJS.ErrnoException) => events.push(`error ${error.code ?? ''}`));
  socket.on('close', () => events.push('close'));
}

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 1_000 && !holds(); i++) await delay(5);
}

export const NETWORK_CONTRACT: Readonly<Record<string, (doomed: Doomed) => Promise<void>>> = {
  'delivers everything in order': async () => {
    const received: string[] = [];
    const { server, port } = await listening((socket) => watch(socket, received));
    const socket = connect({ host: ADDRESS, port, noDelay: true });
    await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
    const parts = Array.from({ length: 50 }, (_, i) => `${i};`);
    for (const part of parts) socket.write(part);
    const whole = `data ${parts.join('')}`;
    await until(() => received[0] === whole);
    expect(received).toEqual([whole]);
    socket.destroy();
    server.close();
  },
  'reports an orderly end to both sides, after the last data': async () => {
    const [here, there]: [string[], string[]] = [[], []];
    const { server, port } = await listening((socket) => watch(socket, there));
    const socket = connect({ host: ADDRESS, port, noDelay: true });
    watch(socket, here);
    await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
    socket.end('last');
    await until(() => here.includes('close') && there.includes('close'));
    expect(there).toEqual(['data last', 'end', 'close']);
    expect(here).toContain('close');
    server.close();
  },
  'reports a destroyed socket to the other side, and sends no data after that': async () => {
    const there: string[] = [];
    const { server, port } = await listening((socket) => watch(socket, there));
    const socket = connect({ host: ADDRESS, port, noDelay: true });
    socket.on('error', () => undefined);
    await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
    socket.write('before');
    await until(() => there.length > 0);
    socket.destroy();
    socket.write('after');
    await until(() => there.includes('close'));
    expect(there.join(' ')).not.toContain('after');
    expect(there.at(-1)).toBe('close');
    server.close();
  },
  'refuses at once where no process listens': async () => {
    const events: string[] = [];
    const { server, port } = await listening(() => undefined);
    await new Promise<void>((resolve) => server.close(() => resolve()));
    const socket = connect({ host: ADDRESS, port });
    watch(socket, events);
    await until(() => events.includes('close'));
    expect(events).toEqual(['error ECONNREFUSED', 'close']);
  },
  'closes the connections of a killed process, and the other side gets a close': async (doomed) => {
    const there: string[] = [];
    const { server, port } = await listening((socket) => watch(socket, there));
    const other = doomed(port);
    await until(() => there.length > 0);
    expect(there).toEqual(['data here']);
    other.kill();
    await until(() => there.includes('close'));
    expect(there.at(-1)).toBe('close');
    server.close();
  },
  'keeps open connections when the server stops listening': async () => {
    const there: string[] = [];
    const { server, port } = await listening((socket) => watch(socket, there));
    const socket = connect({ host: ADDRESS, port, noDelay: true });
    await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
    socket.write('one');
    await until(() => there.length > 0);
    server.close();
    socket.write('two');
    await until(() => there[0] === 'data onetwo');
    expect(there).toEqual(['data onetwo']);
    socket.destroy();
    await until(() => there.includes('close'));
  },
};
