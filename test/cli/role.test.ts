/** `role …` and `password …`: what they run in the leader's container, and what they never show. */
import { beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { EXIT } from '../../cli/exit';
import { keepDatabase, useProgram } from '../../cli/password';
import { createRole, inDatabase, type RoleRow } from '../../cli/role-statements';
import type { Run } from '../../cli/superuser';
import { newVerifier } from '../../failover/contract/scram';
import { cli, fakeIo } from './console';
import { FakeMonitor } from './fake-monitor';

const ROLE: RoleRow = {
  name: 'report',
  login: true,
  hasPassword: true,
  barred: false,
  superuser: false,
  memberOf: [],
  ownsIn: [],
  sessions: 0,
};

let monitor: FakeMonitor;
beforeEach(async () => {
  monitor = new FakeMonitor();
  await monitor.open();
  return () => monitor.close();
});

interface Call {
  args: readonly string[];
  input: string;
}

/** A leader that knows these roles, and keeps what was run in it. */
function leader(roles: readonly RoleRow[] = [ROLE], owner = { owner: 'app', barred: false }) {
  const calls: Call[] = [];
  const run: Run = async (command, args, { input = '' }) => {
    calls.push({ args: [command, ...args], input });
    const one = roles.filter(({ name }) => input.includes(`r.rolname = '${name}';`));
    const answer = input.includes('json_agg(datname')
      ? ['app', 'postgres']
      : input.includes("'ownsIn'")
        ? input.includes('WHERE r.rolname = ')
          ? one
          : roles
        : input.includes("'owner'")
          ? owner
          : input.includes("'bySql'")
            ? { exists: true, bySql: true }
            : '';
    return { code: 0, stdout: typeof answer === 'string' ? answer : `${JSON.stringify(answer)}\n`, tail: [] };
  };
  const changes = () => calls.filter(({ input }) => !/^(WITH|SELECT)/.test(input)).map(({ input }) => input.trim());
  return { run, calls, changes };
}

const says = (args: readonly string[], setting: Parameters<typeof cli>[2] = {}) => cli(monitor.url, args, setting);

describe('role create', () => {
  it('shows a generated password once, and gives PostgreSQL nothing but its verifier, on stdin', async () => {
    const { run, calls, changes } = leader();
    const { code, out, err } = await says(['role', 'create', 'report', '--read-only'], { run });
    expect([code, err]).toEqual([EXIT.ok, ['The password is shown this once:']]);
    const password = out.at(-1) ?? '';
    expect(password).toMatch(/^[\w-]{24}$/);
    const stored = /PASSWORD\s+'(SCRAM-SHA-256[^']+)'/.exec(changes().join())?.[1] ?? '';
    expect(await newVerifier(password, stored)).toBeNull();
    for (const { args, input } of calls) {
      expect(args.slice(0, 3)).toEqual(['docker', 'exec', '-i']);
      expect(args).toContain('postgres-primary');
      expect(args.join(' ')).not.toContain('SCRAM');
      expect(`${args.join(' ')} ${input}`).not.toContain(password);
    }
    const options = calls[0]?.args.find((arg) => arg.startsWith('PGOPTIONS=')) ?? '';
    for (const setting of ['log_statement=none', 'log_min_error_statement=panic', 'synchronous_commit=on'])
      expect(options).toContain(`-c ${setting}`);
  });

  it('takes a password from stdin and does not repeat it', async () => {
    const { run, changes } = leader();
    const setting = { run, input: "it's long\n" };
    const { code, out, err } = await says(
      ['role', 'create', 'report', '--owner', '--password-stdin', '--json'],
      setting,
    );
    expect([code, err]).toEqual([EXIT.ok, []]);
    expect(JSON.parse(out.join('\n'))).toEqual({ role: 'report', database: 'app', access: 'owner' });
    const stored = /'(SCRAM-SHA-256[^']+)'/.exec(changes().join())?.[1] ?? '';
    expect(await newVerifier("it's long", stored)).toBeNull();
  });

  it.each<[string, readonly string[], string, Parameters<typeof cli>[2]]>([
    ['no right', ['report'], 'Name one of --read-only, --read-write, --owner and --replication.', {}],
    ['two rights', ['report', '--owner', '--read-only'], 'Name one of', {}],
    ['an empty name', ['', '--owner'], '"" cannot be the name of a role: it is empty', {}],
    ['a long name', ['é'.repeat(32), '--owner'], 'it has 64 bytes, and PostgreSQL takes 63', {}],
    ['a name of PostgreSQL', ['pg_x', '--owner'], 'names that begin with pg_ are PostgreSQL’s own', {}],
    ['a name of the failover', ['failover_monitor', '--owner'], 'this role is the failover’s own', {}],
    ['an empty password', ['report', '--owner', '--password-stdin'], 'one line of 1 to 1024', { input: '\n' }],
    ['two lines', ['report', '--owner', '--password-stdin'], 'one line of 1 to 1024', { input: 'a\nb\n' }],
  ])('refuses %s before anything is touched', async (_, args, words, setting) => {
    const { run, changes } = leader();
    const { code, err } = await says(['role', 'create', ...args], { run, ...setting });
    expect([code, err.join('\n')]).toEqual([EXIT.usage, expect.stringContaining(words)]);
    expect(changes()).toEqual([]);
  });

  it('makes no member of a superuser, which could not log in', async () => {
    const { run, changes } = leader([], { owner: 'postgres', barred: true });
    const { code, err } = await says(['role', 'create', 'x', '--owner', '--database', 'd'], { run });
    expect([code, err[0]]).toEqual([EXIT.failed, expect.stringContaining('The database "d" belongs to "postgres"')]);
    expect(changes()).toEqual([]);
  });

  it('says what PostgreSQL says, without its control characters', async () => {
    const run: Run = async () => ({
      code: 3,
      stdout: '',
      tail: ['psql:<stdin>:1: ERROR:  role "a\x1b[2J" already exists'],
    });
    const { code, err } = await says(['role', 'create', 'x', '--read-write'], { run });
    expect([code, err]).toEqual([EXIT.failed, ['ERROR:  role "a\\x1b[2J" already exists']]);
  });

  it('says that it is not known whether it was done when no answer comes', async () => {
    const run: Run = async () => ({ code: 124, stdout: '', tail: [] });
    const { code, err } = await says(['role', 'create', 'x', '--read-write'], { run });
    expect([code, err[0]]).toEqual([EXIT.failed, expect.stringContaining('it is not known whether it was done')]);
  });

  it('does nothing without a leader', async () => {
    if (monitor.cluster !== null) monitor.cluster = { ...monitor.cluster, leader: null };
    const { run, calls } = leader();
    expect((await says(['role', 'list'], { run })).code).toBe(EXIT.failed);
    expect(calls).toEqual([]);
  });

  it('quotes every name', () => {
    const role = { name: 'a"b\'c\\', verifier: 'v', access: 'read-only', database: 'd"', owner: "o'" } as const;
    const text = createRole({ ...role, application: 'app' });
    expect(text).toContain(`CREATE ROLE "a""b'c\\" LOGIN PASSWORD 'v';`);
    expect(text).toContain('ON DATABASE "d""" TO "a""b\'c\\"');
    expect(createRole({ ...role, access: 'owner', application: 'app' })).toContain(`SET role TO 'o''';`);
    expect(inDatabase("x' host=y\\")).toBe("dbname='x\\' host=y\\\\'");
  });
});

