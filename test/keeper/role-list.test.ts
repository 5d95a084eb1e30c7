/** Names of roles as text of pg_hba.conf: none of them steers anything, and each admits itself alone. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { DatabaseError } from 'pg';
import { beforeEach, describe, expect, it } from 'vitest';
import { ROLES_FILE } from '../../failover/keeper/postgres/config-files';
import { hbaToken, isToken, RoleList, renderRoles } from '../../failover/keeper/postgres/role-list';
import type { Session } from '../../failover/keeper/postgres/session';
import { testFolder } from '../rig/folder';
import { HOSTILE_NAMES } from './hostile-names';

interface Token {
  text: string;
  quoted: boolean;
}

/** The tokens of a file that pg_hba.conf includes, as PostgreSQL 17 reads them (hba.c, `next_token`). Text of bytes. */
function tokensOf(file: string): Token[] {
  const tokens: Token[] = [];
  for (const line of file.split('\n')) {
    expect(line.endsWith('\\'), 'a line that goes on').toBe(false);
    let [text, quoted, inQuote, wasQuote, saw] = ['', false, false, false, false];
    const end = () => {
      if (text !== '' || saw) tokens.push({ text, quoted });
      [text, quoted, wasQuote, saw] = ['', false, false, false];
    };
    for (const char of line) {
      if (char === '#' && !inQuote) break;
      if (!inQuote && /[ \t\r,]/.test(char)) {
        end();
        continue;
      }
      if (char !== '"' || wasQuote) text += char;
      wasQuote = inQuote && char === '"' ? !wasQuote : false;
      if (char !== '"') continue;
      inQuote = !inQuote;
      saw = true;
      if (text === '') quoted = true;
    }
    expect(inQuote, 'an open quote').toBe(false);
    end();
  }
  return tokens;
}

/** Whether a list of tokens admits a role (hba.c, `check_role`). A regular expression means the same in JavaScript. */
function admits(tokens: readonly Token[], role: string): boolean {
  return tokens.some(({ text, quoted }) => {
    expect(quoted, text).toBe(true);
    return text.startsWith('/') ? new RegExp(text.slice(1)).test(role) : text === role;
  });
}

const bytes = (name: Buffer) => name.toString('latin1');
const fileOf = (names: readonly Buffer[]) => bytes(Buffer.from(renderRoles(names.map(hbaToken))));

/** Any 1 to 63 bytes without NUL, most of them of the characters that mean something. */
const anyName = fc
  .array(
    fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(...Buffer.from('/\\^$.*+?()[]{}|"\'`,;:#@&!~-_ \t\r\naall09=')) },
      fc.integer({ min: 1, max: 255 }),
    ),
    { minLength: 1, maxLength: 63 },
  )
  .map((list) => Buffer.from(list));

describe('a role in pg_hba.conf', () => {
  it('is admitted, and no other one, whatever its name is', () => {
    const all = HOSTILE_NAMES.map((name) => Buffer.from(name));
    for (const name of all) {
      const tokens = tokensOf(fileOf([name]));
      for (const other of all) expect(admits(tokens, bytes(other)), `${name} ${other}`).toBe(name === other);
    }
  });

  it('is one line that a later life reads again, for any bytes', () => {
    fc.assert(
      fc.property(fc.array(anyName, { minLength: 1, maxLength: 4 }), anyName, (names, other) => {
        const tokens = tokensOf(fileOf(names));
        expect(tokens).toHaveLength(names.length + 1);
        for (const name of names) expect(admits(tokens, bytes(name))).toBe(true);
        expect(admits(tokens, bytes(other))).toBe(names.some((name) => name.equals(other)));
        for (const name of names) expect(isToken(hbaToken(name))).toBe(true);
      }),
      { numRuns: 400 },
    );
  });

  it.each(['', 'all', '"', '"a', 'a"', '"a" "b"', '"a"b"', '"/a"', '"/^a.*$"', '"/^$"', '@x', '"a\u0000"', '# x'])(
    'is not read from a damaged file: %j',
    (line) => expect(isToken(line)).toBe(false),
  );
});

/** A server whose catalog has these names. */
class Catalog {
  names = ['app'];
  changes = 0;
  asked: string[] = [];
  error: string | null = null;
  broken: Error | null = null;
  /** The question that {@link broken} answers; null: every one. */
  brokenAt: string | null = null;
  readonly session = {
    askOne: async (name: string) => this.answer(name, { digest: String(this.changes) }),
    ask: async (name: string) =>
      this.answer(
        name,
        this.names.map((one) => ({ name: Buffer.from(one).toString('hex') })),
      ),
    query: async () => this.answer('errors', this.error === null ? [] : [{ error: this.error }]),
  } as unknown as Session;

