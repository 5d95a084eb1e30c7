/**
 * Makes the condition of every alert true on a real stack, and checks in Prometheus that the alert fires and clears
 * afterwards. The stack's own Prometheus shows that the committed rules are loaded and that their targets are up. A
 * second one, of the same image, has the same expressions, evaluates them every second and has shorter `for` times. The
 * alert that cannot be made to fire here is in monitoring/alerts.test.yml.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { PATHS as INSIDE, PORTS } from '../../failover/contract/layout';
import { run } from '../../scripts/lib/exec';
import { PATHS } from '../../scripts/lib/paths';
import { say } from '../../scripts/lib/terminal';
import { docker, sqlInside } from '../rig/docker';
import { view } from '../rig/view';
import { waitFor } from '../rig/wait';
import { TIMEOUTS } from '../timeouts';
import { UiStack } from './lib/stack';

const FILE = join(PATHS.root, 'monitoring', 'alerts.yml');
const SHORT = '1s';
/** The longest time that a rule looks back, and some more, ms. */
const CLEAR_MS = 7 * 60_000;
const MB = 1024 * 1024;

const Labels = z.record(z.string(), z.string());
const Rule = z.looseObject({ alert: z.string(), for: z.string().optional(), annotations: Labels });
const Rules = z.object({ groups: z.array(z.looseObject({ rules: z.array(Rule) })) });
const Loaded = z.object({
  data: z.object({ groups: z.array(z.object({ rules: z.array(z.object({ name: z.string() })) })) }),
});
const Alerts = z.object({ data: z.object({ alerts: z.array(z.object({ labels: Labels, state: z.string() })) }) });
const Target = z.object({ labels: Labels, health: z.string() });
const Targets = z.object({ data: z.object({ activeTargets: z.array(Target) }) });
const Query = z.object({ data: z.object({ result: z.array(z.object({ value: z.tuple([z.number(), z.string()]) })) }) });

const rules = Rules.parse(parse(readFileSync(FILE, 'utf8')));
const NAMES = rules.groups.flatMap((group) => group.rules.map((rule) => rule.alert));
/**
 * Alerts that only promtool tests: nothing from outside can stop the monitor's loop while its HTTP side answers, and
 * those of the backups take longer than this test.
 */
const NOT_STAGED = ['PgFailoverMonitorStale', ...NAMES.filter((name) => /^PgFailover(Archive|Backup)/.test(name))];
const seenFiring = new Set<string>();

const stack = new UiStack('ui-alerts', 2, { monitoring: 'true' });
const [PRIMARY, REPLICA] = [stack.container('postgres-primary'), stack.container('postgres-replica-1')];
const [MONITOR, HAPROXY] = [stack.container('failover-monitor'), stack.container('haproxy')];
const PROMETHEUS = stack.container('prometheus');
const QUICK = stack.container('prometheus-quick');
const OWN = `http://127.0.0.1:${stack.prometheusPort}`;
const QUICK_PORT = stack.prometheusPort + 1;
const QUICK_URL = `http://127.0.0.1:${QUICK_PORT}`;
const folder = mkdtempSync(join(tmpdir(), 'alerts-'));
let token = '';

async function ask<T>(base: string, path: string, schema: z.ZodType<T>): Promise<T> {
  const response = await fetch(`${base}${path}`, { signal: AbortSignal.timeout(TIMEOUTS.docker) });
  return schema.parse(await response.json());
}

async function firing(): Promise<string[]> {
  const { data } = await ask(QUICK_URL, '/api/v1/alerts', Alerts);
  const names = data.alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels.alertname ?? '');
  for (const name of names) seenFiring.add(name);
  return names;
}

/** Waits until all of these alerts fire, or none of them does. */
async function until(isFiring: boolean, limitMs: number, names: readonly string[]): Promise<void> {
  await waitFor(`${names.join(' and ')} to ${isFiring ? 'fire' : 'clear'}`, limitMs, async () => {
    const now = await firing();
    return names.every((name) => now.includes(name) === isFiring);
  });
}

const fires = (...names: string[]) => until(true, TIMEOUTS.rejoin, names);
const clear = (...names: string[]) => until(false, TIMEOUTS.rejoin, names);

