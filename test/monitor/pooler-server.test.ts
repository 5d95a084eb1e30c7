/** The monitor's side and the supervisor's side of the lease, over real sockets. */
import { existsSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type FromPooler,
  PAUSE_LEASE_MS,
  POOLER_NAME,
  POOLER_PROTOCOL,
  type ToPooler,
} from '../../failover/contract/pooler';
import { derivedPassword, proof } from '../../failover/contract/proof';
import { unseal } from '../../failover/contract/seal';
import { PoolerServer } from '../../failover/monitor/pooler/server';
import { MonitorLink } from '../../failover/pooler/monitor-link';
import { testFolder } from '../rig/folder';
import { waitFor } from '../rig/wait';

const CLUSTER_KEY = 'c'.repeat(48);
const FIGURES: FromPooler = {
  type: 'figures',
  pools: [{ role: 'app', clients: 3, waiting: 1, maxWaitMs: 2, active: 1, idle: 2, transactions: 9, restarts: 0 }],
};
const ended: (() => void)[] = [];
let sockets = '';

beforeEach(() => {
  sockets = testFolder();
});

afterEach(() => {
  for (const end of ended.splice(0)) end();
});

async function rig(key = derivedPassword(CLUSTER_KEY, 'pooler')) {
  const codes: string[] = [];
  const got: ToPooler[] = [];
  let woken = 0;
  const clock = { nowMs: () => performance.now() };
  const log = { write: (_level: string, _subject: string, code: string) => void codes.push(code) };
  const wake = {
    wake: () => {
      woken += 1;
    },
  };
  const server = new PoolerServer(
    { clusterKey: CLUSTER_KEY, clock, log, sockets },
    { address: '127.0.0.1', port: 0 },
    wake,
  );
  await server.listen();
  const link = new MonitorLink({ key, monitor: { host: '127.0.0.1', port: server.port() } });
  const run = link.run({ connected: () => undefined, receive: (frame) => got.push(frame), log: () => undefined });
  ended.push(
    () => link.close(),
    () => void server.close(),
  );
  return { server, link, run, codes, got, woken: () => woken };
}

describe('the pooler’s connection', () => {
  it('carries the pause there, renewed, and state and figures back', async () => {
    const { server, link, got, codes, woken } = await rig();
    expect(server.isQuiet()).toBe(true);
    await waitFor('the connection', 5_000, () => server.view());
    expect(server.isQuiet()).toBe(false);
    expect(codes).toEqual(['POOLER_SEEN']);
    server.pause(true);
    const pause = { type: 'pause', forMs: PAUSE_LEASE_MS };
    await waitFor('two renewals', 5_000, () => got.filter((frame) => frame.type === 'pause').length >= 3);
    expect(got.at(-1)).toEqual(pause);
    const before = woken();
    link.send({ type: 'state', pause: 'paused' });
    await waitFor('the state', 5_000, () => server.isQuiet());
    expect(woken()).toBe(before + 1);
    server.pause(false);
    await waitFor('the end', 5_000, () => got.at(-1)?.type === 'resume');
    link.send(FIGURES);
    await waitFor('the figures', 5_000, () => server.view()?.pools.length === 1);
    expect(server.view()?.pools).toEqual(FIGURES.pools);
  });

  it('lets HAProxy announce its stop while it stands', async () => {
    const { server, link } = await rig();
    const file = (name: string) => join(sockets, name);
    await waitFor('the connection', 5_000, () => server.view());
    expect(existsSync(file('pooled'))).toBe(true);
    expect(server.haproxyLeaves()).toBe(false);
    writeFileSync(file('leaving'), '');
    expect(server.haproxyLeaves()).toBe(true);
    server.letHaproxyGo();
    expect([server.haproxyLeaves(), existsSync(file('leaving'))]).toEqual([false, false]);
    link.close();
    await waitFor('the end', 5_000, () => server.view() === null);
    expect(existsSync(file('pooled'))).toBe(false);
  });

  it('holds nothing back when it breaks', async () => {
    const { server, link, codes } = await rig();
    await waitFor('the connection', 5_000, () => server.view());
    link.close();
    await waitFor('the end', 5_000, () => server.view() === null);
    expect(server.isQuiet()).toBe(true);
    expect(codes).toEqual(['POOLER_SEEN', 'POOLER_LOST']);
  });

  it('hands over the certificate, its key sealed, at the beginning and on change', async () => {
    const leaf = { certificate: 'CERTIFICATE', key: 'PRIVATE', authority: 'AUTHORITY' };
    const { server, link, got, codes } = await rig();
    server.encrypt(leaf);
    const handed = () => got.filter((frame) => frame.type === 'certificate');
    await waitFor('the certificate', 5_000, () => handed().length === 1);
    const [first] = handed();
    expect(first).toMatchObject({ certificate: 'CERTIFICATE', authority: 'AUTHORITY' });
    expect(unseal(derivedPassword(CLUSTER_KEY, 'pooler'), first?.key ?? '')).toBe('PRIVATE');
    expect(unseal(CLUSTER_KEY, first?.key ?? '')).toBeNull();
    expect(JSON.stringify(got)).not.toContain('PRIVATE');
    server.encrypt({ certificate: 'NEXT', key: 'PRIVATE' });
    await waitFor('the next one', 5_000, () => handed().at(-1)?.certificate === 'NEXT');
    expect(handed().at(-1)?.authority).toBeUndefined();
    // What it cannot use is told once.
    for (const certificateProblem of ['it is\nbad', 'it is\nbad', null])
      link.send({ type: 'figures', pools: [], certificateProblem });
    link.send(FIGURES);
    await waitFor('the figures', 5_000, () => server.view()?.pools.length === 1);
    expect(codes).toEqual(['POOLER_SEEN', 'CERTIFICATE_REFUSED']);
  });

  it('hands none to a pooler of before, which would end the connection', async () => {
    const { server, link } = await rig();
    link.close();
    await waitFor('the end', 5_000, () => server.view() === null);
    server.encrypt({ certificate: 'CERTIFICATE', key: 'PRIVATE' });
    const got: string[] = [];
    const socket = connect({ host: '127.0.0.1', port: server.port() });
    ended.push(() => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('data', (part) => {
      got.push(part.toString());
      const { nonce = '' } = JSON.parse(got[0] ?? '{}') as { nonce?: string };
      const mac = proof(derivedPassword(CLUSTER_KEY, 'pooler'), 'pooler', nonce, 'n', POOLER_NAME);
      if (got.length === 1)
        socket.write(`${JSON.stringify({ type: 'hello', version: POOLER_PROTOCOL, nonce: 'n', mac })}\n`);
    });
    await waitFor('a sign of life', 5_000, () => got.join('').match(/"resume"/g)?.length === 2);
    expect(got.join('')).not.toContain('CERTIFICATE');
  });

  it('is refused with another key, and told once a minute', async () => {
    const { server, codes } = await rig('x'.repeat(64));
    await waitFor('the refusal', 5_000, () => codes.length > 0);
    expect(codes).toEqual(['POOLER_REFUSED']);
    expect(server.view()).toBeNull();
  });

  it('takes no frame before the proof', async () => {
    const { server, codes, link } = await rig();
    link.close();
    await waitFor('the end', 5_000, () => server.view() === null);
    const socket = connect({ host: '127.0.0.1', port: server.port() });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined).resume();
    socket.write(`${JSON.stringify({ type: 'state', pause: 'paused' })}\n`);
    await closed;
    expect(server.view()).toBeNull();
    expect(codes).toContain('POOLER_REFUSED');
  });
});
