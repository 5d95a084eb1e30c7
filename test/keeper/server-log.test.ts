import { execFileSync } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { openLogPipes } from '../../failover/keeper/postgres/log-pipes';
import {
  earlyReasonOf,
  Lines,
  printEntry,
  readEntry,
  reasonOf,
  ServerLog,
} from '../../failover/keeper/postgres/server-log';
import { testFolder } from '../rig/folder';

const AT = '2026-11-29 20:08:56.170 UTC';
/** A line of `jsonlog`, with the names in PostgreSQL's order: the process is the last. */
const line = ({ backend_type = 'client backend', ...part }: Record<string, string | number>) =>
  JSON.stringify({ timestamp: AT, pid: 48, error_severity: 'LOG', message: 'm', ...part, backend_type });
const entry = (part: Record<string, string | number>) => {
  const read = readEntry(line(part));
  if (read === null) throw new Error('no entry');
  return read;
};

let printed: string[] = [];
let nowMs = 0;
const make = () =>
  new ServerLog(
    (text) => printed.push(text),
    () => nowMs,
  );
beforeEach(() => {
  printed = [];
  nowMs = 0;
});

describe('a line for people', () => {
  it('says the process, the severity, the message and then who the client says to be', () => {
    const shown = printEntry(
      entry({ user: 'app', dbname: 'db', error_severity: 'FATAL', message: 'no', detail: 'why' }),
    );
    expect(shown).toEqual([`${AT} [48] client backend FATAL:  no (app@db)`, `${AT} [48] client backend DETAIL:  why`]);
  });

  it('is one line whatever a client calls itself, and holds no character that moves a cursor', () => {
    const forged = `x\n${AT} [1] startup FATAL:  gone\r\u001b[2J\u0085\u2028\u202e\u007f`;
    const shown = printEntry(entry({ user: forged, dbname: forged, message: forged, statement: forged }));
    expect(shown).toHaveLength(2);
    for (const text of shown) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be left
      expect(text).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e]/);
      expect(text).toMatch(/^2026-11-29 20:08:56.170 UTC \[48\] client backend (LOG|STATEMENT): {2}x\\n/);
    }
  });

  it('is cut, and so is one that is too long to be read whole', () => {
    const statement = `SELECT '${'x'.repeat(200_000)}'`;
    const [cut] = new Lines().take(`${line({ error_severity: 'ERROR', message: 'no', statement })}\n`);
    expect(cut?.length).toBe(65_536);
    const read = readEntry(cut ?? '');
    expect(read).toMatchObject({ error_severity: 'ERROR', message: 'no', backend_type: '' });
    expect(Math.max(...printEntry(entry({ statement })).map((text) => text.length))).toBeLessThan(4_200);
  });

  it('that was cut anywhere gives what is whole, and as much of the last text as is there', () => {
    const message = 'a "b" \\ \u0001 é {"x":"y"}, "z":1';
    const whole = line({ error_severity: 'ERROR', message });
    const from = whole.indexOf('"message":"') + '"message":"'.length;
    for (let end = from; end <= whole.length; end++) {
      const read = readEntry(whole.slice(0, end));
      expect(read).toMatchObject({ timestamp: AT, error_severity: 'ERROR', pid: '48' });
      expect(message.startsWith(read?.message ?? '?')).toBe(true);
      expect(read?.message.length).toBeGreaterThanOrEqual(Math.min(message.length, (end - from - 5) / 6));
      if (end === whole.indexOf(',"backend_type"')) expect(read?.message).toBe(message);
    }
  });

  it('is shown also when it is no line of the log', () => {
    const log = make();
    log.hear('what\u001bever\n');
    log.hearStray('free(): invalid pointer\n');
    log.hearEarly(`${AT} [7] LOG:  could not bind\n`);
    // The line that says where PostgreSQL's log goes is not shown: the log is shown.
    log.hearEarly(`${AT} [7] LOG:  redirecting log output to logging collector process\n`);
    log.hearEarly(`${AT} [7] HINT:  Future log output will appear in directory "/dev/shm/postgres-log".\n`);
    expect(printed).toEqual([
      'PostgreSQL: what\\x1bever',
      'PostgreSQL, standard error: free(): invalid pointer',
      `${AT} [7] LOG:  could not bind`,
    ]);
  });

  it('may come in pieces', () => {
    const log = make();
    const text = line({ message: 'whole' });
    log.hear(text.slice(0, 30));
    expect(printed).toEqual([]);
    log.hear(`${text.slice(30)}\n${text}`);
    expect(printed).toHaveLength(1);
  });
});