  private async answer<T>(name: string, rows: T): Promise<T> {
    this.asked.push(name);
    if (this.broken !== null && (this.brokenAt ?? name) === name) throw this.broken;
    return rows;
  }
}

describe('the list of roles', () => {
  let [conf, nowMs, reloads] = ['', 0, 0];
  const warning = { text: null as string | null };
  let catalog = new Catalog();
  const reload = () => {
    reloads += 1;
  };
  const newList = () => new RoleList({ conf, warning, reload }, () => nowMs);
  const file = () => readFileSync(join(conf, ROLES_FILE), 'utf8').split('\n').filter(isToken);

  /** One look, with all that it begins. */
  async function look(list: RoleList): Promise<void> {
    nowMs += 1_000;
    await list.look(catalog.session, false);
    await list.idle();
  }

  beforeEach(() => {
    conf = testFolder();
    [nowMs, reloads, warning.text, catalog] = [0, 0, null, new Catalog()];
  });

  it('has the application’s role before the server was asked, and the catalog’s roles after the first look', async () => {
    const list = newList();
    await list.begin('app');
    expect(file()).toEqual(['"app"']);
    catalog.names = ['app', 'report', 'a "b"'];
    await list.look(catalog.session, true);
    expect(file()).toEqual(['"app"', '"report"', '"a ""b"""']);
    expect(reloads).toBe(1);
  });

  it('costs one short question when nothing changed, and no reload', async () => {
    const list = newList();
    await list.begin('app');
    await look(list);
    catalog.asked = [];
    await look(list);
    await list.look(catalog.session, false);
    expect(catalog.asked).toEqual(['role digest']);
    // A change that leaves the names as they are, for example of a password.
    catalog.changes += 1;
    await look(list);
    expect(catalog.asked).toEqual(['role digest', 'role digest', 'roles']);
    expect(reloads).toBe(0);
  });

  it('begins the next life of the server, and of the keeper, with the names of the last one', async () => {
    const list = newList();
    await list.begin('app');
    catalog.names = ['app', 'report'];
    await look(list);
    await newList().begin('app');
    expect(file()).toEqual(['"app"', '"report"']);
    writeFileSync(join(conf, ROLES_FILE), '"app"\nall\n"re');
    await newList().begin('other');
    expect(file()).toEqual(['"app"']);
  });

  it('keeps the former names when PostgreSQL refuses the new ones, says so once, and does not try again', async () => {
    const list = newList();
    await list.begin('app');
    [catalog.names, catalog.changes, catalog.error] = [['app', 'bad'], 1, 'invalid regular expression'];
    await look(list);
    expect(file()).toEqual(['"app"']);
    expect(reloads).toBe(0);
    expect(warning.text).toContain('invalid regular expression');
    catalog.asked = [];
    await look(list);
    expect(catalog.asked).toEqual(['role digest']);
    [catalog.names, catalog.changes, catalog.error] = [['app', 'good'], 2, null];
    await look(list);
    expect(file()).toEqual(['"app"', '"good"']);
  });

  it.each([null, 'errors'])('keeps the former names when the check fails, and asks again (at %s)', async (question) => {
    const list = newList();
    await list.begin('app');
    catalog.brokenAt = question;
    [catalog.names, catalog.changes, catalog.broken] = [['app', 'late'], 1, new Error('the session has ended')];
    await look(list);
    expect(file()).toEqual(['"app"']);
    catalog.broken = null;
    await look(list);
    expect(file()).toEqual(['"app"', '"late"']);
    expect(warning.text).toBeNull();
  });

  it('leaves PostgreSQL alone for a while after its error, and tells one that repeats', async () => {
    const list = newList();
    await list.begin('app');
    catalog.broken = Object.assign(new DatabaseError('canceling statement due to lock timeout', 0, 'error'), {
      code: '55P03',
    });
    await look(list);
    expect(warning.text).toBeNull();
    await look(list);
    expect(catalog.asked).toEqual(['role digest']);
    nowMs += 5_000;
    await look(list);
    expect(catalog.asked).toEqual(['role digest', 'role digest']);
    expect(warning.text).toContain('lock timeout');
  });

  it('has 20,000 names at most, and says so', async () => {
    const list = newList();
    await list.begin('app');
    catalog.names = Array.from({ length: 20_001 }, (_, i) => `r${i}`);
    await look(list);
    expect(file()).toHaveLength(20_000);
    expect(warning.text).toBe('only the first 20000 roles may log in');
  });

  it('does not make a leader wait', async () => {
    const list = newList();
    await list.begin('app');
    const hangs = { ...catalog.session, askOne: () => new Promise(() => undefined) } as unknown as Session;
    await list.look(hangs, false);
    expect(file()).toEqual(['"app"']);
  });
});
