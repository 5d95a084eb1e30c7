/** The order in which a leader hands its write-ahead log to the backups' repository. */
import { describe, expect, it } from 'vitest';
import { historyOf } from '../../failover/keeper/postgres/timelines';
import { WalQueue } from '../../failover/keeper/postgres/wal-queue';

const MB = 1024n ** 2n;
/** Timeline 1 ended within its file …03, timeline 2 at the end of …04. */
const HISTORY = historyOf(3, '1\t0/3000F0\tno recovery target specified\n2\t0/500000\tno recovery target specified\n');
const file = (timeline: number, segment: number) => `0000000${timeline}000000000000000${segment}`;
const KEPT = [file(1, 1), file(1, 2), file(1, 3), file(2, 3), file(2, 4), file(3, 5), file(3, 6), file(3, 7)];
const NOISE = ['archive_status', '00000002.history', `${file(1, 3)}.partial`, file(2, 5), file(4, 0)];

const queueOf = (archived: { lsn: bigint; timeline: number } | null, kept = [...NOISE, ...KEPT]) =>
  new WalQueue(HISTORY, MB, archived, kept);

/** All files that it hands over while this much is flushed. */
function files(queue: WalQueue, flushLsn: bigint): string[] {
  const names: string[] = [];
  for (let name = queue.file(flushLsn); name !== null; name = queue.file(flushLsn)) {
    names.push(name);
    queue.took(name);
  }
  return names;
}

describe('what is handed over', () => {
  it('is in order, and the file of a fork is the newer timeline’s', () => {
    expect(files(queueOf({ lsn: MB, timeline: 1 }), 7n * MB)).toEqual([
      ...[file(1, 1), file(1, 2), file(2, 3), file(2, 4), file(3, 5), file(3, 6)],
    ]);
  });

  it('is only what is finished', () => {
    const queue = queueOf({ lsn: 6n * MB, timeline: 3 });
    expect(files(queue, 7n * MB - 1n)).toEqual([]);
    expect([queue.waiting(9n * MB), queue.waitingBytes(9n * MB + 5n)]).toEqual([3, 3n * MB]);
    expect(files(queue, 7n * MB)).toEqual([file(3, 6)]);
    expect(queue.next).toBe(7n * MB);
  });

  it('begins with the oldest file of the leader’s history when nothing is known', () => {
    expect(queueOf(null).next).toBe(MB);
    expect(queueOf(null, [file(4, 1), file(2, 1), file(1, 4), file(3, 6)]).next).toBe(6n * MB);
  });

  it('begins with the file that contains the position', () => {
    expect(queueOf({ lsn: 4n * MB + 5n, timeline: 2 }).next).toBe(4n * MB);
  });

  it('goes back to the fork when the former leader had archived more than this one took over', () => {
    expect(queueOf({ lsn: 6n * MB, timeline: 1 }).next).toBe(3n * MB);
    expect(queueOf({ lsn: 6n * MB, timeline: 2 }).next).toBe(5n * MB);
  });

  it('begins with the oldest file when the position is of a timeline that this history does not have', () => {
    expect(queueOf({ lsn: 6n * MB, timeline: 9 }).next).toBe(MB);
  });

  it('goes on across the names of larger positions', () => {
    const history = historyOf(1, null);
    const queue = new WalQueue(history, MB, { lsn: 0x0_ffff_0000n, timeline: 1 }, []);
    expect(files(queue, 0x1_0020_0000n)).toEqual(
      ['0000000000000FFF', '0000000100000000', '0000000100000001'].map((name) => `00000001${name}`),
    );
  });
});

describe('a gap', () => {
  it('is left where files are not there any more', () => {
    const queue = queueOf({ lsn: MB, timeline: 1 }, [file(2, 4), file(3, 5), file(3, 6)]);
    const next = queue.nextKept([file(1, 3), file(2, 4), file(3, 5), file(3, 6)], 7n * MB);
    expect(queue.gapUntil(next)).toEqual({ from: file(1, 1), to: file(2, 3) });
    queue.goTo(next);
    expect(files(queue, 7n * MB)).toEqual([file(2, 4), file(3, 5), file(3, 6)]);
  });

  it('reaches up to the file that is being written when there is none', () => {
    const queue = queueOf({ lsn: 5n * MB, timeline: 3 });
    expect(queue.nextKept([], 7n * MB + 5n)).toBe(7n * MB);
  });

  it('is left where more waits than may', () => {
    const queue = queueOf({ lsn: MB, timeline: 1 });
    expect(queue.gapUntil(queue.within(6n * MB, 7n * MB + 5n))).toBeNull();
    const next = queue.within(2n * MB + 5n, 7n * MB + 5n);
    expect(queue.gapUntil(next)).toEqual({ from: file(1, 1), to: file(2, 4) });
  });
});
