/** What the leader's answers and this node's own position say together. */
import { describe, expect, it } from 'vitest';
import { parseLsn } from '../../failover/contract/lsn';
import {
  type Compared,
  firstDifference,
  judgeHistory,
  type LeaderAnswer,
  nextRecordIsHere,
  type Own,
  windows,
} from '../../failover/keeper/postgres/stream-check';
import { historyOf } from '../../failover/keeper/postgres/timelines';

const MB = 1024n * 1024n;

function own(timeline: number, position: string | null, history: string | null = ''): Own {
  return {
    systemId: '7',
    history: historyOf(timeline, history),
    position: position === null ? null : parseLsn(position),
    segmentBytes: MB,
    waits: true,
    reads: null,
    answers: true,
  };
}

function leader(timeline: number, flush: string, history = ''): LeaderAnswer {
  return { name: 'p', systemId: '7', flush: parseLsn(flush), history: historyOf(timeline, history) };
}

describe('judgeHistory', () => {
  const FORK = '1\t0/300\n';

  it.each<[string, Own, LeaderAnswer]>([
    ['the same timeline, level', own(1, '0/300'), leader(1, '0/300')],
    ['the same timeline, behind', own(1, '0/200'), leader(1, '0/300')],
    ['a leader that was promoted where this data ends', own(1, '0/300'), leader(2, '0/400', FORK)],
    ['a leader that was promoted further on', own(1, '0/200'), leader(2, '0/400', FORK)],
    ['two promotions later', own(1, '0/200'), leader(5, '0/900', `${FORK}3\t0/800\n`)],
    ['the same timeline from one promotion', own(2, '0/350', FORK), leader(2, '0/400', FORK)],
    ['the history of this data is not here', own(2, '0/350', null), leader(2, '0/400', FORK)],
    // Only its history file has arrived: the log of before the fork is asked for, and is the same.
    ['a newer timeline that nothing was applied of', own(3, '0/200', FORK), leader(2, '0/400', FORK)],
    ['another promotion that nothing was applied of', own(2, '0/300', FORK), leader(2, '0/400', '1\t0/350\n')],
    ['no position yet', own(2, null, FORK), leader(2, '0/100', '1\t0/350\n')],
  ])('nothing is in the way: %s', (_what, mine, theirs) => {
    expect(judgeHistory(mine, theirs)).toBeNull();
  });

  it('names another system before all else', () => {
    expect(judgeHistory({ ...own(9, '0/300'), systemId: '8' }, leader(1, '0/100'))).toBe(
      'p has another database (system identifier 7) than this node (8)',
    );
  });

  it('names a leader whose timeline is behind', () => {
    const sentence = 'p is on timeline 1, which is behind timeline 2 of this data';
    expect(judgeHistory(own(2, '0/350', FORK), leader(1, '0/900'))).toBe(sentence);
    expect(judgeHistory(own(2, null, FORK), leader(1, '0/900'))).toBe(sentence);
  });

  it('names a timeline that is not in the leader’s history', () => {
    expect(judgeHistory(own(2, '0/350', FORK), leader(3, '0/900', FORK))).toBe(
      'timeline 2 of this data is not in the history of p (timeline 3)',
    );
  });

  it('names where the leader’s history left this data’s timeline', () => {
    expect(judgeHistory(own(1, '0/301'), leader(2, '0/400', FORK))).toBe(
      'the history of p left timeline 1 at 0/300, this data went on to 0/301 on it',
    );
  });

  it('names two timelines with one number that began at different positions', () => {
    expect(judgeHistory(own(2, '0/310', FORK), leader(2, '0/900', '1\t0/280\n'))).toBe(
      'timeline 2 of this data began at 0/300, that of p at 0/280: these are two histories with one number',
    );
    expect(judgeHistory(own(2, '0/310', FORK), leader(2, '0/900', '1\t0/400\n'))).toMatch(/^timeline 2 of this data/);
  });

  it('names data that is ahead of the leader on one timeline', () => {
    expect(judgeHistory(own(2, '0/500', FORK), leader(2, '0/400', FORK))).toBe(
      'p is at 0/400 on timeline 2, this data is ahead at 0/500',
    );
  });
});

