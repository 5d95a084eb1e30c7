/**
 * Every role of the database logs in with its password through HAProxy (here this machine, whose address the nodes take
 * for HAProxy's), whatever its name is; superusers, roles with REPLICATION and the failover's own do not. And the
 * password of the application's role is the program's or the one that SQL set, whichever was set last. Two real nodes.
 */
import { Client, escapeIdentifier as identifier, escapeLiteral as literal } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newVerifier, verifierOf } from '../../failover/contract/scram';
import { run } from '../../scripts/lib/exec';
import { cli } from '../cli/console';
import { FakeMonitor } from '../cli/fake-monitor';
import { healthyCluster } from '../rig/healthy-cluster';
import { waitFor } from '../rig/wait';
import { HOSTILE_NAMES } from './hostile-names';
import { both, docker, NodePair } from './node-containers';

const pair = new NodePair({ prefix: 'rol', subnet: '10.211.87', port: 17_487 });
const { a: A, b: B, monitor, address: ADDRESS, settings: SETTINGS } = pair;
/** The documents promise two seconds; a login of this test itself takes up to a second on a busy machine, ms. */
const LISTED_LIMIT_MS = 5_000;
/** A limit, not an expectation: the machine may be very busy, ms. */
const CONNECT_LIMIT_MS = 20_000;

interface Where {
  node?: string;
  database?: string;
}

/** Statements in one session of a person's superuser, from stdin: a name may be longer than an argument. */
async function psql(text: string, { node = A, database = 'postgres' }: Where = {}): Promise<string> {
  const session = ['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-U', 'postgres', '-d', database, '-f', '-'];
  const args = ['exec', '-i', node, ...session];
  const result = await run('docker', args, { deadlineMs: 60_000, input: text });
  if (result.code !== 0) throw new Error(result.tail.join('\n'));
  return result.stdout.trim();
}

