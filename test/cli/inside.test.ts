/** The command line of the monitor's image, as its build context has it, against a monitor. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { beforeAll, beforeEach, expect, it } from 'vitest';
import { EXIT } from '../../cli/exit';
import type { MonitorConfig } from '../../failover/contract/inputs';
import { derivedPassword } from '../../failover/contract/proof';
import { run } from '../../scripts/lib/exec';
import { bundleImages } from '../../scripts/lib/staging';
import { checkConfig } from '../../stack/config';
import { monitorConfig } from '../../stack/monitor-config';
import { buildTopology } from '../../stack/topology';
import { healthyCluster } from '../rig/healthy-cluster';
import { FakeMonitor } from './fake-monitor';

/** As the program writes it. Nothing takes a login at HAProxy's address: `wait-serving` goes on waiting. */
function config(): MonitorConfig {
  const { settings } = checkConfig({ databaseName: 'shop', databaseUser: 'shop_owner' });
  if (settings === undefined) throw new Error('the config is refused');
  const topology = buildTopology(settings, { project: 'p', stack: 'dev', projectRoot: '/' });
  const keys = { clusterKey: 'k'.repeat(32), authoritySecret: 'a'.repeat(32) };
  const secrets = { ...keys, databasePassword: 'the-password', databaseVerifier: 'SCRAM-SHA-256$…' };
  const made = monitorConfig(topology, secrets);
  return { ...made, settings: { ...made.settings, haproxyAddress: '127.0.0.1' } };
}
const CONFIG = config();
const NAMES = ['pgfailover', 'switchover', 'promote', 'wait-serving'];
const DEADLINE_MS = 15_000;

let folder: string;
let monitor: FakeMonitor;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cli-inside-'));
  await bundleImages(undefined, folder);
  const script = readFileSync(join(folder, 'monitor/pgfailover'), 'utf8').replaceAll('/app/', `${folder}/monitor/`);
  writeFileSync(join(folder, 'pgfailover'), script, { mode: 0o755 });
  for (const name of NAMES.slice(1)) symlinkSync('pgfailover', join(folder, name));
  writeFileSync(join(folder, 'monitor.json'), JSON.stringify(CONFIG));
  return () => rmSync(folder, { recursive: true, force: true });
}, DEADLINE_MS * 2);
beforeEach(async () => {
  monitor = new FakeMonitor(derivedPassword(CONFIG.clusterKey, 'admin'));
  await monitor.open();
  return () => monitor.close();
});

function inside(line: string) {
  const [name = '', ...args] = line.split(' ');
  const env = {
    PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
    MONITOR_CONFIG: join(folder, 'monitor.json'),
    PGFAILOVER_URL: monitor.url,
  };
  return run(join(folder, name), args, { env, deadlineMs: DEADLINE_MS });
}

it('is in the image under the names of its commands', () => {
  const dockerfile = readFileSync(join(folder, 'monitor/Dockerfile'), 'utf8');
  expect(dockerfile).toContain(`for name in ${NAMES.slice(1).join(' ')}; do ln -s pgfailover /usr/local/bin/$name`);
});

it.each([
  ['switchover', 'switchover', {}],
  ['switchover replica-1', 'switchover', { to: 'postgres-replica-1' }],
  ['promote postgres-replica-1', 'promote', { node: 'postgres-replica-1', acceptDataLoss: false }],
  ['promote postgres-replica-1 --accept-data-loss', 'promote', { node: 'postgres-replica-1', acceptDataLoss: true }],
  ['pgfailover pause --reason disks --yes', 'pause', { reason: 'disks' }],
])('%s is done without a question', async (line, name, body) => {
  const { code, stdout } = await inside(line);
  expect(stdout).toBe(`it did ${name} (term 5, 12 ms)\n`);
  expect(code).toBe(EXIT.ok);
  expect(monitor.calls).toEqual([{ name, body: { ...body, dryRun: false } }]);
});

it('says a refusal on stdout and ends with 1', async () => {
  monitor.answer = { done: false, message: 'a has not caught up' };
  expect(await inside('switchover postgres-replica-1')).toMatchObject({
    code: EXIT.failed,
    stdout: 'switchover refused: a has not caught up\n',
  });
});

it.each(['promote', 'switchover a b', 'wait-serving 0', 'wait-serving soon', 'pgfailover doctor'])(
  '%s has wrong arguments',
  async (line) => {
    expect((await inside(line)).code).toBe(EXIT.usage);
    expect(monitor.calls).toEqual([]);
  },
);

it('asks for a confirmation that nobody gives, when it has the name of the whole program', async () => {
  expect((await inside('pgfailover switchover')).code).toBe(EXIT.failed);
  expect(monitor.calls.map(({ body }) => body.dryRun)).toEqual([true]);
});

it('shows the status and knows no other stack', async () => {
  const { code, stdout } = await inside('pgfailover status --json');
  expect(code).toBe(EXIT.ok);
  expect(JSON.parse(stdout)).toEqual(monitor.cluster);
  expect((await inside('pgfailover status --stack other')).code).toBe(EXIT.usage);
});

it('waits until a client can log in, and says at the limit that none can', async () => {
  const settings = { restart: 'none' as const, pending: [], refused: null };
  const cluster = healthyCluster();
  monitor.cluster = { ...cluster, nodes: cluster.nodes.map((node) => ({ ...node, settings })) };
  const { code, stdout } = await inside('wait-serving 0.01');
  expect(code).toBe(EXIT.failed);
  expect(stdout).toMatch(
    /^waiting: shop_owner cannot log in: .*\n(waiting: .*\n)*the cluster does not serve after 0\.01 s: /,
  );
});

it('ends without a message when its reader goes, as in `… | head -1`', async () => {
  const script = `"${join(folder, 'pgfailover')}" --help | true; echo "\${PIPESTATUS[0]}"`;
  const child = spawnSync('bash', ['-c', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
      MONITOR_CONFIG: join(folder, 'monitor.json'),
    },
  });
  expect(child.stderr.toString()).toBe('');
  expect(child.stdout.toString()).toMatch(/^(0|141)\n$/);
});
