/**
 * What people may do in SQL to what the failover needs inside PostgreSQL, on two real nodes: each act is undone within
 * a second or named, and meanwhile PostgreSQL answers its heartbeat, so the monitor would not take the lead from it.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { sessionOptions } from '../../failover/contract/session-settings';
import { OpeningChecks } from '../../failover/monitor/nodes/opening';
import { both, docker, NodePair } from './node-containers';

const pair = new NodePair({ prefix: 'psq', subnet: '10.211.77', port: 17_460 });
const { a: A, b: B, monitor, address: ADDRESS, clusterKey: KEY, settings: SETTINGS, streams } = pair;
/** Generous: the keeper looks twice a second. */
const MENDED_LIMIT_MS = 5_000;

const times: Record<string, number> = {};

interface Where {
  node?: string;
  role?: string;
  database?: string;
}

/** Statements one after the other in one session, as the superuser of a person. */
function psql(text: string | readonly string[], { node = A, role = 'postgres', database = 'postgres' }: Where = {}) {
  const each = (typeof text === 'string' ? [text] : text).flatMap((statement) => ['-c', statement]);
  // A person whose setting or event trigger has locked all roles out knows this way, too.
  const command = ['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-U', role, '-d', database, ...each];
  return docker('exec', '-e', `PGOPTIONS=${sessionOptions('superuser')}`, node, ...command);
}

const notes = (node: string, code: string) => monitor.view(node).notes.filter((n) => n.startsWith(code));

/** What has to be made again by itself after an act, by its name in the note. */
async function mended(act: string, names: readonly string[], work: () => Promise<unknown>): Promise<void> {
  const before = notes(A, 'MENDED').length;
  await work();
  const from = performance.now();
  const told = () => notes(A, 'MENDED').slice(before).join(' ');
  let oldest = 0;
  await monitor.wait(
    () => {
      oldest = Math.max(oldest, monitor.view(A).status?.lead?.heartbeatAgeMs ?? 0);
      return names.every((name) => told().includes(name));
    },
    `${act}: made again ${names.join(', ')}`,
    MENDED_LIMIT_MS,
    () => JSON.stringify(monitor.view(A).notes.slice(-6)),
  );
  times[act] = Math.round(performance.now() - from);
  expect(oldest, 'age of the heartbeat meanwhile').toBeLessThan(1_500);
}

/** The monitor's check before it opens a leader: logs in, writes, and waits for the standby. */
async function certified(node: string): Promise<void> {
  const opened: string[] = [];
  const checks = new OpeningChecks(
    { clusterKey: KEY, log: { write: () => undefined } },
    [{ name: node, address: ADDRESS[node] ?? '' }],
    { certified: (name) => opened.push(name), broken: () => undefined, isRunning: () => true },
  );
  checks.want({ node, term: 1 });
  await vi.waitFor(() => expect(opened).toEqual([node]), 10_000);
  checks.stop();
}

