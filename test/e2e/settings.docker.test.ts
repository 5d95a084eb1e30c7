/**
 * `postgresSettings` on real Docker, with the commands that a person types and a writer that never pauses: reloaded,
 * rolled out node by node, taken back, refused. No container but the monitor's is replaced. The tests build on each
 * other.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CHECK } from '../../components/settings-check';
import { messageOf } from '../../failover/contract/errors';
import { type RunResult, run } from '../../scripts/lib/exec';
import { imageTag } from '../../stack/naming';
import { columnOf } from '../rig/client';
import { docker, sqlInside } from '../rig/docker';
import { loadAverage } from '../rig/progress';
import { OwnStack } from '../rig/stack';
import { longestPauseMs, Writer } from '../rig/writer';
import { TIMEOUTS } from '../timeouts';

const TABLE = 'settings_writes';
const stack = new OwnStack({
  ...{ name: 'settings', ports: 19_000, subnet: '10.98.50' },
  config: { replicas: 1, backend: 'false' },
});
const KEPT = ['postgres-primary', 'postgres-replica-1', 'haproxy'];
let writer: Writer;
let containers: string[] = [];

/** What each node itself says, asked over its local socket. */
function inside(sql: string): Promise<string[]> {
  return Promise.all(stack.nodes(1).map((node) => sqlInside(node, sql)));
}

function containerIds(names: readonly string[]): Promise<string[]> {
  return Promise.all(names.map((n) => docker('inspect', '--format', '{{.Id}}', stack.container(n))));
}

/** The program's own check of settings, without the rest of an `up`. */
function check(settings: Record<string, string>): Promise<RunResult> {
  const POSTGRES_IMAGE = imageTag('postgres', stack.prefix, stack.name);
  const SETTINGS = JSON.stringify(settings);
  const env = { ...process.env, POSTGRES_IMAGE, SETTINGS, LABEL: stack.label, MEMORY: '0' };
  return run('sh', ['-c', `printf %s "$SETTINGS" | ${CHECK}`], { env, deadlineMs: TIMEOUTS.docker });
}

/** `npm run up` with these settings; the longest pause of each of the writer's connections meanwhile. */
async function apply(name: string, settings: Record<string, string | number>): Promise<void> {
  const beginMs = Date.now();
  stack.configure({ postgresSettings: settings });
  const said: string[] = [];
  const say = (line: string) => {
    said.push(line);
    console.log(line);
  };
  await stack.up(say).catch((error: unknown) => {
    throw new Error(said.join('\n'), { cause: error });
  });
  const endMs = Date.now();
  const pauses = ['held', 'fresh'].map((client) => `${client} ${longestPauseMs(writer.writes, beginMs, client)} ms`);
  const failed = writer.failures.filter((e) => e.endMs >= beginMs).map((e) => `${e.client}: ${e.message}`);
  console.log(
    `${name}: up took ${endMs - beginMs} ms; longest pause ${pauses.join(', ')}; errors: ${failed.join(' | ') || 'none'}; load ${loadAverage()}`,
  );
}

beforeAll(async () => {
  await stack.up(console.log);
  await columnOf(stack.seen, `CREATE TABLE ${TABLE} (id text PRIMARY KEY)`);
  containers = await containerIds(KEPT);
  writer = new Writer(stack.seen, { table: TABLE });
}, TIMEOUTS.firstUp);

afterAll(async () => {
  await writer?.stop();
  await stack.remove();
}, TIMEOUTS.pulumi);

describe('postgresSettings', () => {
  test('are reloaded where that is enough: no PostgreSQL is restarted', { timeout: TIMEOUTS.pulumi }, async () => {
    const started = await inside('SELECT pg_postmaster_start_time()');
    await apply('reload (work_mem)', { work_mem: '8MB' });
    expect(await inside('SHOW work_mem')).toEqual(['8MB', '8MB']);
    expect(await inside('SELECT pg_postmaster_start_time()')).toEqual(started);
  });

  test('are rolled out by a restart of the standby and a switchover', { timeout: TIMEOUTS.pulumi }, async () => {
    await apply('restart (max_connections 200 → 250)', { work_mem: '8MB', max_connections: 250 });
    expect(await inside('SHOW max_connections')).toEqual(['250', '250']);
    expect(await inside('SELECT pg_is_in_recovery()')).toEqual(['t', 'f']);
  });

  test('are lowered by the leader first, which stays the leader (S23)', { timeout: TIMEOUTS.pulumi }, async () => {
    await apply('restart in place (max_connections 250 → 200)', { work_mem: '8MB' });
    expect(await inside('SHOW max_connections')).toEqual(['200', '200']);
    expect(await inside('SELECT pg_is_in_recovery()')).toEqual(['t', 'f']);
  });

  test('that PostgreSQL refuses are told in its words, and nothing changes', { timeout: TIMEOUTS.pulumi }, async () => {
    const monitor = await containerIds(['failover-monitor']);
    const refused: [Record<string, string>, RegExp[]][] = [
      [{ work_mem: 'lots' }, [/invalid value for parameter "work_mem": "lots"/]],
      [{ shared_preload_libraries: 'nothing' }, [/could not access file "nothing"/]],
      [
        // What the program refuses itself is told all at once.
        { wal_sender_timeout: '1ms', track_activities: 'off', fsync: 'off' },
        [
          /postgresSettings.wal_sender_timeout: "1ms" is refused; must be a time from 5s/,
          /postgresSettings.track_activities: "off" is refused/,
          /postgresSettings.fsync: "off" is refused/,
        ],
      ],
    ];
    for (const [settings, words] of refused) {
      const told = await apply('refused', settings).then(() => 'it was accepted', messageOf);
      for (const each of words) expect(told).toMatch(each);
    }
    expect(await containerIds(['failover-monitor'])).toEqual(monitor);
    expect(await inside('SHOW work_mem')).toEqual(['8MB', '8MB']);
  });

  test.each([
    ['session_preload_libraries', 'nothing', /no client can log in: could not access file "nothing"/],
    ['local_preload_libraries', 'nothing', /no client can log in: could not access file ".*nothing"/],
    ['shared_buffers', '900GB', /would share \d+ MB of memory .* and a node has \d+ MB, of which it may share 75 %/],
  ])('are refused by the check that comes first: %s %s', async (name, value, words) => {
    const { code, stdout } = await check({ [name]: value });
    expect([code, stdout]).toEqual([1, expect.stringMatching(words)]);
  });

  test('replaced no other container, refused no connection, and lost no acknowledged row', async () => {
    await writer.stop();
    const { acknowledged, failures } = writer;
    expect(await containerIds(KEPT)).toEqual(containers);
    expect(failures.filter(({ id }) => id === null)).toEqual([]);
    const there = new Set(await columnOf(stack.seen, `SELECT id FROM ${TABLE}`));
    expect(acknowledged.filter((id) => !there.has(id))).toEqual([]);
    expect(acknowledged.length).toBeGreaterThan(1_000);
  });
});
