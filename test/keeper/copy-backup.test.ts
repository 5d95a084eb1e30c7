/** Which backup a standby's copy begins with, and which files of the archive lead from it to the leader. */
import { describe, expect, it } from 'vitest';
import { type BackupCopy, choose, copyBackup, filesUpTo } from '../../failover/keeper/postgres/copy-backup';
import type { Place } from '../../failover/keeper/postgres/place';
import { archivedTimeline } from '../../failover/keeper/postgres/restore-timeline';

const MB = 1024 * 1024;
const HISTORY_2 = '1\t0/4500A0\tno recovery target specified\n';
const KNOWN = [archivedTimeline(1, null, null), archivedTimeline(2, HISTORY_2, 1)];
const backup = (label: string, walStart: string, stopLsn: string) => ({
  ...{ label, type: 'full' as const, startMs: 1, stopMs: 2, startLsn: stopLsn, stopLsn },
  ...{ walStart, walStop: walStart, sizeBytes: 1, storedBytes: 1 },
});
const OLD = backup('20260131-050000F', '000000010000000000000002', '0/200100');
const LOST = backup('20260131-060000F', '000000010000000000000006', '0/600100');
type Facts = Parameters<typeof choose>[2];
const leader = (timeline = 2, lsn = '0/700000', sizeBytes = 1) => ({
  ...{ timeline, lsn, sizeBytes, segmentBytes: String(MB) },
});
const plan = (backups: unknown[], at = leader(), known = KNOWN) => choose(at, known, backups as Facts);

describe('the backup', () => {
  it('is the newest of the leader’s own history, never one of a history that a former leader lost (S3)', () => {
    expect(plan([OLD, LOST])).toMatchObject({ label: OLD.label, walStart: OLD.walStart, walBytes: 5 * MB });
    expect(() => plan([LOST])).toThrow('no backup for timeline 2');
  });

  it('is none where there is none, the archive does not lead to the leader, or too much log came since', () => {
    expect(() => plan([])).toThrow('no backup for timeline 2');
    expect(() => plan([OLD], leader(3))).toThrow('nothing of the leader’s timeline 3 yet');
    const three = archivedTimeline(3, `${HISTORY_2}2\t0/600000\tno recovery target specified\n`, 2);
    expect(() => plan([OLD], leader(3), [KNOWN[0] ?? three, three])).toThrow('no history of timeline 2');
    expect(() => plan([OLD], leader(2, '2/0'))).toThrow(`backup ${OLD.label} is too old`);
    expect(plan([OLD], leader(2, '2/0', 1e12)).label).toBe(OLD.label);
  });
});

describe('the archive', () => {
  const copy: BackupCopy = { ...plan([OLD]), stanza: 'c7', configPath: '/c' };
  const FILES = [
    ...['000000010000000000000002', '000000010000000000000003'],
    // The file of the fork is there under the new timeline's name alone.
    ...['000000020000000000000004', '000000020000000000000005', '000000020000000000000006'],
  ];

  it('gives each file under the name of the timeline that leads there', () => {
    expect(filesUpTo(copy, 0x7001a0n)).toEqual(FILES);
    expect(filesUpTo(copy, 0x200000n)).toEqual([]);
  });

  it('is fetched after the restore, with the histories, into the folder that receives from the leader', async () => {
    const ran: string[][] = [];
    const tool = async (args: readonly string[]) => String(ran.push([...args]));
    const place = { fresh: '/fresh', wal: '/wal' } as Place;
    const parts = { progress: () => undefined, signal: new AbortController().signal };
    await copyBackup(copy, 0x7001a0n, place, parts, tool);
    expect(ran[0]).toEqual(expect.arrayContaining(['restore', '--type=standby', `--set=${OLD.label}`]));
    expect(ran[1]?.slice(-2)).toEqual(['00000002.history', '/wal/00000002.history']);
    expect(ran.slice(2).map((args) => args.at(-1))).toEqual(FILES.map((name) => `/wal/${name}`));
    const bad = async () => {
      throw new Error('damaged');
    };
    await expect(copyBackup(copy, 0x7001a0n, place, parts, bad)).rejects.toThrow('damaged');
  });
});