/** Fresh sessions for everything of the failover's. */
const END_SESSIONS = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`;

async function beats(): Promise<void> {
  const count = monitor.view(A).status?.lead?.heartbeat ?? 0;
  await monitor.until(A, (s) => (s.lead?.heartbeat ?? 0) > count, 'beats again', 10_000);
  await monitor.until(B, (s) => (s.postgres.heartbeatSeen ?? 0) > count, 'is seen to beat', 10_000);
}

beforeAll(async () => {
  await pair.start();
  await monitor.done(A, 1, { kind: 'lead', sync: both(A, B) });
});

afterAll(async () => {
  console.log(`until it was made again, ms: ${JSON.stringify(times, null, 1)}`);
  await pair.remove();
});

describe('objects of the failover', () => {
  it('finds nothing to make again on a leader that nobody touched', async () => {
    const before = notes(A, 'MENDED');
    await beats();
    await monitor.wait(() => (monitor.view(A).status?.lead?.heartbeat ?? 0) > 0, 'beats', 5_000);
    const count = monitor.view(A).status?.lead?.heartbeat ?? 0;
    // Two seconds of beats are four looks.
    await monitor.until(A, (s) => (s.lead?.heartbeat ?? 0) > count + 20, 'twenty beats', 10_000);
    expect(notes(A, 'MENDED')).toEqual(before);
    expect(before).toEqual([]);
  });

  it.each([
    ['drop schema', ['schema failover', 'failover.beat', 'failover.canary'], 'DROP SCHEMA failover CASCADE'],
    ['drop sequence', ['failover.beat'], 'DROP SEQUENCE failover.beat'],
    ['unlogged sequence', ['failover.beat'], 'ALTER SEQUENCE failover.beat SET UNLOGGED'],
    ['bounded sequence', ['failover.beat'], 'ALTER SEQUENCE failover.beat MAXVALUE 99999999999'],
    [
      'a view in place of the sequence',
      ['failover.beat'],
      ['DROP SEQUENCE failover.beat', 'CREATE VIEW failover.beat AS SELECT 1 AS last_value'],
    ],
    ['drop table', ['failover.canary'], 'DROP TABLE failover.canary'],
    ['another column', ['failover.canary'], "ALTER TABLE failover.canary ADD COLUMN note text NOT NULL DEFAULT 'x'"],
    ['row security', ['failover.canary'], 'ALTER TABLE failover.canary ENABLE ROW LEVEL SECURITY'],
    ['revoked in the schema', ['grants in schema failover'], 'REVOKE ALL ON failover.canary FROM failover_monitor'],
  ] as const)('are made again: %s', async (act, names, text) => {
    await mended(act, names, () => psql(text));
    await beats();
    await certified(A);
  });

  it('need no rows: a table and a sequence may be emptied', async () => {
    await psql(['TRUNCATE failover.canary', 'DELETE FROM failover.canary', `SELECT setval('failover.beat', 1)`]);
    await beats();
    await certified(A);
  });

  it('goes on beating from its own count when a person sets one that cannot be', async () => {
    const before = monitor.view(A).status?.lead?.heartbeat ?? 0;
    await psql(`SELECT setval('failover.beat', 9223372036854775807)`);
    await beats();
    expect(monitor.view(A).status?.lead?.heartbeat).toBeLessThan(before + 10_000);
  });

  it('takes a transaction that keeps the sequence locked for an answer, not for a hang', async () => {
    const held = psql(['BEGIN', 'DROP SCHEMA failover CASCADE', 'SELECT pg_sleep(4)', 'ROLLBACK']);
    let [oldest, over] = [0, false];
    const end = () => {
      over = true;
    };
    held.then(end, end);
    const look = () => {
      oldest = Math.max(oldest, monitor.view(A).status?.lead?.heartbeatAgeMs ?? 0);
      return over;
    };
    await monitor.wait(look, 'the transaction is over', 20_000);
    expect(oldest).toBeLessThan(1_500);
    expect(monitor.view(B).status?.postgres.state).toBe('standby');
    await held;
    await beats();
  });
});

describe('roles and grants of the failover', () => {
  it.each([
    [
      'revoke connect',
      ['CONNECT'],
      'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC, failover_monitor, failover_replication',
    ],
    ['drop monitor role', ['failover_monitor'], ['DROP OWNED BY failover_monitor', 'DROP ROLE failover_monitor']],
    ['rename monitor role', ['failover_monitor'], 'ALTER ROLE failover_monitor RENAME TO somebody'],
    ['nologin', ['failover_monitor'], 'ALTER ROLE failover_monitor NOLOGIN'],
    ['expired', ['failover_monitor'], `ALTER ROLE failover_monitor VALID UNTIL '2001-01-01' CONNECTION LIMIT 0`],
    [
      'password',
      ['failover_monitor', 'failover_replication'],
      [`ALTER ROLE failover_monitor PASSWORD 'x'`, `ALTER ROLE failover_replication PASSWORD NULL`],
    ],
    ['noreplication', ['failover_replication'], 'ALTER ROLE failover_replication NOREPLICATION NOLOGIN'],
    [
      'drop replication role',
      ['failover_replication', 'grants'],
      ['DROP OWNED BY failover_replication', 'DROP ROLE failover_replication'],
    ],
    [
      'revoked grants',
      ['grants'],
      [
        'REVOKE pg_monitor, pg_use_reserved_connections FROM failover_monitor',
        'REVOKE EXECUTE ON FUNCTION pg_read_binary_file(text) FROM failover_replication',
        'REVOKE SET ON PARAMETER event_triggers FROM failover_monitor',
      ],
    ],
    ['nologin of the keeper', ['failover_keeper'], 'ALTER ROLE failover_keeper NOLOGIN NOSUPERUSER'],
    ['drop the keeper', ['failover_keeper'], 'DROP ROLE failover_keeper'],
  ] as const)('are made again: %s', async (act, names, text) => {
    await mended(act, names, () => psql(text));
    await certified(A);
  });

  it('lets the standby stream anew with the roles that were made again', async () => {
    await psql(`SELECT pg_terminate_backend(pid) FROM pg_stat_replication`);
    await monitor.until(B, streams, 'streams again', 20_000);
  });
});

describe('the superuser and the databases', () => {
  it('works on through its own role when nobody may log in as postgres', async () => {
    await psql(['ALTER ROLE postgres NOLOGIN', END_SESSIONS]);
    await expect(psql('SELECT 1')).rejects.toThrow(/not permitted to log in/);
    await psql(END_SESSIONS, { node: B, role: 'failover_keeper' });
    await beats();
    await monitor.until(B, streams, 'streams', 10_000);
    await mended('with postgres locked out', ['failover.beat'], () =>
      psql('DROP SEQUENCE failover.beat', { role: 'failover_keeper' }),
    );
    await psql('ALTER ROLE postgres LOGIN', { role: 'failover_keeper' });
  });

  it('works on when postgres is called something else', async () => {
    await psql(['ALTER ROLE postgres RENAME TO admin', END_SESSIONS], { role: 'failover_keeper' });
    await beats();
    await psql('ALTER ROLE admin RENAME TO postgres', { role: 'failover_keeper' });
  });

  it.each([
    ['allow_connections', 'ALTER DATABASE postgres ALLOW_CONNECTIONS false'],
    ['connection limit', 'ALTER DATABASE postgres CONNECTION LIMIT 0'],
    ['drop database', 'DROP DATABASE postgres WITH (FORCE)'],
    [
      'rename database',
      ['ALTER DATABASE postgres ALLOW_CONNECTIONS false', END_SESSIONS, 'ALTER DATABASE postgres RENAME TO former'],
    ],
  ] as const)('makes its database again: %s', async (act, text) => {
    await mended(act, ['database postgres'], () => psql(text, { database: 'template1' }));
    await beats();
    await certified(A);
    await monitor.until(B, streams, 'streams', 10_000);
  });
});

describe('settings', () => {
  const HOSTILE = {
    default_transaction_isolation: 'serializable',
    default_transaction_read_only: 'on',
    default_transaction_deferrable: 'on',
    statement_timeout: '1',
    lock_timeout: '1',
    transaction_timeout: '1',
    idle_session_timeout: '1',
    search_path: 'nowhere',
    datestyle: 'sql, dmy',
    intervalstyle: 'sql_standard',
    synchronous_commit: 'off',
    exit_on_error: 'on',
    local_preload_libraries: 'nothing',
    session_preload_libraries: 'nothing',
    client_min_messages: 'error',
    track_activities: 'off',
    extra_float_digits: '-15',
  };
  const acts = (form: (name: string, value: string) => string) => Object.entries(HOSTILE).map(([n, v]) => form(n, v));

  it.each([
    ['all roles', (n: string, v: string) => `ALTER ROLE ALL SET ${n} = '${v}'`, 'ALTER ROLE ALL RESET ALL'],
    [
      'the superuser',
      (n: string, v: string) => `ALTER ROLE postgres SET ${n} = '${v}'`,
      'ALTER ROLE postgres RESET ALL',
    ],
    [
      'the database',
      (n: string, v: string) => `ALTER DATABASE postgres SET ${n} = '${v}'`,
      'ALTER DATABASE postgres RESET ALL',
    ],
  ])('of %s mean nothing to keeper and monitor, on the standby neither', async (_what, form, reset) => {
    await psql([...acts(form), END_SESSIONS]);
    // What the roles' new settings are is known to the standby when it has replayed them.
    await beats();
    await psql(END_SESSIONS, { node: B });
    await beats();
    await certified(A);
    await monitor.until(B, streams, 'streams', 10_000);
    const before = notes(A, 'MENDED').length;
    await psql('DROP SCHEMA failover CASCADE');
    await monitor.wait(() => notes(A, 'MENDED').length > before, 'made again', MENDED_LIMIT_MS);
    await certified(A);
    await psql(reset);
  });

  it('of the stack mean nothing either: a serializable standby answers its keeper', async () => {
    monitor.settle({
      ...SETTINGS,
      postgresSettings: { default_transaction_isolation: 'serializable', lock_timeout: '1', statement_timeout: '1' },
    });
    await monitor.until(B, (s) => s.settings?.restart === 'none', 'has the settings', 10_000);
    await psql(END_SESSIONS);
    await psql(END_SESSIONS, { node: B });
    await beats();
    await certified(A);
    await monitor.until(B, streams, 'streams', 10_000);
    monitor.settle(SETTINGS);
    await monitor.until(B, (s) => s.settings?.restart === 'none', 'has the settings', 10_000);
  });

  it('of a login event trigger that raises lock out neither keeper nor monitor', async () => {
    await psql([
      `CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'`,
      'CREATE EVENT TRIGGER no ON login EXECUTE FUNCTION public.no()',
      'CREATE EVENT TRIGGER no_drop ON ddl_command_start EXECUTE FUNCTION public.no()',
      END_SESSIONS,
    ]);
    await expect(docker('exec', A, 'psql', '-U', 'postgres', '-c', 'SELECT 1')).rejects.toThrow(/no/);
    await beats();
    await psql(END_SESSIONS, { node: B });
    await beats();
    await certified(A);
    await mended('under event triggers', ['schema failover'], () => psql('DROP SCHEMA failover CASCADE'));
    await psql(['DROP EVENT TRIGGER no', 'DROP EVENT TRIGGER no_drop']);
  });
});