describe('role list', () => {
  const boss = { ...ROLE, name: 'boss\x1b[2J', barred: true, superuser: true };
  const group = { ...ROLE, name: 'group', login: false };
  const roles = [ROLE, boss, group, { ...ROLE, name: 'new', hasPassword: false, memberOf: ['group'], sessions: 2 }];

  it('says who may log in', async () => {
    const { out } = await says(['role', 'list'], { run: leader(roles).run });
    expect(out).toEqual([
      'report: may log in',
      'boss\\x1b[2J: may not log in through HAProxy (a superuser)',
      'group: may not log in',
      'new: has no password, so it cannot log in; member of group; 2 sessions',
    ]);
  });

  it('prints JSON', async () => {
    const { out } = await says(['role', 'list', '--json'], { run: leader(roles).run });
    expect(z.object({ roles: z.array(z.unknown()) }).parse(JSON.parse(out.join('\n'))).roles).toEqual(roles);
  });
});

describe('role password and role drop', () => {
  it('change and remove a role of people', async () => {
    const { run, changes } = leader();
    expect((await says(['role', 'password', 'report'], { run })).code).toBe(EXIT.ok);
    expect(changes().at(-1)).toMatch(/^ALTER ROLE "report" PASSWORD 'SCRAM/);
    expect((await says(['role', 'drop', 'report', '--yes'], { run })).code).toBe(EXIT.ok);
    expect(
      changes()
        .slice(1)
        .map((text) => text.split('\n').at(-1)),
    ).toEqual([
      `WHERE r.rolname = 'report';`,
      'DROP OWNED BY "report";',
      'DROP OWNED BY "report";',
      'DROP ROLE "report";',
    ]);
  });

  it.each([
    ['password', 'app', 'belongs to the stack'],
    ['drop', 'app', 'belongs to the stack'],
    ['drop', 'postgres', 'belongs to the failover'],
    ['drop', 'nobody', 'There is no role "nobody"'],
  ])('role %s %s is refused', async (what, name, words) => {
    const { run, changes } = leader([
      { ...ROLE, name: 'app' },
      { ...ROLE, name: 'postgres', superuser: true },
    ]);
    const { code, err } = await says(['role', what, name, ...(what === 'drop' ? ['--yes'] : [])], { run });
    expect([code, err.join()]).toEqual([EXIT.failed, expect.stringContaining(words)]);
    expect(changes()).toEqual([]);
  });

  it('drop refuses a role that owns something, unless another role gets it, which is no superuser', async () => {
    const roles = [
      { ...ROLE, ownsIn: ['app'] },
      { ...ROLE, name: 'boss', barred: true },
      { ...ROLE, name: 'heir' },
    ];
    const { run, changes } = leader(roles);
    const drop = (...more: string[]) => says(['role', 'drop', 'report', '--yes', ...more], { run });
    expect((await drop()).err).toEqual([expect.stringContaining('owns something in "app"')]);
    expect((await drop('--reassign', 'boss')).code).toBe(EXIT.failed);
    expect(changes()).toEqual([]);
    expect((await drop('--reassign', 'heir')).code).toBe(EXIT.ok);
    expect(changes().join('\n')).toContain('REASSIGN OWNED BY "report" TO "heir";\nDROP OWNED BY "report";');
  });

  it('drop asks, and does nothing where nobody answers', async () => {
    const { run, changes } = leader();
    expect((await says(['role', 'drop', 'report'], { run })).code).toBe(EXIT.failed);
    expect((await says(['role', 'drop', 'report'], { run, yes: false })).code).toBe(EXIT.failed);
    expect((await says(['role', 'drop', 'report', '--dry-run'], { run })).out).toEqual(['"report" is removed.']);
    expect(changes()).toEqual([]);
  });
});

describe('password', () => {
  it('names a password that SQL changed, and both ways on', async () => {
    const { code, out } = await says(['password'], { run: leader().run });
    expect(code).toBe(EXIT.failed);
    expect(out.join('\n')).toMatch(/was changed by SQL[\s\S]*keep-database[\s\S]*use-program/);
    const json = await says(['password', 'show', '--json'], { run: leader().run });
    expect(JSON.parse(json.out.join())).toEqual({ role: 'app', state: 'changed by SQL' });
  });

  it('use-program makes the keeper forget what it put in force, and waits for the login', async () => {
    const { run, changes } = leader();
    let tries = 0;
    const { io, said } = fakeIo(monitor.url, { run, goOn: () => true });
    const login = async () => {
      tries += 1;
      if (tries < 3) return { kind: 'failed', code: '28P01', message: 'no' } as const;
      return { kind: 'in', readOnly: false, standby: false, tookMs: 1 } as const;
    };
    expect(await useProgram(io, {}, login)).toBe(EXIT.ok);
    expect(changes()).toEqual(['COMMENT ON ROLE failover_keeper IS NULL']);
    expect([tries, said.out]).toEqual([3, ['The program’s password is in force.']]);
  });

  it('keep-database stores the password that PostgreSQL takes, and no other one', async () => {
    const stored: string[] = [];
    const setPassword = async (password: string) => {
      stored.push(password);
    };
    const { io, said } = fakeIo(monitor.url, { input: 'by sql\n', setPassword });
    const failed = async () => ({ kind: 'failed', code: '28P01', message: 'no' }) as const;
    await expect(keepDatabase(io, { passwordStdin: true }, failed)).rejects.toThrow('Nothing was changed');
    expect(stored).toEqual([]);
    const works = async () => ({ kind: 'in', readOnly: false, standby: false, tookMs: 1 }) as const;
    expect(await keepDatabase(io, { passwordStdin: true }, works)).toBe(EXIT.ok);
    expect(stored).toEqual(['by sql']);
    expect(said.out.join()).toContain('npm run up');
    await expect(keepDatabase(io, {}, works)).rejects.toThrow('--password-stdin');
  });
});