async function metric(expression: string): Promise<number | null> {
  const { data } = await ask(QUICK_URL, `/api/v1/query?query=${encodeURIComponent(expression)}`, Query);
  const value = data.result[0]?.value[1];
  return value === undefined ? null : Number(value);
}

/** Waits until the leader serves and its standby is counted; alerts about recent events may still fire. */
async function isWell(): Promise<void> {
  await waitFor('both nodes to serve', TIMEOUTS.rejoin, async () => {
    return (await metric('pgfailover_serving')) === 1 && (await metric('sum(pgfailover_sync)')) === 1;
  });
}

const sql = (node: string, text: string) => sqlInside(node, text, 'app');

const leader = async () => (await view(stack.seen)).leader ?? '';
const follower = async () => ((await leader()) === PRIMARY ? REPLICA : PRIMARY);

/** Writes WAL without changing data. */
async function writeWal(node: string, megabytes: number): Promise<void> {
  await sql(
    node,
    `SET synchronous_commit = local; SELECT count(pg_logical_emit_message(false, 'x', repeat('x', ${MB}))) FROM generate_series(1, ${megabytes})`,
  );
}

async function command(name: string, body: object): Promise<void> {
  const response = await fetch(`${stack.seen.monitor}/api/v1/${name}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(TIMEOUTS.docker),
  });
  expect(await response.text(), name).toContain('"done":true');
}

/** Starts the second Prometheus, with the same image and expressions and short intervals. */
async function startQuick(): Promise<void> {
  const config = z
    .looseObject({ global: z.looseObject({}) })
    .parse(JSON.parse(await docker('exec', PROMETHEUS, 'cat', INSIDE.prometheusConfig)));
  const global = { scrape_interval: SHORT, scrape_timeout: SHORT, evaluation_interval: SHORT };
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify({ ...config, global }));
  const short = rules.groups.map((group) => ({
    ...group,
    rules: group.rules.map((rule) => (rule.for === undefined ? rule : { ...rule, for: SHORT })),
  }));
  writeFileSync(join(folder, 'alerts.yml'), stringify({ groups: short }));
  const image = await docker('inspect', '--format', '{{.Image}}', PROMETHEUS);
  await docker(
    ...['create', '--init', '--name', QUICK, '--label', stack.label],
    ...['--network', stack.container('postgres-failover-inner')],
    ...['--cap-drop', 'ALL', '--publish', `127.0.0.1:${QUICK_PORT}:${PORTS.prometheus}`, image],
  );
  await docker('cp', join(folder, 'prometheus.yml'), `${QUICK}:${INSIDE.prometheusConfig}`);
  await docker('cp', join(folder, 'alerts.yml'), `${QUICK}:${INSIDE.prometheusRules}`);
  await docker('start', QUICK);
}

beforeAll(async () => {
  await stack.bringUp();
  token = await stack.output('adminToken');
  await startQuick();
  await waitFor('Prometheus to answer', TIMEOUTS.docker, firing);
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await run('docker', ['rm', '--force', QUICK], { deadlineMs: TIMEOUTS.docker });
  await stack.down(say);
});

it('reaches all targets, has loaded the committed rules, and fires no alert on a healthy stack', async () => {
  await isWell();
  await waitFor('all targets to be up', TIMEOUTS.docker, async () => {
    const { data } = await ask(OWN, '/api/v1/targets', Targets);
    const up = data.activeTargets.filter(({ health }) => health === 'up').map(({ labels }) => labels.job);
    return up.sort().join() === 'pgfailover-haproxy,pgfailover-monitor,prometheus';
  });
  const loaded = await ask(OWN, '/api/v1/rules', Loaded);
  expect(loaded.data.groups.flatMap((group) => group.rules.map(({ name }) => name))).toEqual(NAMES);
  await until(false, TIMEOUTS.docker, NAMES);
});

it('passes promtool’s tests of the rules', async () => {
  await docker('cp', join(PATHS.root, 'monitoring', 'alerts.test.yml'), `${QUICK}:/tmp/alerts.test.yml`);
  await docker('cp', FILE, `${QUICK}:/tmp/alerts.yml`);
  expect(await docker('exec', QUICK, 'promtool', 'test', 'rules', '/tmp/alerts.test.yml')).toContain('SUCCESS');
});

it('fires for a standby that lags', async () => {
  const lags = await follower();
  await sql(lags, 'SELECT pg_wal_replay_pause()');
  await writeWal(await leader(), 20);
  await fires('PgFailoverStandbyLags');
  await sql(lags, 'SELECT pg_wal_replay_resume()');
  await clear('PgFailoverStandbyLags');
});

it('fires for a second writable node, which its keeper then stops', async () => {
  await isWell();
  await docker('exec', await follower(), 'sh', '-c', `psql -U postgres -c 'SELECT pg_promote(false)' || true`);
  await fires('PgFailoverSecondWritable');
  await isWell();
  expect(await metric('sum(pgfailover_writable)')).toBe(1);
});

it('fires for a failover, for the node that is down and for the leader that is alone', async () => {
  await isWell();
  const old = await leader();
  await docker('kill', old);
  await fires('PgFailoverHappened', 'PgFailoverNodeDown', 'PgFailoverNoSyncStandby');
  await docker('start', old);
  await isWell();
  await clear('PgFailoverNodeDown', 'PgFailoverNoSyncStandby');
});

// The standby dies here, not the leader: a replication slot keeps WAL only after its standby has streamed through it.
it('fires for the WAL that is kept for a disconnected standby', async () => {
  await isWell();
  const [kept, away] = [await leader(), await follower()];
  await docker('kill', away);
  await fires('PgFailoverNoSyncStandby');
  await writeWal(kept, 1_100);
  await fires('PgFailoverSlotRetainsWal');
  await docker('start', away);
  await isWell();
  await clear('PgFailoverNodeDown', 'PgFailoverSlotRetainsWal');
});

it('fires for a long pause, and for a cluster without a leader when the leader dies during the pause', async () => {
  await isWell();
  await command('pause', { reason: 'tried by a test' });
  await fires('PgFailoverPausedForLong');
  await docker('kill', await leader());
  await fires('PgFailoverNoLeader');
  await command('resume', {});
  await clear('PgFailoverPausedForLong', 'PgFailoverNoLeader');
  for (const node of [PRIMARY, REPLICA]) await docker('start', node);
  await isWell();
});

it.each([
  ['a monitor that does not answer', MONITOR, ['PgFailoverMonitorDown']],
  [
    'HAProxy, which answers neither Prometheus nor the monitor',
    HAPROXY,
    ['PgFailoverHaproxyDown', 'PgFailoverHaproxyUnreachable'],
  ],
])('fires for %s', async (_what, name, alerts) => {
  await isWell();
  await docker('pause', name);
  await fires(...alerts);
  await docker('unpause', name);
  await clear(...alerts);
});

// This test comes before the monitor is replaced, because a new monitor has no change of leader in its metrics.
it('has a value for every panel of the dashboard', async () => {
  const file: unknown = JSON.parse(readFileSync(join(PATHS.root, 'monitoring', 'dashboard.json'), 'utf8'));
  const panels = z.object({
    panels: z.array(z.object({ title: z.string(), targets: z.array(z.object({ expr: z.string() })) })),
  });
  const empty: string[] = [];
  const shown = panels.parse(file).panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ title, expr })));
  for (const { title, expr } of shown) {
    const value = await metric(expr.replaceAll('$stack', stack.name).replaceAll('$__rate_interval', '1m'));
    // The queue has a value only while connections are held.
    if (value === null && !expr.includes('current_queue')) empty.push(`${title}: ${expr}`);
  }
  expect(empty).toEqual([]);
});

it('fires for a stack whose failoverMode is observe', async () => {
  stack.configure({ failoverMode: 'observe' });
  await stack.up(say);
  await fires('PgFailoverObserves');
  stack.configure({ failoverMode: 'automatic' });
  await stack.up(say);
  await clear('PgFailoverObserves');
});

it('fires nothing at the end, and has fired every alert that can be made to fire', {
  timeout: CLEAR_MS + 60_000,
}, async () => {
  await isWell();
  await until(false, CLEAR_MS, NAMES);
  expect([...seenFiring].sort()).toEqual(NAMES.filter((name) => !NOT_STAGED.includes(name)).sort());
});
