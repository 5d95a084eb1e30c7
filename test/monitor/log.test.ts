import { copyFile, mkdir, open, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { formatJson, formatLine, linesTo, localTime, oneLine } from '../../failover/contract/log-line';
import { FileLog } from '../../failover/monitor/log';
import { testFolder } from '../rig/folder';

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  return { ...real, copyFile: vi.fn(real.copyFile), rename: vi.fn(real.rename) };
});

let folder = '';
beforeEach(async () => {
  folder = testFolder();
});
afterEach(async () => {
  vi.resetAllMocks();
});

const AT = new Date('2026-11-24T21:55:22.123Z');
const logTo = (file: string, bytesMax = 1_000_000, lines: string[] = []) =>
  new FileLog(
    file,
    bytesMax,
    2,
    (line) => lines.push(line),
    formatLine,
    () => AT,
  );

describe('failover.log', () => {
  it('has one readable line for each event, with the offset of the local time zone', () => {
    const line = formatLine(AT, 'WARN', 'postgres-primary', 'LEADER_DEAD', 'it broke\n  and more');
    expect(line).toBe(`${localTime(AT)} WARN  postgres-primary     LEADER_DEAD      it broke | and more`);
    expect(localTime(AT)).toMatch(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.123[+-]\d{2}:\d{2}$/);
    expect(new Date(localTime(AT)).getTime()).toBe(AT.getTime());
  });

  it('cannot be forged by a name or a message, which cannot send control characters to a terminal either, in both formats', () => {
    const forged = '\r\n2026-11-24T21:55:22.123+00:00 INFO  postgres-primary     OPENED           all is well';
    const steering = ['\x1b[2K', '\b', '\0', '\x7f', '\x9b2K', '\u0085', '\u2028', '\u202e', '\u{e0001}', '\ud800'];
    const hostile = `x${forged}${steering.join('')}\v\f\ty`;
    const text = formatLine(AT, 'WARN', hostile, hostile, hostile);
    const json = formatJson(AT, 'WARN', hostile, hostile, hostile);
    for (const line of [text, json]) expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
    expect(text).toContain(
      'all is well\\x1b[2K\\x08\\x00\\x7f\\x9b2K\\x85\\u2028\\u202e\\u{e0001}\\ud800\\x0b\\x0c\\x09y',
    );
    expect(JSON.parse(json)).toMatchObject({ node: hostile, message: hostile });
  });

  it('keeps ordinary text unchanged, and takes no longer for many spaces', () => {
    const text = 'Đồng bộ "ünïcödé" 数据库 🐘 \\password';
    expect(oneLine(text)).toBe(text);
    expect(oneLine(oneLine('a\x1b\nb'))).toBe(oneLine('a\x1b\nb'));
    const begin = performance.now();
    oneLine(`${' '.repeat(200_000)}x`);
    expect(performance.now() - begin).toBeLessThan(1_000);
  });

  it('has one JSON object in each line when the config says so', async () => {
    const file = join(folder, 'failover.log');
    const log = new FileLog(
      file,
      1_000,
      1,
      () => undefined,
      formatJson,
      () => AT,
    );
    log.write('WARN', 'p', 'LEADER_DEAD', 'it "broke"\nand more');
    await log.flush();
    const [line = '', rest] = (await readFile(file, 'utf8')).split('\n');
    expect(JSON.parse(line)).toEqual({
      at: localTime(AT),
      level: 'WARN',
      node: 'p',
      code: 'LEADER_DEAD',
      message: 'it "broke"\nand more',
    });
    expect(rest).toBe('');
  });

  it('rotates by copying and truncating, so that a program which follows the file goes on', async () => {
    const file = join(folder, 'failover.log');
    const log = logTo(file, 300);
    log.write('INFO', 'a', 'STARTED', 'x'.repeat(400));
    await log.flush();
    const follower = await open(file, 'r');
    log.write('INFO', 'a', 'STOPPED', 'short');
    await log.flush();
    expect(await follower.readFile('utf8')).toContain('STOPPED');
    await follower.close();
    expect(await readFile(`${file}.1`, 'utf8')).toContain('STARTED');
  });

  it('goes on without the file when it cannot be written, and says so once on stdout', async () => {
    const lines: string[] = [];
    const log = logTo(join(folder, 'missing', 'failover.log'), 1_000, lines);
    log.write('INFO', 'a', 'STARTED', 'first');
    await log.flush();
    log.write('INFO', 'a', 'STOPPED', 'second');
    await log.flush();
    expect(lines.filter((l) => l.includes('LOG_FAILED'))).toHaveLength(1);
    expect(lines.filter((l) => l.includes('STOPPED'))).toHaveLength(1);
  });

  it('keeps a limited number of lines waiting, and logs how many it dropped', async () => {
    const file = join(folder, 'failover.log');
    const log = logTo(file);
    for (let i = 0; i < 5_000; i++) log.write('INFO', 'a', 'CONNECTED', `line ${i}`);
    await log.flush();
    const text = await readFile(file, 'utf8');
    expect(text).toContain('line 4999');
    expect(text).toMatch(/LOG_DROPPED +\d+ lines were not written/);
  });
});

