/** A place of the backups as the keeper shows it to archive and backups. */
import { expect, it } from 'vitest';
import type { Gap, S3Settings } from '../../failover/contract/backups';
import type { NodeSettings } from '../../failover/contract/messages';
import { BackupSide, finishPlaces, type SideHost, s3Place } from '../../failover/keeper/backup-side';
import type { Archive, Archived } from '../../failover/keeper/ports';

const S3 = { endpoint: 'e', bucket: 'b', path: '/p', secret: 'S' } as S3Settings;
const LIMITS = { leaseMs: 2_000, queueBytes: 1e9 };

function rig(backup: NodeSettings['backup']) {
  const notes: string[] = [];
  const prepared: (Archived | null)[] = [];
  const finished: (Archived | null)[] = [];
  let gaps: readonly Gap[] = [];
  const host = {
    settings: { backup } as NodeSettings,
    view: { sql: { flushLsn: '0/500000', timeline: 1 } } as SideHost['view'],
    ...{ settled: true, report: () => undefined },
    leadership: () => leadership,
    note: (_: string, code: string, message: string) => void notes.push(`${code} ${message}`),
  };
  const leadership = { term: 3, calm: true } as ReturnType<SideHost['leadership']>;
  const archive = {
    bootMs: () => 1_000,
    prepare: async (_: number, archived: Archived | null) => {
      prepared.push(archived);
      throw new Error('no route');
    },
    look: () => ({ waiting: 0, waitingBytes: 0, archivedTo: null }),
    changeGaps: async (make: (before: readonly Gap[]) => readonly Gap[]) => {
      gaps = make(gaps);
    },
    finish: async (archived: Archived | null) => {
      finished.push(archived);
      if (finished.length > 1) throw new Error('no route');
    },
    ...{ shut: () => undefined, keep: async () => undefined, release: async () => undefined },
  } as unknown as Archive;
  const clock = { nowMs: () => 1_000, sleep: () => Promise.resolve() };
  const side = (name: 'local' | 's3') => new BackupSide(name, host, archive, undefined, clock as never);
  return { side, host, notes, prepared, finished, gaps: () => gaps };
}
const gap = (n: number): Gap => ({ from: `${n}`.padStart(24, '0'), to: `${n}`.padStart(24, '0') });
const settle = () => new Promise((resolve) => setImmediate(resolve));

it('is none where the settings name another one', () => {
  const { side, host } = rig({ ...LIMITS, s3: S3, local: false });
  expect(side('local').settings?.backup).toBeUndefined();
  expect(side('s3').settings?.backup).toBeDefined();
  host.settings = { backup: LIMITS } as NodeSettings;
  expect(side('local').settings?.backup).toBeDefined();
  expect(side('s3').settings?.backup).toBeUndefined();
});

it('takes what a ping says of its own place only, and notes with the place’s name', async () => {
  const { side, host, notes, prepared, gaps } = rig({ ...LIMITS, s3: S3 });
  const s3 = side('s3');
  const ping = (n: number, place: string) => ({
    ...{ type: 'ping' as const, n, archive: { term: 3, heard: n - 1 }, archivedTo: '0/400000', archivedTimeline: 1 },
    archivedGaps: [gap(1)],
    s3: { place, archivedTo: '0/200000', archivedTimeline: 1, archivedGaps: [gap(2)] },
  });
  s3.pinged(ping(1, s3Place(S3)));
  s3.pinged(ping(2, s3Place(S3)));
  await settle();
  expect(prepared).toMatchObject([{ lsn: '0/200000', timeline: 1, gaps: [gap(2)] }]);
  expect(notes).toEqual(['ARCHIVE_PROBLEM S3: no route']);
  expect(s3.s3).toMatchObject({ place: s3Place(S3), archive: { problem: 'no route' } });
  // Another bucket: what is known of the former one does not hold for it.
  host.settings = { backup: { ...LIMITS, s3: { ...S3, bucket: 'other' } } } as NodeSettings;
  s3.pinged(ping(3, s3Place(S3)));
  s3.pinged(ping(4, s3Place(S3)));
  await settle();
  expect(prepared[1]).toBeNull();
  expect(gaps()).toEqual([]);
  // A new key is the same place.
  expect(s3Place({ ...S3, secret: 'T' })).toBe(s3Place(S3));
});

it('finishes the place that a restore in place reads, and a second one if it can', async () => {
  const { signal } = new AbortController();
  const both = rig({ ...LIMITS, s3: S3 });
  await finishPlaces([both.side('local'), both.side('s3')], signal);
  expect(both.finished).toHaveLength(2);
  expect(both.notes).toEqual([expect.stringMatching(/^ARCHIVE_PROBLEM S3: the end of .*: no route$/)]);
  await expect(finishPlaces([both.side('local'), both.side('s3')], signal)).rejects.toThrow('no route');
  const alone = rig({ ...LIMITS, s3: S3, local: false });
  await finishPlaces([alone.side('local'), alone.side('s3')], signal);
  await expect(finishPlaces([alone.side('local'), alone.side('s3')], signal)).rejects.toThrow('no route');
  expect(alone.finished).toHaveLength(2);
});

it('gives up a second place when the restore itself is called off', async () => {
  const { side, host } = rig({ ...LIMITS, s3: S3 });
  const restore = new AbortController();
  const s3 = side('s3');
  s3.finish = async () => restore.abort(new Error('another order')) ?? Promise.reject(new Error('aborted'));
  await expect(finishPlaces([side('local'), s3], restore.signal)).rejects.toThrow('another order');
  expect(host.settings.backup).toBeDefined();
});

it('takes no gap of the other place for its own', async () => {
  const { side, prepared } = rig({ ...LIMITS, s3: S3 });
  const s3 = side('s3');
  for (const n of [1, 2]) {
    s3.pinged({
      ...{ type: 'ping', n, archive: { term: 3, heard: n - 1 }, archivedTo: '0/400000', archivedTimeline: 1 },
      archivedGaps: [gap(1)],
      s3: { place: s3Place(S3), archivedTo: '0/200000', archivedTimeline: 1 },
    });
  }
  await settle();
  expect(prepared).toEqual([{ lsn: '0/200000', timeline: 1, gaps: [] }]);
});