describe('the application’s database and table', () => {
  /**
   * Has the leader look at all of its objects, as after a failover. The second change begins when the first has ended.
   */
  async function furnishedAgain(): Promise<void> {
    const verifier = () => psql(`SELECT rolpassword FROM pg_authid WHERE rolname = 'app'`);
    for (const databasePassword of ['another', SETTINGS.databasePassword]) {
      const before = await verifier();
      monitor.settle({ ...SETTINGS, databasePassword });
      await vi.waitFor(async () => expect(await verifier()).not.toBe(before), 10_000);
    }
  }

  it('are made once: what a person has renamed does not come back empty', async () => {
    await psql('ALTER TABLE public.users RENAME TO accounts', { database: 'app' });
    await furnishedAgain();
    expect(await psql(`SELECT to_regclass('public.users') IS NULL`, { database: 'app' })).toBe('t');
    await psql('ALTER TABLE public.accounts RENAME TO users', { database: 'app' });
    await psql([END_SESSIONS, 'ALTER DATABASE app RENAME TO app_renamed']);
    await furnishedAgain();
    expect(await psql(`SELECT count(*) FROM pg_database WHERE datname = 'app'`)).toBe('0');
    await psql([END_SESSIONS, 'ALTER DATABASE app_renamed RENAME TO app']);
    await beats();
  });
});