describe('failover.log while its disk or folder is changed', () => {
  const told = (lines: readonly string[], code: string) => lines.filter((line) => line.includes(code)).length;
  const noRoom = () => Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });

  /** A log, its output, and what writes one line and waits until it is in the file or could not be written. */
  function logged(bytesMax?: number) {
    const [file, lines] = [join(folder, 'failover.log'), [] as string[]];
    const log = logTo(file, bytesMax, lines);
    const add = async (words: string) => {
      log.write('INFO', 'a', 'CONNECTED', words);
      await log.flush();
    };
    return { file, lines, log, add, text: () => readFile(file, 'utf8') };
  }

  it('loses nothing on a full disk, and says once that it cannot write', async () => {
    const { file, lines, add, text } = logged();
    await symlink('/dev/full', file);
    for (const words of ['first', 'second', 'third']) await add(words);
    expect(told(lines, 'LOG_FAILED')).toBe(1);
    await rm(file);
    await add('fourth');
    expect(await text()).toMatch(/^.*first\n.*second\n.*third\n.*fourth\n$/);
    await symlink('/dev/full', `${file}.full`);
    await rename(`${file}.full`, file);
    await add('fifth');
    expect(told(lines, 'LOG_FAILED')).toBe(2);
  });

  it('keeps so many lines for the time when it can be written again, and then tells once how many it lost', async () => {
    const { file, log, add, text } = logged();
    await symlink('/dev/full', file);
    for (let i = 0; i < 2_500; i++) log.write('INFO', 'a', 'CONNECTED', `line ${i}.`);
    await log.flush();
    for (let i = 2_500; i < 3_000; i++) await add(`line ${i}.`);
    await rm(file);
    await add('line 3000.');
    await add('line 3001.');
    const whole = (await text()).trimEnd().split('\n');
    expect(whole[0]).toMatch(/LOG_DROPPED +1001 lines were not written$/);
    expect(whole).toHaveLength(2_002);
    expect(whole[1]).toContain('line 1001.');
  });

  it('goes on in a new file when the file or its folder is removed, or the file is renamed', async () => {
    const { file, lines, add, text } = logged();
    await add('first');
    await rename(file, `${file}.moved`);
    await add('second');
    expect(await text()).toMatch(/^.*second\n$/);
    await rm(file);
    await add('third');
    expect(await text()).toMatch(/^.*third\n$/);
    await rm(folder, { recursive: true });
    await add('fourth');
    await mkdir(folder);
    await add('fifth');
    expect(await text()).toMatch(/^.*fourth\n.*fifth\n$/);
    expect(told(lines, 'LOG_FAILED')).toBe(1);
  });

  it('pushes no older file out by copies that fail, and does not grow', async () => {
    const { file, lines, add, text } = logged(1_000);
    await writeFile(`${file}.1`, 'old');
    vi.mocked(copyFile).mockRejectedValueOnce(noRoom());
    await add('x'.repeat(1_500));
    expect((await readdir(folder)).sort()).toEqual(['failover.log', 'failover.log.1', 'failover.log.2']);
    expect([await readFile(`${file}.1`, 'utf8'), await readFile(`${file}.2`, 'utf8')]).toEqual([
      expect.stringContaining('xxx'),
      'old',
    ]);
    await add('short');
    expect(await text()).toMatch(/^.*short\n$/);
    expect(told(lines, 'LOG_FAILED')).toBe(0);
  });

  it('does not grow where its folder cannot be changed, and says so once', async () => {
    const { lines, add, text } = logged(1_000);
    vi.mocked(copyFile).mockRejectedValue(noRoom());
    vi.mocked(rename).mockRejectedValue(new Error('EACCES: permission denied'));
    for (let i = 0; i < 5; i++) {
      await add('x'.repeat(1_500));
      expect((await text()).length).toBeLessThan(1_000);
    }
    expect(told(lines, 'LOG_FAILED')).toBe(1);
  });

  it.each([1, 100, 1_000, 20_000])('keeps the sizes bounded with rotation at %i bytes', async (bytesMax) => {
    const { file, log } = logged(bytesMax);
    for (let i = 0; i < 400; i++) {
      log.write('INFO', 'a', 'CONNECTED', 'x'.repeat(i));
      if (i % 3 === 0) await log.flush();
    }
    await log.flush();
    const names = await readdir(folder);
    expect(names.filter((name) => name !== 'failover.log' && name !== 'failover.log.1')).toEqual(['failover.log.2']);
    for (const name of names) expect((await readFile(join(folder, name))).length).toBeLessThan(bytesMax + 3 * 500);
    expect(await readFile(`${file}.1`, 'utf8')).toContain('xxx');
  });
});

describe('the output of a process that the engine does not read', () => {
  it('leaves lines out, so that they do not fill the memory, and tells how many', () => {
    const output = { writableLength: 0, text: '', write: (text: string) => (output.text += text) };
    const print = linesTo(output);
    print('first');
    output.writableLength = 2 * 1024 * 1024;
    for (let i = 0; i < 1_000; i++) print('not read');
    output.writableLength = 0;
    print('second');
    print('third');
    expect(output.text).toBe('first\n1000 lines were left out, because this output was not read\nsecond\nthird\n');
  });
});
