/**
 * The whole story on real Docker, with the commands that a person types: up, kill the primary, keep writing, bring it
 * back, change the topology, tear down, find the data again. The tests build on each other, in this order.
 */
import { readFileSync } from 'node:fs';
import { Script } from 'node:vm';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { containersOf, imageTags, networksOf, volumesOf } from '../../scripts/lib/docker';
import type { RunResult } from '../../scripts/lib/exec';
import { columnOf, connect } from '../rig/client';
import { docker, giveBaseBack, keepBase, sqlInside } from '../rig/docker';
import { Reigns, twoPrimaries } from '../rig/reigns';
import { untilView, view } from '../rig/view';
import { waitFor } from '../rig/wait';
import { WritableWatch } from '../rig/writable';
import { longestPauseMs, Writer } from '../rig/writer';
import { TIMEOUTS } from '../timeouts';
import { logIn, RATE, registerAndLogIn, underHttpLoad } from './lib/api';
import { container, own, STACK } from './lib/stack';

const PRIMARY = 'postgres-primary';
const REPLICA = 'postgres-replica-1';
const TABLE = 'e2e_writes';
/** One line of failover.log: moment, level, node, code, words. */
const LOG_LINE = /^\d{4}-\d\d-\d\dT[\d:.]+\S* +[A-Z]+ +\S+ +[A-Z_]+ +.+/;

const say = console.log;
const reigns = new Reigns('writable');
let watch: WritableWatch;
let writer: Writer;
/** The certificate that clients trust, as PEM. */
let authority = '';

const ended = (result: RunResult) => `exit code ${result.code}\n${result.tail.join('\n')}`;
const succeed = (command: string, ...args: string[]) => own.succeed(command, args, say);
const configure = (key: string, value: string) => succeed('pulumi', 'config', 'set', key, value);
const inside = (node: string, sql: string) => sqlInside(container(node), sql);
const query = (sql: string, values: unknown[] = []) => columnOf(STACK, sql, values);
const askSwitchover = (node: string) => docker('exec', container('failover-monitor'), 'switchover', container(node));
const idOf = (name: string) => docker('inspect', '--format', '{{.Id}}', container(name));

async function insertTestUser(name: string): Promise<number> {
  const beginMs = performance.now();
  const sql = 'INSERT INTO users (username, email) VALUES ($1, $2) RETURNING username';
  expect(await query(sql, [name, `${name}@example.com`])).toEqual([name]);
  return performance.now() - beginMs;
}

/** Waits until a node is a standby that has replayed everything that is committed now. */
async function caughtUp(node: string): Promise<void> {
  const [target] = await query('SELECT pg_current_wal_flush_lsn()');
  await waitFor(`${node} as a caught-up standby`, TIMEOUTS.rejoin, async () => {
    const sql = `SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= '${target}' AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')`;
    return (await inside(node, sql)) === 't';
  });
}

/** Names of the backends to which HAProxy leads requests. */
async function backendsInUse(): Promise<string[]> {
  const csv = await (await fetch(`${STACK.stats}/stats;csv`, { signal: AbortSignal.timeout(TIMEOUTS.query) })).text();
  const rows = csv.split('\n').map((line) => line.split(','));
  const column = rows[0]?.indexOf('status') ?? -1;
  return rows.flatMap(([, server = '', ...rest]) =>
    /^backend\d/.test(server) && rest[column - 2] === 'UP' ? [server] : [],
  );
}

/** Waits until a backend answers inside its container, and HAProxy leads requests to so many. */
async function healthyBackend(name: string, inUse: number): Promise<void> {
  // What the container's health check runs; the engine would look only every five seconds.
  const look = ['/opt/venv/bin/python', '-I', '-S', '/srv/app/healthcheck.py'];
  await waitFor(`a healthy ${name}`, TIMEOUTS.backend, async () => {
    await docker('exec', container(name), ...look);
    return (await backendsInUse()).length === inUse;
  });
}

async function readsFromStandby(): Promise<void> {
  await waitFor('a standby behind the read port', TIMEOUTS.readPort, async () => {
    const [inRecovery] = await columnOf(STACK, 'SELECT pg_is_in_recovery()', [], STACK.readPort);
    return inRecovery === 'true';
  });
}

/** Containers, networks and images of the stack. */
async function leftBesideVolumes(): Promise<string[]> {
  const images = imageTags(`postgres-failover/*:${own.prefix}${own.name}`);
  return (await Promise.all([containersOf(own.label), networksOf(own.label), images])).flat();
}

/** The other one of the two nodes. */
const other = (node: string) => (node === PRIMARY ? REPLICA : PRIMARY);