describe('what repeats', () => {
  const retry = (message: string) =>
    `${line({ backend_type: 'walreceiver', error_severity: 'FATAL', state_code: '08006', message })}\n`;

  it('many times a second is shown now and then, with how often it was not', () => {
    const log = make();
    for (nowMs = 0; nowMs <= 10_020; nowMs += 20) log.hear(retry(`could not connect, port ${nowMs}`));
    expect(printed.filter((text) => text.includes('could not connect'))).toHaveLength(2);
    expect(printed.at(-1)).toBe('PostgreSQL: 499 lines like the one above were left out');
    log.hear(retry('something else'));
    expect(printed.at(-1)).toContain('something else');
  });

  it('of clients is thinned only where it says that the server is not ready', () => {
    const log = make();
    for (let i = 0; i < 5; i++)
      log.hear(`${line({ state_code: '57P03', error_severity: 'FATAL', message: 'starting' })}\n`);
    for (let i = 0; i < 5; i++)
      log.hear(`${line({ state_code: '23505', error_severity: 'ERROR', message: 'twice' })}\n`);
    expect(printed.map((text) => /starting|twice/.exec(text)?.[0])).toEqual(['starting', ...Array(5).fill('twice')]);
  });

  it('of clients hides nothing of PostgreSQL itself, however much it is', () => {
    const log = make();
    for (let i = 0; i < 20_000; i++) log.hear(`${line({ message: 'flood' })}\n`);
    expect(printed).toHaveLength(5_000);
    log.hear(`${line({ backend_type: 'checkpointer', error_severity: 'PANIC', message: 'disk full' })}\n`);
    expect(printed.slice(-2)).toEqual([
      'PostgreSQL: 15000 lines were left out, there were too many',
      `${AT} [48] checkpointer PANIC:  disk full`,
    ]);
    nowMs = 1_000;
    log.hear(`${line({ message: 'later' })}\n`);
    expect(printed.at(-1)).toContain('later');
  });
});

describe('why a server ended', () => {
  const fatal = (part: Record<string, string>) => reasonOf(entry({ error_severity: 'FATAL', message: 'm', ...part }));

  it('is told by its own processes, and by a PANIC of any', () => {
    expect(fatal({ backend_type: 'startup', message: 'No space left on device' })).toBe(
      'FATAL (startup): No space left on device',
    );
    expect(reasonOf(entry({ error_severity: 'PANIC', message: 'no\nroom' }))).toBe('PANIC (client backend): no\\nroom');
  });

  it('is told by no client, no walreceiver, nothing that was ordered, and no line that is not fatal', () => {
    expect(fatal({ backend_type: 'client backend' })).toBeNull();
    expect(fatal({ backend_type: 'walreceiver' })).toBeNull();
    expect(fatal({ backend_type: 'startup', state_code: '57P01' })).toBeNull();
    expect(reasonOf(entry({ backend_type: 'startup', message: 'FATAL:  gone' }))).toBeNull();
  });

  it('is told before the log begins, by the postmaster on its standard error', () => {
    expect(earlyReasonOf(`${AT} [7] FATAL:  could not map anonymous shared memory`)).toBe(
      'FATAL (postmaster): could not map anonymous shared memory',
    );
    expect(earlyReasonOf('postgres: "reserved_connections" is too high')).toContain('is too high');
    expect(earlyReasonOf(`${AT} [7] LOG:  x "y" FATAL:  z`)).toBeNull();
  });

  it('is the newest one since the start', () => {
    const log = make();
    log.hear(`${line({ backend_type: 'startup', error_severity: 'FATAL', message: 'one' })}\n`);
    expect(log.reason).toBe('FATAL (startup): one');
    log.begin();
    expect(log.reason).toBeNull();
  });
});

describe('the pipes', () => {
  let folder = '';
  beforeEach(() => {
    folder = testFolder();
  });

  it('hold what is written until it is read, take it at once when asked, and outlive their writers', async () => {
    const heard = { json: '', stray: '' };
    const log = make();
    vi.spyOn(log, 'hear').mockImplementation((text) => {
      heard.json += text;
    });
    vi.spyOn(log, 'hearStray').mockImplementation((text) => {
      heard.stray += text;
    });
    const pipes = await openLogPipes(log, join(folder, 'log'));
    const write = (name: string, text: string) => appendFileSync(join(folder, 'log', name), text);
    write('postgresql.json', 'é one\n');
    write('postgresql.log', 'stray\n');
    for (const pipe of pipes) pipe.drain();
    expect(heard).toEqual({ json: 'é one\n', stray: 'stray\n' });
    write('postgresql.json', 'two\n');
    await vi.waitFor(() => expect(heard.json).toBe('é one\ntwo\n'));
    expect(
      execFileSync('find', [join(folder, 'log'), '-type', 'p'], { encoding: 'utf8' })
        .trim()
        .split('\n'),
    ).toHaveLength(2);
    for (const pipe of pipes) pipe.close();
  });
});
