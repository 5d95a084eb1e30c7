import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, it } from 'vitest';
import { budgetFor } from '../../failover/contract/budget';
import { renderHaproxyConfig } from '../../stack/haproxy-config';
import { docker } from '../keeper/node-containers';
import { sessionsIn } from '../rig/haproxy-sessions';
import { RealHaproxy } from '../rig/real-haproxy';
import { waitFor } from '../rig/wait';
import { type ContractClient, HAPROXY_CONTRACT, type HaproxyUnderTest } from './haproxy';

const proxy = new RealHaproxy('contract', '10.98.11');
const NODES = [
  { name: 'contract-a', address: '10.98.11.20' },
  { name: 'contract-b', address: '10.98.11.21' },
] as const;
const PORT = { write: 5432, read: 5433 };
const CONFIG = renderHaproxyConfig({ holdTimeoutMs: 30_000, budget: budgetFor({}), backendHost: null });

const clients: ContractClient[] = [];

function dial(port: 'write' | 'read'): ContractClient {
  const socket = connect(PORT[port], proxy.address);
  let [greeting, ended] = ['', false];
  socket.on('data', (chunk: Buffer) => {
    greeting += chunk.toString();
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    ended = true;
  });
  socket.write('hello\n');
  const client: ContractClient = {
    node: () => NODES.find((n) => greeting.startsWith(n.name))?.address ?? null,
    ended: () => ended,
    leave: () => socket.destroy(),
  };
  clients.push(client);
  return client;
}

const real: HaproxyUnderTest = {
  a: NODES[0].address,
  b: NODES[1].address,
  admin: (commands) => proxy.admin(commands),
  master: (commands) => proxy.master(commands),
  dial,
  reload: async () => {
    await proxy.apply(`${CONFIG}# changed\n`);
  },
  restart: async () => {
    await docker('restart', '-t', '1', proxy.name);
  },
  hang: async (still) => {
    const command = still ? 'pause' : 'unpause';
    // On a busy machine Docker may fail to freeze a container in time. This says nothing about HAProxy, so it is tried
    // again.
    for (let tries = 0; tries < 3; tries++) {
      const done = await docker(command, NODES[1].name).catch(() => '');
      if (done !== '') return;
    }
    throw new Error(`docker ${command} failed three times`);
  },
};

/** Closes all slots and waits until no session is left: a new session may get the id of an ended one. */
async function reset(): Promise<void> {
  for (const client of clients.splice(0)) client.leave();
  await proxy.admin(
    ['write/node1', 'write/node2', 'read/node1'].map((slot) => `set server ${slot} state maint`).join(';'),
  );
  const isEmpty = async () =>
    sessionsIn(await proxy.admin('show sess')).every((s) => !['write', 'read'].includes(s.backend));
  await waitFor('the end of the last case’s sessions', 10_000, isEmpty, 5);
}

// HAProxy's sockets belong to its own group; without root this test cannot open them.
describe.skipIf(process.getuid?.() !== 0)('the real HAProxy', () => {
  beforeAll(async () => {
    await proxy.createNetwork(NODES.map(({ name }) => name));
    await proxy.start();
    for (const node of NODES) await proxy.serve(node);
    await proxy.apply(CONFIG);
    await waitFor('HAProxy to answer', 20_000, async () => (await proxy.admin('show info')) !== '', 50);
  });

  afterEach(reset);

  afterAll(() => proxy.remove());

  it.each(Object.entries(HAPROXY_CONTRACT))('%s', (_name, holds) => holds(real));
});