/** The node that is writable now. */
async function leader(): Promise<string> {
  for (const node of [PRIMARY, REPLICA])
    if ((await inside(node, 'SELECT pg_is_in_recovery()').catch(() => 't')) === 'f') return node;
  throw new Error('no node is writable');
}

/** Waits until a node leads. */
async function leads(node: string): Promise<void> {
  await waitFor(`${node} to lead`, TIMEOUTS.rejoin, async () => (await leader()) === node);
}

/** A planned switchover to a node, as soon as it is counted; the command's words. */
function switchOver(node: string): Promise<string> {
  return waitFor(`${node} to be counted`, TIMEOUTS.rejoin, () => askSwitchover(node));
}

/** A session of a client, and the process that serves it. */
async function openSession() {
  const { client } = await connect(STACK, STACK.writePort);
  return { client, pid: async () => (await client.query('SELECT pg_backend_pid() AS pid')).rows };
}

/** A new session over TLS through each port, with the certificate checked against the stack's authority and by name. */
async function verified(...ports: readonly number[]): Promise<void> {
  authority ||= await docker('exec', container('failover-monitor'), 'pgfailover', 'ca');
  const { user, password, database } = STACK;
  for (const [port, host] of ports.flatMap((port) => [[port, 'localhost'] as const, [port, '127.0.0.1'] as const])) {
    const client = new Client({ host, port, user, password, database, ssl: { ca: authority } });
    client.on('error', () => undefined);
    await client.connect();
    const { rows } = await client.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
    await client.end();
    expect([host, port, rows]).toEqual([host, port, [{ ssl: true }]]);
  }
}

/** Ends the leader with `docker <how>` while the writer writes; the next write has to come in time. */
async function survives(how: 'stop' | 'kill', user: string): Promise<void> {
  const old = await leader();
  await caughtUp(other(old));
  const sinceMs = Date.now();
  await docker(how, container(old));
  const tookMs = await insertTestUser(user);
  expect(tookMs).toBeLessThan(TIMEOUTS.nextInsert);
  await registerAndLogIn(`${user}_api`);
  const before = writer.acknowledged.length;
  await waitFor('the writer to go on', TIMEOUTS.nextInsert, () => writer.acknowledged.length > before);
  const gapMs = longestPauseMs(writer.writes, sinceMs, 'held');
  const took = `next INSERT after ${Math.round(tookMs)} ms`;
  console.log(`docker ${how} ${old}: ${took}; longest pause of the writer ${gapMs} ms`);
  await verified(STACK.writePort);
  expect(await leader()).toBe(other(old));
  await docker('start', container(old));
  await caughtUp(old);
  expect(await leader()).toBe(other(old));
}

beforeAll(async () => {
  await keepBase();
  await own.remove();
  await own.up(say);
  await query(`CREATE TABLE ${TABLE} (id text NOT NULL)`);
  watch = new WritableWatch([PRIMARY, REPLICA].map(container), (node, is, atMs) => reigns.look(node, is, atMs));
  writer = new Writer(STACK, { table: TABLE, clients: [{ name: 'held', paceMs: 10, errorPaceMs: 20 }] });
}, TIMEOUTS.firstUp);

afterAll(async () => {
  watch?.stop();
  await writer?.stop();
  await own.remove();
  await giveBaseBack();
}, TIMEOUTS.pulumi);