describe('the log of both sides', () => {
  const bytes = (text: string) => Buffer.from(text);
  const compared = (mine: string, theirs: string, from = 100n): Compared => ({
    from,
    own: bytes(mine),
    leader: bytes(theirs),
  });

  it('is the same up to what is applied, whatever stands behind it', () => {
    expect(firstDifference(compared('abcdXX', 'abcdef'), 104n)).toBeNull();
    expect(firstDifference(compared('abcdXX', 'abcdef'), 105n)).toBe(104n);
    expect(firstDifference(compared('abXdef', 'abcdef'), 106n)).toBe(102n);
  });

  it('says nothing of what one side does not have', () => {
    expect(firstDifference(compared('abc', 'abcdef'), 106n)).toBeNull();
    expect(firstDifference(compared('', 'abcdef'), 106n)).toBeNull();
    expect(firstDifference(compared('abcdef', 'abcdef'), 90n)).toBeNull();
  });

  describe('the next record', () => {
    const [from, position] = [8_192n, 8_192n + 24n];
    const log = (length: number, fill: number, size = 4_000) => {
      const all = Buffer.alloc(size, fill);
      all.writeUInt32LE(length, 24);
      return all;
    };
    it('is here where both have it as a whole', () => {
      expect(nextRecordIsHere({ from, own: log(200, 1), leader: log(200, 1) }, position)).toBe(true);
      expect(nextRecordIsHere({ from, own: log(0x7878_7878, 1), leader: log(0x7878_7878, 1) }, position)).toBe(true);
    });
    it('is not where it is different, or only begun', () => {
      expect(nextRecordIsHere({ from, own: log(200, 2), leader: log(200, 1) }, position)).toBe(false);
      expect(nextRecordIsHere({ from, own: log(200, 1, 100), leader: log(200, 1) }, position)).toBe(false);
      expect(nextRecordIsHere({ from, own: log(9_000, 1), leader: log(9_000, 1) }, position)).toBe(false);
      expect(nextRecordIsHere({ from, own: log(200, 1), leader: log(200, 1, 28) }, position)).toBe(false);
    });
  });

  it('is compared where the timeline began, at the end of the file before the last, and in the last', () => {
    const stretch = (begin: bigint | null) => ({ timeline: 2, begin, end: null });
    const span = (list: { from: bigint; end: bigint }[]) => list.map(({ from, end }) => [Number(from), Number(end)]);
    const K = 1024;
    expect(span(windows(stretch(0n), 5n * MB + 100n, MB))).toEqual([
      [4 * K * K, 5 * K * K],
      [5 * K * K, 5 * K * K + 100],
    ]);
    expect(span(windows(stretch(MB + 10_000n), 5n * MB + 100n, MB))[0]).toEqual([K * K + 8 * K, 2 * K * K]);
    // A position at the beginning of a file: what is applied stands in the one before.
    expect(span(windows(stretch(null), 5n * MB, MB))).toEqual([
      [3 * K * K, 4 * K * K],
      [4 * K * K, 5 * K * K],
    ]);
    // Large files are not read as a whole, and nothing lies before the timeline's own page.
    expect(span(windows(stretch(16n * MB + 100n), 20n * MB, 16n * MB))).toEqual([
      [16 * K * K, 17 * K * K],
      [19 * K * K - 8 * K, 20 * K * K],
    ]);
    for (const position of [1n, 24n, 8_192n, MB, MB + 1n]) {
      for (const { from, end } of windows(stretch(0n), position, MB)) {
        expect(from >= 0n && from < end && end <= position && from % 8_192n === 0n).toBe(true);
        expect(from / MB).toBe((end - 1n) / MB);
      }
    }
  });
});
