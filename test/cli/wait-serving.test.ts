import { afterEach, beforeEach, expect, it } from 'vitest';
import type { LoginFact } from '../../cli/doctor/facts';
import { EXIT } from '../../cli/exit';
import { waitServing } from '../../cli/wait-serving';
import { healthyCluster } from '../rig/healthy-cluster';
import { fakeIo } from './console';
import { FakeMonitor } from './fake-monitor';

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
    'waiting: app cannot log in: no such\\x1b[2J | password',
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