describe('what was made at bootstrap and belongs to people', () => {
  const told = () => notes(A, 'POSTGRES_WARNING').map((note) => note.replace('POSTGRES_WARNING ', ''));
  /** Has the leader look at all of its objects, as after a failover; what the failover needs is mended after that. */
  async function lookedAtAgain(): Promise<void> {
    monitor.settle({ ...SETTINGS, databasePassword: `another ${performance.now()}` });
    // The first repair may have begun before the settings came. The second one comes after them.
    for (const _ of [1, 2]) {
      await psql('DROP SEQUENCE failover.beat');
      const isThere = () => psql(`SELECT to_regclass('failover.beat') IS NOT NULL`);
      await vi.waitFor(async () => expect(await isThere()).toBe('t'), 10_000);
    }
  }

  // The same words are told once until the keeper has seen that all is well, so neighbours have different ones.
  it.each([
    [
      'a renamed role',
      /no client can log in as app: a person renamed or dropped/,
      'ALTER ROLE app RENAME TO renamed',
      'ALTER ROLE renamed RENAME TO app',
    ],
    [
      'a renamed database',
      /no client can enter the database app: a person renamed, dropped or closed it/,
      'ALTER DATABASE app RENAME TO renamed',
      'ALTER DATABASE renamed RENAME TO app',
    ],
    ['a role that may not log in', /no client can log in as app/, 'ALTER ROLE app NOLOGIN', 'ALTER ROLE app LOGIN'],
    [
      'a closed database',
      /no client can enter the database app/,
      'ALTER DATABASE app ALLOW_CONNECTIONS false',
      'ALTER DATABASE app ALLOW_CONNECTIONS true',
    ],
    [
      'an expired role',
      /no client can log in as app/,
      `ALTER ROLE app VALID UNTIL '2001-01-01'`,
      `ALTER ROLE app VALID UNTIL 'infinity'`,
    ],
    [
      'a database for nobody',
      /no client can enter the database app/,
      'ALTER DATABASE app CONNECTION LIMIT 0',
      'ALTER DATABASE app CONNECTION LIMIT -1',
    ],
    [
      'a revoked CONNECT',
      /app may not enter the database app: a person revoked CONNECT/,
      'REVOKE CONNECT ON DATABASE app FROM PUBLIC, app',
      'GRANT CONNECT ON DATABASE app TO PUBLIC, app',
    ],
  ])('is told and stays as it is: %s', async (_what, words, act, undo) => {
    const before = told().length;
    const listed = `SELECT string_agg(rolname, ' ' ORDER BY oid) FROM pg_roles
      UNION ALL SELECT string_agg(datname, ' ' ORDER BY oid) FROM pg_database`;
    await psql([END_SESSIONS, act]);
    const changed = await psql(listed);
    const isTold = () =>
      told()
        .slice(before)
        .some((note) => words.test(note));
    await monitor.wait(isTold, 'is told', MENDED_LIMIT_MS);
    await lookedAtAgain();
    expect(await psql(listed)).toBe(changed);
    await psql([END_SESSIONS, undo]);
    monitor.settle(SETTINGS);
    await beats();
  });
});

