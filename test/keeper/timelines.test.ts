/** How the files of the log are named and cut, and what a history file says. */
import { describe, expect, it } from 'vitest';
import { parseLsn, printLsn } from '../../failover/contract/lsn';
import {
  historyFile,
  historyOf,
  recordLength,
  segmentFile,
  segmentStart,
  stretchAt,
} from '../../failover/keeper/postgres/timelines';

const MB = 1024n * 1024n;
const TEXT = '1\t0/3000000\tno recovery target specified\n\n2\t1/A0\tbefore 2026-01-01\n';

describe('historyOf', () => {
  it('gives each timeline from where it began to where the next one left it', () => {
    expect(historyOf(4, TEXT)).toEqual([
      { timeline: 1, begin: 0n, end: 0x3000000n },
      { timeline: 2, begin: 0x3000000n, end: 0x1_0000_00a0n },
      { timeline: 4, begin: 0x1_0000_00a0n, end: null },
    ]);
  });

  it('knows that the first timeline has no file, and of another without one not where it began', () => {
    expect(historyOf(1, null)).toEqual([{ timeline: 1, begin: 0n, end: null }]);
    expect(historyOf(5, null)).toEqual([{ timeline: 5, begin: null, end: null }]);
  });

  it('ignores comments and lines that are cut off', () => {
    expect(historyOf(2, '# a comment\n\n1\t0/30\n1\t0/')).toEqual(historyOf(2, '1\t0/30\treason'));
  });

  it('gives the part that is asked for at a position: where a timeline ends, the next one', () => {
    const history = historyOf(4, TEXT);
    expect(stretchAt(history, 0x2ffffffn)?.timeline).toBe(1);
    expect(stretchAt(history, 0x3000000n)?.timeline).toBe(2);
    expect(stretchAt(history, 0x1_0000_00a0n)?.timeline).toBe(4);
  });
});

describe('names of files', () => {
  it.each([
    ['0/3000060', MB, '000000020000000000000030'],
    ['0/3000060', 16n * MB, '000000020000000000000003'],
    ['1/FFFFFFFF', MB, '000000020000000100000FFF'],
    ['A/40000000', 1024n * MB, '000000020000000A00000001'],
  ])('%s in files of %d bytes', (lsn, bytes, name) => {
    expect(segmentFile(2, parseLsn(lsn), bytes)).toBe(name);
    expect(segmentStart(name, bytes)).toBe(parseLsn(lsn) - (parseLsn(lsn) % bytes));
  });

  it('of histories', () => {
    expect(historyFile(26)).toBe('0000001A.history');
  });
});

it('prints positions as PostgreSQL does', () => {
  for (const lsn of ['0/0', '0/3000060', '1A/FFFFFFFF']) expect(printLsn(parseLsn(lsn))).toBe(lsn);
});

describe('recordLength', () => {
  const record = (length: number, headerBytes = 0, info = 0) => {
    const bytes = Buffer.alloc(headerBytes + 32);
    if (headerBytes > 0) bytes.writeUInt16LE(info, 2);
    bytes.writeUInt32LE(length, headerBytes);
    return bytes;
  };

  it('reads the length behind a page header where the page begins', () => {
    expect(recordLength(8_192n + 24n, record(50))).toBe(50 + 40);
    expect(recordLength(8_192n, record(50, 24))).toBe(24 + 50 + 40);
    expect(recordLength(MB, record(50, 40, 2))).toBe(40 + 50 + 40);
  });

  it('counts the headers of all pages that a record reaches', () => {
    expect(recordLength(8_192n + 24n, record(100_000))).toBe(100_000 + 13 * 40);
  });

  it('says that no record begins where its length cannot be one', () => {
    for (const length of [0, 23, 0x7878_7878]) expect(recordLength(8_192n + 24n, record(length))).toBeNaN();
    expect(recordLength(8_192n + 24n, Buffer.alloc(3))).toBeNull();
    expect(recordLength(8_192n, Buffer.alloc(26))).toBeNull();
  });
});
