import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatJson, formatLine, localTime, oneLine } from '../../failover/contract/log-line';
import { FileLog } from '../../failover/monitor/log';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'log-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

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