describe('a superuser that is locked out', () => {
  it('is named, keeps the leader, and is over with a LOGIN', async () => {
    // Again and again, because a keeper that gets in between the two undoes the one that is its own.
    const both = 'DO $$BEGIN ALTER ROLE postgres NOLOGIN; ALTER ROLE failover_keeper NOLOGIN; END$$';
    const act = Array.from({ length: 5 }, () => [both, END_SESSIONS]).flat();
    const person = psql([...act, 'SELECT pg_sleep(10)', 'ALTER ROLE postgres LOGIN']);
    await monitor.wait(() => notes(A, 'SUPERUSER_LOCKED_OUT').length > 0, 'says so', 10_000);
    expect(notes(A, 'SUPERUSER_LOCKED_OUT')[0]).toMatch(/postgres nor as failover_keeper/);
    let [oldest, over] = [0, false];
    const end = () => {
      over = true;
    };
    person.then(end, end);
    const look = () => {
      oldest = Math.max(oldest, monitor.view(A).status?.lead?.heartbeatAgeMs ?? 0);
      return over;
    };
    await monitor.wait(look, 'ten seconds', 30_000);
    await person;
    expect(oldest).toBeLessThan(1_500);
    expect(notes(A, 'SUPERUSER_LOCKED_OUT')).toHaveLength(1);
    const mendedBefore = notes(A, 'MENDED').length;
    await monitor.until(B, streams, 'streams', 10_000);
    await monitor.wait(() => notes(A, 'MENDED').length > mendedBefore, 'has its own role again', 30_000);
    await beats();
  });
});

describe('a shutdown', () => {
  it('says that it does not wait for a receiver that takes nothing', async () => {
    const stopped = (signal: string) =>
      docker('exec', B, 'sh', '-c', `kill -${signal} $(pgrep -f '[w]alreceiver streaming')`);
    await stopped('STOP');
    monitor.order(A, 1, { kind: 'stop' });
    await monitor.until(A, (s) => s.postgres.state === 'stopped', 'stopped', 20_000);
    await monitor.wait(
      () => notes(A, 'POSTGRES_WARNING').at(-1)?.includes('a receiver took no write-ahead log') === true,
      'says so',
      10_000,
    );
    await stopped('CONT');
  });
});
