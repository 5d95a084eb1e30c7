import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, it } from 'vitest';
import { budgetFor } from '../../failover/contract/budget';
import { ask } from '../../failover/monitor/router/haproxy-socket';
import { renderHaproxyConfig } from '../../stack/haproxy-config';
import { applyConfig as applyTo } from '../rig/apply-config';
import { sessionsIn } from '../rig/haproxy-sessions';
import { waitFor } from '../rig/wait';
import { type ContractClient, HAPROXY_CONTRACT, type HaproxyUnderTest } from './haproxy';

const execute = promisify(execFile);
const ROOT = join(__dirname, '../..');
const IMAGE = 'contract-haproxy:test';
const NETWORK = 'contract-haproxy';
const PROXY = { name: 'contract-proxy', address: '10.98.11.10' };
const NODES = [
  { name: 'contract-a', address: '10.98.11.20' },
  { name: 'contract-b', address: '10.98.11.21' },
] as const;
const PORT = { write: 5432, read: 5433 };
const CONFIG = renderHaproxyConfig({ holdTimeoutMs: 30_000, budget: budgetFor({}), backendHost: null });

let sockets = '';
const clients: ContractClient[] = [];

async function docker(...args: string[]): Promise<string> {
  return (await execute('docker', args, { env: { ...process.env, DOCKER_BUILDKIT: '0' } })).stdout.trim();
}
const quietly = (...args: string[]) => docker(...args).catch(() => '');

const applyConfig = async (config = CONFIG): Promise<void> => {
  await applyTo(PROXY.name, config);
};

const admin = (commands: string) => ask(join(sockets, 'admin.sock'), commands, 1_000);

function dial(port: 'write' | 'read'): ContractClient {
  const socket = connect(PORT[port], PROXY.address);
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
  admin,
  master: (commands) => ask(join(sockets, 'master.sock'), commands, 1_000),
  dial,
  reload: () => applyConfig(`${CONFIG}# changed\n`),
  restart: async () => {
    await docker('restart', '-t', '1', PROXY.name);
  },
  hang: async (still) => {
    const command = still ? 'pause' : 'unpause';
    // On a busy machine Docker may fail to freeze a container in time. This says nothing about HAProxy, so it is tried
    // again.
    for (let tries = 0; tries < 3; tries++) {
      if ((await quietly(command, NODES[1].name)) !== '') return;
    }
    throw new Error(`docker ${command} failed three times`);
  },
};

/** Closes all slots and waits until no session is left: a new session may get the id of an ended one. */
async function reset(): Promise<void> {
  for (const client of clients.splice(0)) client.leave();
  await admin(['write/node1', 'write/node2', 'read/node1'].map((slot) => `set server ${slot} state maint`).join(';'));
  const isEmpty = async () => sessionsIn(await admin('show sess')).every((s) => !['write', 'read'].includes(s.backend));
  await waitFor('the end of the last case’s sessions', 10_000, isEmpty, 5);
}

// HAProxy's sockets belong to its own group; without root this test cannot open them.
describe.skipIf(process.getuid?.() !== 0)('the real HAProxy', () => {
  beforeAll(async () => {
    for (const { name } of [PROXY, ...NODES]) await quietly('rm', '-f', name);
    await quietly('network', 'rm', NETWORK);
    await docker('build', '-q', '-t', IMAGE, join(ROOT, 'images/haproxy'));
    await docker('network', 'create', '--subnet', '10.98.11.0/24', NETWORK);
    sockets = mkdtempSync(join(tmpdir(), 'contract-haproxy-'));
    chmodSync(sockets, 0o777);
    const run = ['run', '-d', '--init', '--network', NETWORK];
    const serve = (name: string) => ['socat', 'TCP-LISTEN:5432,fork,reuseaddr', `SYSTEM:echo ${name}; cat`];
    for (const { name, address } of NODES) {
      await docker(...run, '--name', name, '--ip', address, IMAGE, ...serve(name));
    }
    await docker(...run, '--name', PROXY.name, '--ip', PROXY.address, '-v', `${sockets}:/run/haproxy`, IMAGE);
    await applyConfig();
    await waitFor('HAProxy to answer', 20_000, async () => (await admin('show info')) !== '', 50);
  });

  afterEach(reset);

  afterAll(async () => {
    for (const { name } of [PROXY, ...NODES]) await quietly('rm', '-f', '-v', name);
    await quietly('network', 'rm', NETWORK);
    await quietly('rmi', IMAGE);
    rmSync(sockets, { recursive: true, force: true });
  });

  it.each(Object.entries(HAPROXY_CONTRACT))('%s', (_name, holds) => holds(real));
});
