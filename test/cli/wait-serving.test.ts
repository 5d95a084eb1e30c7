import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { LoginFact } from '../../cli/doctor/facts';
import { EXIT } from '../../cli/exit';
import { waitForNode, waitServing } from '../../cli/wait-serving';
import { healthyCluster } from '../rig/healthy-cluster';
import { fakeIo } from './console';
import { event, FakeMonitor } from './fake-monitor';

const IN: LoginFact = { kind: 'in', readOnly: false, standby: false, tookMs: 1 };

/** @param refused a setting with which PostgreSQL did not start. */
function complete(refused: string | null = null) {
  const cluster = healthyCluster();
  const settings = { restart: 'none' as const, pending: [], refused };
  return { ...cluster, nodes: cluster.nodes.map((node) => ({ ...node, settings })) };
}

let monitor: FakeMonitor;
beforeEach(async () => {
  monitor = new FakeMonitor();
  await monitor.open();
});
afterEach(() => monitor.close());

it('says each reason once, until the cluster serves and its owner can log in', async () => {
  let looks = 0;
  const { io, said } = fakeIo(monitor.url, {
    goOn: () => {
      looks++;
      monitor.cluster = looks < 2 ? null : looks < 4 ? healthyCluster() : complete();
      return true;
    },
  });
  monitor.cluster = null;
  const logins: LoginFact[] = [{ kind: 'failed', code: '28P01', message: 'no such\x1b[2J\npassword' }, IN];
  expect(await waitServing(io, undefined, {}, async () => logins.shift() ?? IN)).toBe(EXIT.ok);
  expect(said.out).toEqual([
    expect.stringMatching(/^waiting: .*the monitor is starting$/),
    expect.stringMatching(/^waiting: .*postgres-primary reads its settings/),
    expect.stringMatching(
      /^waiting: app cannot log in: no such\\x1b\[2J \| password: it was changed by SQL, or is no longer valid\. npm run/,
    ),
    'the cluster serves',
  ]);
});

it('ends at once when a node does not start with its settings', async () => {
  monitor.cluster = complete('shared_buffers = 64GB: no memory');
  const waiting = waitServing(fakeIo(monitor.url).io, '60', {}, async () => IN);
  await expect(waiting).rejects.toThrow(/^postgres-primary does not start with shared_buffers = 64GB: no memory; /);
});

it('ends with 1 at the limit', async () => {
  const waiting = waitServing(fakeIo(monitor.url, { goOn: () => true }).io, '0.01', {}, async () => IN);
  await expect(waiting).rejects.toMatchObject({
    code: EXIT.failed,
    message: expect.stringContaining('does not serve after 0.01 s'),
  });
});

/** The replica copies; the newest event says how far it is. */
function copying(percent: number) {
  const cluster = complete();
  const [primary, replica] = cluster.nodes;
  if (primary === undefined || replica === undefined) throw new Error('two nodes are expected');
  const progress = { ...event(percent, `base backup of postgres-primary: ${percent} %`), code: 'COPY_PROGRESS' };
  const events = [{ ...progress, subject: 'postgres-replica-1' }];
  return { ...cluster, nodes: [primary, { ...replica, done: false, state: 'copying' }], events };
}

it('waits for a node as long as its copy goes on, and says how far it is', async () => {
  const LIMIT_S = 0.2;
  let percent = 0;
  const begin = performance.now();
  const { io, said } = fakeIo(monitor.url, {
    goOn: () => {
      // Each step is shorter than the limit, all of them together are longer.
      const isDone = performance.now() - begin > 5 * LIMIT_S * 1_000;
      percent = Math.floor((performance.now() - begin) / 50) + 1;
      monitor.cluster = isDone ? complete() : copying(percent);
      return true;
    },
  });
  monitor.cluster = copying(1);
  expect(await waitForNode(io, 'postgres-replica-1', String(LIMIT_S), {})).toBe(EXIT.ok);
  expect(said.out[0]).toBe(
    'waiting: postgres-replica-1 is copying (follow postgres-primary (stream)); postgres-replica-1: base backup of postgres-primary: 1 %',
  );
  expect(said.out.at(-1)).toBe('postgres-replica-1 has carried out its order');
});

it('ends with 1 at the limit when a copy stands still', async () => {
  monitor.cluster = copying(40);
  const waiting = waitForNode(fakeIo(monitor.url, { goOn: () => true }).io, 'postgres-replica-1', '0.1', {});
  await expect(waiting).rejects.toThrow('postgres-replica-1 has not carried out its order after 0.1 s');
});

it('does not wait for a node that a person left stopped, but for every other one', async () => {
  const off = complete();
  const [primary, replica] = off.nodes;
  if (primary === undefined || replica === undefined) throw new Error('two nodes are expected');
  monitor.cluster = { ...off, nodes: [primary, { ...replica, connected: false, done: false, settings: null }] };
  const wait = () => waitServing(fakeIo(monitor.url, { goOn: () => true }).io, '0.05', {}, async () => IN);
  vi.stubEnv('PGFAILOVER_LEFT_STOPPED', 'postgres-replica-1');
  expect(await wait()).toBe(EXIT.ok);
  vi.stubEnv('PGFAILOVER_LEFT_STOPPED', 'postgres-primary');
  await expect(wait()).rejects.toThrow(/postgres-replica-1 is off/);
  vi.unstubAllEnvs();
});

/** Refuses each login with this code. */
const refusing = (code: string, message: string) => async (): Promise<LoginFact> => ({ kind: 'failed', code, message });

it.each([
  [
    '28P01',
    'password authentication failed',
    /password authentication failed: it was changed by SQL.*use-program.*keep-database/,
  ],
  ['22023', 'invalid value for parameter "default_tablespace": "nowhere"', /"nowhere"\. Waiting does not help\./],
])('ends early when PostgreSQL refuses the login with %s and nothing else is missing', async (code, message, words) => {
  monitor.cluster = complete();
  const { io, said } = fakeIo(monitor.url, { goOn: () => true });
  const begin = performance.now();
  const waiting = waitServing(io, '60', {}, refusing(code, message), 100);
  await expect(waiting).rejects.toMatchObject({ code: EXIT.failed, message: expect.stringMatching(words) });
  expect(performance.now() - begin).toBeLessThan(10_000);
  expect(said.out).toHaveLength(1);
});

it('goes on waiting for a refusal that ends by itself, and for one that comes while something else is missing', async () => {
  monitor.cluster = complete();
  let looks = 0;
  const goOn = () => {
    // Each second look the nodes have something to do.
    monitor.cluster = ++looks % 2 === 0 ? complete() : healthyCluster();
    return true;
  };
  const late = waitServing(fakeIo(monitor.url, { goOn }).io, '0.5', {}, refusing('28P01', 'no'), 100);
  await expect(late).rejects.toThrow(/does not serve after 0\.5 s/);
  monitor.cluster = complete();
  const full = waitServing(fakeIo(monitor.url, { goOn: () => true }).io, '0.5', {}, refusing('53300', 'too many'), 100);
  await expect(full).rejects.toThrow(/does not serve after 0\.5 s: app cannot log in: too many/);
});

it('says what PostgreSQL answers to the opening check', async () => {
  const check = {
    ...event(1, 'relation "failover.canary" does not exist'),
    code: 'CHECK_WAITS',
    subject: 'postgres-primary',
  };
  monitor.cluster = { ...healthyCluster(), serving: false, events: [check] };
  const { io, said } = fakeIo(monitor.url, { goOn: () => true });
  await expect(waitServing(io, '0.1', {}, async () => IN)).rejects.toThrow(/canary" does not exist/);
  expect(said.out[0]).toContain('the opening check of postgres-primary: relation');
});