describe('the story', () => {
  test('a client connects through the write port with its password, and to a standby through the read port', async () => {
    expect(await query('SELECT current_user')).toEqual([STACK.user]);
    expect(await query('SELECT pg_is_in_recovery()')).toEqual(['false']);
    await readsFromStandby();
    await verified(STACK.writePort, STACK.readPort);
  });

  test('a wrong password is refused', async () => {
    const refused = docker(
      ...['exec', '-e', 'PGPASSWORD=wrong', container(PRIMARY), 'psql', '-h', 'localhost'],
      ...['-U', STACK.user, '-d', STACK.database, '-c', 'SELECT 1'],
    );
    await expect(refused).rejects.toThrow();
  });

  test('the backend registers and logs in, statistics and status page answer', async () => {
    await waitFor('the backend', TIMEOUTS.backend, async () => {
      await registerAndLogIn('before');
      return true;
    });
    const get = (url: string) => fetch(url, { signal: AbortSignal.timeout(TIMEOUTS.query) });
    const page = STACK.monitor;
    for (const url of [`${STACK.stats}/stats`, `${page}/`, `${STACK.api}/docs`])
      expect((await get(url)).status, url).toBe(200);
    const document = await get(page);
    expect(document.headers.get('content-security-policy')).toContain("default-src 'none'");
    for (const [, path = ''] of (await document.text()).matchAll(/(?:src|href)="(\/[^"]+)"/g)) {
      const response = await get(`${page}${path}`);
      expect([path, response.status]).toEqual([path, 200]);
      const text = await response.text();
      // Compiled, not run: it is a browser's.
      if (path.endsWith('.js')) expect(() => new Script(text)).not.toThrow();
    }
    // New connections may be held for a moment when a starved machine answers late; it serves on by itself.
    const { leader } = await untilView(STACK, 'a serving cluster', TIMEOUTS.backend, (now) => now.serving);
    expect(leader).toBe(container(PRIMARY));
  });

  test('a second up and a preview find nothing to change', async () => {
    const second = await own.command('up', [], say);
    expect(second.code, ended(second)).toBe(0);
    const changes = /[+~-] \d+ (created|updated|replaced|deleted)|\d+ (to create|to update|replaced)/;
    expect(second.stdout).not.toMatch(changes);
    await succeed('pulumi', 'preview', '--diff', '--expect-no-changes');
  });

  test('up leaves a stopped node if it is told to, and else makes right what a person stopped or removed', async () => {
    const [primary, replica, haproxy] = [PRIMARY, REPLICA, 'haproxy'].map(container);
    await docker('stop', container(REPLICA));
    const left = (await succeed('up', '--leave-stopped')).stdout;
    expect(left).toContain(`left stopped: ${replica}`);
    expect(left).toMatch(new RegExp(`It serves, without ${replica}: a write through port ${STACK.writePort} took`));
    expect(await docker('inspect', '--format', '{{.State.Status}}', container(REPLICA))).toBe('exited');

    const before = await Promise.all([PRIMARY, REPLICA, 'failover-monitor'].map(idOf));
    await docker('rm', '--force', container('haproxy'));
    await docker('stop', container('failover-monitor'));
    const { stdout } = await succeed('up');
    for (const name of [replica, container('failover-monitor')]) expect(stdout).toContain(`${name} does not run`);
    expect(stdout).toContain(`gone, and made again: container ${haproxy}`);
    expect(stdout).not.toContain(`${primary} does not run`);
    expect(stdout).toMatch(/It serves: a write through port \d+ took/);
    expect(await Promise.all([PRIMARY, REPLICA, 'failover-monitor'].map(idOf))).toEqual(before);
    await caughtUp(REPLICA);
  });

  test('a locale that Debian does not have is refused by key and value, and no container is touched', async () => {
    const names = ['haproxy', 'failover-monitor', PRIMARY, REPLICA, 'backend'];
    const before = await Promise.all(names.map(idOf));
    await configure('locales', 'vn_VN.UTF-8');
    const refused = await own.command('up', [], say);
    expect(refused.code, ended(refused)).toBe(1);
    expect(refused.stdout).toContain('locales: "vn_VN.UTF-8" is refused; Debian has no such locale');
    expect(refused.stdout).not.toContain('It serves');
    expect(await Promise.all(names.map(idOf))).toEqual(before);
    await succeed('pulumi', 'config', 'rm', 'locales');
  });

  test('writing goes on after docker stop of the primary, and it comes back as a standby', async () => {
    await survives('stop', 'test_user');
    await logIn('before');
  });

  test('writing goes on after docker kill of the new primary, and it comes back as a standby', async () => {
    await survives('kill', 'test_user_2');
  });

  test('with switchback on the primary gets the lead back by itself, while writing goes on', async () => {
    await configure('switchback', 'true');
    await configure('switchbackAfter', '2s');
    await succeed('up');
    expect(await leader()).toBe(PRIMARY);
    await caughtUp(REPLICA);
    await docker('kill', container(PRIMARY));
    await insertTestUser('test_user_3');
    expect(await leader()).toBe(REPLICA);
    const sinceMs = Date.now();
    await docker('start', container(PRIMARY));
    const leadsAgain = async () => (await view(STACK)).leader === container(PRIMARY) && (await leader()) === PRIMARY;
    await waitFor('the primary to lead again', TIMEOUTS.rejoin, leadsAgain);
    await insertTestUser('test_user_4');
    await registerAndLogIn('after_switchback');
    await caughtUp(REPLICA);
    console.log(`switchback: longest pause of the writer ${longestPauseMs(writer.writes, sinceMs, 'held')} ms`);
  });

  test('a switchover moves the lead to a node and back, and a wrong one is refused with the reason', async () => {
    await expect(askSwitchover(PRIMARY)).rejects.toThrow('leads already');
    expect(await switchOver(REPLICA)).toContain(`${container(REPLICA)} leads now`);
    await insertTestUser('test_user_5');
    await leads(PRIMARY);
    await caughtUp(REPLICA);
  });

  test('no HTTP request fails and no registration is lost while the primary is killed, comes back and hands over', async () => {
    await underHttpLoad('kill, switchback, switchover', RATE.fault, async () => {
      await docker('kill', container(PRIMARY));
      await leads(REPLICA);
      await docker('start', container(PRIMARY));
      await leads(PRIMARY);
      await caughtUp(REPLICA);
      await switchOver(REPLICA);
      await leads(PRIMARY);
    });
    await caughtUp(REPLICA);
  });

  test('no HTTP request fails while one backend dies, the other is stopped, and both come back', async () => {
    await underHttpLoad('backends', RATE.fault, async () => {
      await docker('kill', container('backend'));
      await docker('start', container('backend'));
      await healthyBackend('backend', 2);
      await docker('restart', container('backend-2'));
      await healthyBackend('backend-2', 2);
    });
  });

  test('a signal that does not stop a container ends neither its program nor a session', async () => {
    const names = ['failover-monitor', PRIMARY, REPLICA, 'backend'];
    const { client, pid } = await openSession();
    const format = '{{.State.StartedAt}} {{.State.Pid}}';
    const started = () => Promise.all(names.map((name) => docker('inspect', '--format', format, container(name))));
    const before = [await pid(), await started(), await leader()];
    for (const name of names) {
      for (const signal of ['HUP', 'USR1', 'USR2', 'ALRM', 'PIPE', 'WINCH']) {
        await docker('kill', '--signal', signal, container(name));
        expect(await query('SELECT pg_is_in_recovery()')).toEqual(['false']);
      }
      await registerAndLogIn(`signals_${name.replaceAll('-', '_')}`);
    }
    expect([await pid(), await started(), await leader()]).toEqual(before);
    await client.end();
    await caughtUp(REPLICA);
  });

  test('the log tells what happened, one readable line each', async () => {
    const lines = readFileSync(own.log, 'utf8').trimEnd().split('\n');
    for (const line of lines) expect(line).toMatch(LOG_LINE);
    expect(lines.filter((line) => line.includes(container(PRIMARY))).length).toBeGreaterThan(0);
    const console_ = await docker('logs', container('failover-monitor'));
    expect(console_).toContain(lines.at(-1));
  });

  test('the read port answers from a standby again', async () => {
    await readsFromStandby();
  });

  test('more and fewer replicas and backends leave an open session, HAProxy and HTTP clients alone', async () => {
    const { client, pid } = await openSession();
    const kept = [await idOf('haproxy'), await idOf('backend')];
    const before = await pid();
    await underHttpLoad('more and fewer replicas and backends', RATE.change, async () => {
      await configure('replicas', '3');
      await configure('backendReplicas', '3');
      await succeed('up');
      await caughtUp('postgres-replica-2');
      await caughtUp('postgres-replica-3');
      await healthyBackend('backend-3', 3);
      expect(await pid()).toEqual(before);
      await configure('replicas', '1');
      await configure('backendReplicas', '1');
      await succeed('up');
      // The only one: requests are held until it is back.
      await docker('restart', container('backend'));
      await healthyBackend('backend', 1);
    });
    expect(await pid()).toEqual(before);
    expect([await idOf('haproxy'), await idOf('backend')]).toEqual(kept);
    const containers = await containersOf(own.label);
    for (const gone of ['postgres-replica-2', 'backend-2']) expect(containers).not.toContain(container(gone));
    await client.end();
  });

  test('every acknowledged row is there exactly once', async () => {
    await writer.stop();
    const rows = await query(`SELECT id || ' ' || count(*) FROM ${TABLE} GROUP BY id`);
    expect(writer.acknowledged.length).toBeGreaterThan(100);
    expect(writer.acknowledged.filter((id) => !rows.includes(`${id} 1`))).toEqual([]);
    expect(rows.filter((row) => !row.endsWith(' 1'))).toEqual([]);
  });

  test('at no moment were two nodes writable', () => {
    watch.stop();
    expect(reigns.all().length).toBeGreaterThanOrEqual(3);
    expect(twoPrimaries(reigns.all())).toEqual([]);
  });

  test('destroy leaves the data volumes, names them, and nothing else', async () => {
    const result = await own.command('destroy', [], say);
    expect(result.code, ended(result)).toBe(0);
    const volumes = await volumesOf(own.label);
    expect(volumes).toEqual(expect.arrayContaining([container('postgres-primary-data')]));
    for (const volume of volumes) expect(result.stdout).toContain(volume);
    expect(await leftBesideVolumes()).toEqual([]);
  });

  test('up on the kept volumes finds the data', async () => {
    await succeed('up');
    expect(await query("SELECT username FROM users WHERE username = 'test_user'")).toEqual(['test_user']);
    await logIn('before');
  });

  test('destroy --volumes leaves nothing', async () => {
    const result = await own.command('destroy', ['--volumes'], say);
    expect(result.code, ended(result)).toBe(0);
    expect(await volumesOf(own.label)).toEqual([]);
    expect(await leftBesideVolumes()).toEqual([]);
  });
});
