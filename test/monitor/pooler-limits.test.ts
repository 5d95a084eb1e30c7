/** Limits of the pooler's connection: a program that reaches the monitor's port holds nothing up, nor for long. */
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { derivedPassword } from '../../failover/contract/proof';
import { PoolerServer } from '../../failover/monitor/pooler/server';
import { MonitorLink } from '../../failover/pooler/monitor-link';
import { testFolder } from '../rig/folder';
import { waitFor } from '../rig/wait';

const CLUSTER_KEY = 'c'.repeat(48);
/** The server's own limits are 2 s before and 5 s after the proof, ms. */
const LATE_MS = 9_000;
const UNPROVEN_MAX = 8;

const ended: (() => unknown)[] = [];
let sockets = '';
let server: PoolerServer;
let codes: string[] = [];

beforeEach(async () => {
  sockets = testFolder();
  const said: string[] = [];
  codes = said;
  const ports = {
    ...{ clusterKey: CLUSTER_KEY, sockets, clock: { nowMs: () => performance.now() } },
    log: { write: (_level: string, _subject: string, code: string) => void said.push(code) },
  };
  server = new PoolerServer(ports, { address: '127.0.0.1', port: 0 }, { wake: () => undefined });
  await server.listen();
});

afterEach(async () => {
  for (const end of ended.splice(0)) end();
  await server.close();
});

/** A program that connects and says nothing. */
async function silent(closed: () => void): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port: server.port() });
  socket.on('error', () => undefined).resume();
  socket.once('close', closed);
  ended.push(() => socket.destroy());
  await new Promise<void>((resolve) => socket.once('connect', resolve).once('close', () => resolve()));
}

/** A pooler that proves its key and then sends nothing. Returns why its connections ended. */
function pooler(): string[] {
  const key = derivedPassword(CLUSTER_KEY, 'pooler');
  const link = new MonitorLink({ key, monitor: { host: '127.0.0.1', port: server.port() } });
  const told: string[] = [];
  void link.run({ connected: () => undefined, receive: () => undefined, log: (line) => told.push(line) });
  ended.push(() => link.close());
  return told;
}

describe('connections to the monitor’s port for the pooler', () => {
  it('are eight at most before the proof, and end when they prove nothing', async () => {
    const order: number[] = [];
    for (let i = 0; i <= UNPROVEN_MAX; i++) await silent(() => order.push(i));
    await waitFor('the end of all', LATE_MS, () => order.length === UNPROVEN_MAX + 1);
    // The one that was too many is closed at once, and the others after two seconds.
    expect(order[0]).toBe(UNPROVEN_MAX);
    pooler();
    await waitFor('the pooler', LATE_MS, () => server.view());
  });

  it('end after the proof when nothing comes for five seconds', async () => {
    pooler();
    await waitFor('the pooler', LATE_MS, () => server.view());
    await waitFor('its end', LATE_MS, () => codes.includes('POOLER_LOST'));
  });

  it('end when a newer one has proven the key', async () => {
    const told = pooler();
    await waitFor('the pooler', LATE_MS, () => server.view());
    pooler();
    await waitFor('the end of the former one', 2_000, () => told.length > 0);
    expect(codes.slice(0, 2)).toEqual(['POOLER_SEEN', 'POOLER_SEEN']);
  });
});