/** A session as a client; throws what PostgreSQL says. */
async function enter(user: string, password: string, { node = A, database = 'app' }: Where = {}): Promise<Client> {
  const host = ADDRESS[node] ?? '';
  const client = new Client({ host, user, password, database, connectionTimeoutMillis: CONNECT_LIMIT_MS });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** `in`, or the SQLSTATE of the refusal. 28000: pg_hba.conf; 28P01: the password. */
async function tried(user: string, password: string, where?: Where): Promise<string> {
  try {
    await (await enter(user, password, where)).end();
    return 'in';
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

/** Waits until a login has this result. Returns how long it took, ms. */
async function becomes(result: string, user: string, password: string, where?: Where): Promise<number> {
  const from = performance.now();
  let last = '';
  const holds = async () => {
    last = await tried(user, password, where);
    return last === result;
  };
  await waitFor(`${user} to be ${result}`, 10_000, holds, 25).catch((error: unknown) => {
    throw new Error(`${String(error)}, last ${last}`);
  });
  return performance.now() - from;
}

async function eightAtOnce<T>(works: readonly (() => Promise<T>)[]): Promise<T[]> {
  const results: T[] = [];
  for (let at = 0; at < works.length; at += 8)
    results.push(...(await Promise.all(works.slice(at, at + 8).map((work) => work()))));
  return results;
}

const took: Record<string, number[]> = {};
const note = (what: string, ms: number) => {
  took[what] = [...(took[what] ?? []), Math.round(ms)];
};
const warnings = (node: string) => monitor.view(node).notes.filter((n) => n.startsWith('POSTGRES_WARNING'));
const hbaErrors = (node: string) => psql('SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL', { node });

beforeAll(async () => {
  await pair.start();
  await monitor.done(A, 1, { kind: 'lead', sync: both(A, B) });
});

afterAll(async () => {
  console.log(`ms: ${JSON.stringify(took)}`);
  await pair.remove();
});

describe('a role made by SQL', () => {
  it('logs in within two seconds, on leader and standby, with its own password alone', async () => {
    expect(await tried('app', 'secret')).toBe('in');
    expect(await tried('report', 'r')).toBe('28000');
    for (const name of ['report', 'report 2', 'report 3']) {
      await psql(`CREATE ROLE ${identifier(name)} LOGIN PASSWORD 'r'`);
      const times = await Promise.all([A, B].map((node) => becomes('in', name, 'r', { node })));
      note('until a new role is let in', Math.max(...times));
      expect(Math.max(...times)).toBeLessThan(LISTED_LIMIT_MS);
    }
    expect(await tried('report', 'wrong')).toBe('28P01');
    expect(await tried('report', 'r', { database: 'postgres' })).toBe('in');
    await psql('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
    expect(await tried('report', 'r', { database: 'postgres' })).toBe('42501');
    await psql('GRANT CONNECT ON DATABASE postgres TO PUBLIC');
  });

  it('is refused once it is a superuser or may replicate, or may act as such a role, and its session stays', async () => {
    await psql(`CREATE ROLE boss NOLOGIN SUPERUSER; CREATE ROLE go_between NOLOGIN; GRANT boss TO go_between`);
    const acts: [act: string, undo: string][] = [
      ['ALTER ROLE report SUPERUSER', 'ALTER ROLE report NOSUPERUSER'],
      ['ALTER ROLE report REPLICATION', 'ALTER ROLE report NOREPLICATION'],
      ['GRANT boss TO report', 'REVOKE boss FROM report'],
      ['GRANT go_between TO report WITH INHERIT FALSE', 'REVOKE go_between FROM report'],
      ['GRANT go_between TO report WITH SET FALSE', 'REVOKE go_between FROM report'],
      ['GRANT failover_monitor TO report', 'REVOKE failover_monitor FROM report'],
    ];
    const open = await enter('report', 'r');
    for (const [act, undo] of acts) {
      await psql(act);
      const times = await Promise.all([A, B].map((node) => becomes('28000', 'report', 'r', { node })));
      note('until a superuser is kept out', Math.max(...times));
      expect(Math.max(...times), act).toBeLessThan(LISTED_LIMIT_MS);
      expect((await open.query('SELECT 1')).rowCount).toBe(1);
      await psql(undo);
      await becomes('in', 'report', 'r');
    }
    await open.end();
    // The right to grant alone gives none of the role's rights.
    await psql(
      'CREATE ROLE made; GRANT made TO report WITH ADMIN TRUE, INHERIT FALSE, SET FALSE; ALTER ROLE made REPLICATION',
    );
    await psql('CREATE ROLE later LOGIN PASSWORD $$r$$');
    await becomes('in', 'later', 'r');
    expect(await tried('report', 'r')).toBe('in');
    await psql('DROP ROLE made, later, go_between, boss');
  });

  it('is none of the failover’s own, nor a superuser that has a password', async () => {
    await psql(`ALTER ROLE postgres PASSWORD 'p'; ALTER ROLE failover_keeper PASSWORD 'p';
      CREATE ROLE chief LOGIN SUPERUSER PASSWORD 'p'; CREATE ROLE copier LOGIN REPLICATION PASSWORD 'p';
      CREATE ROLE last LOGIN PASSWORD 'p'`);
    for (const node of [A, B]) {
      await becomes('in', 'last', 'p', { node });
      for (const role of ['postgres', 'failover_keeper', 'failover_replication', 'chief', 'copier'])
        expect(await tried(role, 'p', { node }), role).toBe('28000');
    }
    await psql('ALTER ROLE postgres PASSWORD NULL; DROP ROLE chief, copier, last');
  });

  it('reaches its own server by dblink and postgres_fdw, over both loopbacks, with its password', async () => {
    await psql(
      `CREATE EXTENSION dblink; CREATE EXTENSION postgres_fdw; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO report;
      GRANT CREATE ON SCHEMA public TO report`,
      { database: 'app' },
    );
    const client = await enter('report', 'r');
    // Not every engine gives a container IPv6's loopback.
    const hasIpv6 = (await docker('exec', A, 'cat', '/proc/net/if_inet6')) !== '';
    for (const host of ['127.0.0.1', 'localhost', ...(hasIpv6 ? ['::1'] : [])]) {
      const link = `host=${host} dbname=app user=report password=`;
      const { rows } = await client.query(`SELECT * FROM dblink('${link}r', 'SELECT 7') AS t (n int)`);
      expect(rows, host).toEqual([{ n: 7 }]);
      await expect(client.query(`SELECT * FROM dblink('${link}x', 'SELECT 7') AS t (n int)`)).rejects.toThrow(
        /could not/,
      );
      await client.query(`CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '${host}', dbname 'app');
        CREATE USER MAPPING FOR report SERVER self OPTIONS (user 'report', password 'r');
        CREATE TABLE public.local (n int); INSERT INTO public.local VALUES (8);
        CREATE FOREIGN TABLE public.far (n int) SERVER self OPTIONS (table_name 'local')`);
      expect((await client.query('SELECT n FROM public.far')).rows, host).toEqual([{ n: 8 }]);
      await client.query('DROP SERVER self CASCADE; DROP TABLE public.local');
    }
    await client.end();
    // The container's other way in stays closed.
    const asPostgres = ['exec', '-e', 'PGPASSWORD=x', A, 'psql', '-h', '127.0.0.1', '-U', 'postgres', '-c', 'SELECT 1'];
    await expect(docker(...asPostgres)).rejects.toThrow(/pg_hba\.conf rejects|no pg_hba\.conf entry/);
  });
});

describe('the name of a role', () => {
  it('steers nothing: each role gets in, and a superuser among them does not', async () => {
    const passwords = new Map(HOSTILE_NAMES.map((name, i) => [name, `p${i}`]));
    const each = (form: (name: string) => string) => HOSTILE_NAMES.map((name) => `${form(name)};`).join('\n');
    await psql(each((name) => `CREATE ROLE ${identifier(name)} LOGIN PASSWORD '${passwords.get(name)}'`));
    await psql(`CREATE ROLE chief LOGIN SUPERUSER PASSWORD 'p'; CREATE ROLE "x|chief" LOGIN; CREATE ROLE "/chief" LOGIN;
      CREATE ROLE last LOGIN PASSWORD 'p'`);
    for (const node of [A, B]) {
      await becomes('in', 'last', 'p', { node });
      const all = [...passwords].map(([name, password]) => async () => [name, await tried(name, password, { node })]);
      expect(await eightAtOnce(all), node).toEqual(HOSTILE_NAMES.map((name) => [name, 'in']));
      for (const user of ['chief', 'postgres', 'nobody', 'APP', 'failover_keeper'])
        expect([user, await tried(user, 'p', { node })], node).toEqual([user, '28000']);
      expect(await hbaErrors(node)).toBe('');
    }
    // Each of them alone is barred, and no other one is.
    const barred = ['all', '/.*', '"', 'a\nhost all all all trust', '+app', 'ünïcödé', '\\'];
    await psql(barred.map((name) => `ALTER ROLE ${identifier(name)} SUPERUSER;`).join('\n'));
    for (const name of barred) await becomes('28000', name, passwords.get(name) ?? '');
    const all = [...passwords].map(([name, password]) => async () => [name, await tried(name, password)]);
    const expected = HOSTILE_NAMES.map((name) => [name, barred.includes(name) ? '28000' : 'in']);
    expect(await eightAtOnce(all)).toEqual(expected);
    await psql(each((name) => `DROP ROLE ${identifier(name)}`));
    await psql('DROP ROLE chief, "x|chief", "/chief", last');
    expect(warnings(A)).toEqual([]);
  });

  it('may be bytes that are no UTF-8, as a database of another encoding makes them', async () => {
    await psql(`CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE_PROVIDER libc LOCALE 'C'`);
    await psql(
      `SET client_encoding = latin1; SELECT format('CREATE ROLE %I LOGIN PASSWORD $$l$$', chr(233) || 't' || chr(233)) \\gexec`,
      {
        database: 'latin',
      },
    );
    const inside = (password: string) =>
      docker(
        'exec',
        A,
        'sh',
        '-c',
        `PGPASSWORD=${password} psql -h 127.0.0.1 -d latin -Atc "SELECT 1" -U "$(printf '\\351t\\351')"`,
      );
    await waitFor('it gets in', LISTED_LIMIT_MS, async () => (await inside('l')) === '1', 25);
    await expect(inside('x')).rejects.toThrow(/password authentication failed/);
    expect(await hbaErrors(A)).toBe('');
    await psql(`SELECT format('DROP ROLE %I', chr(233) || 't' || chr(233)) \\gexec`, { database: 'latin' });
    await psql('DROP DATABASE latin');
  });

  it('may be one of ten thousand', async () => {
    const all = (what: string) =>
      `DO $$ BEGIN FOR i IN 1..10000 LOOP EXECUTE format('${what}', 'many ' || i); END LOOP; END $$`;
    await psql(all('CREATE ROLE %I LOGIN'));
    await psql(`CREATE ROLE last LOGIN PASSWORD 'p'`);
    const times = await Promise.all([A, B].map((node) => becomes('in', 'last', 'p', { node })));
    note('until a new role is let in among 10,000', Math.max(...times));
    const from = performance.now();
    for (let i = 0; i < 20; i++) expect(await tried('last', 'p')).toBe('in');
    note('20 logins among 10,000 roles', performance.now() - from);
    expect(await hbaErrors(A)).toBe('');
    await psql(all('DROP ROLE %I'));
    await psql('DROP ROLE last');
    const few = performance.now();
    await becomes('28000', 'last', 'p');
    for (let i = 0; i < 20; i++) await tried('report', 'r');
    note('20 logins among few', performance.now() - few);
    const beat = monitor.view(A).status?.lead?.heartbeatAgeMs ?? 0;
    expect(beat).toBeLessThan(1_500);
  });
});

describe('the commands role', () => {
  const fake = new FakeMonitor();
  beforeAll(async () => {
    await fake.open();
    fake.cluster = { ...healthyCluster(), leader: A };
    return () => fake.close();
  });
  const says = async (args: readonly string[], input = '') => {
    const said = await cli(fake.url, args, { run, input });
    return { ...said, err: said.err.join('\n') };
  };
  const hostile = `it's a "role", \\ /^.*$ $do$ 报告`;

  it('make a role with the rights that a team expects, whatever its name is', async () => {
    const name = hostile;
    await psql(
      'CREATE TABLE public.t (id int GENERATED ALWAYS AS IDENTITY, n int); CREATE SCHEMA more; CREATE TABLE more.t (n int); ALTER TABLE public.t OWNER TO app; ALTER SCHEMA more OWNER TO app; ALTER TABLE more.t OWNER TO app',
      { database: 'app' },
    );
    const made = async (access: string) => {
      const role = `${name.slice(0, 40)} ${access}`;
      const { code, out, err } = await says(['role', 'create', role, `--${access}`]);
      expect([code, err]).toEqual([0, 'The password is shown this once:']);
      const password = out.at(-1) ?? '';
      await becomes('in', role, password);
      return enter(role, password);
    };
    const [reader, writer, owner] = [await made('read-only'), await made('read-write'), await made('owner')];
    const may = (client: Client, text: string) =>
      client.query(text).then(
        () => true,
        (error: { code?: string }) => (error.code === '42501' ? false : Promise.reject(error)),
      );
    // What is there, and what the owner makes later, also in a schema that is made later.
    await owner.query('CREATE TABLE public.later (n int); CREATE SCHEMA newer; CREATE TABLE newer.t (n int)');
    for (const table of ['public.t', 'more.t', 'public.later', 'newer.t']) {
      const rights = await Promise.all(
        [reader, writer, owner].map(async (client) => [
          await may(client, `SELECT n FROM ${table}`),
          await may(client, `INSERT INTO ${table} (n) VALUES (1)`),
          await may(client, `ALTER TABLE ${table} ADD COLUMN IF NOT EXISTS m int`),
        ]),
      );
      expect([table, rights]).toEqual([
        table,
        [
          [true, false, false],
          [true, true, false],
          [true, true, true],
        ],
      ]);
    }
    // The passwords of other roles are no data.
    for (const client of [reader, writer, owner]) expect(await may(client, 'SELECT * FROM pg_authid')).toBe(false);
    expect(await may(reader, 'CREATE TABLE public.x (n int)')).toBe(false);
    await psql('DROP SCHEMA more CASCADE; DROP SCHEMA newer CASCADE; DROP TABLE public.t, public.later', {
      database: 'app',
    });
    await psql('GRANT CREATE ON SCHEMA public TO PUBLIC', { database: 'app' });
    await writer.query('CREATE TABLE public.own (n int)');
    await psql('REVOKE CREATE ON SCHEMA public FROM PUBLIC', { database: 'app' });
    const drop = (access: string, ...more: string[]) =>
      says(['role', 'drop', `${name.slice(0, 40)} ${access}`, '--yes', ...more]);
    expect((await drop('read-write')).err).toContain('owns something in "app"');
    for (const access of ['read-only', 'owner']) expect(await drop(access)).toMatchObject({ code: 0, err: '' });
    expect(await drop('read-write', '--reassign', 'report')).toMatchObject({ code: 0, err: '' });
    expect(await psql(`SELECT tableowner FROM pg_tables WHERE tablename = 'own'`, { database: 'app' })).toBe('report');
    await psql('DROP TABLE public.own', { database: 'app' });
    await expect(reader.query('SELECT 1')).rejects.toThrow();
    for (const client of [reader, writer, owner]) await client.end().catch(() => undefined);
  });

  it('give a role another password, list roles, and leave the failover’s alone', async () => {
    expect((await says(['role', 'password', 'report', '--password-stdin'], 'new\n')).code).toBe(0);
    expect([await tried('report', 'new'), await tried('report', 'r')]).toEqual(['in', '28P01']);
    const { out } = await says(['role', 'list']);
    expect(out).toContain('report: may log in');
    expect(out.join('\n')).toMatch(/^failover_monitor: may not log in through HAProxy/m);
    for (const name of ['app', 'postgres', 'failover_keeper'])
      expect((await says(['role', 'drop', name, '--yes'])).code).not.toBe(0);
    const log = await docker('logs', A);
    expect(log).not.toContain('SCRAM-SHA-256');
  });
});

describe('the password of the application’s role', () => {
  const { databasePassword: _, ...rest } = SETTINGS;
  const settingsOf = async (password: string) => ({
    ...rest,
    databaseVerifier: await verifierOf(password, Buffer.alloc(16, 7)),
  });

  it('is the program’s when the program’s value changed, and at no other time', async () => {
    monitor.settle(await settingsOf('program 1'));
    await becomes('in', 'app', 'program 1');
    await psql(`ALTER ROLE app PASSWORD 'by sql'`);
    await monitor.wait(
      () => warnings(A).some((w) => w.includes('password of app was changed by SQL')),
      'is told',
      5_000,
    );
    // Everything of the leader's is looked at again, as after a failover.
    monitor.settle({ ...(await settingsOf('program 1')), postgresSettings: { work_mem: '5MB' } });
    await waitFor('the setting', 10_000, async () => (await psql('SHOW work_mem')) === '5MB');
    expect([await tried('app', 'by sql'), await tried('app', 'program 1')]).toEqual(['in', '28P01']);
    monitor.settle(await settingsOf('program 2'));
    await becomes('in', 'app', 'program 2');
  });

  it('is the program’s again when a person asks for it', async () => {
    await psql(`ALTER ROLE app PASSWORD 'by sql'`);
    await becomes('28P01', 'app', 'program 2');
    await psql('COMMENT ON ROLE failover_keeper IS NULL');
    await becomes('in', 'app', 'program 2');
  });
});

describe('a failover', () => {
  it('keeps a password that SQL set, and the new leader lets in whom it knows, from its first moment', async () => {
    await psql(`ALTER ROLE app PASSWORD 'by sql'; CREATE ROLE moment LOGIN PASSWORD 'm'`);
    monitor.order(A, 2, { kind: 'stop' });
    await monitor.until(A, (s) => s.postgres.state === 'stopped', 'stopped', 30_000);
    await monitor.done(B, 2, { kind: 'lead', sync: { leader: B, k: 0, members: [] } });
    expect(await tried('report', 'new', { node: B })).toBe('in');
    // The promotion does not wait for a role that was made a moment before it.
    note('until a role made right before a failover is let in', await becomes('in', 'moment', 'm', { node: B }));
    await psql(`CREATE ROLE after LOGIN PASSWORD 'a'`, { node: B });
    note('until a role made after a failover is let in', await becomes('in', 'after', 'a', { node: B }));
    await monitor.wait(
      () => warnings(B).some((w) => w.includes('password of app was changed by SQL')),
      'is told',
      5_000,
    );
    expect([await tried('app', 'by sql', { node: B }), await tried('app', 'program 2', { node: B })]).toEqual([
      'in',
      '28P01',
    ]);
    const stored = await psql(`SELECT rolpassword FROM pg_authid WHERE rolname = 'app'`, { node: B });
    expect(await newVerifier('by sql', stored)).toBeNull();
  });

  it('of a leader that starts in its place: the roles of the last life get in at once', async () => {
    await docker('kill', B);
    await docker('start', B);
    await monitor.until(B, (s) => s.postgres.state === 'stopped', 'stopped', 30_000);
    await monitor.done(B, 3, { kind: 'lead', sync: { leader: B, k: 0, members: [] } });
    expect(await tried('after', 'a', { node: B })).toBe('in');
    expect(await tried('postgres', literal('p'), { node: B })).toBe('28000');
  });
});
