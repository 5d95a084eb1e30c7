/** The script that PostgreSQL runs for each file of write-ahead log, with pgBackRest replaced by one that notes its calls. */
import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, uptime } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { missed, renderLease, renderPgbackrestConf } from '../../failover/keeper/postgres/archive';
import { historyOf } from '../../failover/keeper/postgres/timelines';

const SCRIPT = join(__dirname, '../../images/postgres/archive-wal');
const MB = 1024n ** 2n;
/** Timeline 1 ended within its file …03, timeline 2 at the end of …04. */
const HISTORY = historyOf(3, '1\t0/3000F0\tno recovery target specified\n2\t0/500000\tno recovery target specified\n');
const file = (timeline: number, segment: number) => `0000000${timeline}000000000000000${segment}`;

let run: string;
let bin: string;
beforeEach(() => {
  run = mkdtempSync(join(tmpdir(), 'archive-wal-'));
  bin = join(run, 'bin');
  mkdirSync(bin);
  writeFileSync(join(run, 'stanza'), 'c1\n');
  script('pgbackrest', `echo "$@" >> ${join(run, 'pushed')}`);
});
afterEach(() => rmSync(run, { recursive: true, force: true }));

function script(name: string, text: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`);
  chmodSync(join(bin, name), 0o755);
}

/** Writes a lease that ends in so many ms. */
function lease(ms: number): void {
  const text = renderLease({ term: 7, timeline: 3, untilBootMs: uptime() * 1_000 + ms }, HISTORY, MB);
  writeFileSync(join(run, 'lease'), text);
}

/** Runs the script and returns its exit code. */
function archive(name: string): Promise<number> {
  // A wait of the script takes no time here.
  const env = { PATH: `${bin}:${process.env.PATH}`, ARCHIVE_RUN: run };
  return new Promise((resolve) => {
    execFile(SCRIPT, [`pg_wal/${name}`, name], { env }, (error) => resolve(error === null ? 0 : Number(error.code)));
  });
}

const pushed = () => (existsSync(join(run, 'pushed')) ? readFileSync(join(run, 'pushed'), 'utf8') : '');

describe('the gate', () => {
  it('hands a file on while the lease runs', async () => {
    lease(60_000);
    expect(await archive(file(3, 5))).toBe(0);
    expect(pushed()).toBe(`--config=${run}/pgbackrest.conf --stanza=c1 archive-push pg_wal/${file(3, 5)}\n`);
  });

  it.each([
    ['there is no lease', null],
    ['the lease is over', -20],
  ])('fails when %s, after a wait', async (_, ms) => {
    script('sleep', 'exit 0');
    if (ms !== null) lease(ms);
    expect(await archive(file(3, 5))).toBe(1);
    expect(pushed()).toBe('');
  });

  it('hands the file on when the lease comes while it waits', async () => {
    const text = renderLease({ term: 7, timeline: 3, untilBootMs: uptime() * 1_000 + 60_000 }, HISTORY, MB);
    script('sleep', `printf '${text.replaceAll('\n', '\\n')}' > ${join(run, 'lease')}`);
    expect(await archive(file(3, 5))).toBe(0);
    expect(pushed()).toContain(file(3, 5));
  });

  it('ends the archiver while PostgreSQL stops, whatever the lease says', async () => {
    lease(60_000);
    writeFileSync(join(run, 'closed'), '');
    expect(await archive(file(3, 5))).toBe(255);
    expect(pushed()).toBe('');
  });

  it('ends the archiver when PostgreSQL stops meanwhile and the push was killed', async () => {
    lease(60_000);
    script('pgbackrest', `touch ${join(run, 'closed')}; kill -9 $$`);
    expect(await archive(file(3, 5))).toBe(255);
  });

  it('fails when pgBackRest fails, with a code after which PostgreSQL tries again', async () => {
    lease(60_000);
    script('pgbackrest', 'exit 128');
    expect(await archive(file(3, 5))).toBe(1);
  });

  it.each([
    ['a file of an earlier timeline before its end', file(1, 2), true],
    ['the file in which an earlier timeline ended', file(1, 3), false],
    ['the last whole file of an earlier timeline', file(2, 4), true],
    ['a file of an earlier timeline after its end', file(2, 5), false],
    ['a file of a timeline that is no part of the history', file(4, 4), false],
    ['the history of its own timeline', '00000003.history', true],
    ['the history of an earlier timeline', '00000002.history', true],
    ['the history of a later timeline', '00000004.history', false],
    ['the rest of a timeline that ended', `${file(2, 5)}.partial`, false],
    ['the mark of a backup', `${file(3, 5)}.00000028.backup`, true],
  ])('knows the history of the leader: %s', async (_, name, isHandedOn) => {
    lease(60_000);
    expect(await archive(name)).toBe(0);
    expect(pushed().includes(name)).toBe(isHandedOn);
  });

  it('lets files go while the queue is too long, and writes the first and the last down', async () => {
    lease(60_000);
    const gap = join(run, 'gap');
    writeFileSync(join(run, 'full'), `${gap}\n`);
    for (const segment of [5, 6, 7]) expect(await archive(file(3, segment))).toBe(0);
    expect(pushed()).toBe('');
    expect(readFileSync(join(gap, 'from'), 'utf8')).toBe(`${file(3, 5)}\n`);
    expect(readFileSync(join(gap, 'to'), 'utf8')).toBe(`${file(3, 7)}\n`);
  });
});

describe('what the former leader had not archived', () => {
  const marks = [1, 2, 3]
    .map((segment) => `${file(1, segment)}.done`)
    .concat([`${file(2, 4)}.done`, `${file(3, 5)}.done`]);

  it('is every whole file of the earlier timelines when nothing is known', () => {
    expect(missed(marks, HISTORY, MB, null)).toEqual([file(1, 1), file(1, 2), file(2, 4)]);
  });

  it('begins with the file that contains the position', () => {
    expect(missed(marks, HISTORY, MB, 2n * MB)).toEqual([file(1, 2), file(2, 4)]);
    expect(missed(marks, HISTORY, MB, 3n * MB)).toEqual([file(2, 4)]);
  });

  it('leaves what waits already, histories and other files', () => {
    const others = [`${file(1, 1)}.ready`, '00000002.history.done', `${file(2, 5)}.partial.done`, 'x'];
    expect(missed(others, HISTORY, MB, null)).toEqual([]);
  });
});

it('encrypts the repository with a passphrase that is not the cluster key', () => {
  const clusterKey = 'k'.repeat(40);
  const text = renderPgbackrestConf({ data: '/data', port: 5432, clusterKey }, 'c1');
  expect(text).toContain('repo1-cipher-type=aes-256-cbc\n');
  expect(text).toMatch(/^repo1-cipher-pass=[0-9a-f]{64}$/m);
  expect(text).not.toContain(clusterKey);
});
